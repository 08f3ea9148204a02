//! The reasons of this service's refusals, and the constraints that they come from.

use cqm_rpc::{Error, Refusal, ResourceName};
use uuid::Uuid;

use crate::domain::customer::COLLECTION;
use crate::domain::erasure::Begun;

cqm_rpc::reasons! { "cqm.customers.v1", cqm_proto::customers::v1::ErrorReason:
    CUSTOMER_NOT_FOUND, EXTERNAL_REFERENCE_TAKEN, PURCHASE_REFERENCE_REUSED, ERASURE_NOT_FOUND, ERASURE_UNFINISHED,
    REPORT_KEY_MISSING, LEGAL_HOLD, LEGAL_HOLD_NOT_FOUND, ERASURE_BEGUN, MERGE_NOT_FOUND,
}

/// One customer per external reference.
pub const EXTERNAL_REFERENCE_KEY: &str = "customers_external_reference_key";

/// Absent and deleted are one answer.
pub fn customer_not_found(id: Uuid) -> Error {
    Error::not_found(CUSTOMER_NOT_FOUND, ResourceName::new(COLLECTION, id))
}

pub fn erasure_not_found(customer: Uuid) -> Error {
    Error::not_found(ERASURE_NOT_FOUND, ResourceName::new("erasures", customer))
}

pub fn merge_not_found(customer: Uuid) -> Error {
    Error::not_found(MERGE_NOT_FOUND, ResourceName::new("merges", customer))
}

impl From<Begun> for Error {
    fn from(Begun(state): Begun) -> Self {
        Refusal::new(ERASURE_BEGUN).fact("state", state.name()).into()
    }
}

pub fn legal_hold_not_found(customer: Uuid) -> Error {
    Error::not_found(LEGAL_HOLD_NOT_FOUND, ResourceName::new(COLLECTION, customer))
}

/// `holder` is the customer who has the reference.
pub fn external_reference_taken(holder: Uuid) -> Error {
    Error::already_exists(EXTERNAL_REFERENCE_TAKEN, ResourceName::new(COLLECTION, holder))
}

/// `purchase` is the one that has the reference.
pub fn purchase_reference_reused(purchase: String) -> Error {
    Error::already_exists(PURCHASE_REFERENCE_REUSED, purchase)
}
