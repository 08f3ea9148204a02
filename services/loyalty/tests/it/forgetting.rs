//! A customer is to be forgotten: they use up their points, get no more, and the ledger stays as it is.

use cqm_proto::subjects::v1::subject_service_client::SubjectServiceClient;
use cqm_proto::subjects::v1::{EraseSubjectRequest, RestrictSubjectRequest, Subject};
use cqm_testkit::{Line, coordinator, eventually, refused};
use tonic::Code;
use uuid::Uuid;

use crate::{Loyalty, compensation, earning, name, spending};

async fn restrict(subjects: &SubjectServiceClient<Line>, customer: Uuid, forfeit_points: bool) -> Subject {
    let message = RestrictSubjectRequest { customer: name(customer), forfeit_points, ..Default::default() };
    subjects.clone().restrict_subject(coordinator(message)).await.unwrap().into_inner()
}

#[tokio::test]
async fn points_are_used_up_before_a_member_is_forgotten_and_no_entry_is_lost() {
    let mut loyalty = Loyalty::start().await;
    let subjects = SubjectServiceClient::new(loyalty.kit.channel.clone());
    let customer = Uuid::now_v7();
    loyalty.given(customer, 100).await;
    assert_eq!(restrict(&subjects, customer, false).await.blockers, ["UNREDEEMED_POINTS"]);
    let more = loyalty.earn(earning(customer, compensation(5))).await;
    refused(more, Code::FailedPrecondition, "CUSTOMER_RESTRICTED");
    loyalty.redeem(spending(customer, 100)).await.unwrap();
    eventually("the service sees that there is nothing left", async || {
        restrict(&subjects, customer, false).await.blockers.is_empty()
    })
    .await;
    let entries = loyalty.kit.table("entry").await;
    let message = EraseSubjectRequest { customer: name(customer), ..Default::default() };
    subjects.clone().erase_subject(coordinator(message)).await.unwrap();
    assert_eq!(
        loyalty.kit.table("entry").await,
        entries,
        "the ledger knows names and points, and keeps them"
    );
    let late = loyalty.earn(earning(customer, compensation(5))).await;
    refused(late, Code::FailedPrecondition, "CUSTOMER_ERASED");
    let types = loyalty.kit.events.next_types().await;
    assert_eq!(types, ["SubjectRestricted", "PointsRedeemed", "SubjectRestricted", "SubjectErased"]);
}

#[tokio::test]
async fn who_gives_their_points_up_waits_for_nothing_and_nobody_new_becomes_a_member() {
    let mut loyalty = Loyalty::start().await;
    let subjects = SubjectServiceClient::new(loyalty.kit.channel.clone());
    let (customer, stranger) = (Uuid::now_v7(), Uuid::now_v7());
    loyalty.given(customer, 100).await;
    assert!(restrict(&subjects, customer, true).await.blockers.is_empty());
    assert!(restrict(&subjects, stranger, false).await.blockers.is_empty());
    let late = loyalty.earn(earning(stranger, compensation(5))).await;
    refused(late, Code::FailedPrecondition, "CUSTOMER_RESTRICTED");
    assert_eq!(loyalty.kit.table("member").await.len(), 1);
    assert_eq!(loyalty.kit.events.next_types().await, ["SubjectRestricted", "SubjectRestricted"]);
}
