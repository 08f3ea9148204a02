use std::time::Duration;

use cqm_proto::complaints::v1::*;
use cqm_proto::events::v1 as events;
use cqm_rpc::Role;
use cqm_testkit::request;
use prost::Message;
use tokio::task::JoinSet;
use tonic::Code;

use crate::desk::*;
use complaint::State;

#[tokio::test]
async fn a_repeated_registration_is_answered_byte_for_byte_and_registers_one_complaint() {
    let mut desk = Desk::open().await;
    let message = RegisterComplaintRequest { request_id: request_id(), ..registration(matter()) };
    let first = desk.client.register_complaint(representative(message.clone())).await.unwrap().into_inner();
    desk.kit.events.only::<events::ComplaintRegistered>().await;
    // The repeat is answered as the first call was, though the complaint has moved on.
    desk.kit.clock.advance(Duration::from_secs(60));
    desk.client.acknowledge_complaint(representative(acknowledge(&first.name))).await.unwrap();
    desk.kit.events.only::<events::ComplaintAcknowledged>().await;
    let second = desk.client.register_complaint(representative(message)).await.unwrap().into_inner();
    assert_eq!(second.encode_to_vec(), first.encode_to_vec());
    assert_eq!(desk.kit.count("complaints").await, 1);
    assert_eq!(desk.kit.count("complaint_timeline").await, 2);
}

#[tokio::test]
async fn every_repeated_verb_is_answered_byte_for_byte_and_done_once() {
    let mut desk = Desk::open().await;
    let name = desk.registered().await.name;
    let mut version = 1;
    macro_rules! twice {
        ($method:ident, $message:expr, $event:ident) => {{
            let mut message = $message;
            message.request_id = request_id();
            let first = desk.client.$method(representative(message.clone())).await.unwrap().into_inner();
            desk.kit.clock.advance(Duration::from_secs(60));
            let second = desk.client.$method(representative(message)).await.unwrap().into_inner();
            assert_eq!(second.encode_to_vec(), first.encode_to_vec(), stringify!($method));
            let (event, _) = desk.kit.events.only::<events::$event>().await;
            version += 1;
            assert_eq!(event.aggregate_version, version, stringify!($method));
        }};
    }
    twice!(acknowledge_complaint, acknowledge(&name), ComplaintAcknowledged);
    twice!(assign_complaint, assign(&name, "agent-7"), ComplaintAssigned);
    twice!(start_investigation, start(&name), ComplaintInvestigationStarted);
    twice!(record_root_cause, record_cause(&name), ComplaintRootCauseRecorded);
    twice!(resolve_complaint, resolve(&name, 5), ComplaintResolved);
    twice!(close_complaint, close(&name), ComplaintClosed);
    twice!(reopen_complaint, reopen(&name), ComplaintReopened);
    assert_eq!(desk.timeline(&name).await.len(), 8);
    assert_eq!(desk.kit.row("complaints", &name).await["version"], 8);
}

#[tokio::test]
async fn a_request_id_is_not_taken_for_another_body_or_another_method() {
    let mut desk = Desk::open().await;
    let name = desk.registered().await.name;
    let request_id = request_id();
    let first = AssignComplaintRequest { request_id: request_id.clone(), ..assign(&name, "agent-7") };
    desk.client.assign_complaint(representative(first)).await.unwrap();
    desk.kit.events.only::<events::ComplaintAssigned>().await;

    let other_body = AssignComplaintRequest { request_id: request_id.clone(), ..assign(&name, "agent-8") };
    let outcome = desk.client.assign_complaint(representative(other_body)).await;
    let failure = refused(outcome, Code::FailedPrecondition, "REQUEST_ID_REUSED");
    assert_eq!(failure.facts["request_id"], request_id);
    let other_method = AcknowledgeComplaintRequest { request_id: request_id.clone(), ..acknowledge(&name) };
    let outcome = desk.client.acknowledge_complaint(representative(other_method)).await;
    refused(outcome, Code::FailedPrecondition, "REQUEST_ID_REUSED");
    assert_eq!(desk.get(&name).await.etag, "v2");

    // Another caller's ids are their own.
    let theirs = AssignComplaintRequest { request_id, ..assign(&name, "agent-9") };
    let answer = desk.client.assign_complaint(request(Role::Supervisor, theirs)).await.unwrap().into_inner();
    assert_eq!(answer.assignee, "agent-9");
    desk.kit.events.only::<events::ComplaintAssigned>().await;
}

#[tokio::test]
async fn a_refused_call_is_not_remembered() {
    let mut desk = Desk::open().await;
    let name = desk.registered().await.name;
    let message = CloseComplaintRequest { request_id: request_id(), ..close(&name) };
    let outcome = desk.client.close_complaint(representative(message.clone())).await;
    refused(outcome, Code::FailedPrecondition, "COMPLAINT_STATE");
    desk.client.acknowledge_complaint(representative(acknowledge(&name))).await.unwrap();
    desk.client.resolve_complaint(representative(resolve(&name, 0))).await.unwrap();
    let complaint = desk.client.close_complaint(representative(message)).await.unwrap().into_inner();
    assert_eq!(complaint.state(), State::Closed);
    let types = desk.kit.events.next_types().await;
    assert_eq!(types, ["ComplaintAcknowledged", "ComplaintResolved", "ComplaintClosed"]);
}

#[tokio::test]
async fn duplicates_at_the_same_time_register_one_complaint() {
    let mut desk = Desk::open().await;
    let message = RegisterComplaintRequest { request_id: request_id(), ..registration(matter()) };
    let mut callers = JoinSet::new();
    for _ in 0..8 {
        let (client, message) = (desk.client.clone(), message.clone());
        let call = move || {
            let (mut client, message) = (client.clone(), message.clone());
            async move { client.register_complaint(representative(message)).await }
        };
        callers.spawn(async move { persistent(call).await.unwrap().into_inner().encode_to_vec() });
    }
    let answers = callers.join_all().await;
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(desk.kit.count("complaints").await, 1);
    desk.kit.events.only::<events::ComplaintRegistered>().await;
}

#[tokio::test]
async fn of_many_who_acknowledge_at_the_same_time_one_does() {
    let mut desk = Desk::open().await;
    let name = desk.registered().await.name;
    let mut callers = JoinSet::new();
    for _ in 0..6 {
        let (client, message) = (desk.client.clone(), acknowledge(&name));
        let call = move || {
            let (mut client, message) = (client.clone(), message.clone());
            async move { client.acknowledge_complaint(representative(message)).await }
        };
        callers.spawn(async move { persistent(call).await });
    }
    let (done, others): (Vec<_>, Vec<_>) = callers.join_all().await.into_iter().partition(Result::is_ok);
    assert_eq!(done.len(), 1);
    for outcome in others {
        let failure = refused(outcome, Code::FailedPrecondition, "COMPLAINT_STATE");
        assert_eq!(failure.facts["state"], "ACKNOWLEDGED");
    }
    desk.kit.events.only::<events::ComplaintAcknowledged>().await;
}

#[tokio::test]
async fn changes_at_the_same_time_get_a_version_each_and_events_in_that_order() {
    let mut desk = Desk::open().await;
    let name = desk.registered().await.name;
    let mut callers = JoinSet::new();
    for agent in 0..6 {
        let (client, message) = (desk.client.clone(), assign(&name, &format!("agent-{agent}")));
        let call = move || {
            let (mut client, message) = (client.clone(), message.clone());
            async move { client.assign_complaint(representative(message)).await }
        };
        callers.spawn(async move { persistent(call).await.unwrap().into_inner() });
    }
    let mut answers: Vec<_> =
        callers.join_all().await.into_iter().map(|answer| (answer.etag, answer.assignee)).collect();
    answers.sort();
    let told: Vec<_> = desk
        .kit
        .events
        .next()
        .await
        .iter()
        .map(|event| {
            let payload = events::ComplaintAssigned::decode(event.payload.as_slice()).unwrap();
            (format!("v{}", event.aggregate_version), payload.assignee)
        })
        .collect();
    assert_eq!(told, answers);
    assert_eq!(
        told.iter().map(|(etag, _)| etag.as_str()).collect::<Vec<_>>(),
        ["v2", "v3", "v4", "v5", "v6", "v7"]
    );
    let last = desk.get(&name).await;
    assert_eq!((last.etag, last.assignee), told.last().unwrap().clone());
}

#[tokio::test]
async fn of_two_who_decide_on_the_same_version_one_must_read_again() {
    let mut desk = Desk::open().await;
    let read = desk.registered().await;
    let with_etag =
        |agent: &str| AssignComplaintRequest { etag: read.etag.clone(), ..assign(&read.name, agent) };
    desk.client.assign_complaint(representative(with_etag("agent-1"))).await.unwrap();
    desk.kit.events.only::<events::ComplaintAssigned>().await;
    let failure = refused(
        desk.client.assign_complaint(representative(with_etag("agent-2"))).await,
        Code::Aborted,
        "ETAG_MISMATCH",
    );
    assert_eq!(failure.facts["name"], read.name);
    assert!(!failure.is_transient(), "the same call cannot succeed");
    assert_eq!(desk.get(&read.name).await.assignee, "agent-1");
}
