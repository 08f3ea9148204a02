//! Hash chains: what was written once cannot be changed unseen.
//!
//! Each member's entries have a chain of their own. One chain over the whole ledger would be as easy to check and would
//! make every writer wait for every other one.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::entry::Entry;

pub type Hash = [u8; 32];

/// What the first entry of a member is chained to.
pub const GENESIS: Hash = [0; 32];

/// The hash of an entry: `SHA-256(previous ‖ its fields but the hash)`, numbers big-endian, times in microseconds since
/// 1970, texts behind their length, an absent value as 0 and a present one behind 1. The order of the fields is part of
/// the format: a change of it breaks every chain there is. Whose entry is taken back was added when there were chains: it
/// stands last, and only when there is something to say.
pub fn link(previous: &Hash, entry: &Entry) -> Hash {
    let mut hash = Sha256::new();
    hash.update(previous);
    hash.update(entry.customer);
    hash.update(entry.sequence.to_be_bytes());
    hash.update(entry.id);
    hash.update(entry.transaction);
    for word in
        [entry.kind.name(), entry.reason.name(), &entry.source, entry.debit.name(), entry.credit.name()]
    {
        text(&mut hash, word);
    }
    hash.update(entry.points.to_be_bytes());
    hash.update(entry.balance_after.to_be_bytes());
    hash.update(entry.lot);
    optional(&mut hash, entry.hold.as_ref().map(Uuid::as_bytes));
    optional(&mut hash, entry.reverses.map(i64::to_be_bytes).as_ref());
    optional(&mut hash, entry.rule.as_ref().map(Uuid::as_bytes));
    text(&mut hash, &entry.actor);
    hash.update(entry.request_id);
    hash.update(entry.create_time.timestamp_micros().to_be_bytes());
    if let Some(of) = entry.reverses_of {
        hash.update(of);
    }
    hash.finalize().into()
}

fn text(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_be_bytes());
    hash.update(text);
}

fn optional<const N: usize>(hash: &mut Sha256, value: Option<&[u8; N]>) {
    match value {
        Some(value) => {
            hash.update([1]);
            hash.update(value);
        }
        None => hash.update([0]),
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::domain::book::Book;
    use crate::domain::entry::{Kind, Reason};

    fn entry() -> Entry {
        Entry {
            customer: Uuid::from_u128(1),
            sequence: 1,
            id: Uuid::from_u128(2),
            transaction: Uuid::from_u128(2),
            kind: Kind::Earn,
            reason: Reason::Purchase,
            source: "purchases/1".into(),
            debit: Book::Issued,
            credit: Book::Available,
            points: 5,
            balance_after: 5,
            lot: Uuid::from_u128(2),
            hold: None,
            reverses: None,
            reverses_of: None,
            rule: None,
            actor: "shop".into(),
            request_id: Uuid::from_u128(3),
            create_time: DateTime::UNIX_EPOCH,
            hash: GENESIS,
        }
    }

    #[test]
    fn every_field_and_the_entry_before_are_part_of_the_hash() {
        type Alteration = fn(&mut Entry);
        let alterations: &[(&str, Alteration)] = &[
            ("customer", |entry| entry.customer = Uuid::nil()),
            ("sequence", |entry| entry.sequence = 9),
            ("id", |entry| entry.id = Uuid::nil()),
            ("transaction", |entry| entry.transaction = Uuid::nil()),
            ("kind", |entry| entry.kind = Kind::Adjust),
            ("reason", |entry| entry.reason = Reason::Compensation),
            ("source", |entry| entry.source.push('0')),
            ("debit", |entry| entry.debit = Book::Held),
            ("credit", |entry| entry.credit = Book::Held),
            ("points", |entry| entry.points += 1),
            ("balance_after", |entry| entry.balance_after += 1),
            ("lot", |entry| entry.lot = Uuid::nil()),
            ("hold", |entry| entry.hold = Some(Uuid::nil())),
            ("reverses", |entry| entry.reverses = Some(0)),
            ("reverses_of", |entry| entry.reverses_of = Some(Uuid::nil())),
            ("rule", |entry| entry.rule = Some(Uuid::nil())),
            ("actor", |entry| entry.actor.clear()),
            ("request_id", |entry| entry.request_id = Uuid::nil()),
            ("create_time", |entry| entry.create_time += std::time::Duration::from_micros(1)),
        ];
        let mut hashes = vec![link(&GENESIS, &entry()), link(&[1; 32], &entry())];
        for (field, alter) in alterations {
            let mut altered = entry();
            alter(&mut altered);
            let hash = link(&GENESIS, &altered);
            assert!(!hashes.contains(&hash), "{field}");
            hashes.push(hash);
        }
    }

    #[test]
    fn texts_and_absent_values_do_not_run_into_each_other() {
        let joined = |source: &str, actor: &str| {
            link(&GENESIS, &Entry { source: source.into(), actor: actor.into(), ..entry() })
        };
        assert_ne!(joined("ab", "c"), joined("a", "bc"));
        let present = |hold, rule| link(&GENESIS, &Entry { hold, rule, ..entry() });
        let id = Some(Uuid::from_u128(7));
        assert_ne!(present(id, None), present(None, id));
    }
}
