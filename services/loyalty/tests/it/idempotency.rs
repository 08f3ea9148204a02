//! A request that comes again.

use std::time::Duration;

use futures::future::join_all;
use prost::Message;
use tonic::Code;

use super::*;
use crate::audit::audit;

#[tokio::test]
async fn a_repeated_earn_gets_the_first_answer_byte_for_byte() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    let message = earning(customer, compensation(100));
    let first = loyalty.earn(message.clone()).await.unwrap();
    loyalty.given(customer, 5).await;
    loyalty.kit.clock.advance(Duration::from_secs(3600));
    let again = loyalty.earn(message).await.unwrap();
    assert_eq!(again.encode_to_vec(), first.encode_to_vec());
    assert_eq!(loyalty.kit.events.next().await, []);
    assert_eq!(audit(&loyalty.kit.db).await.unwrap()[&customer].entries, [100, 5]);
}

#[tokio::test]
async fn a_repeated_spend_gets_the_first_answer_byte_for_byte() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    loyalty.given(customer, 100).await;
    let message = spending(customer, 60);
    let first = loyalty.redeem(message.clone()).await.unwrap();
    // Sixty more are not there any more: the repeat is recognised before points are counted.
    let again = loyalty.redeem(message).await.unwrap();
    assert_eq!(again.encode_to_vec(), first.encode_to_vec());
    assert_eq!(loyalty.kit.events.next_types().await, ["PointsRedeemed"]);
    assert_eq!(audit(&loyalty.kit.db).await.unwrap()[&customer].entries, [100, -60]);
}

#[tokio::test]
async fn repeats_at_the_same_time_have_one_effect_and_equal_answers() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    let message = earning(customer, compensation(100));
    let answers = join_all((0..16).map(|_| persistent(|| loyalty.earn(message.clone())))).await;
    let first = answers[0].clone().unwrap();
    for answer in answers {
        assert_eq!(answer.unwrap().encode_to_vec(), first.encode_to_vec());
    }
    assert_eq!(loyalty.kit.events.next_types().await, ["MemberEnrolled", "PointsEarned"]);
    assert_eq!(audit(&loyalty.kit.db).await.unwrap()[&customer].entries, [100]);
}

#[tokio::test]
async fn one_source_reported_by_many_at_the_same_time_gives_points_once() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    let message =
        || proto::EarnPointsRequest { source: "complaints/1".into(), ..earning(customer, compensation(100)) };
    let messages: Vec<_> = (0..16).map(|_| message()).collect();
    let answers = join_all(messages.iter().map(|message| persistent(|| loyalty.earn(message.clone())))).await;
    let entries: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().entry.unwrap().name).collect();
    assert!(entries.iter().all(|entry| *entry == entries[0]), "{entries:?}");
    assert_eq!(loyalty.kit.events.next_types().await, ["MemberEnrolled", "PointsEarned"]);
    assert_eq!(audit(&loyalty.kit.db).await.unwrap()[&customer].entries, [100]);
}

#[tokio::test]
async fn a_request_id_with_another_body_is_refused() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    let message = earning(customer, compensation(100));
    loyalty.earn(message.clone()).await.unwrap();
    loyalty.kit.events.next().await;
    let other = proto::EarnPointsRequest { basis: Some(compensation(101)), ..message.clone() };
    refused(loyalty.earn(other).await, Code::FailedPrecondition, "REQUEST_ID_REUSED");
    // The keys belong to callers: another caller's use of the id is a request of its own.
    let spend = proto::RedeemPointsRequest { request_id: message.request_id, ..spending(customer, 1) };
    assert_eq!(loyalty.redeem(spend.clone()).await.unwrap().account.unwrap().available, 99);
    assert_eq!(loyalty.kit.events.next_types().await, ["PointsRedeemed"]);
    // Another method is another body.
    let freeze = proto::FreezeMemberRequest {
        name: member_name(customer),
        request_id: spend.request_id,
        etag: String::new(),
    };
    let earn = proto::EarnPointsRequest {
        request_id: freeze.request_id.clone(),
        ..earning(customer, compensation(1))
    };
    let mut ledger = loyalty.ledger.clone();
    ledger.earn_points(request(Role::ServiceManager, earn)).await.unwrap();
    assert_eq!(loyalty.kit.events.next_types().await, ["PointsEarned"]);
    refused(
        loyalty.members.freeze_member(request(Role::ServiceManager, freeze)).await,
        Code::FailedPrecondition,
        "REQUEST_ID_REUSED",
    );
}

#[tokio::test]
async fn the_ledger_takes_no_request_without_a_proper_id() {
    let loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    let long_ago = Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, 1_600_000_000, 0));
    for (request_id, code, reason) in [
        (String::new(), Code::InvalidArgument, "REQUEST_ID_REQUIRED"),
        ("not-a-uuid".into(), Code::InvalidArgument, "REQUEST_ID_FORMAT"),
        (long_ago.to_string(), Code::FailedPrecondition, "REQUEST_ID_EXPIRED"),
    ] {
        let earn =
            proto::EarnPointsRequest { request_id: request_id.clone(), ..earning(customer, compensation(1)) };
        refused(loyalty.earn(earn).await, code, reason);
        let spend = proto::RedeemPointsRequest { request_id, ..spending(customer, 1) };
        refused(loyalty.redeem(spend).await, code, reason);
    }
    assert_eq!(loyalty.kit.count("member").await, 0);
}

#[tokio::test]
async fn a_refused_request_is_not_remembered_and_may_come_again() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    loyalty.given(customer, 10).await;
    let message = spending(customer, 15);
    ours(loyalty.redeem(message.clone()).await, Code::FailedPrecondition, "INSUFFICIENT_POINTS");
    loyalty.given(customer, 10).await;
    assert_eq!(loyalty.redeem(message).await.unwrap().account.unwrap().available, 5);
    assert_eq!(loyalty.kit.events.next_types().await, ["PointsRedeemed"]);
}
