//! Repeating what is safe to repeat. For calls from outside this is the one place on the whole path that does: two
//! layers that repeat three times each send nine calls to a service that is in trouble.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cqm_proto::policy::MethodPolicy;
use cqm_rpc::{Call, Error};
use cqm_runtime::pass::Passes;
use cqm_runtime::server::UNARY_LIMIT;
use cqm_runtime::tasks::Backoff;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tonic::body::Body;
use tower::retry::budget::{Budget as _, TpsBudget};

use super::attempt::{Again, Outcome, Tried, attempt};
use super::forward::set_timeout;
use super::metrics::Metrics;
use super::pods::Pods;
use crate::config::TrafficConfig;

/// Between the first two tries, at most. Too high: a lost call is slow. Too low: a pod that is just coming up is asked
/// in vain.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// How long repeats count against the budget.
const WINDOW: Duration = Duration::from_secs(10);
/// gRPC's flag and length before a message.
const PREFIX: usize = 5;
/// The most of a request that is kept, bytes. Services refuse a larger one.
const KEPT: usize = PREFIX + UNARY_LIMIT;

/// How many repeats a service is sent, as a share of its calls: one that is overloaded is not buried by them. Shared by
/// the process.
#[derive(Clone)]
pub(super) struct Budget(Arc<TpsBudget>);

impl Budget {
    pub fn new(config: &TrafficConfig) -> Self {
        let share = f32::from(config.repeat_percent) / 100.0;
        Self(Arc::new(TpsBudget::new(WINDOW, config.repeat_reserve, share)))
    }
}

/// The way to one service for calls that may be repeated.
#[derive(Clone)]
pub(super) struct Repeater {
    pods: Pods,
    budget: Budget,
    metrics: Metrics,
}

impl Repeater {
    pub fn new(pods: Pods, budget: Budget, metrics: Metrics) -> Self {
        Self { pods, budget, metrics }
    }

    pub fn pods(&self) -> &Pods {
        &self.pods
    }

    /// Sends a call with one message, and sends it again when it was not answered and may be, with a pass that is as fresh.
    pub async fn send(
        &self,
        policy: &MethodPolicy,
        call: &Call,
        passes: &Passes,
        request: Request<Body>,
    ) -> Result<Response<Body>, Error> {
        let (mut parts, body) = request.into_parts();
        let due = Some(call.deadline);
        let message = match keep(body).await? {
            Kept::Whole(message) if may_repeat(policy, &message) => message,
            Kept::Whole(message) => {
                let request = Request::from_parts(parts, Body::new(Full::new(message)));
                return attempt(&self.pods, request, &mut Tried::default(), due, false).await.into_answer();
            }
            Kept::TooLarge(body) => {
                let request = Request::from_parts(parts, body);
                return attempt(&self.pods, request, &mut Tried::default(), due, false).await.into_answer();
            }
        };
        self.budget.0.deposit();
        let config = self.pods.config();
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut tried = Tried::default();
        let mut left = config.tries;
        let mut patience = config.repeat_wait;
        loop {
            let body = Body::new(Full::new(message.clone()));
            let mut request = Request::from_parts(parts.clone(), body);
            set_timeout(request.headers_mut(), call.deadline)?;
            let unavailable = match attempt(&self.pods, request, &mut tried, due, true).await {
                Outcome::Answer(answer) => return Ok(answer),
                Outcome::Unavailable(unavailable) => unavailable,
            };
            left -= 1;
            let pause = match unavailable.again {
                Again::Freely => backoff.next_delay(),
                Again::After(pause) => pause + backoff.next_delay(),
                Again::Never => return self.give_up("unwanted", *unavailable.told),
            };
            if left == 0 {
                return self.give_up("tries", *unavailable.told);
            }
            let Some(patience_left) = patience.checked_sub(pause) else {
                return self.give_up("wait", *unavailable.told);
            };
            patience = patience_left;
            if pause >= call.deadline.remaining() {
                return self.give_up("deadline", *unavailable.told);
            }
            if !self.budget.0.withdraw() {
                return self.give_up("budget", *unavailable.told);
            }
            self.metrics.repeat(self.pods.backend().name(), "again");
            tokio::time::sleep(pause).await;
            passes.stamp(&mut parts.headers, &call.path, &call.caller).await?;
        }
    }

    fn give_up(
        &self,
        why: &'static str,
        told: Result<Response<Body>, Error>,
    ) -> Result<Response<Body>, Error> {
        self.metrics.repeat(self.pods.backend().name(), why);
        told
    }
}

/// A compressed message cannot be looked into, so that a mutation in it counts as one without a request id.
fn may_repeat(policy: &MethodPolicy, framed: &[u8]) -> bool {
    match (policy.request_id, framed.first()) {
        (None, _) => policy.retry_safe,
        (Some(_), Some(0)) => policy.repeatable(framed.get(PREFIX..).unwrap_or_default()),
        (Some(_), _) => false,
    }
}

/// What was read of a request's body.
enum Kept {
    Whole(Bytes),
    /// What has come, and what is to come: passed on as it is, for the service to refuse.
    TooLarge(Body),
}

async fn keep(mut body: Body) -> Result<Kept, Error> {
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            // The caller has hung up or breaks the protocol: there is nobody to answer, and the call ends with its
            // stream. An answer here would make one that was given up look like one that was answered.
            return std::future::pending().await;
        };
        let Ok(data) = frame.into_data() else { continue };
        if first.is_empty() {
            first = data;
        } else {
            if more.is_empty() {
                more.extend_from_slice(&first);
            }
            more.extend_from_slice(&data);
        }
        if first.len().max(more.len()) > KEPT {
            let ahead = if more.is_empty() { first } else { more.freeze() };
            return Ok(Kept::TooLarge(Body::new(Prefixed { ahead: Some(ahead), body })));
        }
    }
    Ok(Kept::Whole(if more.is_empty() { first } else { more.freeze() }))
}

/// A body whose beginning was read already.
struct Prefixed {
    ahead: Option<Bytes>,
    body: Body,
}

impl http_body::Body for Prefixed {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, tonic::Status>>> {
        match self.ahead.take() {
            Some(ahead) => std::task::Poll::Ready(Some(Ok(http_body::Frame::data(ahead)))),
            None => std::pin::Pin::new(&mut self.body).poll_frame(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use cqm_proto::complaints::v1::ResolveComplaintRequest;
    use cqm_proto::{Mutation, policy};
    use prost::Message;

    use super::*;

    fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
        [&[flag], u32::try_from(message.len()).unwrap().to_be_bytes().as_slice(), message].concat()
    }

    #[test]
    fn a_mutation_is_repeated_only_when_its_request_id_can_be_seen() {
        let resolve = policy::find(ResolveComplaintRequest::PATH).unwrap();
        let with = ResolveComplaintRequest { request_id: "1".into(), ..Default::default() }.encode_to_vec();
        assert!(may_repeat(resolve, &framed(0, &with)));
        assert!(!may_repeat(resolve, &framed(1, &with)));
        assert!(!may_repeat(resolve, &framed(0, b"")));
        assert!(!may_repeat(resolve, b""));
        let get = policy::find("/cqm.complaints.v1.ComplaintService/GetComplaint").unwrap();
        assert!(may_repeat(get, &framed(1, b"\x1f\x8b")));
    }

    #[tokio::test]
    async fn a_large_request_passes_whole_without_being_kept() {
        let large = Bytes::from(vec![7; KEPT + 1]);
        let Kept::TooLarge(body) = keep(Body::new(Full::new(large.clone()))).await.unwrap() else {
            panic!("it is too large to keep")
        };
        assert_eq!(body.collect().await.unwrap().to_bytes(), large);
        let Kept::Whole(kept) = keep(Body::new(Full::new(large.slice(..KEPT)))).await.unwrap() else {
            panic!("it can be kept")
        };
        assert_eq!(kept.len(), KEPT);
    }

    #[tokio::test]
    async fn repeats_are_a_share_of_the_calls() {
        let config = TrafficConfig { repeat_percent: 20, repeat_reserve: 0, ..TrafficConfig::default() };
        let budget = Budget::new(&config);
        for _ in 0..100 {
            budget.0.deposit();
        }
        let repeats = (0..100).filter(|_| budget.0.withdraw()).count();
        assert_eq!(repeats, 20);
    }
}
