//! Errors on the wire: one ErrorInfo, the details that fit, 4 KiB at most.

use std::sync::Arc;
use std::time::Duration;

use cqm_proto::google::rpc;
use prost::{Message, Name};
use prost_types::Any;
use tonic::Status;

use crate::{Error, reason};

/// A status lives in HTTP/2 headers, base64-coded; a larger one hangs clients. 3 KiB are 4 KiB there.
const MAX_DETAILS: usize = 3 * 1024;
const MAX_VIOLATIONS: usize = 16;
/// Long enough for any field path and fact that we make ourselves; what callers send is cut.
const MAX_TEXT: usize = 200;

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let code = error.code();
        let message = cut(&error.to_string());
        let details = encode_details(&error, code, &message);
        let mut status = Status::with_details(code, message, details.into());
        status.set_source(Arc::new(error));
        status
    }
}

fn encode_details(error: &Error, code: tonic::Code, message: &str) -> Vec<u8> {
    let mut violations = MAX_VIOLATIONS;
    loop {
        let details = details(error, violations);
        let bytes = rpc::Status { code: code as i32, message: message.to_owned(), details }.encode_to_vec();
        if bytes.len() <= MAX_DETAILS || violations == 0 {
            return bytes;
        }
        violations /= 2;
    }
}

fn details(error: &Error, max_violations: usize) -> Vec<Any> {
    let reason = error.reason();
    let facts = error.facts();
    let mut details = vec![pack(&rpc::ErrorInfo {
        reason: reason.name.to_owned(),
        domain: reason.domain.to_owned(),
        metadata: facts.iter().map(|(key, value)| ((*key).to_owned(), cut(value))).collect(),
    })];
    match error {
        Error::Invalid(violations) => details.push(pack(&rpc::BadRequest {
            field_violations: violations
                .iter()
                .take(max_violations)
                .map(|violation| rpc::bad_request::FieldViolation {
                    field: cut(&violation.field),
                    description: cut(&violation.description),
                    reason: violation.reason.name.to_owned(),
                    ..Default::default()
                })
                .collect(),
        })),
        Error::Refused(refusal) => details.push(pack(&rpc::PreconditionFailure {
            violations: vec![rpc::precondition_failure::Violation {
                r#type: refusal.reason.name.to_owned(),
                subject: fact(&facts, "name"),
                description: cut(&refusal.to_string()),
            }],
        })),
        Error::NotFound { name, .. } | Error::AlreadyExists { name, .. } | Error::Stale { name } => {
            details.push(pack(&rpc::ResourceInfo {
                resource_type: name.split('/').next().unwrap_or_default().to_owned(),
                resource_name: cut(name),
                ..Default::default()
            }));
        }
        Error::Exhausted { refusal, retry_after } => {
            if refusal.reason == reason::QUOTA {
                details.push(pack(&rpc::QuotaFailure {
                    violations: vec![rpc::quota_failure::Violation {
                        subject: fact(&facts, "subject"),
                        description: cut(&refusal.to_string()),
                        ..Default::default()
                    }],
                }));
            }
            details.extend(retry_after.map(retry_info));
        }
        // Long enough that a caller without a backoff of its own does not spin.
        Error::Conflict { .. } => details.push(retry_info(Duration::from_millis(50))),
        Error::Unavailable { .. } => details.push(retry_info(Duration::from_millis(200))),
        _ => {}
    }
    details
}

fn retry_info(after: Duration) -> Any {
    pack(&rpc::RetryInfo { retry_delay: prost_types::Duration::try_from(after).ok() })
}

fn pack<M: Message + Name>(message: &M) -> Any {
    Any { type_url: format!("type.googleapis.com/{}", M::full_name()), value: message.encode_to_vec() }
}

fn fact(facts: &[(&'static str, String)], key: &str) -> String {
    facts.iter().find(|(known, _)| *known == key).map(|(_, value)| cut(value)).unwrap_or_default()
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Failure, Reason, Refusal, Violations};

    const CLOSED: Reason = Reason::new("cqm.complaints.v1", "COMPLAINT_STATE");

    #[test]
    fn a_refusal_keeps_its_facts_on_the_way_to_the_client() {
        let error = Error::Refused(Refusal::new(CLOSED).fact("state", "CLOSED").fact("action", "resolve"));
        let failure = Failure::of(&Status::from(error));
        assert_eq!(failure.code, tonic::Code::FailedPrecondition);
        assert_eq!(
            (failure.domain.as_str(), failure.reason.as_str()),
            ("cqm.complaints.v1", "COMPLAINT_STATE")
        );
        assert_eq!(failure.facts.get("state").map(String::as_str), Some("CLOSED"));
        assert!(!failure.is_transient());
    }

    #[test]
    fn a_status_stays_small_whatever_is_wrong() {
        let mut violations = Violations::default();
        for index in 0..500 {
            violations.format(&format!("{}[{index}]", "f".repeat(4000)), &"x".repeat(4000));
        }
        let status = Status::from(Error::Invalid(violations));
        assert!(status.details().len() <= MAX_DETAILS, "{}", status.details().len());
        let failure = Failure::of(&status);
        assert!(!failure.violations.is_empty() && failure.violations.len() <= MAX_VIOLATIONS);
    }

    #[test]
    fn internal_errors_tell_nothing_and_keep_their_source() {
        let status = Status::from(Error::internal("password=hunter2"));
        assert_eq!(status.message(), "internal error");
        let wire = String::from_utf8_lossy(status.details()).into_owned();
        assert!(!wire.contains("hunter2"));
        let source = std::error::Error::source(&status).expect("the error is kept for the log");
        assert_eq!(source.source().unwrap().to_string(), "password=hunter2");
    }

    #[test]
    fn unavailable_says_when_to_come_back() {
        let status = Status::from(Error::Unavailable { reason: reason::STORAGE_UNAVAILABLE, source: None });
        let failure = Failure::of(&status);
        assert!(failure.is_transient());
        assert_eq!(failure.retry_after, Some(Duration::from_millis(200)));
    }
}
