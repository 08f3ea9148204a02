use std::collections::BTreeMap;

use chrono::TimeDelta;
use chrono_tz::Tz;
use proptest::prelude::*;

use super::*;
use crate::domain::sla::{Calendar, Hours, Rules, Targets};
use crate::domain::{ClockState, ReopenReason};

fn at(time: &str) -> DateTime<Utc> {
    time.parse().unwrap()
}

/// From Monday to Friday, 09:00 to 17:00; an hour to the first response and ten to the resolution of what is HIGH.
fn policy(version: i64, resolution: i64) -> Arc<Policy> {
    let day = || vec![Hours::new(9 * 60, 17 * 60).unwrap()];
    let week = [day(), day(), day(), day(), day(), Vec::new(), Vec::new()];
    let rules = Rules { zone: Tz::UTC, week, holidays: BTreeMap::new(), working_days: BTreeMap::new() };
    let high = Targets { first_response: TimeDelta::hours(1), resolution: TimeDelta::hours(resolution) };
    let other = Targets { first_response: TimeDelta::days(1), resolution: TimeDelta::days(2) };
    Arc::new(Policy {
        version,
        calendar: Calendar::new(rules).unwrap(),
        targets: [other, other, high, other],
        warning_percent: 80,
        create_time: at("2026-01-01T00:00:00Z"),
    })
}

/// A Friday afternoon.
fn start() -> DateTime<Utc> {
    at("2026-01-16T16:30:00Z")
}

fn started() -> Clocks {
    Clocks::start(policy(1, 10), Severity::High, start())
}

fn resolved() -> What {
    What::Resolved { resolution_version: 1, compensation_points: 0, summary: String::new().into() }
}

fn reopened() -> What {
    What::Reopened { reason: ReopenReason::NotSolved, cause: String::new(), note: String::new().into() }
}

fn consumed(clocks: &Clocks, now: DateTime<Utc>) -> (i64, i64) {
    let minutes = |timer: &Timer| timer.consumed(&clocks.policy, now).num_minutes();
    (minutes(&clocks.first_response), minutes(&clocks.resolution))
}

#[test]
fn a_clock_shows_whether_it_is_near_its_breach_or_over_it_and_ends_in_time_or_not() {
    use ClockState::{Breached, Met, Missed, NearBreach, Running};

    for (now, running, ended) in [
        ("2026-01-16T16:30:00Z", Running, Met),
        ("2026-01-17T12:00:00Z", Running, Met),
        ("2026-01-19T09:17:59Z", Running, Met),
        // 48 minutes of 60.
        ("2026-01-19T09:18:00Z", NearBreach, Met),
        ("2026-01-19T09:29:59Z", NearBreach, Met),
        // The due time is the first moment that is too late.
        ("2026-01-19T09:30:00Z", Breached, Missed),
        ("2026-01-26T09:30:00Z", Breached, Missed),
    ] {
        let mut clocks = started();
        assert_eq!(clocks.first_response.state(at(now)), running, "{now}");
        clocks.follow(&What::Acknowledged, at(now));
        let later = at(now) + TimeDelta::days(100);
        assert_eq!(clocks.first_response.state(later), ended, "{now}");
        assert_eq!(clocks.first_response.due_time, at("2026-01-19T09:30:00Z"));
        assert_eq!(clocks.first_response.end_time, Some(at(now)));
        assert_eq!(clocks.resolution.end_time, None, "it has a clock of its own");
    }
}

#[test]
fn only_open_time_is_consumed_and_none_after_the_end() {
    let mut clocks = started();
    assert_eq!(consumed(&clocks, at("2026-01-19T09:10:00Z")), (40, 40));
    clocks.follow(&What::Acknowledged, at("2026-01-19T09:10:00Z"));
    assert_eq!(consumed(&clocks, at("2026-01-19T10:00:00Z")), (40, 90));
    clocks.follow(&resolved(), at("2026-01-19T10:00:00Z"));
    assert_eq!(consumed(&clocks, at("2027-01-19T10:00:00Z")), (40, 90));
}

#[test]
fn a_reopened_complaint_goes_on_with_what_it_had_consumed() {
    let mut clocks = started();
    assert_eq!(clocks.resolution.due_time, at("2026-01-20T10:30:00Z"));
    clocks.follow(&What::Acknowledged, at("2026-01-19T09:10:00Z"));
    clocks.follow(&resolved(), at("2026-01-19T10:00:00Z"));
    // Two days later, of which nothing counts: 8.5 hours are left.
    let again = at("2026-01-21T15:00:00Z");
    clocks.follow(&reopened(), again);
    assert_eq!(consumed(&clocks, again), (40, 90));
    assert_eq!(clocks.resolution.due_time, at("2026-01-22T15:30:00Z"));
    assert_eq!(clocks.resolution.warn_time, at("2026-01-22T13:30:00Z"));
    assert_eq!((clocks.resolution.end_time, clocks.resolution.told), (None, Told::Nothing));
    assert_eq!(clocks.first_response.state(again), ClockState::Met, "nobody answers first for a second time");
    clocks.follow(&resolved(), at("2026-01-22T15:29:00Z"));
    assert_eq!(clocks.resolution.state(again), ClockState::Met);
    assert_eq!(consumed(&clocks, again), (40, 10 * 60 - 1));
    // What is left then is near its breach from its first moment on.
    clocks.follow(&reopened(), at("2026-01-26T09:00:00Z"));
    assert_eq!(clocks.resolution.state(at("2026-01-26T09:00:00Z")), ClockState::NearBreach);
    assert_eq!(clocks.resolution.due_time, at("2026-01-26T09:01:00Z"));
}

#[test]
fn a_clock_that_had_run_out_does_not_get_a_second_due_time() {
    let mut clocks = started();
    let due = clocks.resolution.due_time;
    clocks.follow(&resolved(), due + TimeDelta::hours(1));
    assert_eq!(clocks.tell(due + TimeDelta::hours(2)).len(), 2);
    let again = at("2026-02-02T09:00:00Z");
    clocks.follow(&reopened(), again);
    assert_eq!((clocks.resolution.due_time, clocks.resolution.state(again)), (due, ClockState::Breached));
    assert_eq!(consumed(&clocks, again).1, 11 * 60);
    assert!(clocks.tell(again + TimeDelta::days(10)).is_empty(), "its breach has been told");
    clocks.follow(&resolved(), again + TimeDelta::minutes(5));
    assert_eq!(clocks.resolution.state(again), ClockState::Missed);
    assert_eq!(consumed(&clocks, again).1, 11 * 60 + 5);
}

#[test]
fn each_due_time_is_warned_of_and_told_once() {
    use What::{SlaBreached, SlaWarned};

    let mut clocks = started();
    let (first, last) = (clocks.first_response.due_time, clocks.resolution.due_time);
    for (now, told) in [
        ("2026-01-19T09:17:59Z", vec![]),
        ("2026-01-19T09:18:00Z", vec![SlaWarned { clock: Clock::FirstResponse, due_time: first }]),
        ("2026-01-19T09:29:59Z", vec![]),
        ("2026-01-19T09:30:00Z", vec![SlaBreached { clock: Clock::FirstResponse, due_time: first }]),
        ("2026-01-19T16:30:00Z", vec![SlaWarned { clock: Clock::Resolution, due_time: last }]),
        ("2026-01-20T10:29:59Z", vec![]),
        ("2026-01-20T10:30:00Z", vec![SlaBreached { clock: Clock::Resolution, due_time: last }]),
        ("2027-01-20T10:30:00Z", vec![]),
    ] {
        assert_eq!(clocks.tell(at(now)), told, "{now}");
        assert_eq!(clocks.tell(at(now)), vec![], "{now}");
    }
    assert_eq!((clocks.first_response.tell_time(), clocks.resolution.tell_time()), (None, None));
}

#[test]
fn who_comes_late_to_tell_warns_of_nothing_that_has_happened_and_keeps_no_breach_to_themselves() {
    let mut clocks = started();
    let due_time = clocks.first_response.due_time;
    let breached = || What::SlaBreached { clock: Clock::FirstResponse, due_time };
    assert_eq!(clocks.tell(due_time), [breached()]);

    // It was acknowledged too late, and nobody had come by.
    let mut clocks = started();
    clocks.follow(&What::Acknowledged, due_time + TimeDelta::minutes(1));
    assert_eq!(clocks.first_response.tell_time(), Some(due_time));
    assert_eq!(clocks.tell(due_time + TimeDelta::minutes(2)), [breached()]);
    // In time: there is nothing to tell, not even that it was near.
    let mut clocks = started();
    clocks.follow(&What::Acknowledged, due_time - TimeDelta::minutes(1));
    assert_eq!(clocks.first_response.tell_time(), None);
    assert_eq!(clocks.tell(due_time), []);
}

#[test]
fn the_targets_are_those_of_the_severity() {
    let days = |severity| {
        let clocks = Clocks::start(policy(1, 10), severity, start());
        (clocks.first_response.target, clocks.resolution.target)
    };
    let other = (TimeDelta::days(1), TimeDelta::days(2));
    assert_eq!(
        Severity::ALL.iter().map(|severity| days(*severity)).collect::<Vec<_>>(),
        [other, other, (TimeDelta::hours(1), TimeDelta::hours(10)), other]
    );
}

proptest! {
    /// However often it is resolved and reopened, at whatever moments.
    #[test]
    fn a_clock_runs_out_when_the_time_in_which_it_ran_makes_its_target(
        steps in prop::collection::vec(1_i64..60 * 48, 1..20),
    ) {
        let mut clocks = started();
        let (policy, target) = (Arc::clone(&clocks.policy), clocks.resolution.target);
        let mut now = start();
        let mut ran = TimeDelta::zero();
        for (turn, minutes) in steps.into_iter().enumerate() {
            let then = now + TimeDelta::minutes(minutes);
            if clocks.resolution.end_time.is_none() {
                ran += policy.calendar.elapsed(now, then);
            }
            now = then;
            prop_assert_eq!(clocks.resolution.consumed(&policy, now), ran);
            let late = matches!(clocks.resolution.state(now), ClockState::Breached | ClockState::Missed);
            prop_assert_eq!(late, ran >= target);
            if turn % 2 == 0 {
                clocks.follow(&resolved(), now);
            } else {
                clocks.follow(&reopened(), now);
            }
        }
    }
}
