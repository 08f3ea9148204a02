//! The client's side of an error: a status, read back.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use cqm_proto::google::rpc;
use prost::{Message, Name};
use tonic::{Code, Status};

/// What a status of another service said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub code: Code,
    /// Empty when the status did not come from the suite.
    pub reason: String,
    pub domain: String,
    pub facts: BTreeMap<String, String>,
    /// Field path and reason, as in BadRequest.
    pub violations: Vec<(String, String)>,
    pub retry_after: Option<Duration>,
    pub message: String,
}

impl Failure {
    pub fn of(status: &Status) -> Self {
        let mut failure = Self {
            code: status.code(),
            reason: String::new(),
            domain: String::new(),
            facts: BTreeMap::new(),
            violations: Vec::new(),
            retry_after: None,
            message: status.message().to_owned(),
        };
        // Every status of the suite carries details. One of these without any was made by this side's transport: a
        // GOAWAY surfaces as CANCELLED, a connection that broke in the middle of an answer as UNKNOWN or INTERNAL.
        if matches!(failure.code, Code::Cancelled | Code::Unknown | Code::Internal)
            && status.details().is_empty()
        {
            failure.code = Code::Unavailable;
        }
        let Ok(wire) = rpc::Status::decode(status.details()) else {
            return failure;
        };
        for detail in &wire.details {
            if let Some(info) = unpack::<rpc::ErrorInfo>(detail) {
                failure.reason = info.reason;
                failure.domain = info.domain;
                failure.facts = info.metadata.into_iter().collect();
            } else if let Some(bad) = unpack::<rpc::BadRequest>(detail) {
                failure.violations = bad
                    .field_violations
                    .into_iter()
                    .map(|violation| (violation.field, violation.reason))
                    .collect();
            } else if let Some(retry) = unpack::<rpc::RetryInfo>(detail) {
                failure.retry_after = retry.retry_delay.and_then(|delay| delay.try_into().ok());
            }
        }
        failure
    }

    /// Whether the same request may succeed later by itself.
    pub fn is_transient(&self) -> bool {
        matches!(
            self.code,
            Code::Unavailable
                | Code::DeadlineExceeded
                | Code::Aborted
                | Code::ResourceExhausted
                | Code::Cancelled
        ) && self.reason != crate::reason::ETAG_MISMATCH.name
            && self.reason != crate::reason::MESSAGE_TOO_LARGE.name
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::of(&status)
    }
}

impl From<&rpc::Status> for Failure {
    /// Reads the refusal of one row of a stream, which is a message, as that of a call.
    fn from(status: &rpc::Status) -> Self {
        let (code, details) = (Code::from_i32(status.code), status.encode_to_vec());
        Self::of(&Status::with_details(code, status.message.clone(), details.into()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.code)?;
        if !self.reason.is_empty() {
            write!(f, " {}", self.reason)?;
        }
        write!(f, ": {}", self.message)?;
        for (field, reason) in &self.violations {
            write!(f, " [{field} {reason}]")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

fn unpack<M: Message + Name + Default>(any: &prost_types::Any) -> Option<M> {
    if any.type_url.rsplit('/').next() != Some(M::full_name().as_str()) {
        return None;
    }
    M::decode(any.value.as_slice()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn what_the_transport_says_is_an_outage_and_what_a_server_says_is_not() {
        for code in [Code::Cancelled, Code::Unknown, Code::Internal] {
            let failure = Failure::of(&Status::new(code, "error reading a body from connection"));
            assert_eq!((failure.code, failure.is_transient()), (Code::Unavailable, true));
        }
        let failure = Failure::of(&Status::from(Error::internal("a bug")));
        assert_eq!((failure.code, failure.is_transient()), (Code::Internal, false));
    }
}
