//! A customer turns out to be another one: what was asked and answered under either name is one person's.

use cqm_proto::events::v1 as events;
use cqm_proto::subjects::v1::subject_service_client::SubjectServiceClient;
use cqm_proto::subjects::v1::{EraseSubjectRequest, MergeSubjectRequest, RestrictSubjectRequest};
use cqm_proto::surveys::v1::answer::Value;
use cqm_proto::surveys::v1::invitation::State;
use cqm_proto::surveys::v1::*;
use cqm_testkit::{Line, coordinator};
use prost::Message;
use tonic::Code;

use crate::panel::{
    CUSTOMER, Panel, answer, customer, invite_about_complaint, manager, rating, refused, submit,
};

/// Who turns out to be [`CUSTOMER`].
const DUPLICATE: &str = "customers/01890a5d-ac96-774b-bcce-b302099a8060";

fn subjects(panel: &Panel) -> SubjectServiceClient<Line> {
    SubjectServiceClient::new(panel.kit.channel.clone())
}

fn merging() -> MergeSubjectRequest {
    MergeSubjectRequest {
        customer: DUPLICATE.to_owned(),
        survivor: CUSTOMER.to_owned(),
        ..Default::default()
    }
}

/// Merges, and returns the receipt; every event before it has been looked at.
async fn merge(panel: &mut Panel) -> Vec<(String, i64)> {
    subjects(panel).merge_subject(coordinator(merging())).await.unwrap();
    let mut told = panel.kit.events.next().await;
    let receipt = told.pop().unwrap();
    assert!(told.iter().all(|event| event.event_type.ends_with("InvitationExpired")), "{told:?}");
    let receipt = events::SubjectMerged::decode(receipt.payload.as_slice()).unwrap();
    receipt.moved.into_iter().collect()
}

fn moved(invitations: i64, responses: i64) -> Vec<(String, i64)> {
    vec![("invitations".to_owned(), invitations), ("responses".to_owned(), responses)]
}

/// About one resolution of a complaint.
fn invite(whom: &str, subject_version: i64) -> CreateInvitationRequest {
    CreateInvitationRequest { customer: whom.to_owned(), subject_version, ..invite_about_complaint() }
}

fn answers(score: i32) -> Vec<Answer> {
    vec![rating("handling", score), answer("comment", Value::Text("I am Li Lei".to_owned()))]
}

async fn asked(panel: &Panel, whom: &str) -> Vec<String> {
    let list = ListInvitationsRequest { customer: whom.to_owned(), ..Default::default() };
    let page = panel.invitations.clone().list_invitations(manager(list)).await.unwrap().into_inner();
    page.invitations.into_iter().map(|invitation| invitation.name).collect()
}

async fn answered(panel: &Panel, whom: &str) -> Vec<String> {
    let list = ListResponsesRequest { customer: whom.to_owned(), ..Default::default() };
    let page = panel.responses.clone().list_responses(manager(list)).await.unwrap().into_inner();
    page.responses.into_iter().map(|response| response.name).collect()
}

#[tokio::test]
async fn what_was_asked_and_answered_under_the_name_that_goes_is_the_survivors_and_links_still_open() {
    let mut panel = Panel::open().await;
    let done = panel.invited(invite(DUPLICATE, 1)).await;
    let waiting = panel.invited(invite(DUPLICATE, 2)).await;
    let own = panel.invited(invite(CUSTOMER, 3)).await;
    let (response, _) = panel.answered(&done.name, answers(4)).await;
    let token = panel.token(&waiting.name).await;
    assert_eq!(merge(&mut panel).await, moved(2, 1));

    let names = [&own, &waiting, &done].map(|invitation| invitation.name.clone());
    assert_eq!(asked(&panel, CUSTOMER).await, names);
    assert_eq!(answered(&panel, CUSTOMER).await, std::slice::from_ref(&response.response));
    assert!(asked(&panel, DUPLICATE).await.is_empty() && answered(&panel, DUPLICATE).await.is_empty());
    let found = panel.invitation(&waiting.name).await;
    assert_eq!((found.state(), found.etag.as_str()), (State::Pending, "v2"));
    assert_eq!(found.expire_time, waiting.expire_time);
    assert_eq!(panel.response(&response.response).await.customer, CUSTOMER);

    // The link that went out under the old name.
    assert_eq!(panel.token(&waiting.name).await, token);
    panel.invitations.open_invitation(customer(OpenInvitationRequest { token })).await.unwrap();
    let (late, told) = panel.answered(&waiting.name, answers(5)).await;
    assert_eq!((told.customer.as_str(), told.response), (CUSTOMER, late.response));
    assert_eq!(panel.invitation(&own.name).await, own);
}

#[tokio::test]
async fn who_was_asked_the_same_under_both_names_can_answer_once() {
    let mut panel = Panel::open().await;
    let kept = panel.invited(invite(CUSTOMER, 1)).await;
    let left = panel.invited(invite(DUPLICATE, 1)).await;
    let (kept_token, left_token) = (panel.token(&kept.name).await, panel.token(&left.name).await);
    subjects(&panel).merge_subject(coordinator(merging())).await.unwrap();
    let told = panel.kit.events.next().await;
    let aggregates: Vec<_> =
        told.iter().map(|event| (event.aggregate.as_str(), event.aggregate_version)).collect();
    assert_eq!(aggregates, [(left.name.as_str(), 2), (&DUPLICATE.replace("customers", "subjects"), 1)]);
    let expired = events::InvitationExpired::decode(told[0].payload.as_slice()).unwrap();
    assert_eq!((expired.invitation, expired.customer.as_str()), (left.name.clone(), DUPLICATE));

    let left = panel.invitation(&left.name).await;
    assert_eq!((left.state(), left.customer.as_str()), (State::Expired, DUPLICATE));
    assert_eq!(asked(&panel, CUSTOMER).await, std::slice::from_ref(&kept.name));
    for outcome in [
        panel.responses.submit_response(customer(submit(&left_token, answers(2)))).await.map(drop),
        panel
            .invitations
            .open_invitation(customer(OpenInvitationRequest { token: left_token }))
            .await
            .map(drop),
        panel
            .responses
            .record_response(manager(RecordResponseRequest {
                invitation: left.name.clone(),
                answers: answers(2),
                mode: response::Mode::Phone.into(),
                ..Default::default()
            }))
            .await
            .map(drop),
    ] {
        refused(outcome, Code::FailedPrecondition, "INVITATION_EXPIRED");
    }
    panel.responses.submit_response(customer(submit(&kept_token, answers(2)))).await.unwrap();
    panel.kit.events.only::<events::ResponseAccepted>().await;
    assert_eq!(panel.kit.count("responses").await, 1);
}

#[tokio::test]
async fn who_has_answered_under_the_name_that_goes_is_not_asked_the_same_under_the_one_that_stays() {
    let mut panel = Panel::open().await;
    let kept = panel.invited(invite(CUSTOMER, 1)).await;
    let done = panel.invited(invite(DUPLICATE, 1)).await;
    let (response, _) = panel.answered(&done.name, answers(1)).await;
    assert_eq!(merge(&mut panel).await, moved(0, 1));
    assert_eq!(panel.invitation(&kept.name).await.state(), State::Expired);
    assert_eq!(answered(&panel, CUSTOMER).await, std::slice::from_ref(&response.response));
    // The same answers once more are a repeat, under whichever name they were given.
    let token = panel.token(&done.name).await;
    let again = panel.responses.submit_response(customer(submit(&token, answers(1)))).await.unwrap();
    assert_eq!(again.into_inner(), response);
}

#[tokio::test]
async fn nobody_is_asked_under_the_old_name() {
    let mut panel = Panel::open().await;
    assert_eq!(merge(&mut panel).await, moved(0, 0));
    let late = panel.invitations.create_invitation(manager(invite(DUPLICATE, 1))).await;
    let refusal = refused(late, Code::FailedPrecondition, "CUSTOMER_MERGED");
    assert_eq!((&*refusal.facts["customer"], &*refusal.facts["survivor"]), (DUPLICATE, CUSTOMER));
    panel.invited(invite(CUSTOMER, 1)).await;
}

#[tokio::test]
async fn answers_and_the_merge_that_come_at_the_same_time_are_the_survivors() {
    let mut panel = Panel::open().await;
    let mut waiting = Vec::new();
    for round in 1..=10 {
        let invitation = panel.invited(invite(DUPLICATE, round)).await;
        waiting.push((panel.token(&invitation.name).await, invitation));
    }
    let calls = waiting.iter().map(|(token, _)| {
        let mut responses = panel.responses.clone();
        let message = customer(submit(token, answers(4)));
        async move { responses.submit_response(message).await }
    });
    let mut subjects = subjects(&panel);
    let (submitted, merged) =
        tokio::join!(futures::future::join_all(calls), subjects.merge_subject(coordinator(merging())));
    merged.unwrap();
    for answer in submitted {
        answer.unwrap();
    }
    assert_eq!(panel.kit.events.next().await.len(), 11);
    assert_eq!((answered(&panel, CUSTOMER).await.len(), asked(&panel, CUSTOMER).await.len()), (10, 10));
    assert!(answered(&panel, DUPLICATE).await.is_empty());
}

#[tokio::test]
async fn the_words_that_came_with_a_merge_are_gone_with_the_survivors_erasure() {
    let mut panel = Panel::open().await;
    let done = panel.invited(invite(DUPLICATE, 1)).await;
    panel.answered(&done.name, answers(4)).await;
    let waiting = panel.invited(invite(DUPLICATE, 2)).await;
    let token = panel.token(&waiting.name).await;
    merge(&mut panel).await;
    let mut subjects = subjects(&panel);
    let restrict = RestrictSubjectRequest { customer: CUSTOMER.to_owned(), ..Default::default() };
    subjects.restrict_subject(coordinator(restrict)).await.unwrap();
    let erase = EraseSubjectRequest { customer: CUSTOMER.to_owned(), ..Default::default() };
    subjects.erase_subject(coordinator(erase)).await.unwrap();
    assert_eq!(panel.kit.events.next_types().await, ["SubjectRestricted", "SubjectErased"]);
    assert!(!format!("{:?}", panel.kit.table("answers").await).contains("Li Lei"));
    let late = panel.responses.submit_response(customer(submit(&token, answers(4)))).await;
    refused(late, Code::NotFound, "INVITATION_NOT_FOUND");
}
