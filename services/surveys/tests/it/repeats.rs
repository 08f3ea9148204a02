use std::collections::HashSet;

use cqm_proto::events::v1 as events;
use cqm_proto::surveys::v1::*;
use cqm_rpc::Role;
use cqm_testkit::request;
use prost::Message;
use tonic::Code;

use crate::panel::*;

#[tokio::test]
async fn every_repeated_call_is_answered_byte_for_byte_and_done_once() {
    let mut panel = Panel::open().await;
    macro_rules! twice {
        ($client:ident, $method:ident, $message:expr) => {{
            let mut message = $message;
            message.request_id = request_id();
            let first = panel.$client.$method(manager(message.clone())).await.unwrap().into_inner();
            panel.kit.clock.advance(std::time::Duration::from_secs(60));
            let second = panel.$client.$method(manager(message)).await.unwrap().into_inner();
            assert_eq!(second.encode_to_vec(), first.encode_to_vec(), stringify!($method));
            first
        }};
    }
    let create = CreateQuestionnaireRequest { questionnaire: Some(every_kind()), ..Default::default() };
    let name = twice!(questionnaires, create_questionnaire, create).name;
    let change = Questionnaire { name: name.clone(), incentive: true, ..Default::default() };
    let update = UpdateQuestionnaireRequest { questionnaire: Some(change), ..Default::default() };
    assert_eq!(twice!(questionnaires, update_questionnaire, update).etag, "v2");
    assert_eq!(twice!(questionnaires, publish_questionnaire, publish(&name)).latest_version, 1);
    panel.kit.events.only::<events::QuestionnairePublished>().await;
    let invitation = twice!(invitations, create_invitation, invite_to(&name)).name;
    panel.kit.events.only::<events::InvitationCreated>().await;
    let record = RecordResponseRequest {
        invitation,
        answers: vec![rating("rate", 5)],
        mode: response::Mode::Phone.into(),
        ..Default::default()
    };
    twice!(responses, record_response, record);
    let (_, accepted) = panel.kit.events.only::<events::ResponseAccepted>().await;
    assert!(accepted.incentive);
    let retire = RetireQuestionnaireRequest { name: name.clone(), ..Default::default() };
    assert_eq!(twice!(questionnaires, retire_questionnaire, retire).etag, "v4");
    for (table, rows) in
        [("questionnaires", 2), ("questionnaire_versions", 2), ("invitations", 1), ("responses", 1)]
    {
        assert_eq!(panel.kit.count(table).await, rows, "{table}");
    }
}

#[tokio::test]
async fn a_repeated_submission_is_answered_byte_for_byte_and_taken_once() {
    let mut panel = Panel::open().await;
    let invitation = panel.invited(invite_about_complaint()).await;
    let token = panel.token(&invitation.name).await;
    let message =
        SubmitResponseRequest { request_id: request_id(), ..submit(&token, vec![rating("handling", 4)]) };
    let first = panel.responses.submit_response(customer(message.clone())).await.unwrap().into_inner();
    panel.kit.clock.advance(20 * DAY);
    let second = panel.responses.submit_response(customer(message)).await.unwrap().into_inner();
    assert_eq!(second.encode_to_vec(), first.encode_to_vec());
    panel.kit.events.only::<events::ResponseAccepted>().await;
    assert_eq!(panel.kit.count("responses").await, 1);
}

#[tokio::test]
async fn a_request_id_is_not_taken_for_another_body_or_another_method() {
    let mut panel = Panel::open().await;
    let request_id = request_id();
    let first = CreateInvitationRequest { request_id: request_id.clone(), ..invite_about_complaint() };
    panel.invited(first.clone()).await;
    let other = CreateInvitationRequest { subject_version: 3, ..first.clone() };
    let outcome = panel.invitations.create_invitation(manager(other)).await;
    let failure = refused(outcome, Code::FailedPrecondition, "REQUEST_ID_REUSED");
    assert_eq!(failure.facts["request_id"], request_id);
    let other = CreateQuestionnaireRequest { questionnaire: Some(every_kind()), request_id };
    let outcome = panel.questionnaires.create_questionnaire(manager(other)).await;
    refused(outcome, Code::FailedPrecondition, "REQUEST_ID_REUSED");
    // Another caller's ids are their own; what is asked is the same.
    panel.invitations.create_invitation(request(Role::Coordinator, first)).await.unwrap();
    assert_eq!((panel.kit.count("invitations").await, panel.kit.count("questionnaires").await), (1, 1));
}

#[tokio::test]
async fn of_many_equal_calls_at_once_one_does_the_work_and_all_get_its_answer() {
    let panel = Panel::open().await;
    let questionnaire = Some(every_kind());
    let message = CreateQuestionnaireRequest { questionnaire, request_id: request_id() };
    let calls = (0..8).map(|_| {
        let (client, message) = (panel.questionnaires.clone(), message.clone());
        persistent(async move || client.clone().create_questionnaire(manager(message.clone())).await)
    });
    let outcomes = futures::future::join_all(calls).await;
    let answers: HashSet<_> =
        outcomes.into_iter().map(|outcome| outcome.unwrap().into_inner().encode_to_vec()).collect();
    assert_eq!(answers.len(), 1);
    assert_eq!(panel.kit.count("questionnaires").await, 2);
}

#[tokio::test]
async fn of_many_who_submit_at_once_one_wins() {
    let mut panel = Panel::open().await;
    let invitation = panel.invited(invite_about_complaint()).await;
    let token = panel.token(&invitation.name).await;
    let calls = (0..8).map(|index| {
        let value = 1 + index % 4;
        let (client, message) = (panel.responses.clone(), submit(&token, vec![rating("handling", value)]));
        async move {
            let call = async || client.clone().submit_response(customer(message.clone())).await;
            (value, persistent(call).await)
        }
    });
    let outcomes = futures::future::join_all(calls).await;
    let (event, accepted) = panel.kit.events.only::<events::ResponseAccepted>().await;
    let taken = panel.response(&event.aggregate).await;
    let Some(answer::Value::Rating(winner)) = taken.answers[0].value else { panic!("a rating") };
    assert_eq!(accepted.dissatisfied, winner <= 2);
    for (value, outcome) in outcomes {
        // The same answers are a repeat, also without a request_id; others come too late.
        if value == winner {
            assert_eq!(outcome.unwrap().into_inner().response, taken.name);
        } else {
            refused(outcome, Code::FailedPrecondition, "INVITATION_ANSWERED");
        }
    }
    assert_eq!((panel.kit.count("responses").await, panel.kit.count("answers").await), (1, 1));
}

#[tokio::test]
async fn of_many_who_ask_the_same_at_once_one_does() {
    let mut panel = Panel::open().await;
    let calls = (0..8).map(|_| {
        let client = panel.invitations.clone();
        let message = CreateInvitationRequest { request_id: request_id(), ..invite_about_complaint() };
        persistent(async move || client.clone().create_invitation(manager(message.clone())).await)
    });
    let outcomes = futures::future::join_all(calls).await;
    let names: HashSet<_> = outcomes.into_iter().map(|outcome| outcome.unwrap().into_inner().name).collect();
    let (event, _) = panel.kit.events.only::<events::InvitationCreated>().await;
    assert_eq!(names, HashSet::from([event.aggregate]));
    assert_eq!(panel.kit.count("invitations").await, 1);
}

#[tokio::test]
async fn of_many_who_publish_at_once_each_makes_a_version_of_its_own() {
    let mut panel = Panel::open().await;
    let name = panel.drafted(every_kind()).await.name;
    let calls = (0..4).map(|_| {
        let (client, message) = (panel.questionnaires.clone(), publish(&name));
        persistent(async move || client.clone().publish_questionnaire(manager(message.clone())).await)
    });
    let outcomes = futures::future::join_all(calls).await;
    let mut numbers: Vec<_> =
        outcomes.into_iter().map(|outcome| outcome.unwrap().into_inner().latest_version).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3, 4]);
    let events = panel.kit.events.next().await;
    assert_eq!(events.iter().map(|event| event.aggregate_version).collect::<Vec<_>>(), [2, 3, 4, 5]);
}
