//! The `[service]` section.

use cqm_runtime::config::{ConfigError, Validate};
use serde::Deserialize;

/// What operators may choose about this service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The most rows of a stream that one transaction takes. Too high: a batch holds its locks and its memory long,
    /// and its first row waits for its last. Too low: every few rows cost a commit.
    pub batch_rows: usize,
}

/// TOML over the suite's defaults.
pub const DEFAULTS: &str = "[service]\nbatch_rows = 200\n";

impl Validate for Config {
    fn validate(&self) -> Result<(), ConfigError> {
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
    fn batches_are_bounded() {
        for (batch_rows, good) in [(0, false), (1, true), (200, true), (2000, true), (2001, false)] {
            assert_eq!(Config { batch_rows }.validate().is_ok(), good, "{batch_rows}");
        }
    }
}
