//! Resource names: `customers/{uuid}`, `customers/{uuid}/purchases/{uuid}`.

use std::fmt;

use uuid::Uuid;

use crate::Violations;

/// The longest name of [`any_name`], in characters.
const LONGEST: usize = 200;

/// Reads the optional name of a resource of any service, also a nested one; what is wrong becomes a violation of `field`.
///
/// Such names go into events, which are kept for ever: between a collection and a UUID there is no room for a person's
/// name or number.
pub fn any_name(field: &str, name: &str, violations: &mut Violations) -> String {
    let parts: Vec<&str> = name.split('/').collect();
    let is_pair = |pair: &[&str]| matches!(pair, [set, id] if is_collection(set) && canonical(id).is_some());
    if name.chars().count() > LONGEST {
        violations.too_long(field, LONGEST);
    } else if !name.is_empty() && !parts.chunks(2).all(is_pair) {
        violations.format(field, "a resource name such as complaints/{uuid}");
    }
    name.to_owned()
}

/// As collections are named: `complaints`, `inboxItems`.
fn is_collection(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'-' | b'_'))
}

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
    use crate::reason;

    #[test]
    fn a_name_of_any_collection_holds_collections_and_ids_and_nothing_else() {
        let id = "019b76da-a800-7000-8000-0000000000aa";
        for (name, expected) in [
            (String::new(), None),
            (format!("complaints/{id}"), None),
            (format!("inboxItems/{id}"), None),
            (format!("customers/{id}/purchases/{id}"), None),
            (format!("complaints/{}", id.to_uppercase()), Some(reason::FIELD_FORMAT)),
            (format!("Complaints/{id}"), Some(reason::FIELD_FORMAT)),
            (format!("com plaints/{id}"), Some(reason::FIELD_FORMAT)),
            (format!("complaints/{id}/"), Some(reason::FIELD_FORMAT)),
            (format!("customers/{id}/purchases"), Some(reason::FIELD_FORMAT)),
            (format!("/{id}"), Some(reason::FIELD_FORMAT)),
            (format!("投诉/{id}"), Some(reason::FIELD_FORMAT)),
            ("/".to_owned(), Some(reason::FIELD_FORMAT)),
            ("complaints".to_owned(), Some(reason::FIELD_FORMAT)),
            ("customers/LiLei".to_owned(), Some(reason::FIELD_FORMAT)),
            ("phones/13800138000".to_owned(), Some(reason::FIELD_FORMAT)),
            ("\u{0}/x".to_owned(), Some(reason::FIELD_FORMAT)),
            (format!("{}/{id}", "c".repeat(200)), Some(reason::FIELD_TOO_LONG)),
        ] {
            let mut violations = Violations::default();
            assert_eq!(any_name("about", &name, &mut violations), name);
            assert_eq!(violations.iter().next().map(|violation| violation.reason), expected, "{name:?}");
        }
    }

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
