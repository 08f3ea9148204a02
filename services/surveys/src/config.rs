//! The service's own section of the configuration.

use std::time::Duration;

use cqm_runtime::config::{ConfigError, Validate, positive};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};

/// The defaults of the section; the keys have none.
pub const DEFAULTS: &str = include_str!("config.toml");

/// As many characters as 192 random bits take in base64: a shorter key could be guessed.
const MIN_KEY: usize = 32;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What the token is appended to: the address of the page on which customers answer.
    pub public_url: String,
    /// The keys of the links' tokens: the first signs, all verify. In the environment separated by commas.
    #[serde(deserialize_with = "keys")]
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
        if self.token_keys.iter().any(|key| key.expose_secret().chars().count() < MIN_KEY) {
            return Err(ConfigError::refused("service.token_keys", "must be of 32 characters or more each"));
        }
        positive("service.expiry_interval", self.expiry_interval)
    }
}

/// A list, or one text with commas: the environment has no lists.
fn keys<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SecretString>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Keys {
        Text(SecretString),
        List(Vec<SecretString>),
    }
    Ok(match Keys::deserialize(deserializer)? {
        Keys::List(keys) => keys,
        Keys::Text(text) => text
            .expose_secret()
            .split(',')
            .map(str::trim)
            .filter(|key| !key.is_empty())
            .map(SecretString::from)
            .collect(),
    })
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
    fn keys_are_a_list_or_a_text_with_commas() {
        let list = read(with("https://x/", serde_json::json!([KEY, KEY]), "1m")).unwrap();
        assert_eq!(list.token_keys.len(), 2);
        let text = read(with("https://x/", format!("{KEY}, {KEY},").into(), "1m")).unwrap();
        assert_eq!(text.token_keys[1].expose_secret(), KEY);
        assert!(!format!("{text:?}").contains(KEY));
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
