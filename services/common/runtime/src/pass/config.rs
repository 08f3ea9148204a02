//! The sections of the configuration about passes: a service's `passes`, and the gateway's `service.passes`.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::LONGEST_LIFE;
use crate::config::{ConfigError, Validate, positive};

/// Whose passes a service takes.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PassesConfig {
    /// The public keys that passes may be signed by: a file of Ed25519 keys in PEM, one after the other.
    pub keys: PathBuf,
    /// Between two looks at whether the file has changed. Too high: a withdrawn key's passes are taken for longer. Too
    /// low: the file system is asked for nothing. A pass by an unknown key makes the service look at once.
    #[serde(with = "humantime_serde")]
    pub reload: Duration,
}

/// How the gateway and the coordinator sign passes.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SigningConfig {
    /// The private key: a file with one Ed25519 key in PEM (PKCS #8).
    pub key: PathBuf,
    /// How long a pass is good, 2 to 60 s in whole seconds; one is used for half of it. Too high: a pass that somebody
    /// got hold of works for longer. Too low: signatures are made all the time, and clocks that differ refuse calls.
    #[serde(with = "humantime_serde")]
    pub life: Duration,
    /// Between two looks at whether the file has changed. Too high: a new key is used late. Too low: the file system is
    /// asked for nothing.
    #[serde(with = "humantime_serde")]
    pub reload: Duration,
}

impl Default for PassesConfig {
    fn default() -> Self {
        Self { keys: "/etc/cqm/passes/keys.pem".into(), reload: Duration::from_secs(10) }
    }
}

impl Default for SigningConfig {
    fn default() -> Self {
        Self {
            key: "/etc/cqm/pass-signing/signing.pem".into(),
            life: Duration::from_secs(10),
            reload: Duration::from_secs(10),
        }
    }
}

impl Validate for PassesConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        positive("passes.reload", self.reload)
    }
}

impl Validate for SigningConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        let seconds = i64::try_from(self.life.as_secs()).unwrap_or(i64::MAX);
        if !(2..=LONGEST_LIFE).contains(&seconds) || self.life.subsec_nanos() != 0 {
            return Err(ConfigError::refused("service.passes.life", "must be 2 to 60 whole seconds"));
        }
        positive("service.passes.reload", self.reload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_lives_for_seconds() {
        let life = |life| SigningConfig { life, ..SigningConfig::default() }.validate().is_ok();
        assert!(life(Duration::from_secs(2)) && life(Duration::from_secs(60)));
        for wrong in [0, 1_000, 2_500, 61_000, u64::MAX / 1_000] {
            assert!(!life(Duration::from_millis(wrong)), "{wrong}");
        }
    }
}
