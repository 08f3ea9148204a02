use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::domain::chain;

const CUSTOMER: Uuid = Uuid::from_u128(7);

fn at(second: u64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + Duration::from_secs(second)
}

fn cause(reason: Reason, time: DateTime<Utc>) -> Cause {
    Cause {
        actor: "coordinator".into(),
        request_id: Uuid::from_u128(1),
        reason,
        source: "purchases/1".into(),
        time,
    }
}

/// A member, their lots, and all that was ever written: what a database would hold.
struct Ledger {
    account: Account,
    lots: Vec<Lot>,
    entries: Vec<Entry>,
    postings: Vec<Posting>,
    versions: Vec<i64>,
    ids: u128,
}

impl Ledger {
    fn new() -> Self {
        let (account, enrolled) = Account::open(CUSTOMER, at(0));
        let (lots, entries, postings) = Default::default();
        Self { account, lots, entries, postings, versions: vec![enrolled.version], ids: 0 }
    }

    fn earn(&mut self, points: i64, second: u64) -> Result<Change, Refusal> {
        let (time, ids) = (at(second), &mut self.ids);
        let change = self.account.earn(points, time, &cause(Reason::Purchase, time), || next(ids));
        self.keep(change)
    }

    fn redeem(&mut self, points: i64, second: u64) -> Result<Change, Refusal> {
        let (time, ids) = (at(second), &mut self.ids);
        let change = self.account.redeem(points, &self.lots, &cause(Reason::Redemption, time), || next(ids));
        self.keep(change)
    }

    fn deduct(&mut self, points: i64, second: u64) -> Result<Change, Refusal> {
        let (time, ids) = (at(second), &mut self.ids);
        let change = self.account.deduct(points, &self.lots, &cause(Reason::Adjustment, time), || next(ids));
        self.keep(change)
    }

    fn keep(&mut self, change: Result<Change, Refusal>) -> Result<Change, Refusal> {
        if let Ok(change) = &change {
            self.lots.extend(change.lot.clone());
            for take in &change.takes {
                let lot =
                    self.lots.iter_mut().find(|lot| lot.id == take.lot).expect("points come out of a lot");
                lot.remaining -= take.points;
            }
            self.entries.extend(change.entries.clone());
            self.postings.extend(change.postings.clone());
            self.versions.push(change.event.version);
        }
        change
    }

    fn balance(&self, book: Book) -> i64 {
        self.account.books.balance(book)
    }

    /// What must hold after every step, whatever it was.
    fn check(&self) {
        let available = self.balance(Book::Available);
        assert!(available >= 0);
        assert_eq!(self.lots.iter().map(|lot| lot.remaining).sum::<i64>(), available, "the lots");
        assert!(self.lots.iter().all(|lot| (0..=lot.amount).contains(&lot.remaining)));
        assert_eq!(self.entries.iter().map(|entry| entry.points).sum::<i64>(), available, "the entries");
        assert_eq!(Book::ALL.iter().map(|book| self.balance(*book)).sum::<i64>(), 0, "all accounts");
        for book in Book::ALL {
            let postings: Vec<_> = self.postings.iter().filter(|posting| posting.book == *book).collect();
            let sum: i64 = postings.iter().map(|posting| posting.amount).sum();
            assert_eq!(self.balance(*book), sum, "{}", book.name());
            let chain = postings.iter().map(|posting| {
                let entry = self.entries.iter().find(|entry| entry.sequence == posting.entry_sequence);
                (*posting, entry.expect("a posting has its entry"))
            });
            assert_eq!(chain::verify(chain), Ok(self.account.books.head(*book).hash), "{}", book.name());
        }
        let sequences: Vec<i64> = self.entries.iter().map(|entry| entry.sequence).collect();
        assert_eq!(sequences, (1..=self.account.member.entry_count).collect::<Vec<_>>());
        assert_eq!(self.versions, (1..=self.account.member.version).collect::<Vec<_>>());
    }
}

fn next(ids: &mut u128) -> Uuid {
    *ids += 1;
    Uuid::from_u128(*ids)
}

#[test]
fn an_earn_is_a_lot_an_entry_two_postings_and_an_event() {
    let mut ledger = Ledger::new();
    let change = ledger.earn(120, 5).unwrap();
    ledger.check();

    let [entry] = change.entries.as_slice() else { panic!("one entry") };
    let lot = change.lot.unwrap();
    assert_eq!((lot.amount, lot.remaining, lot.available_at, lot.expires_at), (120, 120, at(5), None));
    assert_eq!((entry.kind, entry.points, entry.balance_after, entry.lot), (Kind::Earn, 120, 120, lot.id));
    let sides: Vec<_> =
        change.postings.iter().map(|p| (p.book, p.amount, p.balance_after, p.sequence)).collect();
    assert_eq!(sides, [(Book::Available, 120, 120, 1), (Book::Issued, -120, -120, 1)]);
    assert_eq!(change.event.version, 2);
    let (entry, source) = (entry.id, "purchases/1".to_owned());
    let fact = Fact::Earned { entry, points: 120, reason: Reason::Purchase, source, balance: 120 };
    assert_eq!(change.event.fact, fact);
}

#[test]
fn a_spend_takes_lot_by_lot_and_its_event_names_the_last_entry() {
    let mut ledger = Ledger::new();
    for (points, second) in [(100, 1), (50, 2)] {
        ledger.earn(points, second).unwrap();
    }
    let change = ledger.redeem(120, 3).unwrap();
    ledger.check();

    let steps: Vec<_> = change.entries.iter().map(|e| (e.kind, e.points, e.balance_after)).collect();
    assert_eq!(steps, [(Kind::Redeem, -100, 50), (Kind::Redeem, -20, 30)]);
    assert_eq!(change.entries[0].transaction, change.entries[1].transaction);
    let entry = change.entries[1].id;
    assert_eq!(
        change.event.fact,
        Fact::Redeemed { entry, points: 120, source: "purchases/1".into(), balance: 30 },
    );
    assert_eq!(ledger.balance(Book::Redeemed), 120);
}

#[test]
fn a_correction_takes_points_back_as_if_they_had_never_been_issued() {
    let mut ledger = Ledger::new();
    ledger.earn(100, 1).unwrap();
    let change = ledger.deduct(40, 2).unwrap();
    ledger.check();
    assert_eq!(change.entries[0].kind, Kind::Adjust);
    assert_eq!((ledger.balance(Book::Issued), ledger.balance(Book::Redeemed)), (-60, 0));
    assert!(matches!(change.event.fact, Fact::Deducted { points: 40, balance: 60, .. }));
}

#[test]
fn a_frozen_member_earns_and_is_corrected_but_does_not_spend() {
    let mut ledger = Ledger::new();
    ledger.earn(100, 1).unwrap();
    ledger.account.member.freeze(at(2)).unwrap();
    let before = ledger.account.clone();
    assert_eq!(ledger.redeem(1, 3), Err(Refusal::Frozen));
    assert_eq!(ledger.account, before);
    assert!(ledger.earn(10, 4).is_ok());
    assert!(ledger.deduct(10, 5).is_ok());
}

#[test]
fn a_refusal_changes_nothing() {
    let mut ledger = Ledger::new();
    ledger.earn(i64::MAX - 10, 1).unwrap();
    let before = ledger.account.clone();
    for refused in [
        (ledger.earn(11, 2), Refusal::Overflow),
        (ledger.redeem(i64::MAX, 2), Refusal::Insufficient { available: i64::MAX - 10 }),
        (ledger.deduct(i64::MAX, 2), Refusal::Insufficient { available: i64::MAX - 10 }),
    ] {
        assert_eq!(refused.0, Err(refused.1));
        assert_eq!(ledger.account, before);
    }
    // All that was ever earned must fit, not only what is left of it.
    ledger.redeem(100, 3).unwrap();
    assert_eq!(ledger.earn(100, 4), Err(Refusal::Overflow));
    assert!(ledger.earn(10, 4).is_ok());
    ledger.check();
}

#[test]
fn lots_that_promise_more_than_the_account_has_are_a_fault_and_no_debt() {
    let mut ledger = Ledger::new();
    ledger.earn(10, 1).unwrap();
    ledger.lots[0].remaining = 20;
    assert_eq!(ledger.redeem(15, 2), Err(Refusal::OutOfBalance));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Earn(i64),
    Redeem(i64),
    Deduct(i64),
    Freeze,
    Unfreeze,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..200_i64).prop_map(Step::Earn),
        3 => (1..300_i64).prop_map(Step::Redeem),
        1 => (1..100_i64).prop_map(Step::Deduct),
        1 => Just(Step::Freeze),
        2 => Just(Step::Unfreeze),
    ]
}

proptest! {
    /// The model is a single number.
    #[test]
    fn any_history_balances(steps in prop::collection::vec(step(), 0..60)) {
        let mut ledger = Ledger::new();
        let (mut points, mut frozen) = (0, false);
        for (second, step) in (1..).zip(steps) {
            match step {
                Step::Earn(some) => {
                    prop_assert!(ledger.earn(some, second).is_ok());
                    points += some;
                }
                Step::Redeem(some) => match ledger.redeem(some, second) {
                    Ok(_) => {
                        prop_assert!(!frozen && some <= points);
                        points -= some;
                    }
                    Err(Refusal::Frozen) => prop_assert!(frozen),
                    Err(refusal) => {
                        prop_assert!(some > points);
                        prop_assert_eq!(refusal, Refusal::Insufficient { available: points });
                    }
                },
                Step::Deduct(some) => match ledger.deduct(some, second) {
                    Ok(_) => points -= some,
                    Err(refusal) => prop_assert_eq!(refusal, Refusal::Insufficient { available: points }),
                },
                Step::Freeze | Step::Unfreeze => {
                    let member = &mut ledger.account.member;
                    let freeze = matches!(step, Step::Freeze);
                    let turned = if freeze { member.freeze(at(second)) } else { member.unfreeze(at(second)) };
                    prop_assert_eq!(turned.is_ok(), freeze != frozen);
                    ledger.versions.extend(turned.map(|event| event.version));
                    frozen = freeze;
                }
            }
            prop_assert_eq!(ledger.balance(Book::Available), points);
        }
        // Once, because it walks every chain: histories of all lengths are tried.
        ledger.check();
    }
}
