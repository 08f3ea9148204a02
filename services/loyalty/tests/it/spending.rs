//! Spending points.

use std::time::Duration;

use cqm_loyalty::domain::book::Book;
use cqm_proto::events::v1 as events;
use cqm_proto::loyalty::v1::entry::{Kind, Reason};
use tonic::Code;

use super::*;
use crate::audit::{audit, execute};

#[tokio::test]
async fn spending_takes_the_oldest_points_and_an_entry_for_each_lot() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    let mut lots = Vec::new();
    for points in [100, 50, 30] {
        lots.push(loyalty.given(customer, points).await.entry.unwrap().lot);
        loyalty.kit.clock.advance(Duration::from_secs(60));
    }
    let answer = loyalty.redeem(spending(customer, 120)).await.unwrap();

    let steps: Vec<_> = answer.entries.iter().map(|e| (e.lot.clone(), e.points, e.balance_after)).collect();
    assert_eq!(steps, [(lots[0].clone(), -100, 80), (lots[1].clone(), -20, 60)]);
    for entry in &answer.entries {
        assert_eq!((entry.kind(), entry.reason()), (Kind::Redeem, Reason::Redemption));
        assert_eq!((entry.source.as_str(), entry.actor.as_str()), ("orders/42", "service_representative"));
    }
    let account = answer.account.unwrap();
    assert_eq!((account.available, account.lifetime_earned, account.lifetime_redeemed), (60, 180, 120));
    assert_eq!((account.entry_count, account.etag.as_str()), (5, "v5"));
    assert_eq!(loyalty.account(customer).await.unwrap(), account);

    let (logged, event) = loyalty.kit.events.only::<events::PointsRedeemed>().await;
    assert_eq!((logged.aggregate, logged.aggregate_version), (member_name(customer), 5));
    assert_eq!(
        event,
        events::PointsRedeemed {
            member: member_name(customer),
            entry: answer.entries[1].name.clone(),
            customer: name(customer),
            points: 120,
            source: "orders/42".into(),
            balance: 60,
            hold: String::new(),
        },
    );
    let ledger = audit(&loyalty.kit.db).await.unwrap();
    assert_eq!(
        ledger[&customer].balances,
        [(Book::Issued, 180), (Book::Redeemed, 120), (Book::Available, 60)].into(),
    );
}

#[tokio::test]
async fn nobody_spends_what_is_not_there() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    let failure = ours(loyalty.redeem(spending(customer, 1)).await, Code::NotFound, "MEMBER_NOT_FOUND");
    assert_eq!(failure.facts["name"], member_name(customer));

    let before = loyalty.given(customer, 99).await.account.unwrap();
    for points in [100, i64::MAX] {
        let failure = ours(
            loyalty.redeem(spending(customer, points)).await,
            Code::FailedPrecondition,
            "INSUFFICIENT_POINTS",
        );
        assert_eq!(failure.facts["available"], "99");
    }
    assert_eq!(loyalty.account(customer).await.unwrap(), before);
    let all = loyalty.redeem(spending(customer, 99)).await.unwrap();
    assert_eq!(all.account.unwrap().available, 0);
    let failure =
        ours(loyalty.redeem(spending(customer, 1)).await, Code::FailedPrecondition, "INSUFFICIENT_POINTS");
    assert_eq!(failure.facts["available"], "0");
    assert_eq!(loyalty.kit.events.next_types().await, ["PointsRedeemed"]);
    audit(&loyalty.kit.db).await.unwrap();
}

#[tokio::test]
async fn a_caller_who_read_an_older_account_is_told_before_points_are_counted() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    let read = loyalty.given(customer, 10).await.account.unwrap();
    loyalty.given(customer, 10).await;
    // Far too many as well: the version is looked at first.
    let stale = proto::RedeemPointsRequest { etag: read.etag, ..spending(customer, 1000) };
    let failure = refused(loyalty.redeem(stale).await, Code::Aborted, "ETAG_MISMATCH");
    assert_eq!(failure.facts["name"], member_name(customer));

    let etag = loyalty.account(customer).await.unwrap().etag;
    let answer = loyalty.redeem(proto::RedeemPointsRequest { etag, ..spending(customer, 15) }).await.unwrap();
    assert_eq!(answer.account.unwrap().available, 5);
    assert_eq!(loyalty.kit.events.next_types().await, ["PointsRedeemed"]);
}

#[tokio::test]
async fn a_spend_over_a_thousand_lots_is_a_few_statements_and_one_over_more_says_how_much_goes_at_once() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    loyalty.given(customer, 1).await;
    // Past the service, so that the test is about one spend and not about thousands of earns.
    let made = "
        INSERT INTO lot (customer_id, id, amount, remaining, held, spent, expired, reversed, pending, earned_at,
                         available_at)
            SELECT customer_id, gen_random_uuid(), 1, 1, 0, 0, 0, 0, false, create_time, create_time
            FROM member, generate_series(1, 1999);
        UPDATE member SET available = 2000, issued = 2000;";
    execute(&loyalty.kit.db, made).await.unwrap();
    let failure =
        ours(loyalty.redeem(spending(customer, 1001)).await, Code::FailedPrecondition, "TOO_MANY_LOTS");
    assert_eq!(failure.facts["points"], "1000");
    let answer = loyalty.redeem(spending(customer, 1000)).await.unwrap();
    assert_eq!(answer.entries.len(), 1000);
    assert_eq!(answer.entries.iter().map(|entry| entry.points).sum::<i64>(), -1000);
    assert_eq!(answer.account.unwrap().available, 1000);
    assert_eq!(loyalty.kit.events.next_types().await, ["PointsRedeemed"]);
}
