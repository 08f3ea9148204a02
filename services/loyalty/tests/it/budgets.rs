//! Budgets of rules and programmes: never overrun, used up to the last award, and no lock that all customers share.

use std::sync::atomic::{AtomicBool, Ordering};

use cqm_proto::loyalty::v1::earning_rule::Trigger;
use cqm_runtime::process;
use cqm_testkit::settings;
use diesel_async::SimpleAsyncConnection;
use futures::StreamExt;
use futures::stream;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::*;
use crate::audit::audit;
use crate::programmes::{fixed, plain};

/// Calls under way at a time.
const CALLERS: usize = 24;

fn answered(customer: Uuid) -> proto::EarnPointsRequest {
    proto::EarnPointsRequest {
        source: format!("responses/{}", Uuid::now_v7()),
        ..earning(customer, Basis::Survey(proto::SurveyBasis {}))
    }
}

fn id(name: &str) -> &str {
    name.split_once('/').expect("a resource name").1
}

impl Loyalty {
    /// Points that a rule has given, as the ledger says.
    async fn given_by(&self, rule: &str) -> i64 {
        let query = format!(
            "SELECT coalesce(sum(points), 0)::text AS row FROM entry WHERE rule_id = '{}' AND debit = 'programme:issued'",
            id(rule)
        );
        self.kit.rows(&query).await[0].as_i64().expect("a sum")
    }

    /// What is left of a budget and what was given of it by these rules, at one moment.
    async fn at_one_moment(&self, budget: &str, rules: &[&str]) -> (i64, i64) {
        let rules: Vec<_> = rules.iter().map(|rule| format!("'{}'", id(rule))).collect();
        let query = format!(
            "SELECT jsonb_build_array(
                 (SELECT sum(remaining) FROM budget_slice WHERE budget_id = '{}'),
                 (SELECT coalesce(sum(points), 0) FROM entry
                  WHERE rule_id IN ({}) AND debit = 'programme:issued'))::text AS row",
            id(budget),
            rules.join(", ")
        );
        let row = self.kit.rows(&query).await.remove(0);
        (row[0].as_i64().expect("a budget"), row[1].as_i64().expect("a sum"))
    }
}

#[tokio::test]
async fn concurrent_earns_on_two_replicas_reach_every_budget_exactly_and_overrun_none() {
    let mut loyalty = Loyalty::start().await;
    let stop = CancellationToken::new();
    let replica = settings::<App>(loyalty.kit.database(), RULES);
    let mut replica = process::start::<App>(replica, loyalty.kit.clock.clone(), stop.clone()).await.unwrap();
    replica.ready().await;
    let elsewhere = loyalty.kit.line(replica.address()).await;
    let replicas = [loyalty.ledger.clone(), LedgerServiceClient::new(elsewhere)];

    // 10 points by each rule: the first ends after 40 awards, the programme after 60 more of the second.
    let programme = loyalty.programme(proto::Programme { budget: 1_400, ..plain() }).await;
    let first = proto::EarningRule { budget: 400, ..fixed(&programme, Trigger::SurveyAnswered, 10) };
    let first = loyalty.rule(first).await;
    let second = loyalty.rule(fixed(&programme, Trigger::SurveyAnswered, 10)).await;
    // And one whose budget does not come out even.
    let other = loyalty.programme(plain()).await;
    let odd = proto::EarningRule { budget: 95, ..fixed(&other, Trigger::SurveyAnswered, 10) };
    let odd = loyalty.rule(odd).await;

    let customers: Vec<Uuid> = (0..30).map(|_| Uuid::now_v7()).collect();
    let sent: Vec<_> = (0..300).map(|index| answered(customers[index % 30])).collect();
    let done = AtomicBool::new(false);
    let work = async {
        let calls = sent.iter().enumerate().map(|(index, message)| {
            let ledger = &replicas[index % 2];
            async move { persistent(|| earn(ledger, message.clone())).await.unwrap().points }
        });
        let points: Vec<i64> = stream::iter(calls).buffer_unordered(CALLERS).collect().await;
        done.store(true, Ordering::Release);
        points.into_iter().sum::<i64>()
    };
    let loyal = &loyalty;
    let watch = async {
        while !done.load(Ordering::Acquire) {
            let (left, given) = loyal.at_one_moment(&programme, &[&first, &second]).await;
            assert_eq!(left + given, 1_400);
            let (left, given) = loyal.at_one_moment(&first, &[&first]).await;
            assert_eq!(left + given, 400);
        }
    };
    let (points, ()) = tokio::join!(work, watch);

    assert_eq!(loyalty.given_by(&first).await, 400);
    assert_eq!(loyalty.given_by(&second).await, 1_000);
    assert_eq!(loyalty.given_by(&odd).await, 90, "what is left over is too little");
    assert_eq!(loyalty.read_rule(&first).await.unwrap().budget_left, 0);
    assert_eq!(loyalty.read_programme(&programme).await.unwrap().budget_left, 0);
    assert_eq!(loyalty.read_rule(&odd).await.unwrap().budget_left, 5);
    assert_eq!(points, 300 * 50 + 400 + 1_000 + 90, "every caller was told what they got");
    audit(&loyalty.kit.db).await.unwrap();
    loyalty.kit.events.next().await;
    stop.cancel();
    replica.join().await;
}

#[tokio::test]
async fn nobody_waits_for_a_part_of_a_budget_that_somebody_else_has() {
    let mut loyalty = Loyalty::start().await;
    let programme = loyalty.programme(plain()).await;
    let plenty = proto::EarningRule { budget: 16_000, ..fixed(&programme, Trigger::SurveyAnswered, 10) };
    let plenty = loyalty.rule(plenty).await;
    let little = proto::EarningRule { budget: 15, ..fixed(&programme, Trigger::SurveyAnswered, 10) };
    let little = loyalty.rule(little).await;
    // The last of the little one is gone, but for what is less than an award.
    assert_eq!(loyalty.earn(answered(Uuid::now_v7())).await.unwrap().points, 70);
    assert_eq!(loyalty.earn(answered(Uuid::now_v7())).await.unwrap().points, 60);

    let call = cqm_rpc::Call::internal("hold", Duration::from_secs(30));
    let lock = format!(
        "DO $$ BEGIN PERFORM FROM budget_slice
         WHERE (budget_id = '{}' AND slice < 12) OR budget_id = '{}' FOR UPDATE; END $$",
        id(&plenty),
        id(&little)
    );
    let service = &loyalty;
    loyalty
        .kit
        .db
        .tx(&call, "hold", async |tx| {
            tx.batch_execute(&lock).await?;
            for _ in 0..20 {
                assert_eq!(service.earn(answered(Uuid::now_v7())).await.unwrap().points, 60);
            }
            Ok::<_, cqm_rpc::Error>(())
        })
        .await
        .unwrap();
    assert_eq!(loyalty.given_by(&plenty).await, 220);
    assert_eq!(loyalty.given_by(&little).await, 10);
    loyalty.kit.events.next().await;
}

#[tokio::test]
async fn what_is_left_over_many_slices_is_given_and_a_raised_budget_goes_on() {
    let mut loyalty = Loyalty::start().await;
    let programme = loyalty.programme(plain()).await;
    // Sixteen slices of two points.
    let rule = proto::EarningRule { budget: 32, ..fixed(&programme, Trigger::SurveyAnswered, 30) };
    let rule = loyalty.rule(rule).await;
    let mut given = Vec::new();
    for _ in 0..2 {
        given.push(loyalty.earn(answered(Uuid::now_v7())).await.unwrap().points - 50);
    }
    let named = |budget| proto::EarningRule { name: rule.clone(), budget, ..Default::default() };
    let failure =
        ours(loyalty.change_rule(named(29), &["budget"], "").await, Code::FailedPrecondition, "BUDGET_SPENT");
    assert_eq!(failure.facts["spent"], "30");
    let raised = loyalty.change_rule(named(90), &["budget"], "").await.unwrap();
    assert_eq!((raised.budget, raised.budget_left), (90, 60));
    for _ in 0..3 {
        given.push(loyalty.earn(answered(Uuid::now_v7())).await.unwrap().points - 50);
    }
    assert_eq!(given, [30, 0, 30, 30, 0]);
    let lowered = loyalty.change_rule(named(90), &["budget"], "").await.unwrap();
    assert_eq!((lowered.budget_left, lowered.etag), (0, raised.etag), "nothing has changed");
    loyalty.kit.events.next().await;
}

#[tokio::test]
async fn an_earn_that_is_refused_takes_nothing_of_a_budget() {
    let mut loyalty = Loyalty::start().await;
    let programme = loyalty.programme(plain()).await;
    let rule = proto::EarningRule { budget: 100, ..fixed(&programme, Trigger::Purchase, 10) };
    let rule = loyalty.rule(rule).await;
    let (customer, now) = (Uuid::now_v7(), loyalty.kit.clock.now());
    let too_much = earning(customer, purchase(i64::MAX, 0, now));
    ours(loyalty.earn(too_much).await, Code::OutOfRange, "BALANCE_OVERFLOW");
    assert_eq!(loyalty.read_rule(&rule).await.unwrap().budget_left, 100);
    assert_eq!(loyalty.earn(earning(customer, purchase(1, 0, now))).await.unwrap().points, 11);
    assert_eq!(loyalty.read_rule(&rule).await.unwrap().budget_left, 90);
    loyalty.kit.events.next().await;
}
