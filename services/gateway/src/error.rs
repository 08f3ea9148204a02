//! The gateway's own error reasons, documented in `cqm/gateway/v1/error_reason.proto`.

use cqm_proto::google::rpc;
use cqm_rpc::{Error, Failure, Reason, Refusal, reason};

const DOMAIN: &str = "cqm.gateway.v1";

/// No service of the suite has this name.
pub(crate) const SOURCE_UNKNOWN: Reason = Reason::new(DOMAIN, "SOURCE_UNKNOWN");
/// The service whose feed is asked does not answer.
pub(crate) const SOURCE_UNAVAILABLE: Reason = Reason::new(DOMAIN, "SOURCE_UNAVAILABLE");
/// customer-data's word for a customer that does not exist or was deleted.
pub(crate) const CUSTOMER_NOT_FOUND: Reason = Reason::new("cqm.customers.v1", "CUSTOMER_NOT_FOUND");
/// complaints' words for one that does not exist, and for a move that its state has no place for.
pub(crate) const COMPLAINT_NOT_FOUND: Reason = Reason::new("cqm.complaints.v1", "COMPLAINT_NOT_FOUND");
pub(crate) const COMPLAINT_STATE: Reason = Reason::new("cqm.complaints.v1", "COMPLAINT_STATE");

/// Why another service refused, as a word: its reason, or the code where there is none.
pub(crate) fn word(failure: &Failure) -> &str {
    if failure.reason.is_empty() { code(failure) } else { &failure.reason }
}

/// The refusal of a service that knows the customer under another name, which names the survivor, for who asked the edge.
pub(crate) fn merged(failure: &Failure) -> Option<Error> {
    if failure.reason != reason::CUSTOMER_MERGED.name {
        return None;
    }
    let fact = |key| failure.facts.get(key).cloned().unwrap_or_default();
    let refusal = Refusal::new(reason::CUSTOMER_MERGED);
    Some(refusal.fact("customer", fact("customer")).fact("survivor", fact("survivor")).into())
}

/// The gRPC status code as the contract spells it.
pub(crate) fn code(failure: &Failure) -> &'static str {
    rpc::Code::try_from(i32::from(failure.code)).unwrap_or(rpc::Code::Unknown).as_str_name()
}

#[cfg(test)]
mod tests {
    use cqm_proto::{complaints, customers, gateway};

    use super::*;

    #[test]
    fn the_contract_documents_these_reasons() {
        for reason in [SOURCE_UNKNOWN, SOURCE_UNAVAILABLE] {
            let name = format!("ERROR_REASON_{}", reason.name);
            assert!(gateway::v1::ErrorReason::from_str_name(&name).is_some(), "{name}");
        }
        let name = format!("ERROR_REASON_{}", CUSTOMER_NOT_FOUND.name);
        assert!(customers::v1::ErrorReason::from_str_name(&name).is_some(), "{name}");
        for reason in [COMPLAINT_NOT_FOUND, COMPLAINT_STATE] {
            let name = format!("ERROR_REASON_{}", reason.name);
            assert!(complaints::v1::ErrorReason::from_str_name(&name).is_some(), "{name}");
        }
    }
}
