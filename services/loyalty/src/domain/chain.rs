//! Hash chains: what was written once cannot be changed unseen.
//!
//! Each account of each member has a chain of its own. One chain over the whole ledger would be as easy to check
//! and would make every writer wait for every other one.

use sha2::{Digest, Sha256};

use super::ledger::{Entry, Posting};

pub type Hash = [u8; 32];

/// What the first posting of an account is chained to.
pub const GENESIS: Hash = [0; 32];

/// The hash of a posting: `SHA-256(previous ‖ the posting's fields but its hash ‖ its entry's fields)`, numbers
/// big-endian, times in microseconds since 1970, texts behind their length. The order of the fields is part of the
/// format: a change of it breaks every chain there is.
pub fn link(previous: &Hash, posting: &Posting, entry: &Entry) -> Hash {
    let mut hash = Sha256::new();
    hash.update(previous);
    hash.update(posting.customer);
    text(&mut hash, posting.book.name());
    hash.update(posting.sequence.to_be_bytes());
    hash.update(posting.transaction);
    hash.update(posting.entry_sequence.to_be_bytes());
    hash.update(posting.amount.to_be_bytes());
    hash.update(posting.balance_after.to_be_bytes());

    hash.update(entry.customer);
    hash.update(entry.sequence.to_be_bytes());
    hash.update(entry.id);
    hash.update(entry.transaction);
    text(&mut hash, entry.kind.name());
    text(&mut hash, entry.reason.name());
    text(&mut hash, &entry.source);
    hash.update(entry.lot);
    hash.update(entry.points.to_be_bytes());
    hash.update(entry.balance_after.to_be_bytes());
    text(&mut hash, &entry.actor);
    hash.update(entry.request_id);
    hash.update(entry.create_time.timestamp_micros().to_be_bytes());
    hash.finalize().into()
}

fn text(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_be_bytes());
    hash.update(text);
}

/// Walks the whole chain of one account, from its first posting, and returns the hash of the last. `Err` is the
/// sequence of the first posting that does not follow: a gap, an altered byte, a balance that is no sum.
pub fn verify<'a>(chain: impl IntoIterator<Item = (&'a Posting, &'a Entry)>) -> Result<Hash, i64> {
    let (mut previous, mut sequence, mut balance) = (GENESIS, 0, 0_i64);
    for (posting, entry) in chain {
        sequence += 1;
        balance = balance.checked_add(posting.amount).ok_or(sequence)?;
        previous = link(&previous, posting, entry);
        let follows = posting.sequence == sequence
            && posting.entry_sequence == entry.sequence
            && posting.balance_after == balance
            && posting.hash == previous;
        if !follows {
            return Err(sequence);
        }
    }
    Ok(previous)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use uuid::Uuid;

    use super::*;
    use crate::domain::book::Book;

    use crate::domain::ledger::{Account, Cause, Kind, Reason};

    fn written() -> Vec<(Posting, Entry)> {
        let now = DateTime::UNIX_EPOCH;
        let (mut account, _) = Account::open(Uuid::from_u128(1), now);
        let mut ids = 0;
        let mut new_id = || {
            ids += 1;
            Uuid::from_u128(ids)
        };
        let mut written = Vec::new();
        for points in 1..=4 {
            let cause = Cause {
                actor: "shop".into(),
                request_id: new_id(),
                reason: Reason::Purchase,
                source: format!("purchases/{points}"),
                time: now,
            };
            let change = account.earn(points, now, &cause, &mut new_id).unwrap();
            let mine = change.postings.into_iter().find(|posting| posting.book == Book::Available);
            written.push((mine.unwrap(), change.entries[0].clone()));
        }
        written
    }

    fn check(chain: &[(Posting, Entry)]) -> Result<Hash, i64> {
        verify(chain.iter().map(|(posting, entry)| (posting, entry)))
    }

    #[test]
    fn what_was_written_is_intact() {
        let chain = written();
        assert_eq!(check(&chain), Ok(chain[3].0.hash));
        assert_eq!(check(&[]), Ok(GENESIS));
    }

    #[test]
    fn any_altered_field_of_a_posting_or_its_entry_is_found_and_named() {
        type Alteration = fn(&mut Posting, &mut Entry);
        let alterations: &[(&str, Alteration)] = &[
            ("posting.customer", |posting, _| posting.customer = Uuid::nil()),
            ("posting.book", |posting, _| posting.book = Book::Held),
            ("posting.sequence", |posting, _| posting.sequence = 9),
            ("posting.transaction", |posting, _| posting.transaction = Uuid::nil()),
            ("posting.entry_sequence", |posting, _| posting.entry_sequence = 9),
            ("posting.amount", |posting, _| posting.amount += 1),
            ("posting.balance_after", |posting, _| posting.balance_after += 1),
            ("posting.hash", |posting, _| posting.hash[31] ^= 1),
            ("entry.customer", |_, entry| entry.customer = Uuid::nil()),
            ("entry.sequence", |_, entry| entry.sequence = 9),
            ("entry.id", |_, entry| entry.id = Uuid::nil()),
            ("entry.transaction", |_, entry| entry.transaction = Uuid::nil()),
            ("entry.kind", |_, entry| entry.kind = Kind::Adjust),
            ("entry.reason", |_, entry| entry.reason = Reason::Compensation),
            ("entry.source", |_, entry| entry.source.push('0')),
            ("entry.lot", |_, entry| entry.lot = Uuid::nil()),
            ("entry.points", |_, entry| entry.points += 1),
            ("entry.balance_after", |_, entry| entry.balance_after += 1),
            ("entry.actor", |_, entry| entry.actor.clear()),
            ("entry.request_id", |_, entry| entry.request_id = Uuid::nil()),
            ("entry.create_time", |_, entry| entry.create_time += std::time::Duration::from_micros(1)),
        ];
        for (field, alter) in alterations {
            for (place, sequence) in (0..4).zip(1..) {
                let mut chain = written();
                let (posting, entry) = &mut chain[place];
                alter(posting, entry);
                assert_eq!(check(&chain), Err(sequence), "{field} of posting {sequence}");
            }
        }
    }

    #[test]
    fn a_posting_that_is_missing_or_out_of_place_is_found() {
        let mut gap = written();
        gap.remove(1);
        assert_eq!(check(&gap), Err(2));
        let mut swapped = written();
        swapped.swap(2, 3);
        assert_eq!(check(&swapped), Err(3));
        // The end of a chain is held by the account's head: without it, a cut chain looks whole.
        let mut cut = written();
        let head = cut.pop().unwrap().0.hash;
        assert_ne!(check(&cut), Ok(head));
    }

    #[test]
    fn texts_do_not_run_into_each_other() {
        let (posting, entry) = written().remove(0);
        let joined = |source: &str, actor: &str| {
            let entry = Entry { source: source.into(), actor: actor.into(), ..entry.clone() };
            link(&GENESIS, &posting, &entry)
        };
        assert_ne!(joined("ab", "c"), joined("a", "bc"));
    }
}
