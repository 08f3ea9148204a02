//! Repeating what is safe to repeat, of the calls that a process makes itself. Calls from outside are repeated at the
//! edge; either way there is one place on the whole path that does.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cqm_rpc::{Call, Failure};
use http_body_util::{BodyExt, Full};
use tonic::body::Body;
use tonic::{Code, Status};

use super::{Channel, Request, Response};
use crate::tasks::Backoff;

/// Sends the request until it is not UNAVAILABLE any more, the tries or the budget are used up, or the
/// deadline would pass before the next one.
pub(super) async fn send(channel: &Channel, request: Request, call: &Call) -> Result<Response, Status> {
    let (parts, body) = request.into_parts();
    let bytes: Bytes = body.collect().await?.to_bytes();
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
    let mut tries = 1;
    loop {
        let body = Body::new(Full::new(bytes.clone()));
        let answer = channel.attempt(Request::from_parts(parts.clone(), body), Some(call)).await;
        let Some(failure) = unavailable(&answer) else {
            channel.budget.succeeded();
            return answer;
        };
        let within_budget = channel.budget.failed();
        let pause = failure.retry_after.unwrap_or_default() + backoff.next_delay();
        if tries >= channel.tries || !within_budget || pause >= call.deadline.remaining() {
            return answer;
        }
        tries += 1;
        tokio::time::sleep(pause).await;
    }
}

/// UNAVAILABLE as an error of the transport, or as an answer that consists of its status alone. Once a
/// message has arrived nothing is repeated.
fn unavailable(answer: &Result<Response, Status>) -> Option<Failure> {
    let failure = match answer {
        Ok(response) => Failure::of(&Status::from_header_map(response.headers())?),
        Err(status) => Failure::of(status),
    };
    (failure.code == Code::Unavailable).then_some(failure)
}

/// Repeats add at most a tenth to the calls, so that an overloaded service is not buried by them (gRPC's own
/// retry throttling, proposal A6).
#[derive(Debug)]
pub(super) struct RetryBudget(AtomicU32);

impl RetryBudget {
    const FULL: u32 = 100;
    const FAILURE: u32 = 10;
    const SUCCESS: u32 = 1;

    fn succeeded(&self) {
        self.change(|left| (left + Self::SUCCESS).min(Self::FULL));
    }

    /// Whether a repeat may be paid for.
    fn failed(&self) -> bool {
        self.change(|left| left.saturating_sub(Self::FAILURE)) > Self::FULL / 2
    }

    fn change(&self, to: impl Fn(u32) -> u32) -> u32 {
        let before = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(to(left)))
            .expect("the closure always returns a value");
        to(before)
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self(AtomicU32::new(Self::FULL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_end_when_most_calls_fail_and_come_back_with_success() {
        let budget = RetryBudget::default();
        let allowed = (0..100).filter(|_| budget.failed()).count();
        assert_eq!(allowed, 4);
        for _ in 0..100 {
            budget.succeeded();
        }
        assert!(budget.failed());
    }
}
