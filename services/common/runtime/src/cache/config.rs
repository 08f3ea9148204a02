//! The section `cache` of the configuration.

use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

use super::seal::Seal;
use crate::config::{ConfigError, Validate, positive};
use crate::redis_link::RedisTls;

/// The two levels of the cache.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// `rediss://host:port/db` by TLS, `redis://…` in plaintext, or `redis+unix:///path`; absent = the in-process
    /// level alone. Secret, because it may carry a password.
    pub redis_url: Option<SecretString>,
    pub redis_tls: RedisTls,
    /// Seals the values in Redis: 32 bytes in base64, the same for all replicas of a service. Required with
    /// `redis_url`. After a change the old values count as absent.
    pub key: Option<SecretString>,
    /// The most entries in the process.
    pub in_process_entries: u64,
    /// How long an entry stays in the process, ± 20 %. Too high: other replicas' changes are seen late. Too
    /// low: Redis is asked for every read.
    #[serde(with = "humantime_serde")]
    pub in_process_ttl: Duration,
    /// How long an entry stays in Redis, ± 20 %. Too high: an old row whose tombstone was lost is served long.
    /// Too low: Postgres answers what Redis could.
    #[serde(with = "humantime_serde")]
    pub redis_ttl: Duration,
    /// What one operation of Redis may take. Too high: a slow Redis slows every read. Too low: a short stall
    /// switches Redis off.
    #[serde(with = "humantime_serde")]
    pub budget: Duration,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            redis_url: None,
            redis_tls: RedisTls::default(),
            key: None,
            in_process_entries: 100_000,
            in_process_ttl: Duration::from_secs(2),
            redis_ttl: Duration::from_secs(300),
            budget: Duration::from_millis(20),
        }
    }
}

impl Validate for CacheConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        positive("cache.in_process_ttl", self.in_process_ttl)?;
        positive("cache.redis_ttl", self.redis_ttl)?;
        positive("cache.budget", self.budget)?;
        if self.redis_ttl < self.in_process_ttl {
            return Err(ConfigError::refused(
                "cache.redis_ttl",
                "must not be shorter than cache.in_process_ttl",
            ));
        }
        match (&self.redis_url, &self.key) {
            (Some(_), None) => Err(ConfigError::refused("cache.key", "is required with cache.redis_url")),
            (_, Some(key)) => Seal::new(key).map(drop),
            (None, None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redis_without_a_key_of_32_bytes_is_refused() {
        let redis_url = Some(SecretString::from("redis://localhost"));
        let refused = |key: Option<&str>| {
            let key = key.map(SecretString::from);
            CacheConfig { redis_url: redis_url.clone(), key, ..CacheConfig::default() }.validate().is_err()
        };
        assert!(refused(None));
        assert!(refused(Some("")));
        assert!(refused(Some("AAAA")));
        assert!(refused(Some("no base64")));
        assert!(!refused(Some("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")));
        assert!(CacheConfig::default().validate().is_ok());
    }
}
