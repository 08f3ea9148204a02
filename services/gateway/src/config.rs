//! The gateway's configuration. What each value does when it is too high or too low stands in `config/gateway.toml`.

mod identity;
mod reflection;
mod traffic;

use std::time::Duration;

use cqm_runtime::config::{ConfigError, Nothing, Validate, positive};
use cqm_runtime::pass::SigningConfig;
use cqm_runtime::server::ServerConfig;
use cqm_runtime::telemetry::TelemetryConfig;
use serde::Deserialize;

use crate::backend::Backends;

pub use identity::{IdentityConfig, IssuerConfig, Names, Words};
pub use reflection::ReflectionConfig;
pub use traffic::{CallerQuota, QuotaConfig, Rate, TrafficConfig};

/// TOML over the suite's defaults.
pub const DEFAULTS: &str = include_str!("config/gateway.toml");

/// The subjects that the suite itself calls by. A token for one of them would take over its request ids.
pub(crate) const RESERVED_SUBJECTS: [&str; 3] = ["coordinator", "internal", "customer"];

/// What a gateway process is configured by.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub server: ServerConfig,
    pub telemetry: TelemetryConfig,
    /// The suite's defaults have these sections; a gateway has no database, no log and no cache of its own, and it shows
    /// passes where services take them.
    #[serde(default)]
    pub passes: Nothing,
    #[serde(default)]
    pub database: Nothing,
    #[serde(default)]
    pub events: Nothing,
    #[serde(default)]
    pub cache: Nothing,
    pub service: ServiceConfig,
}

/// The `[service]` section.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceConfig {
    pub backends: Backends,
    pub identity: IdentityConfig,
    pub passes: SigningConfig,
    pub customer360: Customer360Config,
    pub traffic: TrafficConfig,
    pub quota: QuotaConfig,
    pub reflection: ReflectionConfig,
    pub coordinator: ReadingConfig,
}

/// How a customer is put together from all services.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Customer360Config {
    pub share_percent: u32,
    #[serde(with = "humantime_serde")]
    pub section_limit: Duration,
    #[serde(with = "humantime_serde")]
    pub stale_limit: Duration,
    pub stale_bytes: u64,
}

/// How the coordinator reads and carries out.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadingConfig {
    /// The process's own name towards the sources; a random one when none is given.
    #[serde(default)]
    pub reader: Option<String>,
    pub batch: i32,
    pub concurrency: usize,
    #[serde(with = "humantime_serde")]
    pub wait: Duration,
    #[serde(with = "humantime_serde")]
    pub command_deadline: Duration,
    pub tries: u32,
    #[serde(with = "humantime_serde")]
    pub refusal_pause: Duration,
    #[serde(with = "humantime_serde")]
    pub refusal_pause_cap: Duration,
    #[serde(with = "humantime_serde")]
    pub outage_pause: Duration,
    #[serde(with = "humantime_serde")]
    pub outage_pause_cap: Duration,
    #[serde(with = "humantime_serde")]
    pub claimed_pause: Duration,
    #[serde(with = "humantime_serde")]
    pub renew: Duration,
    #[serde(with = "humantime_serde")]
    pub drain: Duration,
}

impl Default for Customer360Config {
    /// What `config/gateway.toml` says.
    fn default() -> Self {
        Self {
            share_percent: 80,
            section_limit: Duration::from_secs(2),
            stale_limit: Duration::from_secs(300),
            stale_bytes: 32 * 1024 * 1024,
        }
    }
}

impl Default for ReadingConfig {
    /// What `config/gateway.toml` says.
    fn default() -> Self {
        Self {
            reader: None,
            batch: 256,
            concurrency: 32,
            wait: Duration::from_secs(1),
            command_deadline: Duration::from_secs(5),
            tries: 5,
            refusal_pause: Duration::from_millis(50),
            refusal_pause_cap: Duration::from_secs(1),
            outage_pause: Duration::from_millis(50),
            outage_pause_cap: Duration::from_secs(5),
            claimed_pause: Duration::from_millis(500),
            renew: Duration::from_secs(1),
            drain: Duration::from_secs(5),
        }
    }
}

impl Validate for Settings {
    fn validate(&self) -> Result<(), ConfigError> {
        self.server.validate()?;
        self.telemetry.validate()?;
        self.service.backends.validate()?;
        self.service.identity.validate()?;
        self.service.passes.validate()?;
        self.service.customer360.validate()?;
        self.service.traffic.validate()?;
        self.service.quota.validate()?;
        self.service.reflection.validate()?;
        self.service.coordinator.validate()
    }
}

impl Validate for Customer360Config {
    fn validate(&self) -> Result<(), ConfigError> {
        if !(1..=100).contains(&self.share_percent) {
            return Err(ConfigError::refused("service.customer360.share_percent", "must be 1 to 100"));
        }
        positive("service.customer360.section_limit", self.section_limit)?;
        positive("service.customer360.stale_limit", self.stale_limit)
    }
}

impl Validate for ReadingConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        if !(1..=1000).contains(&self.batch) {
            return Err(ConfigError::refused("service.coordinator.batch", "must be 1 to 1000"));
        }
        if self.concurrency == 0 {
            return Err(ConfigError::refused("service.coordinator.concurrency", "must be at least 1"));
        }
        if self.tries == 0 {
            return Err(ConfigError::refused("service.coordinator.tries", "must be at least 1"));
        }
        if self.reader.as_ref().is_some_and(|reader| reader.is_empty() || reader.len() > 128) {
            return Err(ConfigError::refused("service.coordinator.reader", "must have 1 to 128 characters"));
        }
        positive("service.coordinator.wait", self.wait)?;
        positive("service.coordinator.command_deadline", self.command_deadline)?;
        positive("service.coordinator.refusal_pause", self.refusal_pause)?;
        positive("service.coordinator.refusal_pause_cap", self.refusal_pause_cap)?;
        positive("service.coordinator.outage_pause", self.outage_pause)?;
        positive("service.coordinator.outage_pause_cap", self.outage_pause_cap)?;
        positive("service.coordinator.claimed_pause", self.claimed_pause)?;
        positive("service.coordinator.renew", self.renew)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test for all of it: the environment belongs to the whole process.
    #[test]
    fn the_embedded_defaults_are_the_defaults_of_the_code() {
        let settings: Settings = cqm_runtime::config::load("gateway", DEFAULTS).unwrap();
        let service = settings.service;
        assert_eq!(format!("{:?}", service.customer360), format!("{:?}", Customer360Config::default()));
        assert_eq!(format!("{:?}", service.coordinator), format!("{:?}", ReadingConfig::default()));
        assert_eq!(format!("{:?}", service.identity), format!("{:?}", IdentityConfig::default()));
        assert_eq!(format!("{:?}", service.passes), format!("{:?}", SigningConfig::default()));
        assert_eq!(format!("{:?}", service.traffic), format!("{:?}", TrafficConfig::default()));
        assert_eq!(format!("{:?}", service.quota), format!("{:?}", QuotaConfig::default()));
        assert_eq!(format!("{:?}", service.reflection), format!("{:?}", ReflectionConfig::default()));
    }

    #[test]
    fn values_without_sense_are_refused() {
        for broken in [
            ReadingConfig { batch: 0, ..ReadingConfig::default() },
            ReadingConfig { concurrency: 0, ..ReadingConfig::default() },
            ReadingConfig { tries: 0, ..ReadingConfig::default() },
            ReadingConfig { reader: Some(String::new()), ..ReadingConfig::default() },
            ReadingConfig { outage_pause: Duration::ZERO, ..ReadingConfig::default() },
        ] {
            assert!(broken.validate().is_err(), "{broken:?}");
        }
        assert!(Customer360Config { share_percent: 0, ..Customer360Config::default() }.validate().is_err());
    }
}
