//! The reasons that this service refuses with, as `cqm.loyalty.v1.ErrorReason` documents them, and the names of the
//! constraints that it expects.

use cqm_rpc::{Error, Reason, Refusal as Refused, ResourceName};

use crate::domain::Refusal;

const DOMAIN: &str = "cqm.loyalty.v1";

pub const MEMBER_NOT_FOUND: Reason = Reason::new(DOMAIN, "MEMBER_NOT_FOUND");
pub const MEMBER_STATE: Reason = Reason::new(DOMAIN, "MEMBER_STATE");
pub const INSUFFICIENT_POINTS: Reason = Reason::new(DOMAIN, "INSUFFICIENT_POINTS");
pub const ACCOUNT_FROZEN: Reason = Reason::new(DOMAIN, "ACCOUNT_FROZEN");
pub const BALANCE_OVERFLOW: Reason = Reason::new(DOMAIN, "BALANCE_OVERFLOW");

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
            Refusal::State { state, action } => Self::Refused(
                Refused::new(MEMBER_STATE)
                    .fact("state", state.name())
                    .fact("action", action),
            ),
            Refusal::Overflow => Self::OutOfRange(Refused::new(BALANCE_OVERFLOW)),
            Refusal::OutOfBalance => Self::internal("the lots of a member hold more than the account"),
        }
    }
}

/// The customer is no member.
pub(crate) fn member_not_found(name: ResourceName) -> Error {
    Error::NotFound {
        reason: MEMBER_NOT_FOUND,
        name: name.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use cqm_proto::loyalty::v1::ErrorReason;

    use super::*;

    #[test]
    fn every_reason_is_documented_in_the_contract() {
        let ours = [
            MEMBER_NOT_FOUND,
            MEMBER_STATE,
            INSUFFICIENT_POINTS,
            ACCOUNT_FROZEN,
            BALANCE_OVERFLOW,
        ];
        for reason in ours {
            let documented = ErrorReason::from_str_name(&format!("ERROR_REASON_{}", reason.name));
            assert!(documented.is_some(), "{}", reason.name);
        }
        let documented = (1..)
            .map_while(|number| ErrorReason::try_from(number).ok())
            .count();
        assert_eq!(documented, ours.len(), "no reason of the contract is without use");
    }
}
