//! The reasons that every package shares, in the domain `cqm`. Documented in `cqm/options/v1/error_reason.proto`.

use crate::Reason;

const DOMAIN: &str = "cqm";

macro_rules! reasons {
    ($($name:ident),* $(,)?) => {
        $(pub const $name: Reason = Reason::new(DOMAIN, stringify!($name));)*

        /// All of them, for the test that compares this list with the contract.
        pub const ALL: &[Reason] = &[$($name),*];
    };
}

reasons! {
    BAD_DEADLINE, BATCH_DUPLICATE, BATCH_SIZE, CREDENTIALS_MISSING, CUSTOMER_ERASED, CUSTOMER_MERGED, CUSTOMER_RESTRICTED,
    DEADLINE_PASSED, DRAINING, ENUM_UNKNOWN, ETAG_MISMATCH, FIELD_FORMAT, FIELD_MASKED, FIELD_ORDER, FIELD_RANGE,
    FIELD_REQUIRED, FIELD_TOO_LONG, FORBIDDEN_CHARACTER,
    INTERNAL, MALFORMED_MESSAGE, MESSAGE_TOO_LARGE, METHOD_UNKNOWN, OUTCOME_UNKNOWN, OVERLOADED,
    PAGE_TOKEN_INVALID, PURPOSE_INVALID, QUOTA, REQUEST_ID_EXPIRED, REQUEST_ID_FORMAT, REQUEST_ID_IN_FLIGHT, REQUEST_ID_REQUIRED,
    REQUEST_ID_REUSED, ROLE_MISSING, STORAGE_UNAVAILABLE, TOKEN_INVALID, TRANSACTION_CONFLICT, UNREACHABLE,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use cqm_proto::options::v1::ErrorReason;

    #[test]
    fn the_contract_documents_these_reasons_and_no_others() {
        let documented: BTreeSet<&str> = (1..=1000)
            .filter_map(|number| ErrorReason::try_from(number).ok())
            .map(|reason| reason.as_str_name().trim_start_matches("ERROR_REASON_"))
            .collect();
        let ours: BTreeSet<&str> = super::ALL.iter().map(|reason| reason.name).collect();
        assert_eq!(ours, documented);
    }
}
