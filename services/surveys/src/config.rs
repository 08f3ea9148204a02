//! The service's own section of the configuration.

use std::time::Duration;

use cqm_runtime::config::{ConfigError, Validate, keys, positive};
use secrecy::SecretString;
use serde::Deserialize;

/// The defaults of the section; the keys have none.
pub const DEFAULTS: &str = include_str!("config.toml");

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What the token is appended to: the address of the page on which customers answer.
    pub public_url: String,
    /// The keys of the links' tokens: the first signs, all verify. In the environment separated by commas.
    #[serde(deserialize_with = "keys::read")]
    pub token_keys: Vec<SecretString>,
    /// Between two looks for invitations whose time ran out. Too high: they are shown as pending for longer, though
    /// nobody can answer them. Too low: the database is asked for nothing.
    #[serde(with = "humantime_serde")]
    pub expiry_interval: Duration,
}

impl Validate for Config {
    fn validate(&self) -> Result<(), ConfigError> {
        if !["http://", "https://"].iter().any(|scheme| self.public_url.starts_with(scheme)) {
            return Err(ConfigError::refused("service.public_url", "must begin with http:// or https://"));
        }
        if self.token_keys.is_empty() {
            return Err(ConfigError::refused("service.token_keys", "must hold a key"));
        }
        keys::check("service.token_keys", &self.token_keys)?;
        positive("service.expiry_interval", self.expiry_interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    fn read(json: serde_json::Value) -> Result<Config, String> {
        let config: Config = serde_json::from_value(json).map_err(|error| error.to_string())?;
        config.validate().map_err(|error| error.to_string())?;
        Ok(config)
    }

    fn with(url: &str, keys: serde_json::Value, interval: &str) -> serde_json::Value {
        serde_json::json!({"public_url": url, "token_keys": keys, "expiry_interval": interval})
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (json, key) in [
            (with("x", KEY.into(), "1m"), "service.public_url"),
            (with("https://x/", "".into(), "1m"), "service.token_keys"),
            (with("https://x/", "short".into(), "1m"), "service.token_keys"),
            (with("https://x/", KEY.into(), "0s"), "service.expiry_interval"),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.contains(key), "{error}");
        }
        assert!(read(serde_json::json!({"public_url": "https://x/", "expiry_interval": "1m"})).is_err());
    }
}
