//! The service's own section of the configuration: the programme's rules.

use cqm_runtime::config::{ConfigError, Validate};
use serde::Deserialize;

use crate::domain::earning::Rules;

/// The defaults, under everything that a file or the environment says.
pub const DEFAULTS: &str = include_str!("config.toml");

/// What points are given for.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Points for each whole unit of money of a purchase; 0: purchases earn none.
    pub points_per_unit: i64,
    /// Points for an answered survey; 0: answers earn none.
    pub survey_points: i64,
}

/// More than this for one thing that happened is a slip of the finger.
const MOST: i64 = 1_000_000;

impl Config {
    pub fn rules(&self) -> Rules {
        Rules { points_per_unit: self.points_per_unit, survey_points: self.survey_points }
    }
}

impl Validate for Config {
    fn validate(&self) -> Result<(), ConfigError> {
        for (key, points) in
            [("service.points_per_unit", self.points_per_unit), ("service.survey_points", self.survey_points)]
        {
            if !(0..=MOST).contains(&points) {
                return Err(ConfigError::refused(key, format!("must be 0 to {MOST}")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_out_of_range_are_refused_by_name() {
        let good = Config { points_per_unit: 1, survey_points: 50 };
        assert!(good.validate().is_ok());
        for (config, key) in [
            (Config { points_per_unit: -1, ..good }, "service.points_per_unit"),
            (Config { survey_points: MOST + 1, ..good }, "service.survey_points"),
        ] {
            let error = config.validate().unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
