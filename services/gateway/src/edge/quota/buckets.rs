//! The buckets that all replicas share, in a Redis that may be slow, wiped or gone at any moment.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cqm_proto::policy::Class;
use cqm_runtime::config::ConfigError;
use cqm_runtime::tasks::{Backoff, Supervisor};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, RedisError, Script};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;

use super::Metrics;
use crate::config::Rate;

/// Failures in a row after which Redis is left alone.
const FAILURES: u32 = 3;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Takes up to ARGV[3] tokens out of the bucket at KEYS[1], which gets ARGV[1] a second up to ARGV[2]. One step, by the
/// clock of Redis, so that replicas cannot take the same token and need not agree on the time. A bucket that is full
/// again is forgotten.
const TAKE: &str = r"
local rate, burst, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local kept = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens, at = tonumber(kept[1]) or burst, tonumber(kept[2]) or now
tokens = math.min(burst, tokens + math.max(0, now - at) * rate / 1000)
local granted = math.min(wanted, math.floor(tokens))
tokens = tokens - granted
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', tostring(now))
redis.call('PEXPIRE', KEYS[1], math.ceil(burst / rate * 1000) + 1000)
local wait = 0
if granted == 0 then wait = math.ceil((1 - tokens) * 1000 / rate) end
return {granted, wait}
";

/// What the shared bucket answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    /// At least one.
    Tokens(u32),
    Wait(Duration),
}

pub(super) struct Buckets {
    client: Client,
    take: Script,
    budget: Duration,
    link: Mutex<Option<ConnectionManager>>,
    failures: AtomicU32,
    lost: Notify,
    metrics: Metrics,
}

impl Buckets {
    pub fn open(
        url: &SecretString,
        budget: Duration,
        supervisor: &Supervisor,
        metrics: Metrics,
    ) -> Result<Arc<Self>, ConfigError> {
        // The error is not shown: it may repeat the address, and with it a password.
        let client = Client::open(url.expose_secret()).map_err(|_| {
            ConfigError::refused("service.quota.redis_url", "is not an address of Redis that is supported")
        })?;
        let buckets = Arc::new(Self {
            client,
            take: Script::new(TAKE),
            budget,
            link: Mutex::default(),
            failures: AtomicU32::new(0),
            lost: Notify::new(),
            metrics,
        });
        let (kept, stopping) = (Arc::clone(&buckets), supervisor.stopping());
        supervisor.spawn("quota", move || {
            let (kept, stopping) = (Arc::clone(&kept), stopping.clone());
            async move {
                stopping.run_until_cancelled(kept.stay_connected()).await;
                Ok(())
            }
        });
        Ok(buckets)
    }

    /// Takes up to `count` tokens; `None` when Redis cannot be asked.
    pub async fn take(&self, subject: &str, class: Class, rate: Rate, count: u32) -> Option<Grant> {
        let mut link = self.link().clone()?;
        let mut take = self.take.key(key(subject, class));
        take.arg(rate.per_second).arg(rate.burst).arg(count);
        let answer = tokio::time::timeout(self.budget, take.invoke_async::<(u32, u64)>(&mut link)).await;
        let problem = match answer {
            Ok(Ok((granted, wait))) => {
                self.failures.store(0, Ordering::Relaxed);
                return Some(match granted {
                    0 => Grant::Wait(Duration::from_millis(wait.max(1))),
                    granted => Grant::Tokens(granted),
                });
            }
            Ok(Err(error)) => error.category().to_owned(),
            Err(_) => "no answer within the budget".to_owned(),
        };
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES && self.link().take().is_some() {
            self.metrics.quota("redis_switched_off");
            tracing::warn!(problem, "redis switched off, every gateway counts quotas for itself");
            self.lost.notify_one();
        }
        None
    }

    async fn stay_connected(&self) {
        let mut backoff = Backoff::default();
        let mut said = false;
        loop {
            match self.connect().await {
                Ok(connection) => {
                    self.failures.store(0, Ordering::Relaxed);
                    *self.link() = Some(connection);
                    tracing::info!("quotas are shared over redis");
                    self.lost.notified().await;
                    backoff.reset();
                    said = false;
                }
                Err(error) if !said => {
                    said = true;
                    tracing::warn!(
                        problem = error.category(),
                        "redis cannot be reached, every gateway counts quotas for itself"
                    );
                }
                Err(_) => {}
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    /// A connection that has answered.
    async fn connect(&self) -> Result<ConnectionManager, RedisError> {
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(CONNECT_TIMEOUT))
            // The loop above is the backoff: a manager that waits between tries would hold callers up.
            .set_number_of_retries(0)
            .set_pipeline_buffer_size(1024);
        let mut connection = ConnectionManager::new_with_config(self.client.clone(), config).await?;
        redis::cmd("PING").exec_async(&mut connection).await?;
        Ok(connection)
    }

    fn link(&self) -> MutexGuard<'_, Option<ConnectionManager>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A digest in place of the subject: keys are of one length, and nobody's name stands in Redis.
fn key(subject: &str, class: Class) -> String {
    let digest = Sha256::digest(subject);
    let short: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("cqm:quota:{}:{short}", class.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_caller_and_class_has_a_bucket_of_its_own() {
        let keys = [key("a", Class::Read), key("a", Class::Write), key("b", Class::Read)];
        assert_eq!(keys.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
        assert!(keys[0].starts_with("cqm:quota:read:") && keys[0].len() == 47, "{}", keys[0]);
    }
}
