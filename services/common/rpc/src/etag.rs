//! Etags: a row's version, opaque to callers.

use std::fmt;

use crate::{Error, Violations};

/// `v<version>` of a resource. Callers compare it; only the suite reads the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Etag(i64);

impl Etag {
    pub fn of(version: i64) -> Self {
        Self(version)
    }

    pub fn version(self) -> i64 {
        self.0
    }

    /// Reads an optional etag of a request: absent is `None`, anything that this suite never gave out is a
    /// violation of `field`.
    pub fn parse(field: &str, text: &str, violations: &mut Violations) -> Option<Self> {
        if text.is_empty() {
            return None;
        }
        let version = text.strip_prefix('v').and_then(|digits| digits.parse().ok()).filter(|v: &i64| *v > 0);
        if version.is_none() {
            violations.format(field, "an etag that the server gave out");
        }
        version.map(Self)
    }

    /// Refuses with `ETAG_MISMATCH` when the caller's etag is of another version than the row.
    pub fn check(expected: Option<Self>, version: i64, name: &str) -> Result<(), Error> {
        match expected {
            Some(etag) if etag.0 != version => Err(Error::Stale { name: name.to_owned() }),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}
