//! The contract's messages to the domain's values and back. All validation is here: what comes out of `parse` holds
//! nothing invalid, and a refusal names everything that is wrong.

pub mod earning;
pub mod estimate;
pub mod event;
pub mod hold;
pub mod ledger;
pub mod localized;
pub mod member;
pub mod programme;
pub mod report;
pub mod reversal;
pub mod reward;
pub mod rule;
pub mod tier;
pub mod verify;
pub mod voucher;

use std::ops::RangeInclusive;

use chrono::TimeDelta;
use cqm_rpc::{Error, Etag, ResourceName, Violations, text};
use prost_types::Duration;
use uuid::Uuid;

pub const CUSTOMERS: &str = "customers";
pub const MEMBERS: &str = "members";
pub const ENTRIES: &str = "entries";
pub const TRANSACTIONS: &str = "transactions";
pub const HOLDS: &str = "holds";
pub const PROGRAMMES: &str = "programmes";
pub const EARNING_RULES: &str = "earningRules";
pub const TIERS: &str = "tiers";
pub const REWARDS: &str = "rewards";
pub const VOUCHERS: &str = "vouchers";
pub const BREAKAGE_ESTIMATES: &str = "breakageEstimates";

const SOURCE_LIMIT: usize = 200;

fn customer(name: &str, violations: &mut Violations) -> Option<Uuid> {
    ResourceName::parse(CUSTOMERS, "customer", name, violations).map(|name| name.id())
}

/// Reads which resource is asked for.
pub fn named(collection: &'static str, name: &str) -> Result<Uuid, Error> {
    let mut violations = Violations::default();
    let name = ResourceName::parse(collection, "name", name, &mut violations);
    violations.finish()?;
    Ok(name.expect("no violations, so there is a name").id())
}

/// Reads which resource is to be moved on or deleted, and the version of it that the caller has read.
pub fn versioned(
    collection: &'static str,
    name: &str,
    etag: &str,
    request_id: &str,
) -> Result<(Uuid, Option<Etag>), Error> {
    let mut violations = Violations::default();
    let name = ResourceName::parse(collection, "name", name, &mut violations);
    let etag = Etag::parse("etag", etag, &mut violations);
    violations.optional_request_id(request_id);
    violations.finish()?;
    Ok((name.expect("no violations, so there is a name").id(), etag))
}

/// The name of something of a member's.
pub fn child(customer: Uuid, collection: &'static str, id: Uuid) -> String {
    format!("{}/{}", ResourceName::new(MEMBERS, customer), ResourceName::new(collection, id))
}

/// Reads the name of something of a member's: whose it is, and its id.
fn parse_child(
    collection: &'static str,
    field: &str,
    name: &str,
    violations: &mut Violations,
) -> Option<(Uuid, Uuid)> {
    if name.is_empty() {
        violations.required(field);
        return None;
    }
    let found = ResourceName::find_nested(MEMBERS, collection, name);
    if found.is_none() {
        violations.format(field, &format!("{MEMBERS}/{{uuid}}/{collection}/{{uuid}}"));
    }
    found.map(|(member, child)| (member.id(), child.id()))
}

/// Reads the optional name of another service's resource. It goes into events, so that it must not be free text.
fn source(name: &str, violations: &mut Violations) -> String {
    resource("source", name, violations)
}

fn resource(field: &str, name: &str, violations: &mut Violations) -> String {
    let before = violations.len();
    let name = text::line(field, name, SOURCE_LIMIT, violations);
    if violations.len() == before && !name.is_empty() && !is_resource_name(&name) {
        violations.format(field, "a resource name, collection/id in letters, digits and -._~");
    }
    name
}

fn is_resource_name(name: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    name.contains('/') && name.split('/').all(|part| !part.is_empty() && part.chars().all(known))
}

/// Checks the currency of the money in a field.
fn check_currency(field: &str, code: &str, violations: &mut Violations) {
    let field = format!("{field}.currency_code");
    if code.is_empty() {
        violations.required(&field);
    } else if code.len() != 3 || !code.bytes().all(|c| c.is_ascii_uppercase()) {
        violations.format(&field, "the three letters of ISO 4217");
    }
}

/// Reads an optional time in whole seconds.
fn seconds(
    field: &str,
    given: Option<&Duration>,
    range: &RangeInclusive<TimeDelta>,
    violations: &mut Violations,
) -> Option<TimeDelta> {
    let given = given?;
    let whole = Some(given.seconds).filter(|_| given.nanos == 0);
    let read = whole.and_then(TimeDelta::try_seconds).filter(|read| range.contains(read));
    if read.is_none() {
        let (shortest, longest) = (range.start().num_seconds(), range.end().num_days());
        violations.range(field, &format!("{shortest} s to {longest} days, in whole seconds"));
    }
    read
}

fn show_seconds(time: TimeDelta) -> Duration {
    Duration { seconds: time.num_seconds(), nanos: 0 }
}

#[cfg(test)]
mod tests {
    use cqm_rpc::reason;

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
}
