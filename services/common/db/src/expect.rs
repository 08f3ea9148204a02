//! A database error needs an expectation.

use cqm_rpc::Error;
use diesel::result::{DatabaseErrorKind, Error as Diesel};

/// Turns the violation of one named constraint into an answer; everything else stays what it was.
///
/// ```ignore
/// insert.execute(tx).await.on_conflict("customers_external_reference_key", || Error::AlreadyExists { .. })?;
/// ```
pub trait OnConflict<T> {
    fn on_conflict(self, constraint: &str, answer: impl FnOnce() -> Error) -> Result<T, Error>;
}

impl<T> OnConflict<T> for Result<T, Diesel> {
    fn on_conflict(self, constraint: &str, answer: impl FnOnce() -> Error) -> Result<T, Error> {
        self.map_err(|error| match &error {
            Diesel::DatabaseError(
                DatabaseErrorKind::UniqueViolation
                | DatabaseErrorKind::ForeignKeyViolation
                | DatabaseErrorKind::CheckViolation
                | DatabaseErrorKind::ExclusionViolation,
                information,
            ) if information.constraint_name() == Some(constraint) => answer(),
            _ => error.into(),
        })
    }
}

/// Reads a word of a closed set. One that this version does not know was written by a newer one, or by nobody of the
/// suite. The error names the column, not the word, which may be personal.
///
/// ```ignore
/// let state = known("member.state", &row.state, State::find)?;
/// ```
pub fn known<W>(column: &str, word: &str, find: impl FnOnce(&str) -> Option<W>) -> Result<W, Error> {
    find(word)
        .ok_or_else(|| Error::internal(format!("{column} holds a word that this version does not know")))
}
