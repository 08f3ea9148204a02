//! The tables: free functions over one borrowed connection.

pub mod contacts;
pub mod figures;
pub mod inbox;
pub mod messages;
pub mod steps;
pub mod templates;

use cqm_rpc::Error;

/// A column of JSON that is not as this version writes it. serde's own words quote the value, which may be personal.
fn unreadable(column: &'static str, error: &serde_json::Error) -> Error {
    Error::internal(format!("{column} cannot be read: {:?} error", error.classify()))
}
