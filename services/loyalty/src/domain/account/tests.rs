mod merging;

use chrono::TimeDelta;

use super::*;
use crate::domain::Fact;
use crate::domain::Refusal;
use crate::domain::book::Book::{self, Available, ClawbackDebt, Expired, Held, Issued, Pending, Redeemed};
use crate::domain::entry::{Cause, Kind, Reason};
use crate::domain::hold::State;
use crate::domain::standing::Month;
use crate::domain::tier::{Rung, Why};
use crate::domain::verify::Audit;

const POLICY: Policy = Policy { repay_debt: true, grace: TimeDelta::days(5), notice: TimeDelta::days(3) };

fn day(day: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(day * 86_400, 0).expect("a day of the tests is in range")
}

/// An account with a day that passes, and all of its history.
struct Story {
    account: Account,
    day: i64,
    ids: u128,
    entries: Vec<Entry>,
    facts: Vec<Fact>,
}

impl Story {
    fn begin() -> Self {
        Self::on(Ladder::default())
    }

    fn on(ladder: Ladder) -> Self {
        Self::of(1, ladder)
    }

    /// Of one of several members: what they make has other ids.
    fn of(customer: u128, ladder: Ladder) -> Self {
        let id = Uuid::from_u128(customer);
        let (account, _) = Account::open(id, ReferralCode::of(id), Arc::new(ladder), day(0));
        Self { account, day: 0, ids: customer << 32, entries: vec![], facts: vec![] }
    }

    fn cause(&self, reason: Reason) -> Cause {
        Cause {
            actor: "shop".into(),
            request_id: Uuid::from_u128(self.ids),
            reason,
            source: "orders/1".into(),
            time: day(self.day),
        }
    }

    /// Carries a decision out, checks the whole history, and returns the entries of it.
    fn step(
        &mut self,
        decide: impl FnOnce(&Account, &Cause, &mut dyn FnMut() -> Uuid) -> Result<Change, Refusal>,
        reason: Reason,
    ) -> Result<Vec<Entry>, Refusal> {
        let cause = self.cause(reason);
        let mut ids = self.ids;
        let before = self.account.clone();
        let decided = decide(&self.account, &cause, &mut || {
            ids += 1;
            Uuid::from_u128(ids)
        });
        self.ids = ids + 1;
        let change = match decided {
            Ok(change) => change,
            Err(refusal) => {
                assert_eq!(self.account, before, "a refusal changes nothing");
                return Err(refusal);
            }
        };
        let (entries, events) = self.account.apply(change);
        self.entries.extend_from_slice(&entries);
        self.facts.extend(events.into_iter().map(|event| event.fact));
        let mut audit = Audit::new(self.account.member.customer);
        let once: std::collections::HashSet<i64> =
            self.entries.iter().filter(|entry| entry.is_once()).map(|entry| entry.sequence).collect();
        audit.read(&self.entries, &once);
        let lots: Vec<Lot> = self.account.lots.values().copied().collect();
        let open: Vec<Hold> =
            self.account.holds.values().filter(|hold| hold.state == State::Open).cloned().collect();
        assert_eq!(audit.close(&self.account.member, &lots, &open, once.len() as i64), []);
        Ok(entries)
    }

    fn earn(&mut self, points: i64, expires: Option<i64>) -> Uuid {
        self.earn_at(points, self.day, expires)
    }

    fn earn_at(&mut self, points: i64, available: i64, expires: Option<i64>) -> Uuid {
        let award = Award {
            points,
            rule: None,
            earned_at: day(self.day),
            available_at: day(available),
            expires_at: expires.map(day),
        };
        let entries =
            self.step(|account, cause, id| account.earn(&[award], &POLICY, cause, id), Reason::Purchase);
        entries.unwrap()[0].transaction
    }

    fn redeem(&mut self, points: i64) -> Result<Uuid, Refusal> {
        let entries =
            self.step(|account, cause, id| account.redeem(points, cause, id), Reason::Redemption)?;
        Ok(entries[0].transaction)
    }

    fn hold(&mut self, points: i64, until: i64) -> Result<Uuid, Refusal> {
        let mut hold = Uuid::nil();
        self.step(
            |account, cause, id| {
                let (held, change) = account.hold(points, day(until), cause, id)?;
                hold = held;
                Ok(change)
            },
            Reason::Hold,
        )?;
        Ok(hold)
    }

    fn commit(&mut self, hold: Uuid, points: Option<i64>, last: bool) -> Result<Uuid, Refusal> {
        let held = self.account.holds[&hold].clone();
        let entries = self.step(
            |account, cause, id| account.commit(&held, points, last, &POLICY, cause, id),
            Reason::Redemption,
        )?;
        Ok(entries[0].transaction)
    }

    fn release(&mut self, hold: Uuid) -> Result<(), Refusal> {
        let held = self.account.holds[&hold].clone();
        self.step(|account, cause, id| account.release(&held, &POLICY, cause, id), Reason::Hold)?;
        Ok(())
    }

    /// Takes a transaction of the past back, as the store would find it.
    fn reverse(&mut self, transaction: Uuid, extent: Extent) -> Result<i64, Refusal> {
        let past = past(transaction, None, &self.entries, &self.entries);
        self.take_back(&past, extent)
    }

    fn take_back(&mut self, past: &Past, extent: Extent) -> Result<i64, Refusal> {
        let entries = self
            .step(|account, cause, id| account.reverse(past, extent, &POLICY, cause, id), Reason::Reversal)?;
        Ok(entries.iter().map(|entry| entry.points).sum())
    }

    /// Lets time pass until a day, and writes down what it has changed.
    fn until(&mut self, until: i64) {
        self.day = until;
        let now = day(until);
        let mut lots: Vec<&Lot> = self.account.lots.values().filter(|lot| lot.remaining > 0).collect();
        lots.sort_by_key(|lot| lot.place());
        let open = || self.account.holds.values().filter(|hold| hold.state == State::Open);
        let later = |time: &DateTime<Utc>| *time > now;
        let due = Due {
            lots: lots
                .iter()
                .filter(|lot| {
                    (lot.pending && lot.available_at <= now)
                        || lot.expires_at.is_some_and(|time| time <= now + POLICY.notice)
                })
                .map(|lot| lot.id)
                .collect(),
            holds: open().filter(|hold| hold.expires_at <= now).map(|hold| hold.id).collect(),
            more: false,
            horizon: Horizon {
                expiry: lots.iter().filter_map(|lot| lot.expires_at).filter(later).min(),
                unannounced: lots
                    .iter()
                    .filter_map(|lot| lot.expires_at)
                    .filter(|time| *time > now + POLICY.notice)
                    .min(),
                maturity: lots
                    .iter()
                    .filter(|lot| lot.pending)
                    .map(|lot| lot.available_at)
                    .filter(later)
                    .min(),
                hold: open().map(|hold| hold.expires_at).filter(later).min(),
            },
        };
        self.step(|account, cause, id| account.settle(&due, &POLICY, cause.time, id), Reason::Time).unwrap();
    }

    fn balances<const N: usize>(&self, books: [Book; N]) -> [i64; N] {
        books.map(|book| self.account.balance(book))
    }

    fn available(&self) -> i64 {
        self.account.balance(Available)
    }
}

/// A transaction among the entries of whoever made it, with what `since` took back of it: those entries, or those of the
/// name that they were merged into.
fn past(transaction: Uuid, of: Option<Uuid>, entries: &[Entry], since: &[Entry]) -> Past {
    let made: Vec<&Entry> = entries.iter().filter(|entry| entry.transaction == transaction).collect();
    let lots = made
        .iter()
        .filter(|entry| entry.debit == Issued || entry.credit == Redeemed)
        .map(|entry| {
            let own = entries.iter().filter(|back| back.reverses_of.is_none());
            let others = since.iter().filter(|back| of.is_some() && back.reverses_of == of);
            let back: Vec<&Entry> =
                own.chain(others).filter(|back| back.reverses == Some(entry.sequence)).collect();
            PastLot {
                lot: entry.lot,
                sequence: entry.sequence,
                points: entry.points,
                reversed: back.iter().map(|back| back.points).sum(),
                owed: back.iter().filter(|back| back.debit == ClawbackDebt).map(|back| back.points).sum(),
            }
        })
        .collect();
    Past { transaction, of, kind: made[0].kind, reason: made[0].reason, lots }
}

/// Known answer: earn 100 that expire on day 10, spend 80 on day 5, earn 50 that never expire on day 6. On day 11 there
/// are 50; credits less debits less expired credits would be -30.
#[test]
fn the_balance_does_not_collapse_when_a_lot_that_was_spent_expires() {
    let mut story = Story::begin();
    story.earn(100, Some(10));
    story.until(5);
    story.redeem(80).unwrap();
    story.until(6);
    story.earn(50, None);
    story.until(9);
    assert_eq!(story.available(), 70);
    story.until(11);
    assert_eq!(story.balances([Available, Redeemed, Expired]), [50, 80, 20]);
    assert_eq!(story.redeem(51), Err(Refusal::Insufficient { available: 50 }));
    story.redeem(50).unwrap();
}

#[test]
fn what_expires_first_is_spent_first_whatever_was_earned_first() {
    let mut story = Story::begin();
    let (never, late, soon) = (story.earn(10, None), story.earn(10, Some(30)), story.earn(10, Some(20)));
    story.redeem(25).unwrap();
    let taken: Vec<_> =
        story.entries.iter().filter(|e| e.kind == Kind::Redeem).map(|e| (e.lot, e.points)).collect();
    assert_eq!(taken, [(soon, 10), (late, 10), (never, 5)]);
}

#[test]
fn pending_points_are_spent_when_they_are_available_and_not_before() {
    let mut story = Story::begin();
    story.earn_at(100, 7, None);
    assert_eq!(story.balances([Available, Pending]), [0, 100]);
    assert_eq!(story.redeem(1), Err(Refusal::Insufficient { available: 0 }));
    story.until(7);
    assert_eq!(story.balances([Available, Pending]), [100, 0]);
    assert!(story.facts.contains(&Fact::Matured { points: 100, balance: 100 }));
    story.redeem(100).unwrap();
}

#[test]
fn two_holds_never_promise_the_same_point() {
    let mut story = Story::begin();
    story.earn(100, None);
    story.hold(60, 9).unwrap();
    assert_eq!(story.hold(41, 9), Err(Refusal::Insufficient { available: 40 }));
    assert_eq!(story.redeem(41), Err(Refusal::Insufficient { available: 40 }));
    story.hold(40, 9).unwrap();
    assert_eq!(story.balances([Available, Held]), [0, 100]);
}

#[test]
fn a_hold_is_committed_in_parts_and_the_rest_goes_back() {
    let mut story = Story::begin();
    let (first, second) = (story.earn(30, Some(20)), story.earn(70, None));
    let hold = story.hold(80, 9).unwrap();
    story.commit(hold, Some(40), false).unwrap();
    assert_eq!(story.commit(hold, Some(41), false), Err(Refusal::HoldExceeded { held: 40 }));
    assert_eq!((story.account.lots[&first].spent, story.account.lots[&second].spent), (30, 10));
    story.commit(hold, Some(15), true).unwrap();
    let held = &story.account.holds[&hold];
    assert_eq!((held.state, held.committed, held.released, held.left()), (State::Committed, 55, 25, 0));
    assert_eq!(story.balances([Available, Held, Redeemed]), [45, 0, 55]);
    for refused in [story.commit(hold, None, true).map(|_| ()), story.release(hold)] {
        assert!(matches!(refused, Err(Refusal::HoldState { state: State::Committed, .. })), "{refused:?}");
    }
}

#[test]
fn a_hold_that_runs_out_goes_back_by_itself() {
    let mut story = Story::begin();
    story.earn(50, None);
    let hold = story.hold(50, 3).unwrap();
    story.until(2);
    assert_eq!(story.available(), 0);
    story.until(3);
    assert_eq!((story.available(), story.account.holds[&hold].state), (50, State::Expired));
    assert!(story.facts.contains(&Fact::HoldReleased { hold, points: 50, ran_out: true, balance: 50 }));
}

#[test]
fn points_whose_time_is_over_while_they_are_held_are_good_until_the_hold_ends() {
    let mut story = Story::begin();
    story.earn(100, Some(5));
    let hold = story.hold(60, 9).unwrap();
    story.until(6);
    assert_eq!(story.balances([Available, Held, Expired]), [0, 60, 40]);
    story.commit(hold, Some(50), false).unwrap();
    story.release(hold).unwrap();
    assert_eq!(story.balances([Available, Held, Expired, Redeemed]), [0, 0, 50, 50]);
}

#[test]
fn a_frozen_member_spends_nothing_but_what_was_promised_before() {
    let mut story = Story::begin();
    story.earn(100, None);
    let hold = story.hold(60, 9).unwrap();
    story.account.member.freeze(day(0)).unwrap();
    assert_eq!(story.redeem(1), Err(Refusal::Frozen));
    assert_eq!(story.hold(1, 9), Err(Refusal::Frozen));
    story.commit(hold, None, false).unwrap();
    assert_eq!(story.account.balance(Redeemed), 60);
}

#[test]
fn an_earn_is_taken_back_from_its_own_lot_and_what_was_spent_of_it_is_owed() {
    let mut story = Story::begin();
    let (reversed, other) = (story.earn(100, Some(10)), story.earn(40, None));
    story.redeem(70).unwrap();
    assert_eq!(story.reverse(reversed, Extent::Rest), Ok(100));
    assert_eq!(story.balances([Available, ClawbackDebt, Issued]), [40, 70, 40]);
    assert_eq!(story.account.lots[&other].remaining, 40, "nothing of another lot");
    assert_eq!(story.reverse(reversed, Extent::Rest), Err(Refusal::AlreadyReversed));

    // What comes next pays it off.
    story.earn(50, None);
    assert_eq!(story.balances([Available, ClawbackDebt]), [40, 20]);
    story.earn(50, None);
    assert_eq!(story.balances([Available, ClawbackDebt, Issued]), [70, 0, 140]);
}

#[test]
fn a_spend_that_is_taken_back_returns_to_its_lots_with_their_time() {
    let mut story = Story::begin();
    let (soon, late) = (story.earn(30, Some(10)), story.earn(70, Some(90)));
    let spend = story.redeem(50).unwrap();
    assert_eq!(story.reverse(spend, Extent::Points(51)), Err(Refusal::ReversalExceeded { left: 50 }));
    // Split in proportion to what each lot gave: 30 and 20.
    assert_eq!(story.reverse(spend, Extent::Points(5)), Ok(5));
    let lots = [soon, late].map(|lot| story.account.lots[&lot]);
    assert_eq!(lots.map(|lot| (lot.remaining, lot.expires_at)), [(3, Some(day(10))), (52, Some(day(90)))]);

    // After its time a lot gets the grace, once.
    story.until(12);
    assert_eq!(story.balances([Available, Expired]), [52, 3]);
    assert_eq!(story.reverse(spend, Extent::Rest), Ok(45));
    let lot = story.account.lots[&soon];
    assert_eq!((lot.remaining, lot.expired, lot.expires_at), (27, 3, Some(day(17))));
    assert_eq!(story.reverse(spend, Extent::Points(1)), Err(Refusal::AlreadyReversed));
    story.until(17);
    assert_eq!(story.balances([Available, Expired]), [70, 30]);
}

#[test]
fn without_grace_points_that_come_back_too_late_end_at_once() {
    let mut story = Story::begin();
    story.earn(30, Some(10));
    let spend = story.redeem(30).unwrap();
    story.until(12);
    let policy = Policy { grace: TimeDelta::zero(), ..POLICY };
    let past = Past {
        transaction: spend,
        of: None,
        kind: Kind::Redeem,
        reason: Reason::Redemption,
        lots: vec![PastLot { lot: story.entries[0].lot, sequence: 2, points: 30, reversed: 0, owed: 0 }],
    };
    story
        .step(|account, cause, id| account.reverse(&past, Extent::Rest, &policy, cause, id), Reason::Reversal)
        .unwrap();
    assert_eq!(story.balances([Available, Expired, Redeemed]), [0, 30, 0]);
}

#[test]
fn a_refund_pays_off_what_is_owed_before_anything_can_be_spent_again() {
    let mut story = Story::begin();
    let earn = story.earn(100, None);
    let spend = story.redeem(100).unwrap();
    story.reverse(earn, Extent::Rest).unwrap();
    assert_eq!(story.balances([Available, ClawbackDebt, Issued, Redeemed]), [0, 100, 0, 100]);
    // The classic way to unlimited points: the refund of the purchase, then of the order.
    story.reverse(spend, Extent::Rest).unwrap();
    assert_eq!(story.balances([Available, ClawbackDebt, Issued, Redeemed]), [0, 0, 0, 0]);
}

#[test]
fn partial_refunds_add_up_to_the_whole_whatever_their_number() {
    let mut story = Story::begin();
    let earn = story.earn(100, None);
    let mut back = Vec::new();
    for part in [333, 666, 1000] {
        back.push(story.reverse(earn, Extent::UpTo { part, whole: 1000 }).unwrap());
    }
    assert_eq!(back, [33, 33, 34]);
    assert_eq!(story.available(), 0);
    // Told again, it is done already.
    let mut story = Story::begin();
    let earn = story.earn(100, None);
    story.reverse(earn, Extent::UpTo { part: 1, whole: 2 }).unwrap();
    assert_eq!(story.reverse(earn, Extent::UpTo { part: 1, whole: 2 }), Ok(0));
    assert_eq!(story.reverse(earn, Extent::UpTo { part: 1, whole: 4 }), Ok(0));
    assert_eq!(story.available(), 50);
}

#[test]
fn only_what_was_earned_or_spent_can_be_taken_back() {
    let mut story = Story::begin();
    story.earn(100, None);
    let hold = story.hold(50, 9).unwrap();
    let placed = story.entries.last().unwrap().transaction;
    assert_eq!(story.reverse(placed, Extent::Rest), Err(Refusal::NotReversible { kind: Kind::Hold }));
    let committed = story.commit(hold, Some(20), true).unwrap();
    assert_eq!(story.reverse(committed, Extent::Rest), Ok(20), "what went back was never spent");
    assert_eq!(story.available(), 100);
}

#[test]
fn the_end_of_points_is_announced_once() {
    let mut story = Story::begin();
    story.earn(10, Some(10));
    story.earn(5, Some(9));
    assert_eq!(story.account.member.next_due, Some(day(6)));
    story.until(7);
    let told = Fact::ExpiringSoon { points: 15, first: day(9), last: day(10) };
    assert_eq!(story.facts.iter().filter(|fact| **fact == told).count(), 1);
    assert_eq!(story.account.member.next_due, Some(day(9)));
    story.until(8);
    story.until(9);
    story.until(10);
    let announced = story.facts.iter().filter(|fact| matches!(fact, Fact::ExpiringSoon { .. })).count();
    assert_eq!((announced, story.available(), story.account.member.next_due), (1, 0, None));
}

#[test]
fn a_spend_over_too_many_lots_says_how_much_goes_at_once() {
    let mut story = Story::begin();
    let award = Award { points: 2, rule: None, earned_at: day(0), available_at: day(0), expires_at: None };
    let awards = vec![award; spend::MOST_LOTS + 1];
    story.step(|account, cause, id| account.earn(&awards, &POLICY, cause, id), Reason::Purchase).unwrap();
    let most = 2 * spend::MOST_LOTS as i64;
    assert_eq!(story.redeem(most + 1), Err(Refusal::TooManyLots { points: most }));
    story.redeem(most).unwrap();
}

#[test]
fn sums_over_64_bits_are_refused() {
    let mut story = Story::begin();
    story.earn(i64::MAX, None);
    let award = Award { points: 1, rule: None, earned_at: day(0), available_at: day(0), expires_at: None };
    let over = story.step(|account, cause, id| account.earn(&[award], &POLICY, cause, id), Reason::Purchase);
    assert_eq!(over, Err(Refusal::Overflow));
    story.redeem(i64::MAX).unwrap();
}

/// One tier for 100 points of purchases, and no time to announce that it ends.
fn one_tier() -> (Uuid, Ladder) {
    let tier = Uuid::from_u128(900);
    (tier, Ladder::new(Ladder::default().scheme, vec![Rung { id: tier, rank: 1, threshold: 100 }]))
}

#[test]
fn the_points_of_purchases_lead_to_a_tier_in_the_same_change_and_others_do_not() {
    let (tier, ladder) = one_tier();
    let mut story = Story::on(ladder);
    let award = Award { points: 500, rule: None, earned_at: day(0), available_at: day(0), expires_at: None };
    story
        .step(|account, cause, id| account.earn(&[award], &POLICY, cause, id), Reason::Compensation)
        .unwrap();
    assert_eq!(story.account.member.standing.tier, None);
    story.earn(99, None);
    // Pending points count, too: when they can be spent is another matter.
    story.earn_at(1, 7, None);
    let turn = Turn { from: None, to: Some(tier), why: Why::Qualified, points: 100, at: day(0) };
    assert_eq!(story.facts.last(), Some(&Fact::TierChanged(turn)));
    assert_eq!(story.account.journal.turns, [(story.account.member.version, turn)]);
    assert_eq!(story.account.member.next_due, Some(day(7)));
    // 1970-01 counts to the end of 1970-12.
    story.until(7);
    assert_eq!(story.account.member.next_due, Some(day(365)));
}

#[test]
fn what_is_taken_back_is_taken_from_the_month_that_it_was_earned_in() {
    let (tier, ladder) = one_tier();
    let mut story = Story::on(ladder);
    let first = story.earn(100, None);
    story.until(40);
    story.earn(30, None);
    let spend = story.redeem(50).unwrap();
    story.reverse(spend, Extent::Rest).unwrap();
    story.reverse(first, Extent::Points(60)).unwrap();
    let standing = &story.account.member.standing;
    assert_eq!((standing.months.begin(), standing.months.points()), (Month::of(day(0)), &[40, 30][..]));
    assert_eq!((standing.tier, standing.until), (Some(tier), Some(Month::of(day(70)).start())));
    story.until(59);
    assert_eq!(story.account.member.standing.tier, None);
    let turn = Turn { from: Some(tier), to: None, why: Why::CycleEnded, points: 70, at: day(59) };
    assert_eq!(story.facts.last(), Some(&Fact::TierChanged(turn)));
    // After a year the month is out of reach, and nothing is taken from another one.
    story.until(366);
    story.reverse(first, Extent::Rest).unwrap();
    assert_eq!(story.account.member.standing.months.points(), [30]);
}

#[test]
fn whoever_brought_a_member_in_is_rewarded_for_the_first_purchase_and_no_other() {
    let mut story = Story::begin();
    let referrer = Uuid::from_u128(2);
    story.account.refer(referrer, day(0));
    let award = Award { points: 5, rule: None, earned_at: day(0), available_at: day(0), expires_at: None };
    story
        .step(|account, cause, id| account.earn(&[award], &POLICY, cause, id), Reason::SurveyAnswered)
        .unwrap();
    let qualified = Fact::ReferralQualified { referrer };
    assert!(!story.facts.contains(&qualified));
    story.earn(10, None);
    assert_eq!(story.facts.last(), Some(&qualified));
    story.earn(10, None);
    assert_eq!(story.facts.iter().filter(|fact| **fact == qualified).count(), 1);
}

#[test]
fn points_that_a_correction_took_are_not_owed_when_their_earn_is_taken_back() {
    let mut story = Story::begin();
    let earn = story.earn(100, None);
    story.step(|account, cause, id| account.deduct(40, cause, id), Reason::Adjustment).unwrap();
    assert_eq!(story.reverse(earn, Extent::Points(61)), Err(Refusal::ReversalExceeded { left: 60 }));
    assert_eq!(story.reverse(earn, Extent::Points(10)), Ok(10));
    assert_eq!(story.reverse(earn, Extent::Rest), Ok(50));
    assert_eq!(story.balances([Available, ClawbackDebt, Issued]), [0, 0, 0]);
    assert_eq!(story.reverse(earn, Extent::Rest), Err(Refusal::AlreadyReversed));
}
