//! Points in time, on the wire and in the domain.

use chrono::{DateTime, Datelike, SubsecRound, TimeDelta, Utc};
use cqm_rpc::Violations;
use prost_types::Timestamp;

/// How far ahead of ours a caller's clock may run before "now" is refused as the future.
const CLOCK_SKEW: TimeDelta = TimeDelta::minutes(1);

/// Reads a point in time that has come: in microseconds, which is what is kept.
pub fn past(
    field: &str,
    timestamp: Option<&Timestamp>,
    now: DateTime<Utc>,
    violations: &mut Violations,
) -> Option<DateTime<Utc>> {
    let timestamp = timestamp?;
    let time = u32::try_from(timestamp.nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000)
        .and_then(|nanos| DateTime::from_timestamp(timestamp.seconds, nanos))
        .filter(|time| (1..=9999).contains(&time.year()))
        .map(|time| time.trunc_subsecs(6));
    let Some(time) = time else {
        violations.range(field, "a time from year 1 to 9999 with nanos of 0 to 999,999,999");
        return None;
    };
    if time > now + CLOCK_SKEW {
        violations.range(field, "a time that has come");
        return None;
    }
    Some(time)
}

pub fn wire(time: DateTime<Utc>) -> Option<Timestamp> {
    let nanos = i32::try_from(time.timestamp_subsec_nanos()).unwrap_or(999_999_999);
    Some(Timestamp {
        seconds: time.timestamp(),
        nanos,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-11-02T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn only_times_that_have_come_are_read() {
        let seconds = now().timestamp();
        for (seconds, nanos, good) in [
            (0, 0, true),
            (-1, 999_999_999, true),
            (seconds, 0, true),
            (seconds + 60, 0, true),
            (seconds + 60, 1_000, false),
            (seconds, -1, false),
            (seconds, 1_000_000_000, false),
            (i64::MAX, 0, false),
            (i64::MIN, 0, false),
            (-62_135_596_800, 0, true),
            (-62_135_596_801, 0, false),
        ] {
            let mut violations = Violations::default();
            let time = past("t", Some(&Timestamp { seconds, nanos }), now(), &mut violations);
            assert_eq!(
                (time.is_some(), violations.is_empty()),
                (good, good),
                "{seconds}.{nanos}"
            );
        }
        let mut violations = Violations::default();
        assert_eq!(past("t", None, now(), &mut violations), None);
        assert!(violations.is_empty());
    }

    #[test]
    fn a_time_is_kept_in_microseconds() {
        let time = past(
            "t",
            Some(&Timestamp {
                seconds: 5,
                nanos: 1_999,
            }),
            now(),
            &mut Violations::default(),
        );
        assert_eq!(
            wire(time.unwrap()),
            Some(Timestamp {
                seconds: 5,
                nanos: 1_000
            })
        );
    }
}
