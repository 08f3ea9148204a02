//! A customer is to be forgotten: they use up their points, get no more, and the ledger stays as it is.

use cqm_proto::events::v1 as events;
use cqm_proto::loyalty::v1::Reward;
use cqm_proto::loyalty::v1::voucher::State;
use cqm_proto::subjects::v1::subject_service_client::SubjectServiceClient;
use cqm_proto::subjects::v1::{EraseSubjectRequest, RestrictSubjectRequest, Subject};
use cqm_testkit::{Line, coordinator, eventually, refused};
use prost::Message;
use tonic::Code;
use uuid::Uuid;

use crate::audit::{audit, execute};
use crate::reversals::reversing;
use crate::rewards::{gift, taking};
use crate::vouchers::consuming;
use crate::{Loyalty, compensation, earning, name, ours, spending};

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

#[tokio::test]
async fn points_that_come_back_after_a_clean_answer_are_told() {
    let mut loyalty = Loyalty::start().await;
    let subjects = SubjectServiceClient::new(loyalty.kit.channel.clone());
    let customer = Uuid::now_v7();
    loyalty.given(customer, 100).await;
    let spent = loyalty.redeem(spending(customer, 100)).await.unwrap().entries[0].transaction.clone();
    assert!(restrict(&subjects, customer, false).await.blockers.is_empty());
    loyalty.reverse(reversing(&spent, None)).await.unwrap();
    eventually("the service sees the points", async || {
        restrict(&subjects, customer, false).await.blockers == ["UNREDEEMED_POINTS"]
    })
    .await;
    let types = loyalty.kit.events.next_types().await;
    assert_eq!(types, ["PointsRedeemed", "SubjectRestricted", "SpendingReversed", "SubjectRestricted"]);
}

#[tokio::test]
async fn who_gives_points_back_is_waited_for_before_it_is_said_that_nothing_stands_in_the_way() {
    let mut loyalty = Loyalty::start().await;
    let subjects = SubjectServiceClient::new(loyalty.kit.channel.clone());
    let customer = Uuid::now_v7();
    loyalty.given(customer, 100).await;
    loyalty.redeem(spending(customer, 100)).await.unwrap();
    // They have read that the customer is nobody who is to be forgotten, and are about to commit.
    let returning = format!(
        "BEGIN;
         UPDATE member SET available = available + 5, redeemed = redeemed - 5 WHERE customer_id = '{customer}';
         SELECT pg_sleep(0.3);
         COMMIT"
    );
    let asleep = format!(
        "SELECT to_jsonb(pid)::text AS row FROM pg_stat_activity
         WHERE wait_event = 'PgSleep' AND query LIKE '%{customer}%'"
    );
    let asked = async {
        eventually("the row is locked", async || !loyalty.kit.rows(&asleep).await.is_empty()).await;
        restrict(&subjects, customer, false).await
    };
    let (returned, answer) = tokio::join!(execute(&loyalty.kit.db, &returning), asked);
    returned.unwrap();
    assert_eq!(answer.blockers, ["UNREDEEMED_POINTS"]);
    loyalty.kit.events.next().await;
}

#[tokio::test]
async fn vouchers_that_were_given_up_end_with_the_erasure() {
    let mut loyalty = Loyalty::start().await;
    let subjects = SubjectServiceClient::new(loyalty.kit.channel.clone());
    let customer = Uuid::now_v7();
    let reward = loyalty.offer(Reward { stock: Some(2), ..gift(60) }).await;
    loyalty.given(customer, 120).await;
    let used = loyalty.send(taking(customer, &reward)).await.unwrap();
    let left = loyalty.send(taking(customer, &reward)).await.unwrap();
    assert!(restrict(&subjects, customer, true).await.blockers.is_empty());
    // Until then they are the customer's to use.
    loyalty.consume(consuming(&used.code)).await.unwrap();
    let entries = loyalty.kit.table("entry").await;
    loyalty.kit.events.next().await;

    let message = EraseSubjectRequest { customer: name(customer), ..Default::default() };
    subjects.clone().erase_subject(coordinator(message)).await.unwrap();
    let late = loyalty.consume(consuming(&left.code)).await;
    assert_eq!(ours(late, Code::FailedPrecondition, "VOUCHER_STATE").facts["state"], "CANCELLED");
    assert_eq!(loyalty.validate(&left.code).await.unwrap().voucher.unwrap().state(), State::Cancelled);
    assert_eq!(loyalty.kit.table("reward_stock").await[0]["taken"], 1, "its piece is there again");
    assert_eq!(loyalty.kit.table("entry").await, entries, "its points are not");
    let told = loyalty.kit.events.next().await;
    let types: Vec<&str> = told.iter().filter_map(|event| event.event_type.rsplit('.').next()).collect();
    assert_eq!(types, ["VoucherCancelled", "SubjectErased"]);
    let cancelled = events::VoucherCancelled::decode(told[0].payload.as_slice()).unwrap();
    assert_eq!((cancelled.voucher, cancelled.points), (left.voucher.unwrap().name, 0));
    assert_eq!(events::SubjectErased::decode(told[1].payload.as_slice()).unwrap().erased["vouchers"], 1);
    audit(&loyalty.kit.db).await.unwrap();
}
