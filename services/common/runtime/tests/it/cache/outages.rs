//! A Redis that lost what it had, that hangs, or that is not there.

use std::time::{Duration, Instant};

use cqm_runtime::cache::{Cache, CacheConfig};
use cqm_testkit::eventually;

use super::suite::{KIND, Suite, Table, redis, version};
use cqm_testkit::Door;

#[tokio::test]
async fn a_wiped_redis_costs_a_read() {
    let (suite, table) = (Suite::new(), Table::default());
    let (here, there) = (suite.replica().await, suite.replica().await);
    assert_eq!(version(&here, "1", None, 1, &table).await, 1);
    for key in suite.keys().await {
        redis::cmd("DEL").arg(key).exec_async(&mut redis().await).await.unwrap();
    }
    assert_eq!(version(&there, "1", None, 1, &table).await, 1);
    assert_eq!(table.reads(), 2);
}

#[tokio::test]
async fn a_value_that_does_not_open_counts_as_absent() {
    let (suite, table) = (Suite::new(), Table::default());
    assert_eq!(version(&suite.replica().await, "1", None, 1, &table).await, 1);
    let other_key = Some("AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=".into());
    let stranger = suite.replica_with(CacheConfig { key: other_key, ..suite.config() }).await;
    assert_eq!(version(&stranger, "1", None, 1, &table).await, 1);
    assert_eq!(table.reads(), 2);
}

#[tokio::test]
async fn a_tombstone_lost_in_an_outage_is_written_before_redis_is_read_again() {
    let (suite, table) = (Suite::new(), Table::default());
    let door = Door::to_redis().await;
    let redis_url = Some(format!("redis://{}", door.address()).into());
    let cache = suite.replica_with(CacheConfig { redis_url, ..suite.config() }).await;
    assert_eq!(version(&cache, "1", None, 1, &table).await, 1);
    let other = suite.replica().await;

    door.close();
    // Nothing fails; the row that was written is never served old here, however short its time in the process.
    cache.wrote(KIND, "1", 2).await;
    assert_eq!(version(&cache, "1", None, 2, &table).await, 2);
    assert!(!cache.uses_redis());
    // The other replica cannot know, within the life of the entry in Redis.
    assert_eq!(version(&other, "1", None, 2, &table).await, 1);

    door.reopen();
    eventually("redis is in use again", async || cache.uses_redis()).await;
    assert_eq!(suite.value("1").await.as_deref(), Some(&b"TOMBSTONE:2"[..]));
    assert_eq!(version(&suite.replica().await, "1", None, 2, &table).await, 2);
}

#[tokio::test]
async fn a_redis_that_hangs_is_left_alone_until_it_answers() {
    let (suite, table) = (Suite::new(), Table::default());
    let door = Door::to_redis().await;
    let config = CacheConfig {
        redis_url: Some(format!("redis://{}", door.address()).into()),
        budget: Duration::from_millis(20),
        ..suite.config()
    };
    let cache = suite.replica_with(config).await;
    door.freeze();
    let started = Instant::now();
    for id in 0..100 {
        assert_eq!(version(&cache, &id.to_string(), None, 1, &table).await, 1);
    }
    assert_eq!(table.reads(), 100);
    assert!(!cache.uses_redis());
    // A hundred reads, each with a lookup and a fill, at 20 ms would be 4 s.
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    door.reopen();
    eventually("redis is in use again", async || cache.uses_redis()).await;
}

#[tokio::test]
async fn starting_needs_no_redis() {
    let (suite, table) = (Suite::new(), Table::default());
    let door = Door::to_redis().await;
    door.close();
    let cache = Cache::new(
        &CacheConfig { redis_url: Some(format!("redis://{}", door.address()).into()), ..suite.config() },
        &suite.service,
    );
    let cache = cache.unwrap();
    assert!(cache.check().await.is_err());
    assert_eq!(version(&cache, "1", None, 1, &table).await, 1);
    door.reopen();
    eventually("redis is in use", async || cache.uses_redis()).await;
    cache.check().await.unwrap();
}
