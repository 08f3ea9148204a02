//! The tables: free functions over one borrowed connection.

pub mod contacts;
pub mod inbox;
pub mod messages;
pub mod steps;
pub mod templates;

use cqm_rpc::Error;

/// Reads a word of a closed set. One that this version does not know was written by a newer one, which the order of
/// migrations and deployments forbids.
fn known<T>(found: Option<T>, column: &'static str) -> Result<T, Error> {
    found.ok_or_else(|| Error::internal(format!("{column} holds a word that this version does not know")))
}

/// A column of JSON that is not as this version writes it. serde's own words quote the value, which may be personal.
fn unreadable(column: &'static str, error: &serde_json::Error) -> Error {
    Error::internal(format!("{column} cannot be read: {:?} error", error.classify()))
}
