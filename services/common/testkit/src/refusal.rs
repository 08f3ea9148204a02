//! What a refused call says, read as its caller would.

use cqm_rpc::{Failure, reason};
use tonic::Code;

/// Reads a refusal; fails when there was an answer, or a refusal of another code or for another reason.
#[track_caller]
pub fn refused<A: std::fmt::Debug>(
    outcome: Result<A, impl Into<Failure>>,
    code: Code,
    reason: &str,
) -> Failure {
    let failure = failed(outcome);
    assert_eq!((failure.code, failure.reason.as_str()), (code, reason), "{failure}");
    failure
}

/// What is wrong with a message, each as `field REASON`, in the order told; fails when there was an answer, or a
/// refusal for something else than the message.
#[track_caller]
pub fn violations<A: std::fmt::Debug>(outcome: Result<A, impl Into<Failure>>) -> Vec<String> {
    let failure = failed(outcome);
    assert_eq!(failure.code, Code::InvalidArgument, "{failure}");
    // The first violation gives the refusal its reason.
    assert_eq!(failure.violations.first().map(|(_, reason)| reason), Some(&failure.reason), "{failure}");
    failure.violations.iter().map(|(field, reason)| format!("{field} {reason}")).collect()
}

/// Reads a refusal, whatever it is; fails when there was an answer.
#[track_caller]
pub fn failed<A: std::fmt::Debug>(outcome: Result<A, impl Into<Failure>>) -> Failure {
    let failure: Failure = match outcome {
        Err(refusal) => refusal.into(),
        Ok(answer) => panic!("the call is answered: {answer:?}"),
    };
    // The reasons that all packages share are of the domain of none.
    let shared = reason::ALL.iter().any(|known| known.name == failure.reason);
    assert_eq!(failure.domain == "cqm", shared, "{failure} in {}", failure.domain);
    failure
}
