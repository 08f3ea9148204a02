//! Points in time, between the contract's messages and the domain.

use chrono::{DateTime, Datelike, SubsecRound, TimeDelta, Utc};
use prost_types::Timestamp;

use crate::Violations;

/// How far ahead of ours a caller's clock may run before its "now" is refused as the future.
const CLOCK_SKEW: TimeDelta = TimeDelta::minutes(1);

/// Reads a time that may be left out: of the years 1 to 9999, which is what the contract's timestamps can say, in
/// microseconds, which is what is kept.
pub fn optional(field: &str, time: Option<&Timestamp>, violations: &mut Violations) -> Option<DateTime<Utc>> {
    let time = time?;
    let read = u32::try_from(time.nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000)
        .and_then(|nanos| DateTime::from_timestamp(time.seconds, nanos))
        .filter(|time| (1..=9999).contains(&time.year()))
        .map(|time| time.trunc_subsecs(6));
    if read.is_none() {
        violations.range(field, "a time from year 1 to 9999 with nanos of 0 to 999,999,999");
    }
    read
}

/// Reads a time that must be there; otherwise as [`optional`].
pub fn required(field: &str, time: Option<&Timestamp>, violations: &mut Violations) -> Option<DateTime<Utc>> {
    if time.is_none() {
        violations.required(field);
    }
    optional(field, time, violations)
}

/// Reads a time that may be left out and has come, by a clock that may differ from ours by a minute.
pub fn past(
    field: &str,
    time: Option<&Timestamp>,
    now: DateTime<Utc>,
    violations: &mut Violations,
) -> Option<DateTime<Utc>> {
    let time = optional(field, time, violations)?;
    if time > now + CLOCK_SKEW {
        violations.range(field, "a time that has come");
        return None;
    }
    Some(time)
}

/// The time as messages carry it.
pub fn wire(time: DateTime<Utc>) -> Timestamp {
    // At most 1,999,999,999 even in a leap second, which neither Postgres nor our clock has.
    Timestamp { seconds: time.timestamp(), nanos: time.timestamp_subsec_nanos().cast_signed() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason;

    /// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z
    const FIRST_SECOND: i64 = -62_135_596_800;
    const LAST_SECOND: i64 = 253_402_300_799;

    fn now() -> DateTime<Utc> {
        "2026-11-02T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn times_are_within_the_contract() {
        for (seconds, nanos, good) in [
            (0, 0, true),
            (-1, 999_999_999, true),
            (FIRST_SECOND, 0, true),
            (LAST_SECOND, 999_999_999, true),
            (0, -1, false),
            (0, 1_000_000_000, false),
            (FIRST_SECOND - 1, 0, false),
            (FIRST_SECOND - 1, 999_999_999, false),
            (LAST_SECOND + 1, 0, false),
            (i64::MAX, 0, false),
            (i64::MIN, 0, false),
        ] {
            let mut violations = Violations::default();
            let time = optional("t", Some(&Timestamp { seconds, nanos }), &mut violations);
            assert_eq!(time.map(|time| time.timestamp()), good.then_some(seconds), "{seconds}.{nanos}");
            assert_eq!(violations.is_empty(), good, "{seconds}.{nanos}");
        }
    }

    #[test]
    fn a_time_is_kept_in_microseconds() {
        let time = Timestamp { seconds: 1_700_000_000, nanos: 123_456_789 };
        let time = optional("t", Some(&time), &mut Violations::default()).unwrap();
        assert_eq!(wire(time), Timestamp { seconds: 1_700_000_000, nanos: 123_456_000 });
    }

    #[test]
    fn only_a_required_time_must_be_there() {
        let mut violations = Violations::default();
        assert_eq!(optional("t", None, &mut violations), None);
        assert_eq!(past("t", None, now(), &mut violations), None);
        assert!(violations.is_empty());
        assert_eq!(required("t", None, &mut violations), None);
        assert_eq!(violations.iter().map(|v| v.reason).collect::<Vec<_>>(), [reason::FIELD_REQUIRED]);
    }

    #[test]
    fn a_past_time_has_come_by_some_clock() {
        let seconds = now().timestamp();
        for (seconds, nanos, good) in [
            (0, 0, true),
            (seconds, 0, true),
            (seconds + 60, 0, true),
            (seconds + 60, 1_000, false),
            (seconds, -1, false),
        ] {
            let mut violations = Violations::default();
            let time = past("t", Some(&Timestamp { seconds, nanos }), now(), &mut violations);
            assert_eq!((time.is_some(), violations.is_empty()), (good, good), "{seconds}.{nanos}");
        }
    }
}
