//! Periods of the calendar.

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveTime, TimeDelta, Utc};

cqm_rpc::words! {
    /// A stretch of time that limits are counted in.
    #[derive(Hash)]
    pub enum Period {
        /// From midnight.
        Day = "DAY",
        /// From Monday.
        Week = "WEEK",
        Month = "MONTH",
        Year = "YEAR",
        Ever = "EVER",
    }
}

impl Period {
    /// When the period began that `now` is in, by a calendar so much ahead of UTC.
    pub fn start(self, now: DateTime<Utc>, utc_offset_minutes: i32) -> DateTime<Utc> {
        let offset = TimeDelta::minutes(i64::from(utc_offset_minutes));
        let today = (now + offset).date_naive();
        let first = match self {
            Self::Ever => return DateTime::UNIX_EPOCH,
            Self::Day => Some(today),
            Self::Week => today.checked_sub_days(Days::new(today.weekday().num_days_from_monday().into())),
            Self::Month => today.with_day(1),
            Self::Year => NaiveDate::from_ymd_opt(today.year(), 1, 1),
        };
        // Only at the edge of the calendar is there no such day.
        first.unwrap_or(today).and_time(NaiveTime::MIN).and_utc() - offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_begin_where_the_calendar_of_the_place_says() {
        for (now, offset, day, week, month, year) in [
            ("2026-01-15T01:30:00Z", 0, "2026-01-15", "2026-01-12", "2026-01-01", "2026-01-01"),
            ("2026-03-01T23:59:59Z", 0, "2026-03-01", "2026-02-23", "2026-03-01", "2026-01-01"),
            ("2024-02-29T00:00:00Z", 0, "2024-02-29", "2024-02-26", "2024-02-01", "2024-01-01"),
            // In Beijing it is tomorrow, and next year.
            ("2025-12-31T16:00:00Z", 480, "2026-01-01", "2025-12-29", "2026-01-01", "2026-01-01"),
            ("2025-12-31T15:59:59Z", 480, "2025-12-31", "2025-12-29", "2025-12-01", "2025-01-01"),
            ("2026-06-01T04:00:00Z", -300, "2026-05-31", "2026-05-25", "2026-05-01", "2026-01-01"),
        ] {
            let now: DateTime<Utc> = now.parse().unwrap();
            for (period, date) in
                [(Period::Day, day), (Period::Week, week), (Period::Month, month), (Period::Year, year)]
            {
                let midnight: DateTime<Utc> = format!("{date}T00:00:00Z").parse().unwrap();
                let expected = midnight - TimeDelta::minutes(i64::from(offset));
                assert_eq!(period.start(now, offset), expected, "{period:?} of {now} at {offset}");
            }
            assert_eq!(Period::Ever.start(now, offset), DateTime::UNIX_EPOCH);
        }
    }
}
