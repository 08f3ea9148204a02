//! A day of birth, with or without its year.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

/// A leap year, so that the 29th of February is a birthday when the year is not known.
const ANY_YEAR: i32 = 2000;

/// A day of birth. Only real days can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Birthday {
    year: Option<i32>,
    month: u32,
    day: u32,
}

impl Birthday {
    /// `None` when there is no such day. Years are 1 to 9999.
    pub fn new(year: Option<i32>, month: u32, day: u32) -> Option<Self> {
        let real = NaiveDate::from_ymd_opt(year.unwrap_or(ANY_YEAR), month, day).is_some();
        (real && year.is_none_or(|year| (1..=9999).contains(&year))).then_some(Self { year, month, day })
    }

    pub fn year(self) -> Option<i32> {
        self.year
    }

    pub fn month(self) -> u32 {
        self.month
    }

    pub fn day(self) -> u32 {
        self.day
    }

    /// Whether the day has not begun anywhere on earth: a child born today in Auckland has a birthday that is
    /// tomorrow in UTC.
    pub fn is_future(self, now: DateTime<Utc>) -> bool {
        let latest = (now + TimeDelta::hours(14)).date_naive();
        self.year
            .and_then(|year| NaiveDate::from_ymd_opt(year, self.month, self.day))
            .is_some_and(|date| date > latest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_real_days_are_birthdays() {
        for (year, month, day, real) in [
            (Some(1990), 5, 20, true),
            (Some(2000), 2, 29, true),
            (Some(1900), 2, 29, false),
            (None, 2, 29, true),
            (None, 2, 30, false),
            (Some(1990), 0, 1, false),
            (Some(1990), 1, 0, false),
            (Some(1990), 13, 1, false),
            (Some(0), 1, 1, false),
            (Some(-5), 1, 1, false),
            (Some(10_000), 1, 1, false),
            (Some(i32::MAX), 1, 1, false),
        ] {
            assert_eq!(Birthday::new(year, month, day).is_some(), real, "{year:?}-{month}-{day}");
        }
    }

    #[test]
    fn a_day_is_in_the_future_when_it_has_begun_nowhere() {
        let now: DateTime<Utc> = "2026-11-02T09:59:00Z".parse().unwrap();
        let on = |year, day| Birthday::new(year, 11, day).unwrap();
        assert!(!on(Some(2026), 2).is_future(now));
        assert!(on(Some(2026), 3).is_future(now));
        assert!(!on(Some(2026), 3).is_future(now + TimeDelta::minutes(1)));
        assert!(!on(None, 30).is_future(now), "without a year nothing is in the future");
    }
}
