//! Everything that is wrong with a message, collected before it is refused.

use std::fmt;

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
        self.0.push(Violation {
            field: field.to_owned(),
            reason,
            description: description.into(),
        });
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
        self.add(
            field,
            reason::FIELD_TOO_LONG,
            format!("is longer than {limit} characters"),
        );
    }

    pub fn order(&mut self, field: &str, expected: &str) {
        self.add(field, reason::FIELD_ORDER, format!("must be {expected}"));
    }

    /// Reads an enum that must be one of the known values, zero (unspecified) not among them.
    pub fn choice<E: TryFrom<i32>>(&mut self, field: &str, number: i32) -> Option<E> {
        let value = E::try_from(number).ok().filter(|_| number != 0);
        if value.is_none() {
            self.add(
                field,
                reason::ENUM_UNKNOWN,
                "must be one of the values that this version knows",
            );
        }
        value
    }

    /// Reads an enum that may be left out.
    pub fn optional_choice<E: TryFrom<i32>>(&mut self, field: &str, number: i32) -> Option<E> {
        if number == 0 {
            None
        } else {
            self.choice(field, number)
        }
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
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Error::Invalid(self))
        }
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
