//! The level in Redis, which may be slow, full, wiped or gone at any moment.

mod lost;

use std::sync::Arc;
use std::time::Duration;

use cqm_rpc::BoxError;
use redis::aio::ConnectionManager;
use redis::{Cmd, FromRedisValue, RedisError};

use super::level::Found;
use super::metrics::Metrics;
use super::seal::Seal;
use super::{CacheConfig, TOMBSTONE_TTL};
use crate::config::ConfigError;
use crate::redis_link::{Address, Link, Purpose};
use crate::tasks::jittered;
use lost::Lost;

const TOMBSTONE: &[u8] = b"TOMBSTONE:";

/// One runtime's connection to Redis, and what all runtimes of the process share.
pub(super) struct Remote {
    shared: Arc<Shared>,
    link: Link<Shared>,
}

struct Shared {
    seal: Seal,
    prefix: String,
    ttl: Duration,
    lost: Lost,
    metrics: Metrics,
}

impl Purpose for Shared {
    const WITHOUT: &'static str = "reads go to postgres";
    const FAILURES: u32 = 5;

    fn switched_off(&self) {
        self.metrics.switched_off();
    }

    /// Writes the tombstones that did not arrive. One that is lost from here on switches the link off again, whoever
    /// loses it.
    async fn connected(&self, connection: &mut ConnectionManager) -> Result<(), RedisError> {
        for batch in self.lost.all().chunks(500) {
            let mut pipeline = redis::pipe();
            for (key, version) in batch {
                pipeline.add_command(bury_command(&self.key(key), *version)).ignore();
            }
            pipeline.exec_async(connection).await?;
            self.lost.forget(batch);
        }
        let forgotten = self.lost.take_overflow();
        if forgotten > 0 {
            tracing::warn!(forgotten, "more tombstones were lost than could be remembered");
        }
        Ok(())
    }
}

impl Shared {
    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }
}

impl Remote {
    pub(super) fn open(
        config: &CacheConfig,
        service: &str,
        metrics: Metrics,
    ) -> Result<Option<Self>, ConfigError> {
        let Some(url) = &config.redis_url else {
            return Ok(None);
        };
        let Some(key) = &config.key else {
            return Err(ConfigError::refused("cache.key", "is required with cache.redis_url"));
        };
        let address = Address::parse("cache.redis_url", url, &config.redis_tls)?;
        let shared = Arc::new(Shared {
            seal: Seal::new(key)?,
            prefix: format!("cqm:{service}:"),
            ttl: config.redis_ttl,
            lost: Lost::default(),
            metrics,
        });
        let link = Link::new(address, config.budget, Arc::clone(&shared));
        Ok(Some(Self { shared, link }))
    }

    /// The same Redis for another runtime.
    pub(super) fn sibling(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), link: self.link.sibling() }
    }

    pub(super) fn is_up(&self) -> bool {
        self.link.is_up()
    }

    /// Below this version a row in Redis is known to be old: its tombstone has not arrived.
    pub(super) fn floor(&self, key: &str) -> i64 {
        self.shared.lost.version(key)
    }

    /// What Redis holds, if it can be used, and what to count it as.
    pub(super) async fn read(&self, key: &str) -> (Option<Found>, &'static str) {
        let key = self.shared.key(key);
        match self.run::<Option<Vec<u8>>>(redis::cmd("GET").arg(&key)).await {
            None => (None, "unreachable"),
            Some(None) => (None, "miss"),
            Some(Some(value)) if value.starts_with(TOMBSTONE) => (None, "tombstone"),
            Some(Some(value)) => match self.shared.seal.open(&key, &value) {
                Some((version, bytes)) => (Some(Found::Row { version, bytes }), "hit"),
                None => (None, "unreadable"),
            },
        }
    }

    /// Fills a row in unless something stands there: a newer row, or the tombstone of a write that the load
    /// of this row did not see.
    pub(super) async fn fill(&self, key: &str, version: i64, message: &[u8]) {
        let key = self.shared.key(key);
        let value = self.shared.seal.close(&key, version, message);
        let ttl = millis(jittered(self.shared.ttl));
        let set = redis::cmd("SET").arg(&key).arg(value).arg("NX").arg("PX").arg(ttl).clone();
        self.run::<Option<String>>(&set).await;
    }

    /// Replaces a row by a tombstone. One that does not arrive is remembered, and Redis is not read from until
    /// it has arrived.
    pub(super) async fn bury(&self, key: &str, version: i64) {
        let set = bury_command(&self.shared.key(key), version);
        if self.run::<()>(&set).await.is_none() {
            self.shared.lost.remember(key, version);
            self.link.switch_off("a tombstone did not arrive");
        }
    }

    pub(super) fn connect_in_background(&self) {
        self.link.connect_in_background();
    }

    pub(super) async fn check(&self) -> Result<(), BoxError> {
        self.link.check().await
    }

    async fn run<T: FromRedisValue>(&self, command: &Cmd) -> Option<T> {
        self.link.run(|mut connection| async move { command.query_async(&mut connection).await }).await
    }
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("prefix", &self.shared.prefix).field("link", &self.link).finish()
    }
}

fn bury_command(key: &str, version: i64) -> Cmd {
    let value = [TOMBSTONE, version.to_string().as_bytes()].concat();
    redis::cmd("SET").arg(key).arg(value).arg("PX").arg(millis(TOMBSTONE_TTL)).clone()
}

/// Never zero, which Redis refuses.
fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1)
}
