//! Random interleavings of writers, sequencers and crashes: nothing lost, doubled, or reordered within an
//! aggregate.

use std::collections::BTreeMap;

use cqm_db::Db;
use cqm_db::log::{self, Sequencer, feed};
use cqm_rpc::{Error, TraceContext, reason};
use diesel::sql_types::{BigInt, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use proptest::prelude::*;
use uuid::Uuid;

use crate::log::event;
use crate::{call, database};

const AGGREGATES: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A writer bumps an aggregate and commits.
    Write(usize),
    /// A writer does the same and its transaction ends in an error.
    Fail(usize),
    /// A writer's future is dropped somewhere inside its transaction: a crash as Postgres sees it.
    Crash(usize),
    /// A sequencer takes its turn.
    Sequence,
    /// A sequencer is dropped inside its turn.
    SequenceCrash,
}

fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let step = prop_oneof![
        5 => (0..AGGREGATES).prop_map(Step::Write),
        1 => (0..AGGREGATES).prop_map(Step::Fail),
        1 => (0..AGGREGATES).prop_map(Step::Crash),
        3 => Just(Step::Sequence),
        1 => Just(Step::SequenceCrash),
    ];
    // Each inner list is one client; they run side by side.
    prop::collection::vec(prop::collection::vec(step, 1..10), 1..4)
}

#[derive(diesel::QueryableByName)]
struct Bumped {
    #[diesel(sql_type = BigInt)]
    value: i64,
}

async fn write(db: &Db, id: Uuid, then: Result<(), Error>) -> Result<i64, Error> {
    let trace = TraceContext::fresh(false);
    let fails = then.is_err();
    db.tx(&call(), "write", async |tx| {
        let sql = "UPDATE counter SET value = value + 1 WHERE id = $1 RETURNING value";
        let bumped: Bumped = diesel::sql_query(sql).bind::<SqlUuid, _>(id).get_result(tx).await?;
        log::append(tx, &trace, &[event(&id.to_string(), bumped.value)]).await?;
        if fails { Err(Error::refused(reason::QUOTA)) } else { Ok(bumped.value) }
    })
    .await
}

/// Lets a future run for a few polls and drops it.
async fn cut(work: impl Future<Output = ()>) {
    let mut work = std::pin::pin!(work);
    for _ in 0..3 {
        tokio::select! {
            biased;
            () = &mut work => return,
            () = tokio::task::yield_now() => {}
        }
    }
}

async fn run(plan: Vec<Vec<Step>>) {
    let db = database().await;
    let ids: Vec<Uuid> = (0..AGGREGATES).map(|_| Uuid::now_v7()).collect();
    for id in &ids {
        db.tx(&call(), "seed", async |tx| -> Result<(), Error> {
            diesel::sql_query("INSERT INTO counter VALUES ($1, 0)")
                .bind::<SqlUuid, _>(id)
                .execute(tx)
                .await?;
            Ok(())
        })
        .await
        .unwrap();
    }
    let client = async |steps: Vec<Step>| {
        let mut acknowledged = Vec::new();
        for step in steps {
            match step {
                Step::Write(index) => {
                    acknowledged.push((ids[index], write(&db, ids[index], Ok(())).await.unwrap()))
                }
                Step::Fail(index) => {
                    write(&db, ids[index], Err(Error::refused(reason::QUOTA))).await.unwrap_err();
                }
                Step::Crash(index) => {
                    cut(async {
                        let _ = write(&db, ids[index], Ok(())).await;
                    })
                    .await;
                }
                Step::Sequence => {
                    Sequencer::turn(&db, &call()).await.unwrap();
                }
                Step::SequenceCrash => {
                    cut(async {
                        let _ = Sequencer::turn(&db, &call()).await;
                    })
                    .await;
                }
            }
        }
        acknowledged
    };
    let acknowledged: Vec<(Uuid, i64)> =
        futures::future::join_all(plan.into_iter().map(client)).await.into_iter().flatten().collect();

    // What is still pending belongs to the log as well, once the last sequencer has run. A crashed connection's
    // lock may outlive it for a moment.
    let give_up = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while db.read(&call(), "pending", async |conn| feed::pending(conn).await).await.unwrap() > 0 {
        assert!(std::time::Instant::now() < give_up, "events stay pending");
        Sequencer::turn(&db, &call()).await.unwrap();
    }
    let events =
        db.read(&call(), "all", async |conn| feed::read(conn, 0, &[], 1000).await).await.unwrap().events;
    let positions: Vec<i64> = events.iter().map(|e| e.position).collect();
    assert_eq!(positions, (1..=events.len() as i64).collect::<Vec<_>>(), "contiguous");
    let mut versions: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for event in &events {
        versions.entry(&event.aggregate).or_default().push(event.aggregate_version);
    }
    for (aggregate, versions) in &versions {
        let expected: Vec<i64> = (1..=versions.len() as i64).collect();
        assert_eq!(versions, &expected, "{aggregate} in order, nothing lost or doubled");
    }
    for (id, version) in acknowledged {
        let count = versions.get(id.to_string().as_str()).map_or(0, Vec::len) as i64;
        assert!(version <= count, "an acknowledged write is in the log");
    }
    let verified = db.read(&call(), "verify", async |conn| log::verify(conn).await).await.unwrap();
    assert_eq!(verified, events.len() as i64);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn no_interleaving_loses_doubles_or_reorders_an_event(plan in steps()) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run(plan));
    }
}
