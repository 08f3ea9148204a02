//! The reasons that this service refuses with, as `cqm.loyalty.v1.ErrorReason` documents them, and the names of the
//! constraints that it expects.

use cqm_rpc::{Error, Refusal as Refused, ResourceName};

use crate::domain::Refusal;

cqm_rpc::reasons! { "cqm.loyalty.v1", cqm_proto::loyalty::v1::ErrorReason:
    MEMBER_NOT_FOUND, MEMBER_STATE, INSUFFICIENT_POINTS, ACCOUNT_FROZEN, BALANCE_OVERFLOW,
}

/// Constraints whose violation has a meaning of its own.
pub mod constraint {
    /// One source gives points once for each reason that gives once.
    pub const ENTRY_SOURCE_ONCE: &str = "entry_source_once";
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Insufficient { available } => {
                Self::Refused(Refused::new(INSUFFICIENT_POINTS).fact("available", available))
            }
            Refusal::Frozen => Self::refused(ACCOUNT_FROZEN),
            Refusal::State { state, action } => {
                Self::Refused(Refused::new(MEMBER_STATE).fact("state", state.name()).fact("action", action))
            }
            Refusal::Overflow => Self::OutOfRange(Refused::new(BALANCE_OVERFLOW)),
            Refusal::OutOfBalance => Self::internal("the lots of a member hold more than the account"),
        }
    }
}

/// The customer is no member.
pub(crate) fn member_not_found(name: ResourceName) -> Error {
    Error::not_found(MEMBER_NOT_FOUND, name)
}
