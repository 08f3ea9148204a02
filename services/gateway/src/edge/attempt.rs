//! One try of a call: a pod, the request over, and what the answer says of the pod and of the call.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use cqm_rpc::{BoxError, Deadline, Error, Failure, reason};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tonic::body::Body;
use tonic::{Code, Status};

use super::link::Lost;
use super::pods::{Busy, Pods};

/// gRPC's own word of a server for when a call may come again, milliseconds; negative: never.
const PUSHBACK: &str = "grpc-retry-pushback-ms";
/// The most of an answer that is kept until it is whole, bytes. Beyond it the answer goes out as it comes, and the call
/// is not repeated any more.
const WHOLE: usize = 64 * 1024;

/// The pods that a call was at.
pub(super) type Tried = Vec<SocketAddr>;

/// How a try ended.
pub(super) enum Outcome {
    /// To be passed on, whatever it says.
    Answer(Response<Body>),
    /// The call may come again, from whoever may repeat it.
    Unavailable(Unavailable),
}

/// A call that a pod did not carry out, or nobody knows.
pub(super) struct Unavailable {
    /// What the caller is told when it is not repeated.
    pub told: Box<Result<Response<Body>, Error>>,
    pub again: Again,
}

/// When a call may come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// By the caller's own measure.
    Freely,
    /// Not before.
    After(Duration),
    /// The service does not want it.
    Never,
}

impl Outcome {
    pub fn into_answer(self) -> Result<Response<Body>, Error> {
        match self {
            Self::Answer(response) => Ok(response),
            Self::Unavailable(unavailable) => *unavailable.told,
        }
    }
}

/// Sends a request to a pod that it was not at yet, if there is one; it has time until `due`. With `whole` the answer is
/// awaited to its end: what breaks off half way can then be repeated, because nothing of it has been passed on.
pub(super) async fn attempt(
    pods: &Pods,
    request: Request<Body>,
    tried: &mut Tried,
    due: Option<Deadline>,
    whole: bool,
) -> Outcome {
    let (response, busy) = match send(pods, request, tried, due).await {
        Ok(answered) => answered,
        Err(cause) => return lost(pods, cause),
    };
    if response.status() != StatusCode::OK {
        let cause = format!("HTTP status {}", response.status()).into();
        if response.status().is_client_error() {
            // About the request: every pod would say it.
            busy.succeeded();
            return Outcome::Unavailable(Unavailable { again: Again::Never, ..unavailable(pods, cause) });
        }
        busy.failed();
        return lost(pods, cause);
    }
    let (parts, mut body) = response.into_parts();
    if parts.headers.contains_key(Status::GRPC_STATUS) {
        let again = judge(&busy, &parts.headers);
        let answer = Response::from_parts(parts, relayed(body, VecDeque::new(), true, busy));
        return outcome(answer, again);
    }
    if !whole {
        // Its end is not waited for: that the pod answers at all is what is known.
        busy.succeeded();
        return Outcome::Answer(Response::from_parts(parts, relayed(body, VecDeque::new(), false, busy)));
    }
    let mut ahead = VecDeque::new();
    let mut length = 0;
    loop {
        let frame = match body.frame().await {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                busy.failed();
                return lost(pods, error.into());
            }
            None => {
                busy.failed();
                return lost(pods, "the answer ended without a status".into());
            }
        };
        length += frame.data_ref().map_or(0, Bytes::len);
        let again = frame.trailers_ref().and_then(|trailers| judge(&busy, trailers));
        let ends = frame.is_trailers();
        // With a message in it the answer was given, whatever its status says.
        let again = again.filter(|_| length == 0);
        ahead.push_back(frame);
        if ends || length > WHOLE {
            if !ends {
                busy.succeeded();
            }
            let answer = Response::from_parts(parts, relayed(body, ahead, ends, busy));
            return outcome(answer, again);
        }
    }
}

fn outcome(answer: Response<Body>, again: Option<Again>) -> Outcome {
    match again {
        Some(again) => Outcome::Unavailable(Unavailable { told: Box::new(Ok(answer)), again }),
        None => Outcome::Answer(answer),
    }
}

/// Finds a pod that takes the request. What has not left is not lost: it moves on to the next pod, whatever it asks for.
async fn send(
    pods: &Pods,
    mut request: Request<Body>,
    tried: &mut Tried,
    due: Option<Deadline>,
) -> Result<(Response<Incoming>, Busy), BoxError> {
    let mut cause: BoxError = "no address of it is known".into();
    while let Some(mut busy) = pods.pick(tried, due) {
        let again = tried.contains(&busy.address());
        tried.push(busy.address());
        match busy.link().send(request).await {
            Ok((response, line)) => {
                busy.hold(line);
                return Ok((response, busy));
            }
            Err(Lost::Broken(error)) => {
                busy.failed();
                return Err(error);
            }
            Err(Lost::Unsent(back, error)) => {
                busy.gone();
                (request, cause) = (*back, error);
            }
        }
        if again {
            break;
        }
    }
    Err(cause)
}

/// What the status in these headers says of the pod, and whether it asks for the call to come again. Only one that may is
/// read as a whole.
fn judge(busy: &Busy, headers: &HeaderMap) -> Option<Again> {
    let code = Code::from_bytes(headers.get(Status::GRPC_STATUS)?.as_bytes());
    match code {
        Code::Unavailable => {}
        // What nobody foresaw happened there, and to the next call it may happen again.
        Code::Internal | Code::Unknown | Code::DataLoss => {
            busy.failed();
            return None;
        }
        _ => {
            busy.succeeded();
            return None;
        }
    }
    let failure = Failure::of(&Status::from_header_map(headers)?);
    if failure.reason == reason::DRAINING.name {
        // Its advice is for who has no other pod to ask.
        busy.gone();
        return Some(pushback(headers).unwrap_or(Again::Freely));
    }
    // A pod with too much to do is not a bad one: put out, it would leave its load to the others, and they would follow.
    if failure.reason != reason::OVERLOADED.name {
        busy.failed();
    }
    let advice = failure.retry_after.map_or(Again::Freely, Again::After);
    Some(pushback(headers).unwrap_or(advice))
}

fn pushback(headers: &HeaderMap) -> Option<Again> {
    let text = headers.get(PUSHBACK)?.to_str().ok();
    // gRPC: what cannot be read means no as well.
    let millis = text.and_then(|text| text.parse::<i32>().ok()).and_then(|millis| u64::try_from(millis).ok());
    Some(millis.map_or(Again::Never, |millis| Again::After(Duration::from_millis(millis))))
}

fn lost(pods: &Pods, source: BoxError) -> Outcome {
    Outcome::Unavailable(unavailable(pods, source))
}

fn unavailable(pods: &Pods, source: BoxError) -> Unavailable {
    let source = Unreachable { backend: pods.backend().name(), source };
    Unavailable { told: Box::new(Err(unreachable(source))), again: Again::Freely }
}

fn unreachable(cause: impl Into<BoxError>) -> Error {
    Error::unavailable(reason::UNREACHABLE, cause)
}

/// Which service could not be reached, for the log.
#[derive(Debug, thiserror::Error)]
#[error("{backend} could not be reached")]
struct Unreachable {
    backend: &'static str,
    source: BoxError,
}

fn relayed(body: Incoming, ahead: VecDeque<Frame<Bytes>>, complete: bool, busy: Busy) -> Body {
    Body::new(Relayed { body, ahead, complete, busy: Some(busy) })
}

/// A service's answer on its way out. Where the transport breaks it off, a status stands instead of a reset: the caller
/// learns that it may repeat.
struct Relayed {
    body: Incoming,
    /// What has come already.
    ahead: VecDeque<Frame<Bytes>>,
    /// The status is known; nothing has to come any more.
    complete: bool,
    /// The call is at work at its pod until its status is known.
    busy: Option<Busy>,
}

impl Relayed {
    fn end(&mut self) {
        self.complete = true;
        self.busy = None;
    }

    fn broken(&mut self, cause: impl Into<BoxError>) -> Result<Frame<Bytes>, Status> {
        if let Some(busy) = &self.busy {
            busy.failed();
        }
        self.end();
        let mut trailers = HeaderMap::new();
        Status::from(unreachable(cause)).add_header(&mut trailers)?;
        Ok(Frame::trailers(trailers))
    }
}

impl http_body::Body for Relayed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(frame) = self.ahead.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        if self.complete {
            self.busy = None;
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(Some(match frame {
            Some(Ok(frame)) => {
                if frame.is_trailers() {
                    self.end();
                }
                Ok(frame)
            }
            Some(Err(error)) => self.broken(error),
            None => self.broken("the answer ended without a status"),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.complete && self.ahead.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_server_may_say_when_a_call_comes_again_or_that_it_shall_not() {
        for (text, expected) in [
            ("250", Again::After(Duration::from_millis(250))),
            ("0", Again::After(Duration::ZERO)),
            ("-1", Again::Never),
            ("soon", Again::Never),
            ("", Again::Never),
        ] {
            let headers = HeaderMap::from_iter([(PUSHBACK.parse().unwrap(), HeaderValue::from_static(text))]);
            assert_eq!(pushback(&headers), Some(expected), "{text}");
        }
        assert_eq!(pushback(&HeaderMap::new()), None);
    }
}
