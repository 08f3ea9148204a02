//! The `[service]` section.

use cqm_runtime::config::{ConfigError, Validate, keys};
use secrecy::SecretString;
use serde::Deserialize;

/// What operators may choose about this service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The most rows of a stream that one transaction takes. Too high: a batch holds its locks and its memory long,
    /// and its first row waits for its last. Too low: every few rows cost a commit.
    pub batch_rows: usize,
    /// The keys that reports of erasures are signed with: the first signs, all are told to who checks. In the environment
    /// separated by commas. Without one, customers are erased all the same and no report is signed.
    #[serde(default, deserialize_with = "keys::read")]
    pub report_keys: Vec<SecretString>,
}

/// TOML over the suite's defaults.
pub const DEFAULTS: &str = "[service]\nbatch_rows = 200\n";

impl Validate for Config {
    fn validate(&self) -> Result<(), ConfigError> {
        keys::check("service.report_keys", &self.report_keys)?;
        // A customer has 17 columns; a statement may have 65,535 parameters.
        if (1..=2000).contains(&self.batch_rows) {
            return Ok(());
        }
        Err(ConfigError::refused("service.batch_rows", "must be 1 to 2000"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_could_be_guessed_is_refused() {
        let with = |key: &str| Config { batch_rows: 1, report_keys: vec![key.to_owned().into()] };
        assert!(with("0123456789abcdef0123456789abcdef").validate().is_ok());
        assert!(with("0123456789abcdef").validate().is_err());
    }

    #[test]
    fn batches_are_bounded() {
        for (batch_rows, good) in [(0, false), (1, true), (200, true), (2000, true), (2001, false)] {
            assert_eq!(
                Config { batch_rows, report_keys: Vec::new() }.validate().is_ok(),
                good,
                "{batch_rows}"
            );
        }
    }
}
