use proptest::prelude::*;

use super::*;
use crate::domain::tier::{Rung, Scheme};

const BASE: Uuid = Uuid::from_u128(1);
const SILVER: Uuid = Uuid::from_u128(2);
const GOLD: Uuid = Uuid::from_u128(3);
const YEAR: Window = Window::CalendarYear;

const fn rolling(months: i32) -> Window {
    Window::Rolling { months }
}

fn at(time: &str) -> DateTime<Utc> {
    time.parse().unwrap()
}

/// The first moment of a day, in UTC.
fn day(day: &str) -> DateTime<Utc> {
    at(&format!("{day}T00:00:00Z"))
}

fn month(year: i32, number: i32) -> Month {
    Month(year * 12 + number - 1)
}

/// Silver takes 100 points, gold 500; 30 days of notice.
fn ladder(window: Window) -> Ladder {
    let rung = |id, rank, threshold| Rung { id, rank, threshold };
    let scheme = Scheme { window, notice: TimeDelta::days(30), ..Ladder::default().scheme };
    Ladder::new(scheme, vec![rung(SILVER, 20, 100), rung(GOLD, 30, 500)])
}

/// A member's life, as its own ladder decides it.
struct Life {
    ladder: Ladder,
    standing: Standing,
}

impl Life {
    fn by(window: Window) -> Self {
        Self { ladder: ladder(window), standing: Standing::default() }
    }

    /// Points are earned, or taken back, at a moment, for a moment before it.
    fn earn_for(&mut self, earned_at: DateTime<Utc>, points: i64, now: DateTime<Utc>) -> Vec<Fact> {
        let mut facts = self.standing.pass(&self.ladder, now);
        self.standing.count(&self.ladder, earned_at, points, now);
        facts.extend(self.standing.climb(&self.ladder, now));
        facts
    }

    fn earn(&mut self, points: i64, now: DateTime<Utc>) -> Vec<Fact> {
        self.earn_for(now, points, now)
    }

    fn pass(&mut self, now: DateTime<Utc>) -> Vec<Fact> {
        self.standing.pass(&self.ladder, now)
    }
}

fn turned(from: Option<Uuid>, to: Option<Uuid>, why: Why, points: i64, at: DateTime<Utc>) -> Fact {
    Fact::TierChanged(Turn { from, to, why, points, at })
}

#[test]
fn months_are_those_of_utc_and_begin_at_midnight() {
    for (time, of) in [
        ("2026-01-31T23:59:59.999999Z", month(2026, 1)),
        ("2026-02-01T00:00:00Z", month(2026, 2)),
        ("2024-02-29T23:59:59Z", month(2024, 2)),
        ("2024-03-01T00:00:00Z", month(2024, 3)),
        ("2025-12-31T23:59:59Z", month(2025, 12)),
        // New Year in Shanghai is New Year's Eve here.
        ("2026-01-01T07:59:59+08:00", month(2025, 12)),
        ("2026-01-01T08:00:00+08:00", month(2026, 1)),
        ("1969-12-31T23:59:59Z", month(1969, 12)),
    ] {
        assert_eq!(Month::of(at(time)), of, "{time}");
    }
    assert_eq!(month(2024, 2).start(), day("2024-02-01"));
    assert_eq!(month(2025, 12).plus(1).start(), day("2026-01-01"));
}

#[test]
fn points_are_kept_by_month_as_far_back_as_they_count() {
    let mut months = Months::default();
    months.add(month(2026, 3), 10, month(2025, 4));
    months.add(month(2026, 5), 5, month(2025, 6));
    // Reported late, into a month before the first.
    months.add(month(2026, 1), 7, month(2025, 6));
    // Too late.
    months.add(month(2025, 5), 99, month(2025, 6));
    assert_eq!((months.begin(), months.points()), (month(2026, 1), &[7, 0, 10, 0, 5][..]));
    assert_eq!(months.between(month(2026, 1), month(2026, 3)), 17);
    assert_eq!(months.between(month(2026, 4), month(2030, 1)), 5);

    months.add(month(2026, 3), -4, month(2025, 6));
    months.add(month(2026, 1), -9, month(2025, 6));
    assert_eq!(months.points(), [0, 0, 6, 0, 5], "a month is never below 0");

    months.add(month(2026, 6), 1, month(2026, 4));
    assert_eq!((months.begin(), months.points()), (month(2026, 4), &[0, 5, 1][..]));
    // After years of silence nothing is left, and the row has not grown.
    months.add(month(2036, 6), 2, month(2035, 7));
    assert_eq!((months.begin(), months.points()), (month(2036, 6), &[2][..]));
    months.add(month(2036, 6), i64::MAX, month(2035, 7));
    months.add(month(2036, 7), i64::MAX, month(2035, 7));
    assert_eq!(months.between(month(2036, 1), month(2036, 12)), i64::MAX);
}

#[test]
fn windows_say_what_counts_and_what_is_kept() {
    let mut months = Months::default();
    for (year, number, points) in [(2024, 12, 400), (2025, 1, 30), (2025, 12, 20), (2026, 1, 1)] {
        months.add(month(year, number), points, month(2024, 1));
    }
    for (window, now, counted, kept) in [
        (rolling(1), month(2025, 12), 20, 20),
        (rolling(12), month(2025, 11), 430, 430),
        (rolling(12), month(2025, 12), 50, 50),
        (rolling(12), month(2026, 1), 21, 21),
        (rolling(36), month(2026, 1), 451, 451),
        (YEAR, month(2024, 12), 400, 400),
        (YEAR, month(2025, 1), 30, 400),
        (YEAR, month(2025, 12), 50, 400),
        (YEAR, month(2026, 1), 1, 50),
        (YEAR, month(2027, 1), 0, 1),
        (YEAR, month(2028, 1), 0, 0),
    ] {
        let found = (window.counted(&months, now), window.kept(&months, now));
        assert_eq!(found, (counted, kept), "{window:?} in {now:?}");
    }
}

#[test]
fn a_tier_is_kept_to_the_end_of_the_window() {
    for (window, earned, until) in [
        (rolling(12), "2025-01-31T23:59:59Z", "2026-01-01"),
        (rolling(12), "2025-02-01T00:00:00Z", "2026-02-01"),
        (rolling(12), "2024-02-29T12:00:00Z", "2025-02-01"),
        (rolling(12), "2023-02-28T12:00:00Z", "2024-02-01"),
        (rolling(1), "2024-02-29T23:59:59Z", "2024-03-01"),
        (rolling(3), "2025-12-31T23:59:59Z", "2026-03-01"),
        (YEAR, "2025-01-01T00:00:00Z", "2027-01-01"),
        (YEAR, "2025-12-31T23:59:59Z", "2027-01-01"),
        (YEAR, "2024-02-29T12:00:00Z", "2026-01-01"),
        // In Shanghai it is 2026 already.
        (YEAR, "2026-01-01T07:00:00+08:00", "2027-01-01"),
    ] {
        let mut life = Life::by(window);
        let facts = life.earn(100, at(earned));
        assert_eq!(facts[0], turned(None, Some(SILVER), Why::Qualified, 100, at(earned)));
        assert_eq!(life.standing.until, Some(day(until)), "{window:?} {earned}");
        let before = day(until) - TimeDelta::microseconds(1);
        life.pass(before);
        assert_eq!(life.standing.tier, Some(SILVER), "{window:?} {earned}");
        let facts = life.pass(day(until));
        assert_eq!(facts, [turned(Some(SILVER), None, Why::CycleEnded, 0, day(until))]);
        assert_eq!((life.standing.since, life.standing.until), (None, None));
    }
}

#[test]
fn upgrades_are_at_once_and_may_skip_a_tier() {
    let mut life = Life::by(rolling(12));
    assert_eq!(life.earn(99, day("2026-01-10")), []);
    assert_eq!(
        life.earn(1, day("2026-01-11")),
        [turned(None, Some(SILVER), Why::Qualified, 100, day("2026-01-11"))]
    );
    assert_eq!(life.earn(399, day("2026-02-11")), []);
    assert_eq!(life.standing.since, Some(day("2026-01-11")));
    assert_eq!(
        life.earn(1, day("2026-02-12")),
        [turned(Some(SILVER), Some(GOLD), Why::Qualified, 500, day("2026-02-12"))]
    );
    assert_eq!(
        Life::by(YEAR).earn(500, day("2026-02-12")),
        [turned(None, Some(GOLD), Why::Qualified, 500, day("2026-02-12"))]
    );
}

#[test]
fn a_tier_is_lost_step_by_step_as_the_window_moves_on_with_notice_before_each() {
    let mut life = Life::by(rolling(12));
    life.earn(450, day("2025-03-15"));
    life.earn(100, day("2025-06-15"));
    assert_eq!(life.standing.until, Some(day("2026-03-01")));
    assert_eq!(life.standing.next_due(TimeDelta::days(30)), Some(day("2026-01-30")));
    assert_eq!(life.pass(day("2026-01-29")), []);
    let announced =
        Fact::TierDowngradeAnnounced { from: GOLD, to: Some(SILVER), at: day("2026-03-01"), missing: 400 };
    assert_eq!(life.pass(day("2026-01-30")), [announced]);
    assert_eq!(life.pass(day("2026-02-28")), [], "once");
    assert_eq!(life.standing.next_due(TimeDelta::days(30)), Some(day("2026-03-01")));
    let lost = turned(Some(GOLD), Some(SILVER), Why::CycleEnded, 100, day("2026-03-01"));
    assert_eq!(life.pass(day("2026-03-01")), [lost]);
    assert_eq!(life.standing.until, Some(day("2026-06-01")));
    let announced =
        Fact::TierDowngradeAnnounced { from: SILVER, to: None, at: day("2026-06-01"), missing: 100 };
    assert_eq!(life.pass(day("2026-05-03")), [announced]);
}

#[test]
fn what_many_cycles_changed_is_the_same_whenever_it_is_written_down() {
    let live = |looks: &[&str]| {
        let mut life = Life::by(rolling(12));
        life.earn(450, day("2025-03-15"));
        life.earn(100, day("2025-06-15"));
        let mut changes = Vec::new();
        for look in looks {
            changes.extend(life.pass(day(look)));
        }
        changes.retain(|fact| matches!(fact, Fact::TierChanged(_)));
        (changes, life.standing)
    };
    let often = live(&["2026-02-01", "2026-03-01", "2026-04-07", "2026-06-01", "2028-01-01"]);
    let late = live(&["2028-01-01"]);
    assert_eq!(often.0.len(), 2);
    assert_eq!(often.0, late.0);
    assert_eq!((often.1.tier, often.1.since, often.1.until), (late.1.tier, late.1.since, late.1.until));
}

#[test]
fn points_that_come_in_time_keep_the_tier_and_the_next_end_is_announced_anew() {
    let mut life = Life::by(rolling(12));
    life.earn(100, day("2025-03-15"));
    assert_eq!(life.pass(day("2026-02-15")).len(), 1);
    assert_eq!(life.earn(100, day("2026-02-28")), []);
    assert_eq!((life.standing.until, life.standing.announced), (Some(day("2027-02-01")), false));
    assert_eq!(life.pass(day("2026-03-01")), []);
    assert_eq!(life.standing.since, Some(day("2025-03-15")), "held all the time");
}

#[test]
fn a_year_counts_from_nothing_but_its_tier_lasts_through_the_next() {
    let mut life = Life::by(YEAR);
    life.earn(600, day("2025-11-11"));
    let now = day("2026-02-01");
    assert_eq!(life.pass(now), []);
    assert_eq!(life.standing.tier, Some(GOLD));
    assert_eq!(YEAR.counted(&life.standing.months, Month::of(now)), 0);
    life.earn(150, day("2026-05-05"));
    assert_eq!(life.standing.until, Some(day("2027-01-01")));
    let lost = turned(Some(GOLD), Some(SILVER), Why::CycleEnded, 150, day("2027-01-01"));
    assert_eq!(life.pass(day("2027-01-01")), [lost]);
    assert_eq!(life.standing.until, Some(day("2028-01-01")));
}

#[test]
fn what_is_taken_back_no_longer_counts_and_the_tier_ends_with_its_cycle() {
    let mut life = Life::by(rolling(12));
    life.earn(60, day("2026-01-10"));
    life.earn(60, day("2026-04-10"));
    let facts = life.earn_for(day("2026-01-10"), -60, day("2026-04-12"));
    assert_eq!(life.standing.months.points(), [0, 0, 0, 60]);
    // The end is nearer than the notice: it is announced at once.
    let announced =
        Fact::TierDowngradeAnnounced { from: SILVER, to: None, at: day("2026-05-01"), missing: 40 };
    assert_eq!(facts, [announced]);
    assert_eq!(life.standing.tier, Some(SILVER), "not before its cycle ends");
    assert_eq!(
        life.pass(day("2026-05-01")),
        [turned(Some(SILVER), None, Why::CycleEnded, 60, day("2026-05-01"))]
    );
    // A month that has left the window is out of reach.
    life.earn_for(day("2026-01-10"), -60, day("2027-04-12"));
    assert!(life.standing.months.points().is_empty());
}

#[test]
fn a_purchase_that_is_reported_late_counts_for_the_month_that_it_was_made_in() {
    let mut life = Life::by(YEAR);
    life.earn_for(day("2025-12-31"), 100, day("2026-01-02"));
    assert_eq!((life.standing.tier, life.standing.until), (Some(SILVER), Some(day("2027-01-01"))));
    assert_eq!(YEAR.counted(&life.standing.months, month(2026, 1)), 0);
}

#[test]
fn a_tier_that_takes_nothing_is_never_lost() {
    let mut life = Life::by(rolling(1));
    let rung = Rung { id: BASE, rank: 1, threshold: 0 };
    life.ladder = Ladder::new(life.ladder.scheme, vec![rung]);
    let facts = life.standing.climb(&life.ladder, day("2026-01-10"));
    assert_eq!(facts, [turned(None, Some(BASE), Why::Qualified, 0, day("2026-01-10"))]);
    assert_eq!(life.standing.next_due(TimeDelta::days(30)), None);
    assert_eq!(life.pass(day("2099-01-01")), []);
}

#[test]
fn a_threshold_that_is_raised_takes_a_tier_at_the_end_of_the_cycle_and_not_before() {
    let mut life = Life::by(rolling(12));
    life.earn(100, day("2026-01-10"));
    let raised = Rung { id: SILVER, rank: 20, threshold: 1000 };
    life.ladder = Ladder::new(life.ladder.scheme, vec![raised]);
    assert_eq!(life.pass(day("2026-12-01")), []);
    assert_eq!(life.standing.tier, Some(SILVER));
    life.pass(day("2027-01-01"));
    assert_eq!(life.standing.tier, None);
}

/// Every earn there ever was, added up anew.
fn best_by_every_earn(window: Window, earns: &[(DateTime<Utc>, i64)], now: Month) -> (i64, i64) {
    let sum = |from: Month, to: Month| -> i64 {
        let within = |time: &DateTime<Utc>| (from..=to).contains(&Month::of(*time));
        earns.iter().filter(|(time, _)| within(time)).map(|(_, points)| points).sum()
    };
    match window {
        Window::Rolling { months } => (sum(now.plus(1 - months), now), sum(now.plus(1 - months), now)),
        Window::CalendarYear => {
            let this = sum(now.january(), now);
            (this, this.max(sum(now.january().plus(-12), now.january().plus(-1))))
        }
    }
}

proptest! {
    #[test]
    fn a_few_numbers_say_the_same_as_every_earn_there_was(
        steps in prop::collection::vec((0..70_i64, 0..40_i64, 1..200_i64), 1..60),
        length in prop_oneof![Just(0), Just(1), Just(3), Just(12), Just(36)],
    ) {
        let window = if length == 0 { YEAR } else { rolling(length) };
        let mut life = Life::by(window);
        let (mut now, mut earns) = (day("2023-11-20"), Vec::new());
        for (days, late, points) in steps {
            now += TimeDelta::days(days);
            let earned_at = now - TimeDelta::days(late);
            life.earn_for(earned_at, points, now);
            earns.push((earned_at, points));
            let month = Month::of(now);
            let found =
                (window.counted(&life.standing.months, month), window.kept(&life.standing.months, month));
            prop_assert_eq!(found, best_by_every_earn(window, &earns, month));
            prop_assert!(life.standing.months.points().len() <= 36);
            // Never less than what the points suffice for, and never for longer than they do.
            let best = life.ladder.best(found.1).map_or(0, |rung| rung.rank);
            let held = life.ladder.find(life.standing.tier).map_or(0, |rung| rung.rank);
            prop_assert!(held >= best);
            prop_assert!(life.standing.until.is_none_or(|until| until > now));
        }
    }
}
