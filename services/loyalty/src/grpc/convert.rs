//! The contract's messages to the domain's values and back. All validation is here: what comes out of `parse` holds
//! nothing invalid, and a refusal names everything that is wrong.

pub mod event;
pub mod ledger;
pub mod member;

use chrono::{DateTime, Utc};
use cqm_rpc::{ResourceName, Violations, reason, text};
use prost_types::Timestamp;
use uuid::Uuid;

pub const CUSTOMERS: &str = "customers";
pub const MEMBERS: &str = "members";

const SOURCE_LIMIT: usize = 200;

fn customer(name: &str, violations: &mut Violations) -> Option<Uuid> {
    ResourceName::parse(CUSTOMERS, "customer", name, violations).map(|name| name.id())
}

/// Reads the request id of a method that needs one. As [`cqm_db::idempotency::require`], beside what else is wrong.
fn request_id(id: &str, violations: &mut Violations) -> Option<Uuid> {
    if id.is_empty() {
        violations.add("request_id", reason::REQUEST_ID_REQUIRED, "is required");
        return None;
    }
    let parsed = Uuid::try_parse(id).ok();
    if parsed.is_none() {
        violations.add("request_id", reason::REQUEST_ID_FORMAT, "must be a UUID");
    }
    parsed
}

/// Reads the optional name of another service's resource. It goes into events, so that it must not be free text.
fn source(name: &str, violations: &mut Violations) -> String {
    let before = violations.len();
    let name = text::line("source", name, SOURCE_LIMIT, violations);
    if violations.len() == before && !name.is_empty() && !is_resource_name(&name) {
        violations.format(
            "source",
            "a resource name, collection/id in letters, digits and -._~",
        );
    }
    name
}

fn is_resource_name(name: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    name.contains('/')
        && name
            .split('/')
            .all(|part| !part.is_empty() && part.chars().all(known))
}

fn timestamp(time: DateTime<Utc>) -> Timestamp {
    // A chrono second has less than 2e9 nanoseconds even at a leap, and Postgres gives us microseconds.
    let nanos =
        i32::try_from(time.timestamp_subsec_nanos()).expect("nanoseconds of a second fit into 31 bits");
    Timestamp {
        seconds: time.timestamp(),
        nanos,
    }
}

/// Reads a required time, from 0001-01-01 to the end of 9999, to the microsecond.
fn time(field: &str, time: Option<&Timestamp>, violations: &mut Violations) -> Option<DateTime<Utc>> {
    let Some(time) = time else {
        violations.required(field);
        return None;
    };
    let read = u32::try_from(time.nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000)
        .and_then(|nanos| DateTime::from_timestamp(time.seconds, nanos - nanos % 1000))
        .filter(|time| (FIRST_SECOND..=LAST_SECOND).contains(&time.timestamp()));
    if read.is_none() {
        violations.range(field, "a time from the year 1 to the year 9999");
    }
    read
}

/// 0001-01-01T00:00:00Z
const FIRST_SECOND: i64 = -62_135_596_800;
/// 9999-12-31T23:59:59Z
const LAST_SECOND: i64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_resource_name_and_no_free_text() {
        for good in [
            "",
            "complaints/01890a5d-ac96-774b-bcce-b302099a8057",
            "customers/01890a5d-ac96-774b-bcce-b302099a8057/purchases/01890a5d-ac96-774b-bcce-b302099a8057",
            "orders/A-1.2_3~4",
        ] {
            let mut violations = Violations::default();
            assert_eq!(source(good, &mut violations), good);
            assert!(violations.is_empty(), "{good}");
        }
        for (bad, why) in [
            ("orders", reason::FIELD_FORMAT),
            ("orders/", reason::FIELD_FORMAT),
            ("orders//1", reason::FIELD_FORMAT),
            ("for Li Lei / his birthday", reason::FIELD_FORMAT),
            ("orders/1\u{202e}", reason::FORBIDDEN_CHARACTER),
            ("orders/1\0", reason::FORBIDDEN_CHARACTER),
            (&format!("orders/{}", "1".repeat(194)), reason::FIELD_TOO_LONG),
        ] {
            let mut violations = Violations::default();
            source(bad, &mut violations);
            let found: Vec<_> = violations.iter().map(|v| (v.field.as_str(), v.reason)).collect();
            assert_eq!(found, [("source", why)], "{bad}");
        }
    }

    #[test]
    fn times_are_read_to_the_microsecond_and_within_the_contract() {
        let read = |seconds, nanos| {
            let mut violations = Violations::default();
            let time = time("time", Some(&Timestamp { seconds, nanos }), &mut violations);
            assert_eq!(time.is_none(), violations.len() == 1);
            time
        };
        let noon = read(1_700_000_000, 123_456_789).unwrap();
        assert_eq!(
            timestamp(noon),
            Timestamp {
                seconds: 1_700_000_000,
                nanos: 123_456_000
            }
        );
        assert_eq!(read(-1, 999_999_999).unwrap().timestamp(), -1);
        for (seconds, nanos) in [
            (0, -1),
            (0, 1_000_000_000),
            (FIRST_SECOND - 1, 0),
            (LAST_SECOND + 1, 0),
            (i64::MAX, 0),
        ] {
            assert_eq!(read(seconds, nanos), None, "{seconds} {nanos}");
        }
        assert!(read(FIRST_SECOND, 0).is_some() && read(LAST_SECOND, 999_999_999).is_some());
    }
}
