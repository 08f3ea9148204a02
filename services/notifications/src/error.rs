//! Why notifications refuses: the reasons of `cqm.notifications.v1.ErrorReason`, and what the database's constraints
//! mean.

use cqm_rpc::{Error, Refusal};

use crate::domain::template::Misplaced;

cqm_rpc::reasons! {
    "cqm.notifications.v1", cqm_proto::notifications::v1::ErrorReason:
    TEMPLATE_NOT_FOUND, TEMPLATE_EXISTS, TEMPLATE_INVALID, VARIABLE_UNKNOWN, VARIABLE_MISSING, CONTACT_NOT_FOUND,
    MESSAGE_NOT_FOUND, INBOX_ITEM_NOT_FOUND,
}

/// A template's key is taken once.
pub const TEMPLATES_KEY: &str = "templates_pkey";

impl From<Misplaced> for Error {
    fn from(misplaced: Misplaced) -> Self {
        let Misplaced { part, fault } = misplaced;
        Self::Malformed(
            Refusal::new(TEMPLATE_INVALID)
                .fact("position", format!("{part}:{}:{}", fault.line, fault.column))
                .fact("problem", fault.problem.name()),
        )
    }
}
