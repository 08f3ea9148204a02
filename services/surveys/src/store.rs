//! The tables: free functions over one borrowed connection.

pub mod invitations;
pub mod questionnaires;
pub mod responses;
pub mod summary;

use cqm_rpc::Error;

/// Reads the name of an enum's value. One that this version does not know was written by a newer one, which the
/// order of migrations and deployments forbids.
fn named<T: Copy>(values: &[T], name: fn(T) -> &'static str, text: &str) -> Result<T, Error> {
    let found = values.iter().copied().find(|value| name(*value) == text);
    found.ok_or_else(|| Error::internal(format!("the database holds the unknown value {text}")))
}
