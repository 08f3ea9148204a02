//! Replicas of a service over one Redis, and the rows that they cache.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cqm_proto::customers::v1::Customer;
use cqm_rpc::Error;
use cqm_runtime::cache::{Cache, CacheConfig};
use cqm_testkit::{environment, eventually};
use redis::aio::MultiplexedConnection;

pub const KIND: &str = "customer";
const KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

/// One service name per test, so that tests share a Redis without seeing each other.
pub struct Suite {
    pub service: String,
}

impl Suite {
    pub fn new() -> Self {
        Self { service: format!("test-{}", uuid::Uuid::new_v4().simple()) }
    }

    pub fn config(&self) -> CacheConfig {
        CacheConfig {
            redis_url: Some(environment("CQM_TEST_REDIS_URL").into()),
            key: Some(KEY.into()),
            // Two cores run everything at once: a stall of the test machine is no broken Redis.
            budget: Duration::from_secs(5),
            in_process_ttl: Duration::from_secs(60),
            ..CacheConfig::default()
        }
    }

    /// A replica that is connected to Redis.
    pub async fn replica(&self) -> Cache {
        self.replica_with(self.config()).await
    }

    pub async fn replica_with(&self, config: CacheConfig) -> Cache {
        let cache = Cache::new(&config, &self.service).unwrap();
        cache.warm_up();
        eventually("the cache uses redis", async || cache.uses_redis()).await;
        cache
    }

    pub async fn value(&self, id: &str) -> Option<Vec<u8>> {
        let key = format!("cqm:{}:{KIND}:{id}", self.service);
        redis::cmd("GET").arg(key).query_async(&mut redis().await).await.unwrap()
    }

    pub async fn keys(&self) -> Vec<String> {
        let pattern = format!("cqm:{}:*", self.service);
        redis::cmd("KEYS").arg(pattern).query_async(&mut redis().await).await.unwrap()
    }
}

pub async fn redis() -> MultiplexedConnection {
    let client = redis::Client::open(environment("CQM_TEST_REDIS_URL")).unwrap();
    client.get_multiplexed_async_connection().await.expect("the Redis of CQM_TEST_REDIS_URL answers")
}

pub fn customer(name: &str) -> Customer {
    Customer { display_name: name.into(), ..Default::default() }
}

/// A row of Postgres, as far as the cache is concerned, and how often it was read.
#[derive(Clone, Default)]
pub struct Table {
    reads: Arc<AtomicUsize>,
}

impl Table {
    pub async fn read(&self, version: i64) -> Result<Option<(i64, Customer)>, Error> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        Ok(Some((version, customer(&format!("version {version}")))))
    }

    pub async fn read_nothing(&self) -> Result<Option<(i64, Customer)>, Error> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        Ok(None)
    }

    pub fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }
}

pub async fn version(cache: &Cache, id: &str, minimum: Option<i64>, in_postgres: i64, table: &Table) -> i64 {
    let found = cache.get(KIND, id, minimum, table.read(in_postgres)).await.unwrap();
    let (version, row) = found.expect("the row exists");
    assert_eq!(row.display_name, format!("version {version}"));
    version
}
