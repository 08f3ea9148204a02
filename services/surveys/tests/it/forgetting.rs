//! A customer is to be forgotten: they are asked nothing, their link opens nothing, their words are gone.

use cqm_proto::subjects::v1::subject_service_client::SubjectServiceClient;
use cqm_proto::subjects::v1::{EraseSubjectRequest, RestrictSubjectRequest};
use cqm_proto::surveys::v1::CreateInvitationRequest;
use cqm_proto::surveys::v1::answer::Value;
use cqm_testkit::coordinator;
use tonic::Code;

use crate::panel::{
    CUSTOMER, Panel, answer, customer, invite_about_complaint, manager, rating, refused, submit,
};

fn invite(subject_version: i64) -> CreateInvitationRequest {
    CreateInvitationRequest { subject_version, ..invite_about_complaint() }
}

#[tokio::test]
async fn who_is_forgotten_is_asked_nothing_and_the_words_of_their_answers_are_gone() {
    let mut panel = Panel::open().await;
    let mut subjects = SubjectServiceClient::new(panel.kit.channel.clone());
    let answered = panel.invited(invite(1)).await;
    let waiting = panel.invited(invite(2)).await;
    let answers = vec![rating("handling", 2), answer("comment", Value::Text("I am Li Lei".to_owned()))];
    let (response, _) = panel.answered(&answered.name, answers.clone()).await;
    let token = panel.token(&waiting.name).await;

    let restrict = RestrictSubjectRequest { customer: CUSTOMER.to_owned(), ..Default::default() };
    let restricted = subjects.restrict_subject(coordinator(restrict)).await.unwrap().into_inner();
    assert!(restricted.blockers.is_empty(), "nobody waits for an answer");
    let more = panel.invitations.create_invitation(manager(invite(3))).await;
    refused(more, Code::FailedPrecondition, "CUSTOMER_RESTRICTED");
    let late = panel.responses.submit_response(customer(submit(&token, answers.clone()))).await;
    refused(late, Code::FailedPrecondition, "INVITATION_EXPIRED");

    let erase = EraseSubjectRequest { customer: CUSTOMER.to_owned(), ..Default::default() };
    subjects.erase_subject(coordinator(erase)).await.unwrap();
    assert_eq!(panel.kit.events.next_types().await, ["SubjectRestricted", "SubjectErased"]);
    let left = panel.response(&response.response).await;
    assert_eq!(left.answers.len(), 2, "that they answered, and the score, stay");
    assert!(!format!("{:?}", panel.kit.table("answers").await).contains("Li Lei"));
    let late = panel.responses.submit_response(customer(submit(&token, answers))).await;
    refused(late, Code::NotFound, "INVITATION_NOT_FOUND");
    let more = panel.invitations.create_invitation(manager(invite(3))).await;
    refused(more, Code::FailedPrecondition, "CUSTOMER_ERASED");
}
