use cqm_proto::complaints::v1::*;
use cqm_proto::events::v1 as events;
use cqm_rpc::Role;
use cqm_testkit::request;

use crate::desk::*;
use complaint::State;
use timeline_entry::Action;

#[tokio::test]
async fn a_reopened_complaint_is_investigated_and_resolved_again() {
    let mut desk = Desk::open().await;
    let closed = desk.in_state(State::Closed).await;
    let name = closed.name;

    let complaint = desk.client.reopen_complaint(representative(reopen(&name))).await.unwrap().into_inner();
    assert_eq!((complaint.state(), complaint.reopen_count), (State::Investigating, 1));
    assert_eq!((complaint.resolve_time, complaint.close_time), (None, None));
    assert_eq!(complaint.resolution.map(|resolution| resolution.version), Some(1));
    let (event, payload) = desk.kit.events.only::<events::ComplaintReopened>().await;
    assert_eq!(event.aggregate_version, 5);
    assert_eq!((payload.reason.as_str(), payload.cause.as_str()), ("NOT_SOLVED", ""));
    assert_eq!((payload.complaint.as_str(), payload.customer.as_str()), (name.as_str(), CUSTOMER));
    assert_eq!(payload.reference, "C-2026-000001");

    let complaint =
        desk.client.resolve_complaint(representative(resolve(&name, 20))).await.unwrap().into_inner();
    assert_eq!(complaint.resolution.as_ref().map(|resolution| resolution.version), Some(2));
    let (_, payload) = desk.kit.events.only::<events::ComplaintResolved>().await;
    assert_eq!((payload.resolution_version, payload.compensation_points), (2, 20));

    let timeline = desk.timeline(&name).await;
    let reopened = timeline.iter().find(|entry| entry.action() == Action::Reopened).unwrap();
    assert_eq!((reopened.from_state(), reopened.to_state()), (State::Closed, State::Investigating));
    assert_eq!(reopened.note, "the next parcel was late, too");
    assert_eq!(reopened.facts.iter().collect::<Vec<_>>(), [(&"reason".to_owned(), &"NOT_SOLVED".to_owned())]);
    assert_eq!(timeline.len() as i64, complaint.etag[1..].parse::<i64>().unwrap());
}

fn dissatisfied(name: &str, caused_by_version: i64) -> ReopenComplaintRequest {
    ReopenComplaintRequest {
        reason: reopen_complaint_request::Reason::Dissatisfied.into(),
        note: String::new(),
        caused_by_version,
        cause: name.replace("complaints", "responses"),
        request_id: request_id(),
        ..reopen(name)
    }
}

#[tokio::test]
async fn a_dissatisfied_answer_opens_the_complaint_it_is_about_once() {
    let mut desk = Desk::open().await;
    let name = desk.in_state(State::Closed).await.name;

    let command = dissatisfied(&name, 1);
    let complaint =
        desk.client.reopen_complaint(request(Role::Coordinator, command.clone())).await.unwrap().into_inner();
    assert_eq!((complaint.state(), complaint.reopen_count), (State::Investigating, 1));
    let (_, payload) = desk.kit.events.only::<events::ComplaintReopened>().await;
    assert_eq!((payload.reason, payload.cause), ("DISSATISFIED".to_owned(), command.cause.clone()));
    let entry = desk.timeline(&name).await.pop().unwrap();
    assert_eq!(
        (entry.actor.as_str(), entry.facts["cause"].as_str()),
        ("coordinator", command.cause.as_str())
    );

    // Another answer about the same resolution: the complaint has been reopened since.
    let second = desk.client.reopen_complaint(request(Role::Coordinator, dissatisfied(&name, 1))).await;
    assert_eq!(second.unwrap().into_inner(), complaint);

    let resolved =
        desk.client.resolve_complaint(representative(resolve(&name, 0))).await.unwrap().into_inner();
    desk.kit.events.only::<events::ComplaintResolved>().await;
    // And now it has been resolved again: the old answer is not about this resolution, nor about one to come.
    for outdated in [1, 3] {
        let command = dissatisfied(&name, outdated);
        for _ in 0..2 {
            let answer = desk.client.reopen_complaint(request(Role::Coordinator, command.clone())).await;
            assert_eq!(answer.unwrap().into_inner(), resolved);
        }
    }
    assert_eq!(desk.get(&name).await, resolved);
    assert_eq!(desk.kit.events.next_types().await, Vec::<String>::new());

    let again = desk.client.reopen_complaint(request(Role::Coordinator, dissatisfied(&name, 2))).await;
    assert_eq!(again.unwrap().into_inner().reopen_count, 2);
    desk.kit.events.only::<events::ComplaintReopened>().await;
}

#[tokio::test]
async fn an_outdated_command_about_a_complaint_that_was_never_resolved_changes_nothing() {
    let mut desk = Desk::open().await;
    let complaint = desk.registered().await;
    let answer =
        desk.client.reopen_complaint(request(Role::Coordinator, dissatisfied(&complaint.name, 1))).await;
    assert_eq!(answer.unwrap().into_inner(), complaint);
    assert_eq!(desk.timeline(&complaint.name).await.len(), 1);
}
