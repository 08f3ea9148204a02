//! The reasons of `cqm.complaints.v1`, and how refusals of the domain become them.

use cqm_rpc::{Error, Reason, Refusal, ResourceName};

use crate::domain::IllegalMove;

const DOMAIN: &str = "cqm.complaints.v1";

pub const COMPLAINT_NOT_FOUND: Reason = Reason::new(DOMAIN, "COMPLAINT_NOT_FOUND");
pub const COMPLAINT_STATE: Reason = Reason::new(DOMAIN, "COMPLAINT_STATE");

pub fn not_found(name: ResourceName) -> Error {
    Error::NotFound {
        reason: COMPLAINT_NOT_FOUND,
        name: name.to_string(),
    }
}

impl From<IllegalMove> for Error {
    fn from(refused: IllegalMove) -> Self {
        Refusal::new(COMPLAINT_STATE)
            .fact("name", refused.complaint)
            .fact("state", refused.state.name())
            .fact("action", refused.action.verb())
            .into()
    }
}

#[cfg(test)]
mod tests {
    use cqm_proto::complaints::v1::ErrorReason;

    use super::*;

    #[test]
    fn every_reason_is_one_of_the_contract() {
        let ours = [COMPLAINT_NOT_FOUND, COMPLAINT_STATE];
        for reason in ours {
            assert!(
                ErrorReason::from_str_name(&format!("ERROR_REASON_{}", reason.name)).is_some(),
                "{reason:?}"
            );
            assert_eq!(reason.domain, "cqm.complaints.v1");
        }
        let documented = (1..)
            .map_while(|number| ErrorReason::try_from(number).ok())
            .count();
        assert_eq!(documented, ours.len());
    }
}
