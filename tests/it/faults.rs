//! kill -9, wiped caches, a crashed database: what was acknowledged is there once, and every reaction has
//! happened once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cqm_tests::customer::{Callers, Life, Person, live};
use cqm_tests::{Bearer, Cluster, SERVICES, channel, parked, settled};
use futures::future::join_all;
use rand::seq::IndexedRandom;

/// Clients that write side by side.
const CLIENTS: usize = 4;
/// Between two faults: long enough that processes come up and do something, short enough to hit them at it.
const PAUSE: Duration = Duration::from_millis(700);

fn callers(cluster: &Cluster) -> Callers {
    Callers {
        staff: Bearer::caller(cluster.address(), &cluster.token("service_manager")),
        internal: Bearer::caller(cluster.address(), &cluster.token("internal_service")),
        stranger: channel(cluster.address()),
    }
}

async fn check_all(callers: &Callers, lives: &[Life]) {
    settled(&callers.staff).await;
    assert!(parked(&callers.staff).await.is_empty(), "nothing is set aside");
    let started = Instant::now();
    for life in lives {
        while !life.is_told(callers).await {
            assert!(started.elapsed() < Duration::from_secs(120), "{} is not told everything", life.customer);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    settled(&callers.staff).await;
    for life in lives {
        life.check(callers).await;
    }
}

/// The rows that a reaction leaves, by service: what a replay must not change.
fn rows(cluster: &Cluster) -> Vec<String> {
    SERVICES
        .iter()
        .map(|(_, database)| {
            let sql = "SELECT string_agg(format('%s=%s', c.relname,
                           (xpath('/row/n/text()', query_to_xml(format('SELECT count(*) AS n FROM %I', c.relname), false, true, '')))[1]),
                           ' ' ORDER BY c.relname)
                       FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                       WHERE n.nspname = 'public' AND c.relkind = 'r'";
            format!("{database}: {} head {}", cluster.postgres.sql(database, sql).trim(),
                cluster.postgres.sql(database, "SELECT position FROM event_head").trim())
        })
        .collect()
}

/// `CQM_TEST_KILLS` makes it longer.
#[tokio::test(flavor = "multi_thread")]
async fn killed_processes_lose_nothing_and_double_nothing() {
    let kills: usize = std::env::var("CQM_TEST_KILLS").map_or(50, |text| text.parse().unwrap());
    let mut cluster = Cluster::start();
    let callers = callers(&cluster);
    // Everything has come up once before it is torn down.
    let mut lives = vec![live(&callers, &Person::anybody(), false).await];

    let over = Arc::new(AtomicBool::new(false));
    let clients = (0..CLIENTS).map(|client| {
        let (callers, over) = (callers.clone(), Arc::clone(&over));
        let client = async move {
            let mut lives = Vec::new();
            while !over.load(Ordering::Relaxed) {
                lives
                    .push(live(&callers, &Person::anybody(), (client + lives.len()).is_multiple_of(3)).await);
            }
            lives
        };
        cqm_runtime::tasks::detached(client)
    });
    let clients: Vec<_> = clients.collect();

    let names = cluster.names();
    for fault in 1..=kills {
        tokio::time::sleep(PAUSE).await;
        let ended = cluster.ended();
        assert!(ended.is_empty(), "a process ended by itself: {ended:?}");
        let name = names.choose(&mut rand::rng()).unwrap();
        eprintln!("fault {fault} of {kills}: kill -9 {name}");
        tokio::task::block_in_place(|| {
            cluster.kill_and_restart(name);
            if fault % 10 == 5 {
                eprintln!("  and Redis is wiped");
                cluster.redis.kill_and_restart();
            }
            if fault % 20 == 10 {
                eprintln!("  and Postgres crashes");
                cluster.postgres.crash_and_restart();
            }
        });
    }
    over.store(true, Ordering::Relaxed);
    for client in join_all(clients).await {
        lives.extend(client.unwrap());
    }
    eprintln!("{} customers lived through {kills} kills", lives.len());
    check_all(&callers, &lives).await;
    for (_, database) in SERVICES {
        let twice = "SELECT count(*) FROM (SELECT FROM event_log GROUP BY aggregate, aggregate_version HAVING count(*) > 1) t";
        assert_eq!(cluster.postgres.sql(database, twice).trim(), "0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replaying_every_feed_from_position_0_changes_nothing() {
    let mut cluster = Cluster::start();
    let callers = callers(&cluster);
    let people = [(Person::anybody(), false), (Person::anybody(), true)];
    let lives = join_all(people.iter().map(|(person, mood)| live(&callers, person, *mood))).await;
    check_all(&callers, &lives).await;
    let before = rows(&cluster);
    tokio::task::block_in_place(|| {
        cluster.without_coordinators(|cluster| {
            for (_, database) in SERVICES {
                let moved = cluster.postgres.sql(
                    database,
                    "UPDATE event_ack SET position = 0, hash = '', lease_time = 'epoch' WHERE consumer = 'coordinator'
                     RETURNING consumer",
                );
                assert_eq!(moved.trim(), "coordinator", "{database} was read");
            }
        });
    });
    check_all(&callers, &lives).await;
    assert_eq!(rows(&cluster), before);
}
