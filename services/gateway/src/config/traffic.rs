//! How calls are spread, repeated and counted. What each value does when it is too high or too low stands in
//! `gateway.toml`.

use std::collections::BTreeMap;
use std::time::Duration;

use cqm_proto::policy::Class;
use cqm_runtime::config::{ConfigError, Validate, positive};
use cqm_runtime::redis_link::RedisTls;
use secrecy::SecretString;
use serde::Deserialize;

/// How calls find a pod, and what happens when one fails.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrafficConfig {
    #[serde(with = "humantime_serde")]
    pub resolve_every: Duration,
    pub tries: u32,
    #[serde(with = "humantime_serde")]
    pub repeat_wait: Duration,
    pub repeat_percent: u8,
    pub repeat_reserve: u32,
    pub eject_after: u32,
    #[serde(with = "humantime_serde")]
    pub ejection: Duration,
    #[serde(with = "humantime_serde")]
    pub ejection_cap: Duration,
}

impl Default for TrafficConfig {
    /// What `gateway.toml` says.
    fn default() -> Self {
        Self {
            resolve_every: Duration::from_secs(2),
            tries: 3,
            repeat_wait: Duration::from_millis(250),
            repeat_percent: 20,
            repeat_reserve: 10,
            eject_after: 5,
            ejection: Duration::from_secs(1),
            ejection_cap: Duration::from_secs(30),
        }
    }
}

impl Validate for TrafficConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        positive("service.traffic.resolve_every", self.resolve_every)?;
        if !(1..=5).contains(&self.tries) {
            return Err(ConfigError::refused("service.traffic.tries", "must be 1 to 5"));
        }
        if self.repeat_percent > 100 {
            return Err(ConfigError::refused("service.traffic.repeat_percent", "must be 0 to 100"));
        }
        if self.repeat_reserve > 1_000_000 {
            return Err(ConfigError::refused("service.traffic.repeat_reserve", "must be at most 1000000"));
        }
        if self.eject_after == 0 {
            return Err(ConfigError::refused("service.traffic.eject_after", "must be at least 1"));
        }
        positive("service.traffic.ejection", self.ejection)?;
        if self.ejection_cap < self.ejection {
            return Err(ConfigError::refused(
                "service.traffic.ejection_cap",
                "must not be shorter than service.traffic.ejection",
            ));
        }
        Ok(())
    }
}

/// How much a caller may ask for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuotaConfig {
    /// `rediss://host:port/db` by TLS, `redis://…` in plaintext, or `redis+unix:///path`; absent = each process counts
    /// for itself. Secret, because it may carry a password.
    #[serde(default)]
    pub redis_url: Option<SecretString>,
    #[serde(default)]
    pub redis_tls: RedisTls,
    #[serde(with = "humantime_serde")]
    pub budget: Duration,
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    pub read: Rate,
    pub write: Rate,
    pub bulk: Rate,
    /// In front of the gateway, of those that write in `x-forwarded-for` for whom they call.
    pub proxies: usize,
    /// By subject, for callers that get more or less than everybody.
    #[serde(default)]
    pub callers: BTreeMap<String, CallerQuota>,
}

/// Tokens that come back, one a call.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    pub per_second: u32,
    /// The most that lie ready.
    pub burst: u32,
}

/// What one caller gets; what is absent is as for everybody.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallerQuota {
    pub read: Option<Rate>,
    pub write: Option<Rate>,
    pub bulk: Option<Rate>,
}

impl QuotaConfig {
    pub fn rate(&self, subject: &str, class: Class) -> Rate {
        let own = self.callers.get(subject);
        let (own, all) = match class {
            Class::Read => (own.and_then(|own| own.read), self.read),
            Class::Write => (own.and_then(|own| own.write), self.write),
            Class::Bulk => (own.and_then(|own| own.bulk), self.bulk),
        };
        own.unwrap_or(all)
    }
}

impl Default for QuotaConfig {
    /// What `gateway.toml` says.
    fn default() -> Self {
        Self {
            redis_url: None,
            redis_tls: RedisTls::default(),
            budget: Duration::from_millis(20),
            lease: Duration::from_millis(100),
            read: Rate { per_second: 2000, burst: 4000 },
            write: Rate { per_second: 1000, burst: 2000 },
            bulk: Rate { per_second: 50, burst: 200 },
            proxies: 0,
            callers: BTreeMap::new(),
        }
    }
}

impl Validate for QuotaConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        positive("service.quota.budget", self.budget)?;
        positive("service.quota.lease", self.lease)?;
        let callers = self.callers.values().flat_map(|own| [own.read, own.write, own.bulk]).flatten();
        for rate in [self.read, self.write, self.bulk].into_iter().chain(callers) {
            if rate.per_second == 0 || rate.burst == 0 {
                return Err(ConfigError::refused(
                    "service.quota",
                    "must give every class at least 1 a second and a burst",
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_own_quota_stands_over_everybodys() {
        let rate = Rate { per_second: 7, burst: 9 };
        let own = CallerQuota { write: Some(rate), ..CallerQuota::default() };
        let config =
            QuotaConfig { callers: BTreeMap::from([("importer".to_owned(), own)]), ..QuotaConfig::default() };
        assert_eq!(config.rate("importer", Class::Write), rate);
        assert_eq!(config.rate("importer", Class::Read), config.read);
        assert_eq!(config.rate("desk", Class::Write), config.write);
    }

    #[test]
    fn values_without_sense_are_refused() {
        for broken in [
            TrafficConfig { tries: 0, ..TrafficConfig::default() },
            TrafficConfig { tries: 6, ..TrafficConfig::default() },
            TrafficConfig { repeat_percent: 101, ..TrafficConfig::default() },
            TrafficConfig { eject_after: 0, ..TrafficConfig::default() },
            TrafficConfig { ejection_cap: Duration::from_millis(1), ..TrafficConfig::default() },
        ] {
            assert!(broken.validate().is_err(), "{broken:?}");
        }
        let nothing = Rate { per_second: 0, burst: 1 };
        assert!(QuotaConfig { bulk: nothing, ..QuotaConfig::default() }.validate().is_err());
    }
}
