//! The reasons of `cqm.complaints.v1`, and how refusals of the domain become them.

use cqm_rpc::{Error, Refusal, ResourceName};

use crate::domain::IllegalMove;

cqm_rpc::reasons! { "cqm.complaints.v1", cqm_proto::complaints::v1::ErrorReason:
    COMPLAINT_NOT_FOUND, COMPLAINT_STATE, SLA_POLICY_NOT_FOUND,
}

pub fn not_found(name: ResourceName) -> Error {
    Error::not_found(COMPLAINT_NOT_FOUND, name)
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
