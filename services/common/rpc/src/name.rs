//! Resource names: `customers/{uuid}`, `customers/{uuid}/purchases/{uuid}`.

use std::fmt;

use uuid::Uuid;

use crate::Violations;

/// A name of one collection, `collection/{uuid}`. Collections are constants of the services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceName {
    collection: &'static str,
    id: Uuid,
}

impl ResourceName {
    pub const fn new(collection: &'static str, id: Uuid) -> Self {
        Self { collection, id }
    }

    pub const fn id(&self) -> Uuid {
        self.id
    }

    /// Reads `name`, or `None` when it is not a canonical name of the collection.
    pub fn find(collection: &'static str, name: &str) -> Option<Self> {
        let id = name.strip_prefix(collection)?.strip_prefix('/')?;
        Some(Self { collection, id: canonical(id)? })
    }

    /// Reads a required name of a request; what is wrong becomes a violation of `field`.
    pub fn parse(
        collection: &'static str,
        field: &str,
        name: &str,
        violations: &mut Violations,
    ) -> Option<Self> {
        if name.is_empty() {
            violations.required(field);
            return None;
        }
        let found = Self::find(collection, name);
        if found.is_none() {
            violations.format(field, &format!("{collection}/{{uuid}}"));
        }
        found
    }

    /// Reads an optional name: absent is `None` without a violation.
    pub fn parse_optional(
        collection: &'static str,
        field: &str,
        name: &str,
        violations: &mut Violations,
    ) -> Option<Self> {
        if name.is_empty() { None } else { Self::parse(collection, field, name, violations) }
    }

    /// Splits a nested name, `parent/{uuid}/child/{uuid}`.
    pub fn find_nested(parent: &'static str, child: &'static str, name: &str) -> Option<(Self, Self)> {
        let rest = name.strip_prefix(parent)?.strip_prefix('/')?;
        let (parent_id, rest) = rest.split_once('/')?;
        let child_id = rest.strip_prefix(child)?.strip_prefix('/')?;
        Some((
            Self { collection: parent, id: canonical(parent_id)? },
            Self { collection: child, id: canonical(child_id)? },
        ))
    }
}

/// Only the hyphenated lower-case form: one resource has one name.
fn canonical(text: &str) -> Option<Uuid> {
    let id = Uuid::try_parse(text).ok()?;
    (id.as_hyphenated().to_string() == text).then_some(id)
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.collection, self.id.as_hyphenated())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_resource_has_one_name() {
        let name = "customers/01890a5d-ac96-774b-bcce-b302099a8057";
        assert_eq!(ResourceName::find("customers", name).unwrap().to_string(), name);
        for other in [
            "customers/01890A5D-AC96-774B-BCCE-B302099A8057",
            "customers/01890a5dac96774bbcceb302099a8057",
            "customers/{01890a5d-ac96-774b-bcce-b302099a8057}",
            "customers/",
            "customers",
            "orders/01890a5d-ac96-774b-bcce-b302099a8057",
            "customers/01890a5d-ac96-774b-bcce-b302099a8057/",
        ] {
            assert_eq!(ResourceName::find("customers", other), None, "{other}");
        }
    }
}
