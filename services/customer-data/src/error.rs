//! The reasons of this service's refusals, and the constraints that they come from.

use cqm_rpc::{Error, ResourceName};
use uuid::Uuid;

use crate::domain::customer::COLLECTION;

cqm_rpc::reasons! { "cqm.customers.v1", cqm_proto::customers::v1::ErrorReason:
    CUSTOMER_NOT_FOUND, EXTERNAL_REFERENCE_TAKEN, PURCHASE_REFERENCE_REUSED,
}

/// One customer per external reference.
pub const EXTERNAL_REFERENCE_KEY: &str = "customers_external_reference_key";

/// Absent and deleted are one answer.
pub fn customer_not_found(id: Uuid) -> Error {
    Error::not_found(CUSTOMER_NOT_FOUND, ResourceName::new(COLLECTION, id))
}

/// `holder` is the customer who has the reference.
pub fn external_reference_taken(holder: Uuid) -> Error {
    Error::already_exists(EXTERNAL_REFERENCE_TAKEN, ResourceName::new(COLLECTION, holder))
}

/// `purchase` is the one that has the reference.
pub fn purchase_reference_reused(purchase: String) -> Error {
    Error::already_exists(PURCHASE_REFERENCE_REUSED, purchase)
}
