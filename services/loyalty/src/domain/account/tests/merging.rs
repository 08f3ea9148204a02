//! Two members turn out to be one.

use proptest::prelude::*;

use super::*;
use crate::domain::member;

const SILVER: Uuid = Uuid::from_u128(20);
const GOLD: Uuid = Uuid::from_u128(30);

fn ladder() -> Ladder {
    let rung = |id, rank, threshold| Rung { id, rank, threshold };
    Ladder::new(Ladder::default().scheme, vec![rung(SILVER, 20, 100), rung(GOLD, 30, 500)])
}

/// A member and a duplicate.
fn two() -> [Story; 2] {
    [1, 2].map(|customer| Story::of(customer, Ladder::default()))
}

/// Merges, as the store would: holds follow their points. Each side's whole history is checked.
fn merge(from: &mut Story, into: &mut Story) {
    let [went, came] = [&*from, &*into].map(|story| story.account.member.customer);
    let stands = |one: &Story, other: &Story| -> Vec<i64> {
        Book::ALL.iter().map(|book| one.account.balance(*book) + other.account.balance(*book)).collect()
    };
    let before = stands(from, into);
    let day = day(from.day.max(into.day));
    let cause = |other: Uuid| Cause::merge("coordinator".into(), went, came, format!("members/{other}"), day);
    let mut ids = into.ids;
    let new_id = || {
        ids += 1;
        Uuid::from_u128(ids)
    };
    let merge = from.account.merge(&into.account, &[went], &cause(came), &cause(went), new_id).unwrap();
    into.ids = ids + 1;
    let holds = std::mem::take(&mut from.account.holds);
    into.account.holds.extend(holds);
    from.step(|_, _, _| Ok(merge.from), Reason::Merge).unwrap();
    into.step(|_, _, _| Ok(merge.into), Reason::Merge).unwrap();
    assert_eq!(stands(from, into), before, "over both, every account has what it had");
    assert_eq!(from.account.member.books, crate::domain::book::Books::default());
}

/// What was done under the other name, taken back under this one.
fn take_back(from: &Story, into: &mut Story, transaction: Uuid) -> Result<i64, Refusal> {
    let of = Some(from.account.member.customer);
    let past = past(transaction, of, &from.entries, &into.entries);
    into.take_back(&past, Extent::Rest)
}

#[test]
fn lots_come_as_they_are_and_are_spent_in_their_order() {
    let [mut from, mut into] = two();
    into.earn(10, Some(30));
    let (soon, later) = (from.earn(20, Some(20)), from.earn_at(40, 7, Some(60)));
    from.redeem(5).unwrap();
    merge(&mut from, &mut into);
    assert_eq!(into.balances([Issued, Available, Pending, Redeemed]), [70, 25, 40, 5]);
    for id in [soon, later] {
        let (lot, left) = (into.account.lots[&id], from.account.lots[&id]);
        assert_eq!((lot.earned_at, lot.available_at), (left.earned_at, left.available_at));
        assert_eq!(lot.expires_at, left.expires_at);
        assert_eq!((left.remaining, left.held, left.spent, left.reversed), (0, 0, 0, left.amount));
    }
    let told = |story: &Story| story.facts.last().cloned();
    let [one, two] = [1, 2].map(Uuid::from_u128);
    assert_eq!(told(&from), Some(Fact::Moved { other: two, points: -55, debt: 0, balance: 0 }));
    assert_eq!(told(&into), Some(Fact::Moved { other: one, points: 55, debt: 0, balance: 25 }));
    into.redeem(16).unwrap();
    assert_eq!(into.account.lots[&soon].remaining, 0, "it ends first");
    into.until(7);
    assert_eq!(into.available(), 49, "what was pending is available when it would have been");
    into.until(60);
    assert_eq!(into.available(), 0);
    assert_eq!(from.account.member.state, member::State::Merged);
}

#[test]
fn a_hold_goes_on_under_the_other_name() {
    let [mut from, mut into] = two();
    from.earn(50, Some(9));
    let (spent, returned) = (from.hold(30, 20).unwrap(), from.hold(10, 20).unwrap());
    merge(&mut from, &mut into);
    assert_eq!(into.balances([Available, Held]), [10, 40]);
    into.commit(spent, Some(25), true).unwrap();
    into.release(returned).unwrap();
    assert_eq!(into.balances([Available, Held, Redeemed]), [25, 0, 25]);
}

#[test]
fn what_is_owed_is_owed_and_the_next_points_pay_it_off() {
    let [mut from, mut into] = two();
    let earn = from.earn(100, None);
    from.redeem(90).unwrap();
    assert_eq!(from.reverse(earn, Extent::Rest), Ok(100));
    // A part is paid off by points that are earned, so that lots were spent on it that nobody redeemed.
    from.earn(30, None);
    into.earn(70, None);
    merge(&mut from, &mut into);
    assert_eq!(into.balances([Available, ClawbackDebt]), [70, 60], "nothing was earned, nothing is paid off");
    into.earn(80, None);
    assert_eq!(into.balances([Available, ClawbackDebt]), [90, 0]);
}

#[test]
fn what_was_done_under_the_old_name_is_taken_back_once_in_parts_that_add_up() {
    let [mut from, mut into] = two();
    // The same places among the entries of both.
    let (own, earn) = (into.earn(1000, None), from.earn(100, None));
    let spend = from.redeem(50).unwrap();
    assert_eq!(from.reverse(earn, Extent::Points(30)), Ok(30));
    let gone = from.earn(7, None);
    assert_eq!(from.reverse(gone, Extent::Rest), Ok(7));
    from.step(|account, cause, id| account.deduct(5, cause, id), Reason::Adjustment).unwrap();
    merge(&mut from, &mut into);
    assert_eq!(into.balances([Available, Redeemed, Issued]), [1015, 50, 1065]);

    assert_eq!(take_back(&from, &mut into, gone), Err(Refusal::AlreadyReversed), "its lot stayed behind");
    assert_eq!(take_back(&from, &mut into, spend), Ok(50));
    assert_eq!(take_back(&from, &mut into, spend), Err(Refusal::AlreadyReversed));
    assert_eq!(take_back(&from, &mut into, earn), Ok(65), "but what was corrected");
    assert_eq!(take_back(&from, &mut into, earn), Err(Refusal::AlreadyReversed));
    assert_eq!(into.balances([Available, ClawbackDebt]), [1000, 0]);
    assert_eq!(into.reverse(own, Extent::Rest), Ok(1000), "it was not that one which was taken back");

    // Under a third name it is still the same.
    let mut third = Story::of(3, Ladder::default());
    merge(&mut into, &mut third);
    let last: Vec<Entry> = into.entries.iter().chain(&third.entries).cloned().collect();
    let past = past(earn, Some(from.account.member.customer), &from.entries, &last);
    assert_eq!(third.take_back(&past, Extent::Rest), Err(Refusal::AlreadyReversed));
}

#[test]
fn who_is_frozen_under_either_name_is_frozen() {
    for (frozen_from, frozen_into) in [(true, false), (false, true), (true, true)] {
        let [mut from, mut into] = two();
        from.earn(10, None);
        for (story, frozen) in [(&mut from, frozen_from), (&mut into, frozen_into)] {
            if frozen {
                story.account.turn(|member| member.freeze(day(0))).unwrap();
            }
        }
        merge(&mut from, &mut into);
        assert_eq!(into.redeem(1), Err(Refusal::Frozen));
        assert_eq!(into.facts.contains(&Fact::Frozen), frozen_from && !frozen_into, "told when it is news");
    }
}

#[test]
fn points_of_both_names_count_for_the_tier_and_none_is_lost() {
    let [mut from, mut into] = [1, 2].map(|customer| Story::of(customer, ladder()));
    from.earn(450, None);
    into.earn(60, None);
    merge(&mut from, &mut into);
    let standing = &into.account.member.standing;
    assert_eq!((standing.tier, from.account.member.standing.tier), (Some(GOLD), None));
    let climbed = |from, to, why| {
        into.facts.iter().any(|fact| {
            matches!(fact, Fact::TierChanged(turn) if (turn.from, turn.to, turn.why) == (from, Some(to), why))
        })
    };
    assert!(climbed(None, SILVER, Why::Merged) && climbed(Some(SILVER), GOLD, Why::Qualified));

    // Gold is kept to the end of its cycle by who no longer has the points for it.
    let [mut from, mut into] = [1, 2].map(|customer| Story::of(customer, ladder()));
    let earn = from.earn(500, None);
    from.reverse(earn, Extent::Points(450)).unwrap();
    into.earn(100, None);
    merge(&mut from, &mut into);
    let standing = &into.account.member.standing;
    assert_eq!((standing.tier, standing.since), (Some(GOLD), Some(day(0))));
    assert!(standing.until.is_some_and(|until| until > day(0)));
}

#[test]
fn nobody_is_rewarded_for_bringing_in_themselves() {
    let [from, mut into] = two();
    let [one, other] = [1, 9].map(Uuid::from_u128);
    into.account.is_new = false;
    for (reward_to, kept) in [(one, None), (other, Some(other))] {
        into.account.member.reward_to = Some(reward_to);
        let cause = Cause::time(one, "merge", day(0));
        let merge = from.account.merge(&into.account, &[one], &cause, &cause, Uuid::new_v4).unwrap();
        assert_eq!(merge.into.member.reward_to, kept);
    }
}

/// Anything that can be done with points.
#[derive(Clone, Debug)]
enum Step {
    Earn(i64),
    Redeem(i64),
    Deduct(i64),
    Hold(i64),
    Commit(i64),
    Release,
    Reverse(usize, i64),
    Wait,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let points = || 1..60_i64;
    let step = prop_oneof![
        3 => points().prop_map(Step::Earn),
        3 => points().prop_map(Step::Redeem),
        1 => points().prop_map(Step::Deduct),
        2 => points().prop_map(Step::Hold),
        2 => points().prop_map(Step::Commit),
        1 => Just(Step::Release),
        4 => (0..8_usize, points()).prop_map(|(which, points)| Step::Reverse(which, points)),
        1 => Just(Step::Wait),
    ];
    prop::collection::vec(step, 0..20)
}

impl Story {
    /// What is refused changes nothing, which [`Story::step`] checks.
    fn take(&mut self, step: &Step) {
        let open = self.account.holds.values().find(|hold| hold.state == State::Open).map(|hold| hold.id);
        match (step, open) {
            (Step::Earn(points), _) => {
                self.earn(*points, Some(self.day + 9));
            }
            (Step::Redeem(points), _) => {
                self.redeem(*points).ok();
            }
            (Step::Deduct(points), _) => {
                self.step(|account, cause, id| account.deduct(*points, cause, id), Reason::Adjustment).ok();
            }
            (Step::Hold(points), _) => {
                self.hold(*points, self.day + 4).ok();
            }
            (Step::Commit(points), Some(hold)) => {
                self.commit(hold, Some(*points), points % 2 == 0).ok();
            }
            (Step::Release, Some(hold)) => {
                self.release(hold).ok();
            }
            (Step::Reverse(which, points), _) => {
                let kinds = [Kind::Earn, Kind::Redeem, Kind::Commit];
                let mut done = self.entries.iter().filter(|entry| kinds.contains(&entry.kind));
                if let Some(transaction) = done.nth(*which).map(|entry| entry.transaction) {
                    self.reverse(transaction, Extent::Points(*points)).ok();
                }
            }
            (Step::Wait, _) => self.until(self.day + 3),
            (Step::Commit(_) | Step::Release, None) => {}
        }
    }
}

proptest! {
    #[test]
    fn whatever_both_have_been_through_nothing_is_lost_and_everything_goes_on(
        under_one in steps(), under_other in steps(), later in steps(),
    ) {
        let [mut from, mut into] = two();
        under_one.iter().for_each(|step| from.take(step));
        under_other.iter().for_each(|step| into.take(step));
        let day = from.day.max(into.day);
        from.until(day);
        into.until(day);
        merge(&mut from, &mut into);
        later.iter().for_each(|step| into.take(step));
        let done: Vec<Uuid> = from
            .entries
            .iter()
            .filter(|entry| [Kind::Earn, Kind::Redeem].contains(&entry.kind))
            .map(|entry| entry.transaction)
            .collect();
        for transaction in done {
            let outcome = take_back(&from, &mut into, transaction);
            prop_assert!(matches!(outcome, Ok(_) | Err(Refusal::AlreadyReversed)), "{outcome:?}");
        }
    }
}
