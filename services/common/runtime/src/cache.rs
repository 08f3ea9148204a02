//! Rows read again and again, kept near: in the process for seconds, in Redis for minutes, always with their
//! row version.
//!
//! ```ignore
//! let found = cache.get("customer", &id, minimum_version, async {
//!     db.read(&call, async |conn| store::find(conn, id).await).await   // Option<(version, message)>
//! }).await?;
//! // after the commit of a change:
//! cache.wrote("customer", &id, version).await;
//! ```
//!
//! **What may be stale, and for how long.** In the process that wrote: nothing, from [`Cache::wrote`] on. In
//! other replicas: up to `in_process_ttl` + 20 %, once the tombstone stands in Redis. When it did not get there,
//! it is remembered and written as soon as Redis answers again, before this process reads from Redis; until then,
//! and for good when the writer dies or Redis loses the tombstone (eviction, failover), others may read the old
//! row for `redis_ttl` + 20 % at most, because entries are filled from Postgres only and nothing extends their
//! life. A caller that passes the version it was given never reads an older one, whatever happened.
//!
//! **Why a late fill cannot resurrect an old row.** In the process: a write detaches the load under way, and
//! a detached load fills nothing. In Redis: a fill is `SET … NX` within five seconds of the start of its
//! load, and the tombstone of a write that the load did not see stands for longer than that.
//!
//! **Nothing fails because of Redis.** An operation has a budget; failures in a row, and any tombstone that did
//! not arrive, switch Redis off until a reconnect in the background succeeded. Meanwhile Postgres answers.
//!
//! Values in Redis are sealed, because they hold personal data; keys hold ids only. Every key has a TTL.

mod config;
mod level;
mod metrics;
mod remote;
mod seal;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cqm_rpc::{BoxError, Error};
use prost::Message;

pub use config::CacheConfig;

use crate::config::ConfigError;
use level::{Entry, Flight, Found, Level, Outcome, Turn};
use metrics::Metrics;
use remote::Remote;

/// How long a tombstone keeps others from filling an old row in.
const TOMBSTONE_TTL: Duration = Duration::from_secs(10);

/// A load that took longer than this fills nothing: a tombstone written meanwhile may be gone again.
const FILL_WINDOW: Duration = Duration::from_secs(5);

/// The cache of one service. Clones share it.
#[derive(Clone, Debug)]
pub struct Cache {
    level: Arc<Level>,
    remote: Option<Arc<Remote>>,
    metrics: Metrics,
}

impl Cache {
    /// `service` separates the services' keys: `cqm:{service}:{kind}:{id}`. Connects to Redis in the
    /// background at the first use, so that starting needs no Redis.
    pub fn new(config: &CacheConfig, service: &str) -> Result<Self, ConfigError> {
        let metrics = Metrics::new();
        Ok(Self {
            level: Arc::new(Level::new(config)),
            remote: Remote::open(config, service, metrics.clone())?.map(Arc::new),
            metrics,
        })
    }

    /// The cache for another runtime of the process: it shares the in-process level and what is remembered
    /// about Redis, and makes a connection of its own, because a connection's tasks live on one runtime.
    pub fn for_shard(&self) -> Self {
        Self { remote: self.remote.as_ref().map(|remote| Arc::new(remote.sibling())), ..self.clone() }
    }

    /// Returns the row with its version, or `None` when there is none. `load` reads Postgres; it runs at most
    /// once, and one load at a time serves all callers of the process.
    ///
    /// With `minimum` no older version is taken from the cache; what `load` returns is served as it is,
    /// because Postgres is the truth.
    pub async fn get<M, L>(
        &self,
        kind: &'static str,
        id: &str,
        minimum: Option<i64>,
        load: L,
    ) -> Result<Option<(i64, M)>, Error>
    where
        M: Message + Default,
        L: Future<Output = Result<Option<(i64, M)>, Error>>,
    {
        let key = format!("{kind}:{id}");
        let minimum = minimum.unwrap_or(0);
        loop {
            if let Some(answer) = self.near(kind, &key, minimum) {
                return Ok(answer);
            }
            match self.level.turn(&key) {
                Turn::Lead(flight) => {
                    // A flight may have landed between the look and the turn.
                    if let Some(answer) = self.near(kind, &key, minimum) {
                        return Ok(answer);
                    }
                    self.metrics.lookup(kind, "process", "miss");
                    return self.fetch(kind, &key, minimum, flight, load).await;
                }
                Turn::Follow(mut flight) => {
                    // An error of the channel is a leader that was cancelled: the next round finds another.
                    let outcome =
                        flight.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
                    match outcome {
                        Some(Outcome::Found(found)) => {
                            if let Some(answer) = found.serve(minimum) {
                                self.metrics.lookup(kind, "process", "shared");
                                return Ok(answer);
                            }
                        }
                        Some(Outcome::Unavailable(reason)) => {
                            return Err(Error::Unavailable { reason, source: None });
                        }
                        // A failure that was the leader's own, such as its deadline.
                        Some(Outcome::Failed) | None => {}
                    }
                }
            }
        }
    }

    /// To be called after the commit of a change, with the row's new version, before the caller is answered.
    /// A row that was deleted takes the version it would have had next. Never fails.
    pub async fn wrote(&self, kind: &'static str, id: &str, version: i64) {
        let key = format!("{kind}:{id}");
        // The process first: a read between the two steps then knows what is too old to take from Redis.
        self.level.bury(&key, version);
        if let Some(remote) = &self.remote {
            remote.bury(&key, version).await;
        }
    }

    /// Whether reads use Redis now. `false` without Redis, before the first connection, and while it is
    /// switched off after failures.
    pub fn uses_redis(&self) -> bool {
        self.remote.as_ref().is_some_and(|remote| remote.is_up())
    }

    /// Starts connecting to Redis now instead of at the first use. Needs a runtime.
    pub fn warm_up(&self) {
        if let Some(remote) = &self.remote {
            remote.connect_in_background();
        }
    }

    /// Asks Redis once whether it answers, with the connection's own time limit: for a start-up check.
    pub async fn check(&self) -> Result<(), BoxError> {
        match &self.remote {
            Some(remote) => remote.check().await,
            None => Ok(()),
        }
    }

    fn near<M: Message + Default>(
        &self,
        kind: &'static str,
        key: &str,
        minimum: i64,
    ) -> Option<Option<(i64, M)>> {
        let Some(Entry::Found(found)) = self.level.find(key) else {
            return None;
        };
        let answer = found.serve(minimum)?;
        self.metrics.lookup(kind, "process", "hit");
        Some(answer)
    }

    /// Redis, then Postgres, then the fills.
    async fn fetch<M, L>(
        &self,
        kind: &'static str,
        key: &str,
        minimum: i64,
        flight: Flight<'_>,
        load: L,
    ) -> Result<Option<(i64, M)>, Error>
    where
        M: Message + Default,
        L: Future<Output = Result<Option<(i64, M)>, Error>>,
    {
        let started = Instant::now();
        let mut in_redis = None;
        if let Some(remote) = &self.remote {
            let floor = minimum.max(self.level.floor(key)).max(remote.floor(key));
            let (stored, outcome) = remote.read(key).await;
            self.metrics.lookup(kind, "redis", outcome);
            if let Some(found) = stored {
                in_redis = Some(found.version());
                if let Some(answer) = found.serve(floor) {
                    flight.land(Outcome::Found(found));
                    return Ok(answer);
                }
            }
        }
        let loaded = match load.await {
            Ok(loaded) => loaded,
            Err(error) => {
                flight.land(match &error {
                    Error::Unavailable { reason, .. } => Outcome::Unavailable(*reason),
                    _ => Outcome::Failed,
                });
                return Err(error);
            }
        };
        let Some((version, message)) = loaded else {
            flight.land(Outcome::Found(Found::Absent));
            return Ok(None);
        };
        let bytes = Bytes::from(message.encode_to_vec());
        let current = flight.land(Outcome::Found(Found::Row { version, bytes: bytes.clone() }));
        if let Some(remote) = &self.remote {
            if in_redis.is_some_and(|old| old < version) {
                // A tombstone was lost, and NX cannot replace the old row.
                remote.bury(key, version).await;
            } else if current && started.elapsed() < FILL_WINDOW {
                remote.fill(key, version, &bytes).await;
            }
        }
        Ok(Some((version, message)))
    }
}
