//! The cache against a real Redis, near and far.

mod outages;
mod secured;
mod suite;

use std::sync::Arc;
use std::time::Duration;

use cqm_proto::customers::v1::Customer;
use cqm_rpc::{Error, reason};
use cqm_runtime::cache::{Cache, CacheConfig};
use cqm_runtime::tasks::detached;
use cqm_testkit::eventually;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use suite::{KIND, Suite, Table, customer, redis, version};

#[tokio::test]
async fn a_row_is_read_once_and_served_to_all_replicas() {
    let (suite, table) = (Suite::new(), Table::default());
    let (here, there) = (suite.replica().await, suite.replica().await);
    assert_eq!(version(&here, "1", None, 1, &table).await, 1);
    assert_eq!(version(&here, "1", None, 99, &table).await, 1);
    assert_eq!(version(&there, "1", None, 99, &table).await, 1);
    assert_eq!(table.reads(), 1);
}

#[tokio::test]
async fn personal_data_cannot_be_read_in_redis_and_every_key_ends() {
    let (suite, config) = (Suite::new(), CacheConfig::default());
    let cache = suite.replica().await;
    let row = async { Ok(Some((1, customer("Ouyang Planted")))) };
    cache.get(KIND, "1", None, row).await.unwrap();
    cache.wrote(KIND, "2", 7).await;

    let value = suite.value("1").await.expect("the row was filled in");
    let holds = |text: &str| value.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(!holds("Ouyang") && !holds("Planted"));
    assert_eq!(suite.value("2").await.as_deref(), Some(&b"TOMBSTONE:7"[..]));

    let keys = suite.keys().await;
    assert_eq!(keys.len(), 2);
    for key in keys {
        let left: i64 = redis::cmd("PTTL").arg(&key).query_async(&mut redis().await).await.unwrap();
        let bound = if key.ends_with(":2") { Duration::from_secs(10) } else { config.redis_ttl.mul_f64(1.2) };
        assert!(left > 0 && left <= bound.as_millis() as i64, "{key}: {left} ms");
    }
}

#[tokio::test]
async fn a_late_fill_does_not_resurrect_an_old_row() {
    let (suite, table) = (Suite::new(), Table::default());
    let (writer, reader) = (suite.replica().await, suite.replica().await);
    let (go, wait) = oneshot::channel::<()>();
    let started = Arc::new(Notify::new());
    let late = detached({
        let (reader, started) = (reader.clone(), started.clone());
        async move {
            let slow = async {
                started.notify_one();
                wait.await.expect("the test lets it go on");
                Ok(Some((1, customer("version 1"))))
            };
            reader.get(KIND, "1", None, slow).await.unwrap().map(|(version, _)| version)
        }
    });
    started.notified().await;
    writer.wrote(KIND, "1", 2).await;
    go.send(()).unwrap();
    assert_eq!(late.await.unwrap(), Some(1), "it began before the write and may see what was there");

    assert_eq!(suite.value("1").await.as_deref(), Some(&b"TOMBSTONE:2"[..]));
    assert_eq!(version(&suite.replica().await, "1", None, 2, &table).await, 2);
    assert_eq!(version(&writer, "1", None, 2, &table).await, 2);
    assert_eq!(table.reads(), 2);
    assert_eq!(suite.value("1").await.as_deref(), Some(&b"TOMBSTONE:2"[..]), "the tombstone lives its time");
}

#[tokio::test]
async fn a_write_ends_what_the_process_holds_and_what_it_is_loading() {
    let (suite, table) = (Suite::new(), Table::default());
    let cache = suite.replica().await;
    assert_eq!(version(&cache, "1", None, 1, &table).await, 1);
    cache.wrote(KIND, "1", 2).await;
    let (go, wait) = oneshot::channel::<()>();
    let started = Arc::new(Notify::new());
    let late = detached({
        let (cache, started) = (cache.clone(), started.clone());
        async move {
            let slow = async {
                started.notify_one();
                wait.await.expect("the test lets it go on");
                Ok(Some((2, customer("version 2"))))
            };
            cache.get(KIND, "1", None, slow).await.unwrap().map(|(version, _)| version)
        }
    });
    started.notified().await;
    cache.wrote(KIND, "1", 3).await;
    // Does not join the load that began before the write.
    assert_eq!(version(&cache, "1", None, 3, &table).await, 3);
    go.send(()).unwrap();
    assert_eq!(late.await.unwrap(), Some(2));
    assert_eq!(version(&cache, "1", None, 99, &table).await, 3, "the late load replaced nothing");
}

#[tokio::test]
async fn a_caller_who_knows_a_version_never_reads_an_older_one() {
    let (suite, table) = (Suite::new(), Table::default());
    let (here, there) = (suite.replica().await, suite.replica().await);
    assert_eq!(version(&here, "1", None, 1, &table).await, 1);
    // The row is at version 2 now, and its tombstone was lost.
    assert_eq!(version(&there, "1", None, 2, &table).await, 1);
    assert_eq!(version(&there, "1", Some(2), 2, &table).await, 2);
    assert_eq!(version(&here, "1", Some(2), 2, &table).await, 2);
    // Who found the old row in Redis has buried it, or it would come back when the process forgets.
    assert_eq!(version(&suite.replica().await, "1", None, 2, &table).await, 2);
}

#[tokio::test]
async fn many_callers_are_one_read() {
    let (suite, table) = (Suite::new(), Table::default());
    let cache = suite.replica().await;
    let (started, go) = (Arc::new(Notify::new()), CancellationToken::new());
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let (cache, table) = (cache.clone(), table.clone());
            let (started, go) = (started.clone(), go.clone());
            detached(async move {
                let load = async {
                    started.notify_one();
                    go.cancelled().await;
                    table.read(1).await
                };
                cache.get(KIND, "1", None, load).await.unwrap().map(|(version, _)| version)
            })
        })
        .collect();
    // All of them have asked by then: they were spawned first and the leader has waited for Redis.
    started.notified().await;
    go.cancel();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), Some(1));
    }
    assert_eq!(table.reads(), 1);
}

#[tokio::test]
async fn a_reader_who_leaves_does_not_take_the_others_along() {
    let (suite, table) = (Suite::new(), Table::default());
    let cache = suite.replica().await;
    let started = Arc::new(Notify::new());
    let leader = detached({
        let (cache, started) = (cache.clone(), started.clone());
        async move {
            let never = async {
                started.notify_one();
                std::future::pending::<Result<Option<(i64, Customer)>, Error>>().await
            };
            cache.get(KIND, "1", None, never).await.map(drop)
        }
    });
    started.notified().await;
    let follower = detached({
        let (cache, table) = (cache.clone(), table.clone());
        async move { version(&cache, "1", None, 1, &table).await }
    });
    leader.abort();
    assert_eq!(follower.await.unwrap(), 1);
}

#[tokio::test]
async fn an_absent_row_is_remembered_for_a_moment_only() {
    let (suite, table) = (Suite::new(), Table::default());
    let cache = suite.replica().await;
    assert_eq!(cache.get(KIND, "1", None, table.read_nothing()).await.unwrap(), None);
    assert_eq!(cache.get(KIND, "1", None, table.read_nothing()).await.unwrap(), None);
    assert_eq!(table.reads(), 1);
    assert_eq!(suite.keys().await, Vec::<String>::new());
    eventually("the absent row is asked for again", async || {
        cache.get(KIND, "1", None, table.read(1)).await.unwrap().is_some()
    })
    .await;
    // Who has just created it sees it at once.
    assert_eq!(cache.get(KIND, "2", None, table.read_nothing()).await.unwrap(), None);
    cache.wrote(KIND, "2", 1).await;
    assert_eq!(version(&cache, "2", None, 1, &table).await, 1);
}

#[tokio::test]
async fn errors_reach_the_caller_and_are_not_remembered() {
    let (suite, table) = (Suite::new(), Table::default());
    let cache = suite.replica().await;
    let away = async { Err(Error::Unavailable { reason: reason::STORAGE_UNAVAILABLE, source: None }) };
    let error = cache.get::<Customer, _>(KIND, "1", None, away).await.unwrap_err();
    assert_eq!(error.reason(), reason::STORAGE_UNAVAILABLE);
    assert_eq!(version(&cache, "1", None, 1, &table).await, 1);
}

#[tokio::test]
async fn without_redis_the_process_still_remembers() {
    let (suite, table) = (Suite::new(), Table::default());
    let config = CacheConfig { redis_url: None, key: None, ..suite.config() };
    let cache = Cache::new(&config, &suite.service).unwrap();
    assert_eq!(version(&cache, "1", None, 1, &table).await, 1);
    assert_eq!(version(&cache, "1", None, 9, &table).await, 1);
    cache.wrote(KIND, "1", 2).await;
    assert_eq!(version(&cache, "1", None, 2, &table).await, 2);
    cache.check().await.unwrap();
    assert!(!cache.uses_redis());
}

#[tokio::test]
async fn a_shard_on_another_runtime_shares_the_process_and_has_its_own_connection() {
    let (suite, table) = (Suite::new(), Table::default());
    let cache = suite.replica().await;
    assert_eq!(version(&cache, "1", None, 1, &table).await, 1);
    let shard = cache.for_shard();
    assert!(!shard.uses_redis());
    let counted = table.clone();
    let outcome = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let shared = version(&shard, "1", None, 9, &counted).await;
            shard.warm_up();
            eventually("the shard uses redis", async || shard.uses_redis()).await;
            shard.wrote(KIND, "1", 2).await;
            shared
        })
    });
    assert_eq!(outcome.await.unwrap(), 1);
    assert_eq!(version(&cache, "1", None, 2, &table).await, 2);
    assert_eq!(suite.value("1").await.as_deref(), Some(&b"TOMBSTONE:2"[..]));
}
