use std::time::Duration;

use cqm_proto::events::v1 as events;
use cqm_proto::surveys::v1::*;
use diesel_async::SimpleAsyncConnection;
use tonic::Code;

use crate::panel::*;

#[tokio::test]
async fn a_late_answer_is_refused_at_once_whatever_the_expiry_did() {
    let mut panel = Panel::open().await;
    let invitation = panel.invited(invite_about_complaint()).await;
    let token = panel.token(&invitation.name).await;
    let answers = vec![rating("handling", 4)];
    panel.kit.clock.advance(14 * DAY);
    let outcome = panel.responses.submit_response(customer(submit(&token, answers.clone()))).await;
    refused(outcome, Code::FailedPrecondition, "INVITATION_EXPIRED");
    let recorded = RecordResponseRequest {
        invitation: invitation.name.clone(),
        answers,
        mode: response::Mode::FaceToFace.into(),
        ..Default::default()
    };
    let outcome = panel.responses.record_response(manager(recorded)).await;
    refused(outcome, Code::FailedPrecondition, "INVITATION_EXPIRED");
    let outcome = panel.invitations.open_invitation(customer(OpenInvitationRequest { token })).await;
    refused(outcome, Code::FailedPrecondition, "INVITATION_EXPIRED");
    // The expiry has not come by.
    assert_eq!(panel.invitation(&invitation.name).await.state(), invitation::State::Pending);
    assert_eq!(panel.kit.count("responses").await, 0);
}

#[tokio::test]
async fn the_last_moment_is_in_time() {
    let mut panel = Panel::open().await;
    let invitation = panel.invited(invite_about_complaint()).await;
    panel.kit.clock.advance(14 * DAY - Duration::from_micros(1));
    panel.answered(&invitation.name, vec![rating("handling", 4)]).await;
}

#[tokio::test]
async fn what_ran_out_is_marked_once_and_told_and_the_rest_is_left_alone() {
    let mut panel = Panel::with_expiry_every(Duration::from_millis(20)).await;
    let short = || CreateInvitationRequest {
        ttl: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
        customer: any_customer(),
        ..invite_about_complaint()
    };
    let due = panel.invited(short()).await;
    let answered = panel.invited(short()).await;
    let waiting = panel.invited(invite_about_complaint()).await;
    panel.answered(&answered.name, vec![rating("handling", 4)]).await;
    panel.kit.clock.advance(DAY);

    let expired = panel.until(&due.name, invitation::State::Expired).await;
    assert_eq!(expired.etag, "v2");
    let (event, payload) = panel.kit.events.only::<events::InvitationExpired>().await;
    assert_eq!((event.aggregate.as_str(), event.aggregate_version), (due.name.as_str(), 2));
    assert_eq!(payload.invitation, due.name);
    assert_eq!((payload.customer, payload.subject), (due.customer, COMPLAINT.to_owned()));
    assert_eq!(panel.invitation(&answered.name).await.state(), invitation::State::Answered);
    assert_eq!(panel.invitation(&waiting.name).await.state(), invitation::State::Pending);

    let outcome =
        panel.responses.submit_response(customer(submit(&panel.token(&due.name).await, Vec::new()))).await;
    refused(outcome, Code::FailedPrecondition, "INVITATION_EXPIRED");
    // Later rounds find nothing more: the one that expires the last invitation comes after several of them.
    panel.kit.clock.advance(20 * DAY);
    panel.until(&waiting.name, invitation::State::Expired).await;
    let (event, _) = panel.kit.events.only::<events::InvitationExpired>().await;
    assert_eq!(event.aggregate, waiting.name);
}

#[tokio::test]
async fn an_invitation_that_somebody_works_on_is_passed_over_until_it_is_free() {
    let mut panel = Panel::with_expiry_every(Duration::from_millis(20)).await;
    let held = panel.invited(invite_about_complaint()).await;
    let free =
        panel.invited(CreateInvitationRequest { customer: any_customer(), ..invite_about_complaint() }).await;
    let id = held.name.strip_prefix("invitations/").unwrap();
    let mut somebody = panel.connection().await;
    somebody
        .batch_execute(&format!("BEGIN; SELECT FROM invitations WHERE id = '{id}' FOR UPDATE"))
        .await
        .unwrap();
    panel.kit.clock.advance(15 * DAY);
    panel.until(&free.name, invitation::State::Expired).await;
    let (event, _) = panel.kit.events.only::<events::InvitationExpired>().await;
    assert_eq!(event.aggregate, free.name);
    assert_eq!(panel.invitation(&held.name).await.state(), invitation::State::Pending);

    somebody.batch_execute("COMMIT").await.unwrap();
    panel.until(&held.name, invitation::State::Expired).await;
    let (event, _) = panel.kit.events.only::<events::InvitationExpired>().await;
    assert_eq!(event.aggregate, held.name);
}
