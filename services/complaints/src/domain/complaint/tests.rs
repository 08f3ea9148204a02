use std::collections::BTreeMap;

use chrono::{Duration, TimeZone};
use proptest::prelude::*;

use super::*;
use crate::domain::TimelineEntry;

/// The lifecycle as a person would draw it: what each state allows, and where that leads. Everything that is not
/// here is refused.
const LIFECYCLE: &[(State, &[(Action, State)])] = &[
    (
        State::Registered,
        &[(Action::Acknowledged, State::Acknowledged), (Action::Assigned, State::Registered)],
    ),
    (
        State::Acknowledged,
        &[
            (Action::Assigned, State::Acknowledged),
            (Action::InvestigationStarted, State::Investigating),
            (Action::Resolved, State::Resolved),
        ],
    ),
    (
        State::Investigating,
        &[
            (Action::Assigned, State::Investigating),
            (Action::RootCauseRecorded, State::Investigating),
            (Action::Resolved, State::Resolved),
        ],
    ),
    (
        State::Resolved,
        &[
            (Action::Assigned, State::Resolved),
            (Action::Closed, State::Closed),
            (Action::Reopened, State::Investigating),
        ],
    ),
    (State::Closed, &[(Action::Reopened, State::Investigating)]),
];

fn noon() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 3, 1, 12, 0, 0).unwrap()
}

fn matter() -> Matter {
    Matter {
        customer: ResourceName::new("customers", Uuid::from_u128(7)),
        channel: Channel::Phone,
        category: Category::Logistics,
        severity: Severity::Medium,
        subject: "the parcel came late".to_owned().into(),
        description: Personal::default(),
        remedy_sought: None,
        remedy_note: Personal::default(),
    }
}

fn registered() -> Complaint {
    Complaint::register(Uuid::from_u128(1), reference(noon(), 42), matter(), None, noon()).0
}

fn reopening(about: Option<i64>) -> Reopening {
    Reopening { reason: ReopenReason::NotSolved, note: Personal::default(), cause: String::new(), about }
}

fn act(complaint: &mut Complaint, action: Action, now: DateTime<Utc>) -> Result<Event, IllegalMove> {
    match action {
        Action::Registered | Action::SlaWarned | Action::SlaBreached => {
            unreachable!("a complaint is registered once, by its constructor, and time passes by itself")
        }
        Action::Acknowledged => complaint.acknowledge(now),
        Action::Assigned => complaint.assign(format!("agent-{}", complaint.version), now),
        Action::InvestigationStarted => complaint.start_investigation(now),
        Action::RootCauseRecorded => complaint.record_root_cause(
            RootCause {
                category: Category::Information,
                explanation: format!("finding {}", complaint.version).into(),
                responsible_department: "warehouse".to_owned(),
            },
            now,
        ),
        Action::Resolved => complaint.resolve(format!("done {}", complaint.version).into(), 100, now),
        Action::Closed => complaint.close(now),
        Action::Reopened => complaint
            .reopen(reopening(None), now)
            .map(|event| event.expect("a person's decision is never outdated")),
    }
}

fn moves() -> impl Iterator<Item = Action> {
    let by_nobody = [Action::Registered, Action::SlaWarned, Action::SlaBreached];
    Action::ALL.iter().copied().filter(move |action| !by_nobody.contains(action))
}

/// A complaint in the given state, by the shortest way there.
fn in_state(state: State) -> Complaint {
    let way: &[Action] = match state {
        State::Registered => &[],
        State::Acknowledged => &[Action::Acknowledged],
        State::Investigating => &[Action::Acknowledged, Action::InvestigationStarted],
        State::Resolved => &[Action::Acknowledged, Action::Resolved],
        State::Closed => &[Action::Acknowledged, Action::Resolved, Action::Closed],
    };
    let mut complaint = registered();
    for action in way {
        act(&mut complaint, *action, noon()).unwrap();
    }
    assert_eq!(complaint.state, state);
    complaint
}

#[test]
fn every_state_allows_exactly_what_the_lifecycle_says() {
    let later = noon() + Duration::hours(1);
    for state in State::ALL {
        let (_, allowed) = LIFECYCLE.iter().find(|(from, _)| from == state).unwrap();
        for action in moves() {
            let before = in_state(*state);
            let mut after = before.clone();
            let outcome = act(&mut after, action, later);
            match allowed.iter().find(|(known, _)| *known == action) {
                Some((_, to)) => {
                    let event = outcome.unwrap_or_else(|refusal| panic!("{refusal:?}"));
                    assert_eq!((event.from, event.to), (Some(*state), *to), "{action:?}");
                    assert_eq!((after.state, after.update_time), (*to, later), "{action:?}");
                    assert_eq!((event.version, after.version), (before.version + 1, before.version + 1));
                    assert_eq!(event.what.action(), action);
                }
                None => {
                    let refusal = IllegalMove { complaint: before.name(), state: *state, action };
                    assert_eq!(outcome, Err(refusal));
                    assert_eq!(after, before, "a refused {action:?} left a trace");
                }
            }
        }
    }
}

#[test]
fn nothing_registers_a_complaint_twice_and_nobody_can_ask_for_time_to_pass() {
    for action in [Action::Registered, Action::SlaWarned, Action::SlaBreached] {
        assert!(State::ALL.iter().all(|state| state.after(action).is_none()), "{action:?}");
    }
}

#[test]
fn a_reference_is_the_year_and_a_number_of_six_digits_or_more() {
    assert_eq!(reference(noon(), 123), "C-2026-000123");
    assert_eq!(reference(noon(), 12_345_678), "C-2026-12345678");
}

#[test]
fn a_reopening_is_outdated_unless_it_is_about_the_resolution_that_stands() {
    let mut twice = in_state(State::Resolved);
    act(&mut twice, Action::Reopened, noon()).unwrap();
    let reopened = twice.clone();
    act(&mut twice, Action::Resolved, noon()).unwrap();
    for (complaint, about, applies) in [
        (in_state(State::Resolved), 1, true),
        (in_state(State::Closed), 1, true),
        (in_state(State::Resolved), 2, false),
        (in_state(State::Registered), 1, false),
        (in_state(State::Investigating), 1, false),
        (reopened, 1, false),
        (twice.clone(), 1, false),
        (twice, 2, true),
    ] {
        let mut after = complaint.clone();
        let event = after.reopen(reopening(Some(about)), noon()).unwrap();
        assert_eq!(event.is_some(), applies, "{:?} about {about}", complaint.state);
        if !applies {
            assert_eq!(after, complaint);
        }
    }
}

#[test]
fn a_reopened_complaint_keeps_its_resolution_and_gets_the_next_one() {
    let mut complaint = in_state(State::Closed);
    act(&mut complaint, Action::Reopened, noon()).unwrap();
    assert_eq!((complaint.state, complaint.reopen_count), (State::Investigating, 1));
    assert_eq!((complaint.resolve_time(), complaint.close_time), (None, None));
    assert_eq!(complaint.resolution.as_ref().map(|resolution| resolution.version), Some(1));
    let later = noon() + Duration::days(1);
    act(&mut complaint, Action::Resolved, later).unwrap();
    assert_eq!(complaint.resolution.as_ref().map(|resolution| resolution.version), Some(2));
    assert_eq!(complaint.resolve_time(), Some(later));
}

#[test]
fn what_people_write_is_not_printed() {
    let mut complaint = in_state(State::Investigating);
    let event = act(&mut complaint, Action::RootCauseRecorded, noon()).unwrap();
    let printed = format!("{complaint:?} {event:?} {:?}", event.entry("agent"));
    assert!(!printed.contains("parcel") && !printed.contains("finding"), "{printed}");
}

/// What the timeline alone tells of a complaint.
#[derive(Debug, Default, PartialEq, Eq)]
struct Replayed {
    state: Option<State>,
    version: i64,
    assignee: Option<String>,
    department: Option<String>,
    resolution: Option<(i64, i64, Personal<String>)>,
    reopen_count: i32,
    resolve_time: Option<DateTime<Utc>>,
    close_time: Option<DateTime<Utc>>,
    acknowledge_time: Option<DateTime<Utc>>,
    update_time: Option<DateTime<Utc>>,
}

fn replay(timeline: &[TimelineEntry]) -> Replayed {
    let mut replayed = Replayed::default();
    for entry in timeline {
        assert_eq!(entry.from, replayed.state, "an entry begins where the one before ended");
        assert_eq!(entry.version, replayed.version + 1, "a version has one entry");
        replayed.state = Some(entry.to);
        replayed.version = entry.version;
        replayed.update_time = Some(entry.time);
        let fact = |key: &str| entry.facts[key].clone();
        match entry.action {
            Action::Registered | Action::InvestigationStarted | Action::SlaWarned | Action::SlaBreached => {}
            Action::Acknowledged => replayed.acknowledge_time = Some(entry.time),
            Action::Assigned => replayed.assignee = Some(fact("assignee")),
            Action::RootCauseRecorded => replayed.department = Some(fact("responsible_department")),
            Action::Resolved => {
                let number = |key: &str| fact(key).parse().unwrap();
                replayed.resolution =
                    Some((number("resolution_version"), number("compensation_points"), entry.note.clone()));
                replayed.resolve_time = Some(entry.time);
            }
            Action::Closed => replayed.close_time = Some(entry.time),
            Action::Reopened => {
                replayed.reopen_count += 1;
                replayed.resolve_time = None;
                replayed.close_time = None;
            }
        }
    }
    replayed
}

fn told_by_itself(complaint: &Complaint) -> Replayed {
    Replayed {
        state: Some(complaint.state),
        version: complaint.version,
        assignee: complaint.assignee.clone(),
        department: complaint.root_cause.as_ref().map(|cause| cause.responsible_department.clone()),
        resolution: complaint.resolution.as_ref().map(|resolution| {
            (resolution.version, resolution.compensation_points, resolution.summary.clone())
        }),
        reopen_count: complaint.reopen_count,
        resolve_time: complaint.resolve_time(),
        close_time: complaint.close_time,
        acknowledge_time: complaint.acknowledge_time,
        update_time: Some(complaint.update_time),
    }
}

proptest! {
    #[test]
    fn whatever_is_tried_in_whatever_order_stays_in_the_lifecycle(
        actions in prop::collection::vec(prop::sample::select(moves().collect::<Vec<_>>()), 0..60),
        stale in prop::collection::vec(0_i64..4, 0..60),
    ) {
        let (mut complaint, event) =
            Complaint::register(Uuid::from_u128(1), reference(noon(), 1), matter(), None, noon());
        let mut timeline = vec![event.entry("agent")];
        let mut now = noon();
        for (turn, action) in actions.into_iter().enumerate() {
            now += Duration::minutes(1);
            let before = complaint.clone();
            match act(&mut complaint, action, now) {
                Ok(event) => {
                    let allowed: BTreeMap<Action, State> =
                        LIFECYCLE.iter().find(|(state, _)| *state == before.state).unwrap().1.iter().copied().collect();
                    prop_assert_eq!(allowed.get(&action), Some(&complaint.state));
                    prop_assert_eq!(event.version, before.version + 1);
                    timeline.push(event.entry("agent"));
                }
                Err(refusal) => {
                    prop_assert_eq!(refusal.state, before.state);
                    prop_assert_eq!(&complaint, &before);
                }
            }
            // A command about some resolution, now and then: it changes nothing unless that one stands.
            if let Some(about) = stale.get(turn).filter(|about| **about > 0) {
                let stands = complaint.resolve_time().is_some()
                    && complaint.resolution.as_ref().is_some_and(|resolution| resolution.version == *about);
                let before = complaint.clone();
                let event = complaint.reopen(reopening(Some(*about)), now).expect("a command with a cause is never refused");
                prop_assert_eq!(event.is_some(), stands);
                match event {
                    Some(event) => timeline.push(event.entry("coordinator")),
                    None => prop_assert_eq!(&complaint, &before),
                }
            }
        }
        prop_assert_eq!(complaint.version, timeline.len() as i64);
        prop_assert_eq!(replay(&timeline), told_by_itself(&complaint));
    }
}
