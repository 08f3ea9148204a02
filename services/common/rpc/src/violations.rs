//! Everything that is wrong with a message, collected before it is refused.

use std::fmt;

use cqm_proto::is_masked;
use cqm_proto::options::v1::PersonalKind;
use uuid::Uuid;

use crate::{Error, Reason, reason};

/// One thing wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The path in the message: `customer.phones[1].number`.
    pub field: String,
    pub reason: Reason,
    /// For a person, lower case, without the offending value: it may be personal data.
    pub description: String,
}

/// All violations of one message. [`Violations::finish`] refuses when there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations(Vec<Violation>);

impl Violations {
    pub fn add(&mut self, field: &str, reason: Reason, description: impl Into<String>) {
        self.0.push(Violation { field: field.to_owned(), reason, description: description.into() });
    }

    pub fn required(&mut self, field: &str) {
        self.add(field, reason::FIELD_REQUIRED, "is required");
    }

    /// `expected` completes "must be …".
    pub fn format(&mut self, field: &str, expected: &str) {
        self.add(field, reason::FIELD_FORMAT, format!("must be {expected}"));
    }

    pub fn range(&mut self, field: &str, expected: &str) {
        self.add(field, reason::FIELD_RANGE, format!("must be {expected}"));
    }

    pub fn too_long(&mut self, field: &str, limit: usize) {
        self.add(field, reason::FIELD_TOO_LONG, format!("is longer than {limit} characters"));
    }

    pub fn order(&mut self, field: &str, expected: &str) {
        self.add(field, reason::FIELD_ORDER, format!("must be {expected}"));
    }

    /// Refuses the mask of personal data that the caller was shown: it must not become the value. `false` when it is one.
    pub fn unmasked(&mut self, field: &str, kind: PersonalKind, text: &str) -> bool {
        let masked = is_masked(kind, text);
        if masked {
            self.add(field, reason::FIELD_MASKED, "is masked: leave it out, or give the real value");
        }
        !masked
    }

    /// Reads an enum that must be one of the known values, zero (unspecified) not among them.
    pub fn choice<E: TryFrom<i32>>(&mut self, field: &str, number: i32) -> Option<E> {
        let value = E::try_from(number).ok().filter(|_| number != 0);
        if value.is_none() {
            self.add(field, reason::ENUM_UNKNOWN, "must be one of the values that this version knows");
        }
        value
    }

    /// Reads an enum that may be left out.
    pub fn optional_choice<E: TryFrom<i32>>(&mut self, field: &str, number: i32) -> Option<E> {
        if number == 0 { None } else { self.choice(field, number) }
    }

    /// Reads the `request_id` of a method that must not be repeated by accident.
    pub fn request_id(&mut self, text: &str) -> Option<Uuid> {
        if text.is_empty() {
            self.add("request_id", reason::REQUEST_ID_REQUIRED, "is required");
        }
        self.optional_request_id(text)
    }

    /// Reads a `request_id` that may be left out. What makes requests the same one is the transaction's to decide;
    /// here a malformed id is told together with what else is wrong.
    pub fn optional_request_id(&mut self, text: &str) -> Option<Uuid> {
        if text.is_empty() {
            return None;
        }
        let id = Uuid::try_parse(text).ok();
        if id.is_none() {
            self.add("request_id", reason::REQUEST_ID_FORMAT, "must be a UUID");
        }
        id
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Violation> {
        self.0.iter()
    }

    /// `Ok` when nothing is wrong. Parsers end with it: what they built from `Option`s is complete then.
    pub fn finish(self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::Invalid(self)) }
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, violation) in self.0.iter().take(3).enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{} {}", violation.field, violation.description)?;
        }
        if self.0.len() > 3 {
            write!(f, "; and {} more", self.0.len() - 3)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_a_uuid_or_absent_where_it_may_be() {
        let read = |text: &str, required: bool| {
            let mut violations = Violations::default();
            let id =
                if required { violations.request_id(text) } else { violations.optional_request_id(text) };
            (id.is_some(), violations.iter().map(|v| v.reason).collect::<Vec<_>>())
        };
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        assert_eq!(read(id, true), (true, vec![]));
        assert_eq!(read(id, false), (true, vec![]));
        assert_eq!(read("", false), (false, vec![]));
        assert_eq!(read("", true), (false, vec![reason::REQUEST_ID_REQUIRED]));
        assert_eq!(read("again", false), (false, vec![reason::REQUEST_ID_FORMAT]));
        assert_eq!(read("again", true), (false, vec![reason::REQUEST_ID_FORMAT]));
    }
}
