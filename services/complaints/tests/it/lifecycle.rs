use std::time::Duration;

use cqm_proto::complaints::v1::*;
use cqm_proto::events::v1 as events;
use prost_types::Timestamp;

use crate::desk::*;
use complaint::State;
use timeline_entry::Action;

/// The kit's clock stands at 2026-01-15T01:30:00Z until it is moved.
const MORNING: i64 = 1_768_440_600;

fn at(minutes: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds: MORNING + minutes * 60, nanos: 0 })
}

#[tokio::test]
async fn a_complaint_goes_from_registration_to_closing() {
    let mut desk = Desk::open().await;
    let minute = Duration::from_secs(60);

    let message = registration(matter());
    let complaint = desk.client.register_complaint(representative(message)).await.unwrap().into_inner();
    let name = complaint.name.clone();
    assert_eq!(
        complaint,
        Complaint {
            name: name.clone(),
            reference: "C-2026-000001".to_owned(),
            state: State::Registered.into(),
            create_time: at(0),
            update_time: at(0),
            etag: "v1".to_owned(),
            ..matter()
        }
    );
    let (event, payload) = desk.kit.events.only::<events::ComplaintRegistered>().await;
    assert_eq!((event.aggregate.as_str(), event.aggregate_version), (name.as_str(), 1));
    assert_eq!(event.occur_time.timestamp(), MORNING);
    assert_eq!(
        payload,
        events::ComplaintRegistered {
            complaint: name.clone(),
            reference: "C-2026-000001".to_owned(),
            customer: CUSTOMER.to_owned(),
            channel: "PHONE".to_owned(),
            category: "LOGISTICS".to_owned(),
            severity: "HIGH".to_owned(),
        }
    );

    desk.kit.clock.advance(minute);
    let message = acknowledge(&name);
    let complaint = desk.client.acknowledge_complaint(representative(message)).await.unwrap().into_inner();
    assert_eq!((complaint.state(), complaint.acknowledge_time), (State::Acknowledged, at(1)));
    assert_eq!((complaint.create_time, complaint.update_time), (at(0), at(1)));
    assert_eq!(complaint.etag, "v2");
    let (event, payload) = desk.kit.events.only::<events::ComplaintAcknowledged>().await;
    assert_eq!((event.aggregate.as_str(), event.aggregate_version), (name.as_str(), 2));
    assert_eq!((payload.complaint.as_str(), payload.customer.as_str()), (name.as_str(), CUSTOMER));
    assert_eq!(payload.reference, "C-2026-000001");

    desk.kit.clock.advance(minute);
    let message = assign(&name, "agent-7");
    let complaint = desk.client.assign_complaint(representative(message)).await.unwrap().into_inner();
    assert_eq!((complaint.state(), complaint.assignee.as_str()), (State::Acknowledged, "agent-7"));
    let (event, payload) = desk.kit.events.only::<events::ComplaintAssigned>().await;
    assert_eq!((event.aggregate_version, payload.assignee.as_str()), (3, "agent-7"));
    assert_eq!((payload.complaint.as_str(), payload.customer.as_str()), (name.as_str(), CUSTOMER));

    desk.kit.clock.advance(minute);
    let message = start(&name);
    let complaint = desk.client.start_investigation(representative(message)).await.unwrap().into_inner();
    assert_eq!(complaint.state(), State::Investigating);
    let (event, payload) = desk.kit.events.only::<events::ComplaintInvestigationStarted>().await;
    assert_eq!(event.aggregate_version, 4);
    assert_eq!((payload.complaint.as_str(), payload.customer.as_str()), (name.as_str(), CUSTOMER));

    desk.kit.clock.advance(minute);
    let message = record_cause(&name);
    let complaint =
        desk.client.record_root_cause(representative(message.clone())).await.unwrap().into_inner();
    assert_eq!((complaint.state(), &complaint.root_cause), (State::Investigating, &message.root_cause));
    assert_eq!(complaint.responsible_department, "warehouse");
    let (event, payload) = desk.kit.events.only::<events::ComplaintRootCauseRecorded>().await;
    assert_eq!(event.aggregate_version, 5);
    assert_eq!(
        payload,
        events::ComplaintRootCauseRecorded {
            complaint: name.clone(),
            customer: CUSTOMER.to_owned(),
            responsible_department: "warehouse".to_owned(),
            cause: "INFORMATION".to_owned(),
        }
    );

    desk.kit.clock.advance(minute);
    let message = resolve(&name, 500);
    let complaint = desk.client.resolve_complaint(representative(message)).await.unwrap().into_inner();
    assert_eq!((complaint.state(), complaint.resolve_time), (State::Resolved, at(5)));
    assert_eq!(
        complaint.resolution,
        Some(Resolution {
            summary: "the postage was paid back".to_owned(),
            compensation_points: 500,
            resolve_time: at(5),
            version: 1,
        })
    );
    let (event, payload) = desk.kit.events.only::<events::ComplaintResolved>().await;
    assert_eq!(event.aggregate_version, 6);
    assert_eq!(
        payload,
        events::ComplaintResolved {
            complaint: name.clone(),
            reference: "C-2026-000001".to_owned(),
            customer: CUSTOMER.to_owned(),
            resolution_version: 1,
            compensation_points: 500,
        }
    );

    desk.kit.clock.advance(minute);
    let message = close(&name);
    let complaint = desk.client.close_complaint(representative(message)).await.unwrap().into_inner();
    assert_eq!((complaint.state(), complaint.close_time), (State::Closed, at(6)));
    assert_eq!(complaint.etag, "v7");
    let (event, payload) = desk.kit.events.only::<events::ComplaintClosed>().await;
    assert_eq!((event.aggregate_version, payload.complaint.as_str()), (7, name.as_str()));
    assert_eq!((payload.reference.as_str(), payload.customer.as_str()), ("C-2026-000001", CUSTOMER));

    assert_eq!(desk.get(&name).await, complaint, "what is read is what the last verb answered");
    let row = desk.kit.row("complaints", &name).await;
    for (column, value) in
        [("state", 5), ("version", 7), ("severity", 3), ("severity_rank", -3), ("channel", 1)]
    {
        assert_eq!(row[column], value, "{column}");
    }
    assert_eq!(row["responsible_department"], "warehouse");

    let timeline = desk.timeline(&name).await;
    let told: Vec<_> = timeline
        .iter()
        .map(|entry| (entry.time, entry.action(), entry.from_state(), entry.to_state(), entry.note.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (at(0), Action::Registered, State::Unspecified, State::Registered, ""),
            (at(1), Action::Acknowledged, State::Registered, State::Acknowledged, ""),
            (at(2), Action::Assigned, State::Acknowledged, State::Acknowledged, ""),
            (at(3), Action::InvestigationStarted, State::Acknowledged, State::Investigating, ""),
            (
                at(4),
                Action::RootCauseRecorded,
                State::Investigating,
                State::Investigating,
                "nobody told the driver",
            ),
            (at(5), Action::Resolved, State::Investigating, State::Resolved, "the postage was paid back"),
            (at(6), Action::Closed, State::Resolved, State::Closed, ""),
        ]
    );
    let facts: Vec<Vec<(&str, &str)>> = timeline
        .iter()
        .map(|entry| entry.facts.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect())
        .collect();
    assert_eq!(facts[2], [("assignee", "agent-7")]);
    assert_eq!(facts[4], [("cause", "INFORMATION"), ("responsible_department", "warehouse")]);
    assert_eq!(facts[5], [("compensation_points", "500"), ("resolution_version", "1")]);
    assert!([0, 1, 3, 6].iter().all(|index: &usize| facts[*index].is_empty()));
    assert!(timeline.iter().all(|entry| entry.actor == "service_representative"));
}

#[tokio::test]
async fn a_simple_case_is_resolved_right_after_it_was_acknowledged() {
    let mut desk = Desk::open().await;
    let complaint = desk.in_state(State::Acknowledged).await;
    let message = resolve(&complaint.name, 0);
    let complaint = desk.client.resolve_complaint(representative(message)).await.unwrap().into_inner();
    assert_eq!(complaint.state(), State::Resolved);
    let (_, payload) = desk.kit.events.only::<events::ComplaintResolved>().await;
    assert_eq!((payload.resolution_version, payload.compensation_points), (1, 0));
}
