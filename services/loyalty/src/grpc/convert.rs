//! The contract's messages to the domain's values and back. All validation is here: what comes out of `parse` holds
//! nothing invalid, and a refusal names everything that is wrong.

pub mod earning;
pub mod estimate;
pub mod event;
pub mod hold;
pub mod ledger;
pub mod member;
pub mod programme;
pub mod report;
pub mod reversal;
pub mod reward;
pub mod rule;
pub mod tier;
pub mod verify;
pub mod voucher;

use cqm_rpc::{ResourceName, Violations, text};
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

const SOURCE_LIMIT: usize = 200;

fn customer(name: &str, violations: &mut Violations) -> Option<Uuid> {
    ResourceName::parse(CUSTOMERS, "customer", name, violations).map(|name| name.id())
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
