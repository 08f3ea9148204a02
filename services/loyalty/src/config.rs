//! The service's own section of the configuration: the programme's rules.

use std::time::Duration;

use chrono::TimeDelta;
use cqm_runtime::config::{ConfigError, Validate};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use crate::domain::account::Policy;
use crate::domain::code::Keys;
use crate::domain::earning::Rules;
use crate::domain::entry::Reason;
use crate::domain::standing::Window;
use crate::domain::tier::{Reasons, Scheme};

/// The defaults, under everything that a file or the environment says.
pub const DEFAULTS: &str = include_str!("config.toml");

/// What points are given for, and what becomes of them.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Points for each whole unit of money of a purchase; 0: purchases earn none.
    pub points_per_unit: i64,
    /// Points for an answered survey; 0: answers earn none.
    pub survey_points: i64,
    /// Points for having brought in a customer, once they have bought something; 0: none.
    pub referral_points: i64,
    /// How long the points of a purchase are pending. Too short: they are spent before the purchase is returned, and
    /// become a debt. Too long: the reward comes when the customer has forgotten what it is for.
    #[serde(with = "humantime_serde")]
    pub purchase_delay: Duration,
    /// How long points can be spent once they are available; 0: for ever, and the liability only grows.
    #[serde(with = "humantime_serde")]
    pub lifetime: Duration,
    /// How long before points expire it is announced. Too short: nobody can act on it. Too long: it is forgotten.
    #[serde(with = "humantime_serde")]
    pub expiry_notice: Duration,
    /// How long points can be spent that a refund gives back after their time; 0: they end at once.
    #[serde(with = "humantime_serde")]
    pub refund_grace: Duration,
    /// What a member owes is paid off from what they earn and are given back.
    pub repay_debt: bool,
    /// How often the worker looks for members whom time has caught up with. Nobody's answer depends on it, only when
    /// the events of it are told. Too short: the database is asked for nothing. Too long: they are told late.
    #[serde(with = "humantime_serde")]
    pub poll: Duration,
    /// How tiers are reached and lost.
    pub tiers: TiersConfig,
    /// The keys of the vouchers' codes: the first makes, all find. They have no default. In the environment separated by
    /// commas.
    #[serde(deserialize_with = "keys")]
    pub voucher_keys: Keys,
}

/// How tiers are reached and lost.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TiersConfig {
    pub window: WindowKind,
    /// How many months a rolling window has, this one among them; 1 to 36. Too few: members who buy once a year never
    /// keep a tier. Too many: nobody loses one, and it is worth nothing.
    pub months: i32,
    /// What points must be given for to count.
    #[serde(deserialize_with = "qualifying")]
    pub qualifying: Reasons,
    /// How long before a tier is lost it is announced. Too short: nobody can act on it. Too long: it is forgotten, and
    /// told to many who would have kept it anyway.
    #[serde(with = "humantime_serde")]
    pub notice: Duration,
}

/// Which points count for a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum WindowKind {
    /// Those of the last months.
    Rolling,
    /// Those of this year.
    CalendarYear,
}

/// The longest rolling window: as many numbers stand in every member's row.
const MOST_MONTHS: i32 = 36;

impl TiersConfig {
    pub fn scheme(&self) -> Scheme {
        Scheme {
            window: match self.window {
                WindowKind::Rolling => Window::Rolling { months: self.months },
                WindowKind::CalendarYear => Window::CalendarYear,
            },
            qualifying: self.qualifying,
            notice: delta(self.notice),
        }
    }
}

/// Only what happens outside: a correction is by a person, who would give themselves tiers, and the other reasons give
/// no points.
fn qualifying<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Reasons, D::Error> {
    let words = Vec::<String>::deserialize(deserializer)?;
    let known = |word: &String| {
        Reason::find(word)
            .filter(|reason| reason.is_once())
            .ok_or_else(|| D::Error::custom(format!("{word:?} is no reason that points qualify by")))
    };
    Ok(Reasons::of(&words.iter().map(known).collect::<Result<Vec<_>, _>>()?))
}

/// As many characters as 192 random bits take in base64: a shorter key could be guessed.
const SHORTEST_KEY: usize = 32;

/// A list, or one text with commas: the environment has no lists. Kept for as long as the process lives, as all of the
/// configuration is.
fn keys<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Keys, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        Text(String),
        List(Vec<String>),
    }
    let keys = match Given::deserialize(deserializer)? {
        Given::List(keys) => keys,
        Given::Text(text) => text.split(',').map(|key| key.trim().to_owned()).collect(),
    };
    let keys: Vec<&'static str> =
        keys.into_iter().filter(|key| !key.is_empty()).map(|key| &*key.leak()).collect();
    Ok(Keys::new(keys.leak()))
}

/// More than this for one thing that happened is a slip of the finger.
const MOST: i64 = 1_000_000;
/// A hundred years: longer is a slip of the finger, and a time that no calendar has.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

impl Config {
    pub fn rules(&self) -> Rules {
        Rules {
            points_per_unit: self.points_per_unit,
            survey_points: self.survey_points,
            referral_points: self.referral_points,
            purchase_delay: delta(self.purchase_delay),
            lifetime: Some(delta(self.lifetime)).filter(|lifetime| *lifetime > TimeDelta::zero()),
        }
    }

    pub fn policy(&self) -> Policy {
        Policy {
            repay_debt: self.repay_debt,
            grace: delta(self.refund_grace),
            notice: delta(self.expiry_notice),
        }
    }
}

fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).expect("validated: at most a hundred years")
}

impl Validate for Config {
    fn validate(&self) -> Result<(), ConfigError> {
        for (key, points) in [
            ("service.points_per_unit", self.points_per_unit),
            ("service.survey_points", self.survey_points),
            ("service.referral_points", self.referral_points),
        ] {
            if !(0..=MOST).contains(&points) {
                return Err(ConfigError::refused(key, format!("must be 0 to {MOST}")));
            }
        }
        for (key, duration) in [
            ("service.purchase_delay", self.purchase_delay),
            ("service.lifetime", self.lifetime),
            ("service.expiry_notice", self.expiry_notice),
            ("service.refund_grace", self.refund_grace),
            ("service.tiers.notice", self.tiers.notice),
        ] {
            if duration > LONGEST {
                return Err(ConfigError::refused(key, "must be a hundred years or less".to_owned()));
            }
        }
        if !(1..=MOST_MONTHS).contains(&self.tiers.months) {
            return Err(ConfigError::refused("service.tiers.months", format!("must be 1 to {MOST_MONTHS}")));
        }
        if self.voucher_keys.shortest().is_none_or(|shortest| shortest < SHORTEST_KEY) {
            let demand = format!("must hold a key, and none of less than {SHORTEST_KEY} characters");
            return Err(ConfigError::refused("service.voucher_keys", demand));
        }
        if self.poll.is_zero() {
            return Err(ConfigError::refused("service.poll", "must be more than 0".to_owned()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str) -> Keys {
        keys(serde_json::Value::from(text)).unwrap()
    }

    #[test]
    fn voucher_keys_are_a_list_or_a_text_with_commas_and_are_not_shown() {
        let list = keys(serde_json::json!(["one", "two"])).unwrap();
        for keys in [list, given("one, two,")] {
            assert_eq!((keys, format!("{keys:?}")), (Keys::new(&["one", "two"]), "[keys]".to_owned()));
        }
    }

    #[test]
    fn rules_out_of_range_are_refused_by_name() {
        let good = Config {
            points_per_unit: 1,
            survey_points: 50,
            referral_points: 100,
            purchase_delay: Duration::ZERO,
            lifetime: Duration::ZERO,
            expiry_notice: Duration::ZERO,
            refund_grace: Duration::ZERO,
            repay_debt: true,
            poll: Duration::from_secs(1),
            tiers: TiersConfig {
                window: WindowKind::Rolling,
                months: 12,
                qualifying: Reasons::of(&[Reason::Purchase]),
                notice: Duration::ZERO,
            },
            voucher_keys: given("0123456789abcdef0123456789abcdef, 0123456789abcdef0123456789abcdeg"),
        };
        let tiers = good.tiers;
        assert!(good.validate().is_ok());
        for (config, key) in [
            (Config { points_per_unit: -1, ..good }, "service.points_per_unit"),
            (Config { survey_points: MOST + 1, ..good }, "service.survey_points"),
            (Config { referral_points: -1, ..good }, "service.referral_points"),
            (Config { tiers: TiersConfig { months: 0, ..tiers }, ..good }, "service.tiers.months"),
            (Config { tiers: TiersConfig { months: 37, ..tiers }, ..good }, "service.tiers.months"),
            (
                Config { tiers: TiersConfig { notice: Duration::MAX, ..tiers }, ..good },
                "service.tiers.notice",
            ),
            (Config { purchase_delay: Duration::MAX, ..good }, "service.purchase_delay"),
            (Config { lifetime: Duration::MAX, ..good }, "service.lifetime"),
            (Config { expiry_notice: Duration::MAX, ..good }, "service.expiry_notice"),
            (Config { refund_grace: Duration::MAX, ..good }, "service.refund_grace"),
            (Config { poll: Duration::ZERO, ..good }, "service.poll"),
            (Config { voucher_keys: Keys::new(&[]), ..good }, "service.voucher_keys"),
            (
                Config { voucher_keys: given("0123456789abcdef0123456789abcdef,short"), ..good },
                "service.voucher_keys",
            ),
        ] {
            let error = config.validate().unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
