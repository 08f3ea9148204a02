//! The ledger's accounts, each with the end of its chain and the sums over it.

use super::Refusal;
use super::chain::{self, GENESIS, Hash};
use super::ledger::{Entry, Posting};

cqm_rpc::words! {
    /// The accounts of the ledger. All of them are kept for each member: the programme's are the sums over the
    /// members' parts, so that nobody waits for a row that everybody writes.
    #[derive(Hash, PartialOrd, Ord)]
    pub enum Book {
        /// Points that were brought into being; a debit.
        Issued = "programme:issued",
        /// Points that were spent.
        Redeemed = "programme:redeemed",
        /// Points that ended unspent.
        Expired = "programme:expired",
        /// Points that were taken back after they had been spent.
        ClawbackDebt = "programme:clawback_debt",
        /// Points that can be spent.
        Available = "member:available",
        /// Points that can be spent later.
        Pending = "member:pending",
        /// Points that are set aside.
        Held = "member:held",
    }
}

/// The end of one account's chain, and the sums over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub debit: i64,
    pub credit: i64,
    pub postings: i64,
    pub hash: Hash,
}

impl Head {
    /// An account without postings.
    pub const EMPTY: Self = Self { debit: 0, credit: 0, postings: 0, hash: GENESIS };

    /// Credits less debits. Both are 0 or more, so that it always fits.
    pub const fn balance(&self) -> i64 {
        self.credit - self.debit
    }

    /// Adds a posting to the end: over 0 is a credit. A refusal leaves the account as it was.
    pub(super) fn post(&mut self, book: Book, amount: i64, entry: &Entry) -> Result<Posting, Refusal> {
        let mut next = *self;
        let side = if amount > 0 { &mut next.credit } else { &mut next.debit };
        *side = amount.checked_abs().and_then(|amount| side.checked_add(amount)).ok_or(Refusal::Overflow)?;
        next.postings += 1;
        let mut posting = Posting {
            customer: entry.customer,
            book,
            sequence: next.postings,
            transaction: entry.transaction,
            entry_sequence: entry.sequence,
            amount,
            balance_after: next.balance(),
            hash: GENESIS,
        };
        posting.hash = chain::link(&self.hash, &posting, entry);
        next.hash = posting.hash;
        *self = next;
        Ok(posting)
    }
}

/// The heads of a member's accounts, in the order of [`Book::ALL`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Books([Head; Book::ALL.len()]);

impl Default for Books {
    fn default() -> Self {
        Self([Head::EMPTY; Book::ALL.len()])
    }
}

impl Books {
    pub fn head(&self, book: Book) -> &Head {
        &self.0[book as usize]
    }

    pub fn head_mut(&mut self, book: Book) -> &mut Head {
        &mut self.0[book as usize]
    }

    /// What stands on an account: over 0 is a credit.
    pub fn balance(&self, book: Book) -> i64 {
        self.head(book).balance()
    }

    /// The accounts that have postings.
    pub fn used(&self) -> impl Iterator<Item = (Book, &Head)> {
        Book::ALL.iter().copied().zip(&self.0).filter(|(_, head)| head.postings > 0)
    }
}
