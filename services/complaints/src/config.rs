//! The service's own section of the configuration.

use std::time::Duration;

use cqm_runtime::config::{ConfigError, Validate, positive};
use serde::Deserialize;

/// The defaults of the section.
pub const DEFAULTS: &str = include_str!("config.toml");

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Between two looks for clocks whose breach is near or has come. Too high: it is told late, though whoever reads a
    /// complaint sees it at once. Too low: the database is asked for nothing.
    #[serde(with = "humantime_serde")]
    pub sla_interval: Duration,
}

impl Validate for Config {
    fn validate(&self) -> Result<(), ConfigError> {
        positive("service.sla_interval", self.sla_interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_that_is_none_is_refused_by_name() {
        let error = Config { sla_interval: Duration::ZERO }.validate().unwrap_err().to_string();
        assert!(error.contains("service.sla_interval"), "{error}");
        assert!(Config { sla_interval: Duration::from_secs(1) }.validate().is_ok());
    }
}
