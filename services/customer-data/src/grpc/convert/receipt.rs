//! What a service answers when something is to be done with a customer everywhere.

use cqm_rpc::Violations;

use crate::domain::receipt::{Holder, Receipt};

/// The most kinds of records in a receipt.
const MAX_KINDS: usize = 16;
const MAX_WORD: usize = 64;

/// Reads whose answer it is. What is wrong with it is a violation, so that the answer does not matter.
pub(super) fn read_holder(service: &str, violations: &mut Violations) -> Holder {
    Holder::find(service).unwrap_or_else(|| {
        violations.format("service", "the name of a service that has data of customers");
        Holder::CustomerData
    })
}

pub(super) fn read_receipt(receipt: &Receipt, violations: &mut Violations) -> Receipt {
    if receipt.len() > MAX_KINDS {
        violations.too_long("receipt", MAX_KINDS);
    }
    if receipt.keys().any(|word| !is_word(word, |c| c.is_ascii_lowercase())) {
        violations.format("receipt", "names of a-z and _");
    }
    receipt.clone()
}

pub(super) fn is_word(word: &str, letter: impl Fn(u8) -> bool) -> bool {
    (1..=MAX_WORD).contains(&word.len()) && word.bytes().all(|c| letter(c) || c == b'_')
}
