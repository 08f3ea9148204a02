//! The level in Redis, which may be slow, full, wiped or gone at any moment.

mod lost;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, Cmd, FromRedisValue, RedisError};
use secrecy::ExposeSecret;

use super::level::Found;
use super::metrics::Metrics;
use super::seal::Seal;
use super::{CacheConfig, TOMBSTONE_TTL};
use crate::config::ConfigError;
use crate::tasks::{self, Backoff, jittered};
use lost::Lost;

/// Failures in a row after which Redis is left alone.
const FAILURES: u32 = 5;
/// For connecting and for what is said before the first read: nobody waits for these.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const TOMBSTONE: &[u8] = b"TOMBSTONE:";

/// One runtime's connection to Redis, and what all runtimes of the process share.
pub(super) struct Remote {
    shared: Arc<Shared>,
    link: Mutex<Link>,
    failures: AtomicU32,
}

struct Shared {
    client: Client,
    seal: Seal,
    prefix: String,
    ttl: Duration,
    budget: Duration,
    lost: Lost,
    metrics: Metrics,
}

enum Link {
    /// Nobody has asked yet.
    Idle,
    /// A task in the background tries until it succeeds; nobody uses Redis meanwhile.
    Connecting,
    Up(ConnectionManager),
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
        // The error is not shown: it may repeat the address, and with it a password.
        let client = Client::open(url.expose_secret()).map_err(|_| {
            ConfigError::refused("cache.redis_url", "is not an address of Redis that is supported")
        })?;
        Ok(Some(Self::with(Arc::new(Shared {
            client,
            seal: Seal::new(key)?,
            prefix: format!("cqm:{service}:"),
            ttl: config.redis_ttl,
            budget: config.budget,
            lost: Lost::default(),
            metrics,
        }))))
    }

    /// The same Redis for another runtime.
    pub(super) fn sibling(&self) -> Self {
        Self::with(self.shared.clone())
    }

    fn with(shared: Arc<Shared>) -> Self {
        Self { shared, link: Mutex::new(Link::Idle), failures: AtomicU32::new(0) }
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(*self.link(), Link::Up(_))
    }

    /// Below this version a row in Redis is known to be old: its tombstone has not arrived.
    pub(super) fn floor(&self, key: &str) -> i64 {
        self.shared.lost.version(key)
    }

    /// What Redis holds, if it can be used, and what to count it as.
    pub(super) async fn read(self: &Arc<Self>, key: &str) -> (Option<Found>, &'static str) {
        let key = self.key(key);
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
    pub(super) async fn fill(self: &Arc<Self>, key: &str, version: i64, message: &[u8]) {
        let key = self.key(key);
        let value = self.shared.seal.close(&key, version, message);
        let ttl = millis(jittered(self.shared.ttl));
        let set = redis::cmd("SET").arg(&key).arg(value).arg("NX").arg("PX").arg(ttl).clone();
        self.run::<Option<String>>(&set).await;
    }

    /// Replaces a row by a tombstone. One that does not arrive is remembered, and Redis is not read from until
    /// it has arrived.
    pub(super) async fn bury(self: &Arc<Self>, key: &str, version: i64) {
        let set = bury_command(&self.key(key), version);
        if self.run::<()>(&set).await.is_none() {
            self.shared.lost.remember(key, version);
            self.switch_off("a tombstone did not arrive");
        }
    }

    /// One command within the budget; `None` when Redis cannot be used.
    async fn run<T: FromRedisValue>(self: &Arc<Self>, command: &Cmd) -> Option<T> {
        let Some(mut connection) = self.connection() else {
            self.connect_in_background();
            return None;
        };
        let problem =
            match tokio::time::timeout(self.shared.budget, command.query_async(&mut connection)).await {
                Ok(Ok(answer)) => {
                    self.failures.store(0, Ordering::Relaxed);
                    return Some(answer);
                }
                Ok(Err(error)) => error.category().to_owned(),
                Err(_) => "no answer within the budget".to_owned(),
            };
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES {
            self.switch_off(&problem);
        }
        None
    }

    fn switch_off(self: &Arc<Self>, problem: &str) {
        let was_up = {
            let mut link = self.link();
            // The connection goes too: to a host that vanished it would stay open and silent.
            let was_up = matches!(*link, Link::Up(_));
            if was_up {
                *link = Link::Idle;
            }
            was_up
        };
        if was_up {
            self.shared.metrics.switched_off();
            tracing::warn!(problem, "redis switched off, reads go to postgres");
        }
        self.connect_in_background();
    }

    /// Connects on a task of the current runtime, however long it takes. Does nothing while one is at it.
    pub(super) fn connect_in_background(self: &Arc<Self>) {
        let mut link = self.link();
        if matches!(*link, Link::Idle) {
            *link = Link::Connecting;
            tasks::detached(connect_until_it_works(Arc::downgrade(self)));
        }
    }

    pub(super) async fn check(&self) -> Result<(), RedisError> {
        self.connect().await.map(drop)
    }

    /// A connection that has answered.
    async fn connect(&self) -> Result<ConnectionManager, RedisError> {
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(CONNECT_TIMEOUT))
            // The breaker is the backoff: a manager that waits between tries would hold callers up.
            .set_number_of_retries(0)
            .set_pipeline_buffer_size(1024);
        let mut connection = ConnectionManager::new_with_config(self.shared.client.clone(), config).await?;
        redis::cmd("PING").exec_async(&mut connection).await?;
        Ok(connection)
    }

    /// Writes the tombstones that did not arrive.
    async fn bury_the_lost(&self, connection: &mut ConnectionManager) -> Result<(), RedisError> {
        for batch in self.shared.lost.all().chunks(500) {
            let mut pipeline = redis::pipe();
            for (key, version) in batch {
                pipeline.add_command(bury_command(&self.key(key), *version)).ignore();
            }
            pipeline.exec_async(connection).await?;
            self.shared.lost.forget(batch);
        }
        Ok(())
    }

    fn connection(&self) -> Option<ConnectionManager> {
        match &*self.link() {
            Link::Up(connection) => Some(connection.clone()),
            _ => None,
        }
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.shared.prefix)
    }
}

/// By hand: the client would print the password of its address.
impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("prefix", &self.shared.prefix).field("is_up", &self.is_up()).finish()
    }
}

/// Weak: the task ends with its cache.
async fn connect_until_it_works(remote: Weak<Remote>) {
    let mut backoff = Backoff::default();
    let mut said = false;
    while let Some(remote) = remote.upgrade() {
        let connected = async {
            let mut connection = remote.connect().await?;
            remote.bury_the_lost(&mut connection).await?;
            Ok::<_, RedisError>(connection)
        };
        match connected.await {
            Ok(connection) => {
                // A tombstone lost from here on switches the link off again, whoever loses it.
                remote.failures.store(0, Ordering::Relaxed);
                *remote.link() = Link::Up(connection);
                tracing::info!(tombstones_forgotten = remote.shared.lost.take_overflow(), "redis in use");
                return;
            }
            Err(error) if !said => {
                said = true;
                tracing::warn!(problem = error.category(), "redis cannot be reached, reads go to postgres");
            }
            Err(_) => {}
        }
        drop(remote);
        tokio::time::sleep(backoff.next_delay()).await;
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
