//! Messages to commands and back. A command holds nothing invalid; what is wrong with a message is told at once.

mod content;
pub(super) mod invitation;
pub(super) mod questionnaire;
pub(super) mod response;

use cqm_rpc::{ResourceName, Violations};
use uuid::Uuid;

use crate::QUESTIONNAIRES;

/// The longest name of a subject.
const MAX_SUBJECT: usize = 200;

/// `questionnaires/{uuid}/versions/{number}`
pub(super) fn version_name(id: Uuid, number: i32) -> String {
    format!("{}/versions/{number}", ResourceName::new(QUESTIONNAIRES, id))
}

/// Reads the optional name of a resource of any service, `collection/{uuid}`, also a nested one.
fn subject(field: &str, name: &str, violations: &mut Violations) -> String {
    let parts: Vec<&str> = name.split('/').collect();
    let well_formed =
        parts.len().is_multiple_of(2) && parts.chunks(2).all(|pair| is_collection(pair[0]) && is_id(pair[1]));
    if name.chars().count() > MAX_SUBJECT {
        violations.too_long(field, MAX_SUBJECT);
    } else if !name.is_empty() && !well_formed {
        violations.format(field, "a resource name such as complaints/{uuid}");
    }
    name.to_owned()
}

fn is_collection(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-' || byte == b'_')
}

/// Only the canonical form: one resource has one name, and is asked about once.
fn is_id(text: &str) -> bool {
    Uuid::try_parse(text).is_ok_and(|id| id.as_hyphenated().to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cqm_rpc::reason;

    #[test]
    fn subjects_are_resource_names_of_any_service() {
        let id = "019b76da-a800-7000-8000-0000000000aa";
        for (name, expected) in [
            (String::new(), None),
            (format!("complaints/{id}"), None),
            (format!("customers/{id}/purchases/{id}"), None),
            (format!("complaints/{}", id.to_uppercase()), Some(reason::FIELD_FORMAT)),
            (format!("Complaints/{id}"), Some(reason::FIELD_FORMAT)),
            (format!("complaints/{id}/"), Some(reason::FIELD_FORMAT)),
            (format!("/{id}"), Some(reason::FIELD_FORMAT)),
            ("complaints".to_owned(), Some(reason::FIELD_FORMAT)),
            ("complaints/1".to_owned(), Some(reason::FIELD_FORMAT)),
            ("\u{0}/x".to_owned(), Some(reason::FIELD_FORMAT)),
            (format!("{}/{id}", "c".repeat(200)), Some(reason::FIELD_TOO_LONG)),
        ] {
            let mut violations = Violations::default();
            subject("subject", &name, &mut violations);
            assert_eq!(violations.iter().next().map(|violation| violation.reason), expected, "{name:?}");
        }
    }
}
