//! The reasons of this service's refusals, and the constraints that they come from.

use cqm_rpc::{Error, Reason, ResourceName};
use uuid::Uuid;

use crate::domain::customer::COLLECTION;

const DOMAIN: &str = "cqm.customers.v1";

pub const CUSTOMER_NOT_FOUND: Reason = Reason::new(DOMAIN, "CUSTOMER_NOT_FOUND");
pub const EXTERNAL_REFERENCE_TAKEN: Reason = Reason::new(DOMAIN, "EXTERNAL_REFERENCE_TAKEN");
pub const PURCHASE_REFERENCE_REUSED: Reason = Reason::new(DOMAIN, "PURCHASE_REFERENCE_REUSED");

/// One customer per external reference.
pub const EXTERNAL_REFERENCE_KEY: &str = "customers_external_reference_key";

/// Absent and deleted are one answer.
pub fn customer_not_found(id: Uuid) -> Error {
    Error::NotFound {
        reason: CUSTOMER_NOT_FOUND,
        name: ResourceName::new(COLLECTION, id).to_string(),
    }
}

/// `holder` is the customer who has the reference.
pub fn external_reference_taken(holder: Uuid) -> Error {
    Error::AlreadyExists {
        reason: EXTERNAL_REFERENCE_TAKEN,
        name: ResourceName::new(COLLECTION, holder).to_string(),
    }
}

/// `purchase` is the one that has the reference.
pub fn purchase_reference_reused(purchase: String) -> Error {
    Error::AlreadyExists {
        reason: PURCHASE_REFERENCE_REUSED,
        name: purchase,
    }
}

#[cfg(test)]
mod tests {
    use cqm_proto::customers::v1::ErrorReason;

    use super::*;

    #[test]
    fn every_reason_is_in_the_contract() {
        let reasons = [
            CUSTOMER_NOT_FOUND,
            EXTERNAL_REFERENCE_TAKEN,
            PURCHASE_REFERENCE_REUSED,
        ];
        for reason in reasons {
            assert!(
                ErrorReason::from_str_name(&format!("ERROR_REASON_{}", reason.name)).is_some(),
                "{reason:?}"
            );
        }
        let next = i32::try_from(reasons.len()).unwrap() + 1;
        assert!(
            ErrorReason::try_from(next).is_err(),
            "the contract has a reason that is not here"
        );
    }
}
