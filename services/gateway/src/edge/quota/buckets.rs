//! The buckets that all replicas share, in a Redis that may be slow, wiped or gone at any moment.

use std::sync::Arc;
use std::time::Duration;

use cqm_proto::policy::Class;
use cqm_runtime::config::ConfigError;
use cqm_runtime::redis_link::{Address, Link, Purpose, RedisTls};
use redis::Script;
use secrecy::SecretString;
use sha2::{Digest, Sha256};

use super::Metrics;
use crate::config::Rate;

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
    take: Script,
    link: Link<Sharing>,
}

/// What Redis is for.
struct Sharing(Metrics);

impl Purpose for Sharing {
    const WITHOUT: &'static str = "every gateway counts quotas for itself";
    const FAILURES: u32 = 3;

    fn switched_off(&self) {
        self.0.quota("redis_switched_off");
    }
}

impl Buckets {
    /// Connects in the background.
    pub fn open(
        url: &SecretString,
        tls: &RedisTls,
        budget: Duration,
        metrics: Metrics,
    ) -> Result<Self, ConfigError> {
        let address = Address::parse("service.quota.redis_url", url, tls)?;
        let link = Link::new(address, budget, Arc::new(Sharing(metrics)));
        link.connect_in_background();
        Ok(Self { take: Script::new(TAKE), link })
    }

    /// Takes up to `count` tokens; `None` when Redis cannot be asked.
    pub async fn take(&self, subject: &str, class: Class, rate: Rate, count: u32) -> Option<Grant> {
        let mut take = self.take.key(key(subject, class));
        take.arg(rate.per_second).arg(rate.burst).arg(count);
        let taken =
            self.link.run(|mut link| async move { take.invoke_async::<(u32, u64)>(&mut link).await }).await;
        Some(match taken? {
            (0, wait) => Grant::Wait(Duration::from_millis(wait.max(1))),
            (granted, _) => Grant::Tokens(granted),
        })
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
