//! In what time complaints are to be handled, and what is told when they are not.

use std::collections::BTreeMap;
use std::time::Duration;

use cqm_complaints::{App, Config};
use cqm_proto::complaints::v1::sla_calendar::{Day, DayHours, Holiday};
use cqm_proto::complaints::v1::*;
use cqm_proto::events::v1 as events;
use cqm_proto::google::r#type::Date;
use cqm_rpc::Role;
use cqm_runtime::process;
use cqm_testkit::{request, settings, until};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use prost::{Message, Name};
use prost_types::Timestamp;
use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::desk::*;
use sla_clock::State;
use timeline_entry::Action;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
/// Often enough for a test to wait for.
const SOON: Duration = Duration::from_millis(20);

/// Open in Shanghai from Monday to Friday, 09:00 to 18:00. What is HIGH is answered within an hour and settled within 16;
/// the kit's clock stands at 09:30 of a Thursday.
fn promise() -> SlaPolicy {
    let hours = || vec![SlaHours { start: "09:00".to_owned(), end: "18:00".to_owned() }];
    let target = |severity: Severity, first: Duration, resolution: Duration| SlaTarget {
        severity: severity.into(),
        first_response: Some(first.try_into().unwrap()),
        resolution: Some(resolution.try_into().unwrap()),
    };
    SlaPolicy {
        calendar: Some(SlaCalendar {
            time_zone: "Asia/Shanghai".to_owned(),
            weekly: [Day::Monday, Day::Tuesday, Day::Wednesday, Day::Thursday, Day::Friday]
                .map(|day| DayHours { day: day.into(), hours: hours() })
                .to_vec(),
            ..Default::default()
        }),
        targets: vec![
            target(Severity::Low, 9 * HOUR, 90 * HOUR),
            target(Severity::Medium, 4 * HOUR, 45 * HOUR),
            target(Severity::High, HOUR, 16 * HOUR),
            target(Severity::Critical, HOUR / 4, 4 * HOUR),
        ],
        warning_percent: 80,
        ..Default::default()
    }
}

fn publish(policy: SlaPolicy) -> PublishSlaPolicyRequest {
    PublishSlaPolicyRequest { sla_policy: Some(policy), request_id: request_id() }
}

fn at(time: &str) -> Option<Timestamp> {
    let time: chrono::DateTime<chrono::Utc> = format!("{time}:00+08:00").parse().unwrap();
    Some(Timestamp { seconds: time.timestamp(), nanos: 0 })
}

fn minutes(minutes: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds: minutes * 60, nanos: 0 })
}

fn clock(
    state: State,
    due: &str,
    end_time: Option<Timestamp>,
    consumed: Option<prost_types::Duration>,
) -> Option<SlaClock> {
    Some(SlaClock { state: state.into(), due_time: at(due), end_time, consumed })
}

impl Desk {
    async fn promised(&self, policy: SlaPolicy) -> SlaPolicy {
        self.policies.clone().publish_sla_policy(manager(publish(policy))).await.unwrap().into_inner()
    }

    async fn states(&self, name: &str) -> (State, State) {
        let sla = self.get(name).await.sla.unwrap();
        (sla.first_response.unwrap().state(), sla.resolution.unwrap().state())
    }

    /// The events that come within the patience of tests, at least so many of them.
    async fn told(&mut self, wanted: usize) -> Vec<cqm_db::log::LoggedEvent> {
        let mut told = Vec::new();
        let events = &mut self.kit.events;
        until(&format!("{wanted} events"), async || {
            told.extend(events.next().await);
            (told.len() >= wanted).then_some(())
        })
        .await;
        told
    }
}

fn names(told: &[cqm_db::log::LoggedEvent]) -> Vec<&str> {
    told.iter().map(|event| event.event_type.rsplit('.').next().unwrap()).collect()
}

#[tokio::test]
async fn no_clock_runs_before_a_policy_is_published_nor_for_what_was_registered_before() {
    let mut desk = Desk::open().await;
    let before = desk.registered().await;
    assert_eq!(before.sla, None);
    desk.promised(promise()).await;
    let after = desk.registered().await;
    assert_eq!(after.sla.unwrap().policy, "slaPolicies/1");
    assert_eq!(desk.get(&before.name).await, before);
    // Nor when it is handled.
    let handled = desk.client.acknowledge_complaint(representative(acknowledge(&before.name))).await.unwrap();
    assert_eq!(handled.into_inner().sla, None);
    desk.kit.events.only::<events::ComplaintAcknowledged>().await;
    assert_eq!(desk.kit.count("complaint_clocks").await, 2);
}

#[tokio::test]
async fn a_complaint_shows_how_its_clocks_stand_at_the_moment_it_is_read() {
    let mut desk = Desk::open().await;
    desk.promised(promise()).await;
    let complaint = desk.registered().await;
    let name = complaint.name.clone();
    const DUE: &str = "2026-01-15T10:30";
    const SETTLED: &str = "2026-01-16T16:30";
    let sla = |first_response, resolution| {
        Some(Sla { policy: "slaPolicies/1".to_owned(), first_response, resolution })
    };
    let begun =
        sla(clock(State::Running, DUE, None, minutes(0)), clock(State::Running, SETTLED, None, minutes(0)));
    assert_eq!(complaint.sla, begun);
    assert_eq!(desk.get(&name).await, complaint);

    desk.kit.clock.advance(48 * MINUTE);
    let near = desk.get(&name).await;
    assert_eq!(near.sla.as_ref().unwrap().first_response, clock(State::NearBreach, DUE, None, minutes(48)));
    assert_eq!((&near.etag, near.update_time), (&complaint.etag, complaint.update_time));
    desk.kit.clock.advance(12 * MINUTE);
    assert_eq!(desk.states(&name).await, (State::Breached, State::Running));

    desk.kit.clock.advance(MINUTE);
    let acknowledged =
        desk.client.acknowledge_complaint(representative(acknowledge(&name))).await.unwrap().into_inner();
    let missed = clock(State::Missed, DUE, at("2026-01-15T10:31"), minutes(61));
    assert_eq!(acknowledged.sla, sla(missed, clock(State::Running, SETTLED, None, minutes(61))));
    // The night does not count.
    desk.kit.clock.advance(24 * HOUR);
    desk.client.resolve_complaint(representative(resolve(&name, 0))).await.unwrap();
    desk.kit.clock.advance(1000 * HOUR);
    let resolved = desk.get(&name).await;
    let met = clock(State::Met, SETTLED, at("2026-01-16T10:31"), minutes(61 + 9 * 60));
    assert_eq!(resolved.sla, sla(missed, met));
    let list = ListComplaintsRequest::default();
    let listed = desk.client.list_complaints(representative(list)).await.unwrap().into_inner();
    assert_eq!(listed.complaints, [resolved]);
    let handled = desk.kit.events.next_types().await;
    assert_eq!(handled, ["ComplaintAcknowledged", "ComplaintResolved"]);
}

#[tokio::test]
async fn an_hour_from_friday_afternoon_ends_on_the_first_open_morning() {
    let mut desk = Desk::open().await;
    let mut policy = promise();
    // Monday is a holiday.
    let date = Some(Date { year: 2026, month: 1, day: 19 });
    policy.calendar.as_mut().unwrap().holidays = vec![Holiday { date, closed_hours: vec![] }];
    desk.promised(policy).await;
    // From Thursday 09:30 to Friday 17:30.
    desk.kit.clock.advance(32 * HOUR);
    let complaint = desk.registered().await;
    let due = complaint.sla.unwrap().first_response.unwrap().due_time;
    assert_eq!(due, at("2026-01-20T09:30"));
}

#[tokio::test]
async fn a_complaint_keeps_its_policy_and_what_it_has_consumed_also_when_it_is_reopened() {
    let mut desk = Desk::open().await;
    desk.promised(promise()).await;
    let name = desk.registered().await.name;
    desk.client.acknowledge_complaint(representative(acknowledge(&name))).await.unwrap();
    desk.kit.clock.advance(2 * HOUR);
    desk.client.resolve_complaint(representative(resolve(&name, 0))).await.unwrap();

    let mut stricter = promise();
    stricter.targets[2].resolution = minutes(30);
    desk.promised(stricter).await;
    // Thursday 11:30 to Monday 11:30, of which nothing counts.
    desk.kit.clock.advance(96 * HOUR);
    let reopened = desk.client.reopen_complaint(representative(reopen(&name))).await.unwrap().into_inner();
    let sla = reopened.sla.unwrap();
    assert_eq!(sla.policy, "slaPolicies/1");
    // 14 hours are left: 6.5 on Monday and 7.5 on Tuesday.
    assert_eq!(sla.resolution, clock(State::Running, "2026-01-20T16:30", None, minutes(120)));
    assert_eq!(sla.first_response.unwrap().state(), State::Met);
    desk.kit.clock.advance(HOUR);
    let consumed = desk.get(&name).await.sla.unwrap().resolution.unwrap().consumed;
    assert_eq!(consumed, minutes(180));
    assert_eq!(desk.kit.events.next().await.len(), 3);

    let new = desk.registered().await.sla.unwrap();
    assert_eq!(
        (new.policy.as_str(), new.resolution.unwrap().due_time),
        ("slaPolicies/2", at("2026-01-19T13:00"))
    );
}

#[tokio::test]
async fn policies_are_published_in_versions_and_read_by_all_staff() {
    let desk = Desk::open().await;
    let mut policies = desk.policies.clone();
    let message = publish(promise());
    let first = policies.publish_sla_policy(manager(message.clone())).await.unwrap().into_inner();
    let set =
        SlaPolicy { name: "slaPolicies/1".to_owned(), create_time: at("2026-01-15T09:30"), ..promise() };
    assert_eq!(first, set);
    let again = policies.publish_sla_policy(manager(message)).await.unwrap().into_inner();
    assert_eq!(again, first, "a repeat publishes nothing");
    let second = desk.promised(SlaPolicy { warning_percent: 50, ..promise() }).await;
    assert_eq!(second.name, "slaPolicies/2");

    let get = |name: &str| GetSlaPolicyRequest { name: name.to_owned() };
    for role in [Role::Supervisor, Role::ServiceRepresentative, Role::TechnicalSupport, Role::AfterSales] {
        let found = policies.get_sla_policy(request(role, get("slaPolicies/1"))).await.unwrap();
        assert_eq!(found.into_inner(), first);
    }
    let outcome = policies.get_sla_policy(manager(get("slaPolicies/3"))).await;
    let failure = refused(outcome, Code::NotFound, "SLA_POLICY_NOT_FOUND");
    assert_eq!(
        (failure.domain.as_str(), failure.facts["name"].as_str()),
        ("cqm.complaints.v1", "slaPolicies/3")
    );
    let outcome = policies.get_sla_policy(manager(get(NOBODYS))).await;
    assert_eq!(violations(outcome), ["name FIELD_FORMAT"]);

    let list = |page_token| ListSlaPoliciesRequest { page_size: 1, page_token };
    let page = policies.list_sla_policies(manager(list(String::new()))).await.unwrap().into_inner();
    assert_eq!(page.sla_policies, [second]);
    let page = policies.list_sla_policies(manager(list(page.next_page_token))).await.unwrap().into_inner();
    assert_eq!((page.sla_policies.as_slice(), page.next_page_token.as_str()), (&[first][..], ""));

    for role in [Role::ServiceRepresentative, Role::Supervisor, Role::InternalService, Role::Coordinator] {
        let outcome = policies.publish_sla_policy(request(role, publish(promise()))).await;
        refused(outcome, Code::PermissionDenied, "ROLE_MISSING");
    }
    let mut wrong = promise();
    wrong.calendar.as_mut().unwrap().time_zone = "Beijing".to_owned();
    wrong.targets.truncate(3);
    let outcome = policies.publish_sla_policy(manager(publish(wrong))).await;
    let said = ["sla_policy.calendar.time_zone FIELD_FORMAT", "sla_policy.targets FIELD_REQUIRED"];
    assert_eq!(violations(outcome), said);
    assert_eq!(desk.kit.count("sla_policies").await, 2);
}

#[tokio::test]
async fn policies_that_are_published_at_once_get_a_version_each() {
    let desk = Desk::open().await;
    let calls = (0..8).map(|_| desk.promised(promise()));
    let mut names: Vec<String> =
        futures::future::join_all(calls).await.into_iter().map(|policy| policy.name).collect();
    names.sort();
    assert_eq!(names, (1..=8).map(|version| format!("slaPolicies/{version}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_clock_is_warned_of_and_its_breach_told_once() {
    let mut desk = Desk::telling_every(SOON).await;
    desk.promised(promise()).await;
    let complaint = desk.registered().await;
    let name = complaint.name.clone();
    desk.client.assign_complaint(representative(assign(&name, "agent-7"))).await.unwrap();
    desk.kit.events.only::<events::ComplaintAssigned>().await;

    desk.kit.clock.advance(48 * MINUTE);
    let told = desk.told(1).await;
    assert_eq!((names(&told), told[0].aggregate_version), (vec!["ComplaintSlaWarned"], 3));
    assert_eq!(
        (told[0].aggregate.as_str(), told[0].occur_time.timestamp()),
        (name.as_str(), at("2026-01-15T10:18").unwrap().seconds)
    );
    let due_time = at("2026-01-15T10:30");
    let payload = events::ComplaintSlaWarned::decode(told[0].payload.as_slice()).unwrap();
    assert_eq!(
        payload,
        events::ComplaintSlaWarned {
            complaint: name.clone(),
            reference: complaint.reference.clone(),
            customer: CUSTOMER.to_owned(),
            clock: "FIRST_RESPONSE".to_owned(),
            due_time,
            severity: "HIGH".to_owned(),
            assignee: "agent-7".to_owned(),
            responsible_department: String::new(),
        }
    );

    desk.kit.clock.advance(12 * MINUTE);
    let told = desk.told(1).await;
    assert_eq!(
        (told[0].event_type.clone(), told[0].aggregate_version),
        (events::ComplaintSlaBreached::full_name(), 4)
    );
    let payload = events::ComplaintSlaBreached::decode(told[0].payload.as_slice()).unwrap();
    assert_eq!((payload.clock.as_str(), payload.due_time), ("FIRST_RESPONSE", due_time));
    let row = desk.get(&name).await;
    assert_eq!((row.etag.as_str(), row.update_time), ("v4", at("2026-01-15T10:30")));

    // Later looks find nothing more: the one that tells of the other clock comes after many of them.
    desk.client.acknowledge_complaint(representative(acknowledge(&name))).await.unwrap();
    desk.client.start_investigation(representative(start(&name))).await.unwrap();
    desk.client.record_root_cause(representative(record_cause(&name))).await.unwrap();
    desk.kit.clock.advance(72 * HOUR);
    let told = desk.told(4).await;
    let later = ["ComplaintAcknowledged", "ComplaintInvestigationStarted", "ComplaintRootCauseRecorded"];
    // Nobody is warned of what has happened.
    assert_eq!(names(&told), [&later[..], &["ComplaintSlaBreached"]].concat());
    let payload = events::ComplaintSlaBreached::decode(told[3].payload.as_slice()).unwrap();
    assert_eq!((payload.clock.as_str(), payload.due_time), ("RESOLUTION", at("2026-01-16T16:30")));
    assert_eq!(payload.responsible_department, "warehouse");

    let timeline = desk.timeline(&name).await;
    let entries: Vec<_> = timeline
        .iter()
        .filter(|entry| [Action::SlaWarned, Action::SlaBreached].contains(&entry.action()))
        .map(|entry| {
            let facts: BTreeMap<&str, &str> =
                entry.facts.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            (
                entry.action(),
                facts["clock"],
                facts["due_time"],
                entry.from_state == entry.to_state,
                entry.actor.as_str(),
            )
        })
        .collect();
    assert_eq!(
        entries,
        [
            (Action::SlaWarned, "FIRST_RESPONSE", "2026-01-15T02:30:00Z", true, "internal"),
            (Action::SlaBreached, "FIRST_RESPONSE", "2026-01-15T02:30:00Z", true, "internal"),
            (Action::SlaBreached, "RESOLUTION", "2026-01-16T08:30:00Z", true, "internal"),
        ]
    );
    assert_eq!(desk.kit.count("complaint_clocks WHERE tell_time IS NOT NULL").await, 0);
}

#[tokio::test]
async fn a_breach_that_ended_before_anybody_told_it_is_told_and_a_clock_that_was_met_is_not() {
    let mut desk = Desk::open().await;
    desk.promised(promise()).await;
    let late = desk.registered().await.name;
    desk.kit.clock.advance(30 * MINUTE);
    let good = desk.registered().await.name;
    desk.kit.clock.advance(50 * MINUTE);
    for name in [&late, &good] {
        desk.client.acknowledge_complaint(representative(acknowledge(name))).await.unwrap();
        desk.client.resolve_complaint(representative(resolve(name, 0))).await.unwrap();
    }
    assert_eq!(desk.kit.events.next().await.len(), 4);
    assert_eq!(desk.states(&late).await, (State::Missed, State::Met));
    assert_eq!(desk.states(&good).await, (State::Met, State::Met));

    let (stop, other) = replica(&desk, SOON).await;
    let told = desk.told(1).await;
    assert_eq!((names(&told), &told[0].aggregate), (vec!["ComplaintSlaBreached"], &late));
    assert_eq!(desk.kit.count("complaint_clocks WHERE tell_time IS NOT NULL").await, 0);
    stop.cancel();
    other.join().await;
}

/// Another process that tells on the desk's database.
async fn replica(desk: &Desk, sla_interval: Duration) -> (CancellationToken, process::Running) {
    let stop = CancellationToken::new();
    let settings = settings::<App>(desk.kit.database(), Config { sla_interval });
    let mut running = process::start::<App>(settings, desk.kit.clock.clone(), stop.clone()).await.unwrap();
    running.ready().await;
    (stop, running)
}

#[tokio::test]
async fn every_breach_is_told_once_however_many_processes_tell() {
    let mut desk = Desk::telling_every(SOON).await;
    let others = [replica(&desk, SOON).await, replica(&desk, SOON).await];
    desk.promised(promise()).await;
    let mut wanted = BTreeMap::new();
    for _ in 0..120 {
        let message = registration(Complaint { severity: Severity::Critical.into(), ..matter() });
        let answer = desk.client.register_complaint(representative(message)).await;
        wanted.insert(answer.unwrap().into_inner().name, 2);
    }
    assert_eq!(desk.kit.events.next().await.len(), 120);
    // Both clocks of all of them run out at once.
    desk.kit.clock.advance(24 * HOUR);
    let told = desk.told(240).await;
    let mut found = BTreeMap::new();
    for event in &told {
        assert_eq!(event.event_type, events::ComplaintSlaBreached::full_name());
        *found.entry(event.aggregate.clone()).or_insert(0) += 1;
    }
    assert_eq!(found, wanted);
    for (stop, other) in others {
        stop.cancel();
        other.join().await;
    }
}

#[tokio::test]
async fn a_complaint_that_somebody_works_on_is_passed_over_until_it_is_free() {
    let mut desk = Desk::telling_every(SOON).await;
    desk.promised(promise()).await;
    let held = desk.registered().await.name;
    let free = desk.registered().await.name;
    let id = held.strip_prefix("complaints/").unwrap();
    let mut somebody = AsyncPgConnection::establish(desk.kit.database().url.expose_secret()).await.unwrap();
    somebody
        .batch_execute(&format!("BEGIN; SELECT FROM complaints WHERE id = '{id}' FOR UPDATE"))
        .await
        .unwrap();
    desk.kit.clock.advance(HOUR);
    let told = desk.told(1).await;
    assert_eq!((names(&told), &told[0].aggregate), (vec!["ComplaintSlaBreached"], &free));
    somebody.batch_execute("COMMIT").await.unwrap();
    let told = desk.told(1).await;
    assert_eq!((names(&told), &told[0].aggregate), (vec!["ComplaintSlaBreached"], &held));
}

#[tokio::test]
async fn a_list_by_due_time_holds_those_whose_clocks_run_out_before_it() {
    let mut desk = Desk::open().await;
    desk.registered().await;
    desk.promised(promise()).await;
    // Due at 10:30, then 10:40; answered and due on Friday; answered and settled.
    let first = desk.registered().await.name;
    desk.kit.clock.advance(10 * MINUTE);
    let second = desk.registered().await.name;
    let answered = desk.in_state(complaint::State::Acknowledged).await.name;
    desk.in_state(complaint::State::Resolved).await;
    let list = async |due: &str, customer: &str| {
        let message = ListComplaintsRequest {
            due_before: at(due),
            customer: customer.to_owned(),
            order_by: list_complaints_request::OrderBy::CreateTimeAsc.into(),
            ..Default::default()
        };
        let page = desk.client.clone().list_complaints(representative(message)).await.unwrap().into_inner();
        page.complaints.into_iter().map(|complaint| complaint.name).collect::<Vec<_>>()
    };
    for customer in ["", CUSTOMER] {
        assert_eq!(list("2026-01-15T10:30", customer).await, Vec::<String>::new());
        assert_eq!(list("2026-01-15T10:31", customer).await, [first.as_str()]);
        assert_eq!(list("2026-01-16T16:00", customer).await, [first.as_str(), second.as_str()]);
        assert_eq!(
            list("2027-01-01T00:00", customer).await,
            [first.as_str(), second.as_str(), answered.as_str()]
        );
    }
    assert_eq!(list("2027-01-01T00:00", &CUSTOMER.replace("8058", "8059")).await, Vec::<String>::new());
}
