//! Many callers at once, over two replicas: the invariants hold at every moment, not only at the end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use cqm_proto::events::v1 as events;
use cqm_runtime::process;
use cqm_testkit::settings;
use futures::StreamExt;
use futures::stream;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use prost::Message;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::*;
use crate::audit::audit;

/// Calls under way at a time: more than the pools have connections.
const CALLERS: usize = 12;

#[derive(Clone, Debug)]
enum Step {
    Earn {
        customer: usize,
        points: i64,
    },
    Redeem {
        customer: usize,
        points: i64,
    },
    Deduct {
        customer: usize,
        points: i64,
    },
    /// A request that was made before, again.
    Repeat {
        back: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let customer = 0..3_usize;
    prop_oneof![
        4 => (customer.clone(), 1..200_i64).prop_map(|(customer, points)| Step::Earn { customer, points }),
        4 => (customer.clone(), 1..150_i64).prop_map(|(customer, points)| Step::Redeem { customer, points }),
        1 => (customer, 1..100_i64).prop_map(|(customer, points)| Step::Deduct { customer, points }),
        1 => (0..10_usize).prop_map(|back| Step::Repeat { back }),
    ]
}

#[derive(Clone, Debug)]
enum Sent {
    Earn(proto::EarnPointsRequest),
    Redeem(proto::RedeemPointsRequest),
}

/// What one request came to: the points that changed, or a refusal for want of points.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Changed(i64),
    Insufficient,
}

impl Sent {
    fn request_id(&self) -> &str {
        match self {
            Self::Earn(message) => &message.request_id,
            Self::Redeem(message) => &message.request_id,
        }
    }

    fn customer(&self) -> Uuid {
        let name = match self {
            Self::Earn(message) => &message.customer,
            Self::Redeem(message) => &message.customer,
        };
        name.trim_start_matches("customers/").parse().expect("a name that this test made")
    }

    async fn send(&self, ledger: &LedgerServiceClient<Line>) -> Outcome {
        let changed = match self {
            Self::Earn(message) => {
                persistent(|| earn(ledger, message.clone())).await.map(|answer| answer.points)
            }
            Self::Redeem(message) => persistent(|| redeem(ledger, message.clone()))
                .await
                .map(|answer| answer.entries.iter().map(|entry| entry.points).sum()),
        };
        match changed {
            Ok(points) => Outcome::Changed(points),
            Err(status) => {
                let reason = Failure::of(&status).reason;
                let expected = ["INSUFFICIENT_POINTS", "MEMBER_NOT_FOUND"].contains(&reason.as_str());
                assert!(expected, "{status:?}");
                Outcome::Insufficient
            }
        }
    }
}

fn requests(steps: Vec<Step>, customers: &[Uuid]) -> Vec<Sent> {
    let mut sent: Vec<Sent> = Vec::new();
    for step in steps {
        sent.push(match step {
            Step::Earn { customer, points } => Sent::Earn(earning(customers[customer], compensation(points))),
            Step::Redeem { customer, points } => Sent::Redeem(spending(customers[customer], points)),
            Step::Deduct { customer, points } => {
                Sent::Earn(earning(customers[customer], adjustment(-points)))
            }
            Step::Repeat { back } => match sent.iter().rev().nth(back) {
                Some(earlier) => earlier.clone(),
                None => continue,
            },
        });
    }
    sent
}

#[tokio::test]
async fn any_interleaving_of_callers_and_replicas_leaves_a_ledger_that_balances() {
    let mut loyalty = Loyalty::start().await;
    let stop = CancellationToken::new();
    let replica = settings::<App>(loyalty.kit.database(), RULES);
    let mut replica = process::start::<App>(replica, loyalty.kit.clock.clone(), stop.clone()).await.unwrap();
    replica.ready().await;
    let elsewhere = loyalty.kit.line(replica.address()).await;
    let replicas = [loyalty.ledger.clone(), LedgerServiceClient::new(elsewhere)];

    // Shrinking would run against other interleavings than the one that failed; the steps are printed instead.
    let mut runner = TestRunner::default();
    for _ in 0..8 {
        let steps = prop::collection::vec(step(), 20..60).new_tree(&mut runner).unwrap().current();
        let customers = [Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7()];
        let sent = requests(steps, &customers);
        run(&mut loyalty, &replicas, &sent).await;
    }
    stop.cancel();
    replica.join().await;
}

async fn run(loyalty: &mut Loyalty, replicas: &[LedgerServiceClient<Line>; 2], sent: &[Sent]) {
    let done = AtomicBool::new(false);
    let work = async {
        let calls = sent
            .iter()
            .enumerate()
            .map(|(index, request)| async move { (request, request.send(&replicas[index % 2]).await) });
        let outcomes: Vec<_> = stream::iter(calls).buffer_unordered(CALLERS).collect().await;
        done.store(true, Ordering::Release);
        outcomes
    };
    let db = loyalty.kit.db.clone();
    let watch = async {
        let mut looks = 0;
        while !done.load(Ordering::Acquire) {
            audit(&db).await.unwrap_or_else(|wrong| panic!("{wrong} while {sent:#?} were on their way"));
            looks += 1;
        }
        looks
    };
    let (outcomes, looks) = tokio::join!(work, watch);
    assert!(looks > 0);

    // Equal requests had equal outcomes, unless they were refused: a refusal is not remembered.
    let mut effects: BTreeMap<&str, (Uuid, i64)> = BTreeMap::new();
    for (request, outcome) in &outcomes {
        let Outcome::Changed(points) = outcome else {
            continue;
        };
        let effect = (request.customer(), *points);
        let known = effects.entry(request.request_id()).or_insert(effect);
        assert_eq!(*known, effect, "{request:?}");
    }

    let ledger = audit(&db).await.unwrap_or_else(|wrong| panic!("{wrong} after {sent:#?}"));
    let log = loyalty.kit.events.next().await;
    for customer in sent.iter().map(Sent::customer) {
        let expected: i64 =
            effects.values().filter(|(who, _)| *who == customer).map(|(_, points)| points).sum();
        let found = ledger.get(&customer).cloned().unwrap_or_default();
        assert_eq!(found.available(), expected, "after {sent:#?}");
        // The events tell the same story: versions without a gap, points that add up.
        let mine: Vec<_> = log.iter().filter(|event| event.aggregate == member_name(customer)).collect();
        let versions: Vec<i64> = mine.iter().map(|event| event.aggregate_version).collect();
        assert_eq!(versions, (1..=found.version).collect::<Vec<_>>());
        assert_eq!(mine.iter().map(|event| told(event)).sum::<i64>(), expected);
    }
}

const TYPE: &str = "a payload of the type that the event names";

fn told(event: &cqm_db::log::LoggedEvent) -> i64 {
    let payload = event.payload.as_slice();
    match event.event_type.as_str() {
        "cqm.events.v1.MemberEnrolled" => 0,
        "cqm.events.v1.PointsEarned" => events::PointsEarned::decode(payload).expect(TYPE).points,
        "cqm.events.v1.PointsRedeemed" => -events::PointsRedeemed::decode(payload).expect(TYPE).points,
        "cqm.events.v1.PointsDeducted" => -events::PointsDeducted::decode(payload).expect(TYPE).points,
        other => panic!("an event that nothing here causes: {other}"),
    }
}

#[tokio::test]
async fn of_many_who_spend_the_last_points_at_once_only_so_many_succeed() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    for points in [25, 25, 50] {
        loyalty.given(customer, points).await;
    }
    // A hundred points, thirty callers who want ten each.
    let sent: Vec<_> = (0..30).map(|_| spending(customer, 10)).collect();
    let ledger = &loyalty.ledger;
    let calls = sent.iter().map(|message| persistent(|| redeem(ledger, message.clone())));
    let outcomes: Vec<_> = stream::iter(calls).buffer_unordered(CALLERS).collect().await;
    let refused: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert_eq!(refused.len(), 20);
    for status in refused {
        let failure = ours(Err::<(), _>(status.clone()), Code::FailedPrecondition, "INSUFFICIENT_POINTS");
        assert_eq!(failure.facts["available"], "0");
    }
    assert_eq!(loyalty.kit.events.next_types().await, ["PointsRedeemed"; 10]);
    assert_eq!(audit(&loyalty.kit.db).await.unwrap()[&customer].available(), 0);
}

#[tokio::test]
async fn customers_do_not_wait_for_each_other() {
    let mut loyalty = Loyalty::start().await;
    let (held, free) = (Uuid::now_v7(), Uuid::now_v7());
    loyalty.given(held, 10).await;
    loyalty.given(free, 10).await;
    let call = cqm_rpc::Call::internal("hold", std::time::Duration::from_secs(30));
    let service = &loyalty;
    // While one member's row is locked, the other's points move, and the locked one's do not.
    loyalty
        .kit
        .db
        .tx(&call, "hold", async |tx| {
            cqm_loyalty::store::lock_member(tx, held).await?;
            assert_eq!(service.redeem(spending(free, 1)).await.unwrap().account.unwrap().available, 9);
            refused(service.redeem(spending(held, 1)).await, Code::Aborted, "TRANSACTION_CONFLICT");
            Ok::<_, cqm_rpc::Error>(())
        })
        .await
        .unwrap();
    assert_eq!(loyalty.redeem(spending(held, 1)).await.unwrap().account.unwrap().available, 9);
    assert_eq!(loyalty.kit.events.next_types().await, ["PointsRedeemed", "PointsRedeemed"]);
    assert_eq!(loyalty.kit.count("entry WHERE kind = 'REDEEM'").await, 2);
}
