//! Mutations outlive their caller: a client that hangs up must not cut a transaction in half.

use std::panic::{AssertUnwindSafe, resume_unwind};

use bytes::Bytes;
use cqm_rpc::{Error, TraceContext, reason};
use futures::FutureExt;
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;
use tonic::Status;
use tonic::body::Body;
use tracing::Instrument;

use super::limit::Place;
use super::observe::{Panicked, report};

/// Frames that a detached stream may be ahead of its caller.
const AHEAD: usize = 16;

/// Runs the handler in a task of its own, which the drain waits for and which keeps its place until it is
/// done. An answer in a stream is produced in a task too: each of its rows may be a transaction.
pub(super) async fn run(
    tasks: &TaskTracker,
    method: &'static str,
    trace: TraceContext,
    place: Place,
    answers_in_stream: bool,
    handler: impl Future<Output = Response<Body>> + Send + 'static,
) -> Result<Response<Body>, Error> {
    let (tell, told) = oneshot::channel();
    let tracker = tasks.clone();
    let work = async move {
        let outcome = AssertUnwindSafe(handler).catch_unwind().await;
        let outcome = match outcome {
            Ok(response) if answers_in_stream => Ok(pumped(&tracker, place, response)),
            other => other,
        };
        if let Err(unheard) = tell.send(outcome) {
            orphaned(method, &trace, unheard);
        }
    };
    tasks.spawn(work.in_current_span());
    match told.await {
        Ok(Ok(response)) => Ok(response),
        // The stack catches panics in one place.
        Ok(Err(panic)) => resume_unwind(panic),
        // The runtime has dropped the task: the drain's time is over.
        Err(_) => Err(Error::Unavailable { reason: reason::DRAINING, source: None }),
    }
}

fn pumped(tasks: &TaskTracker, place: Place, response: Response<Body>) -> Response<Body> {
    let (parts, mut body) = response.into_parts();
    if parts.headers.contains_key(Status::GRPC_STATUS) {
        return Response::from_parts(parts, body);
    }
    let (send, frames) = mpsc::channel::<Result<Frame<Bytes>, Status>>(AHEAD);
    let work = async move {
        let _place = place;
        // The caller's side of the stream ends when it hangs up, so this ends too: after the last row that was
        // received, not in the middle of it.
        let pump = async {
            while let Some(frame) = body.frame().await {
                if send.send(frame).await.is_err() {
                    while body.frame().await.is_some() {
                        // A body that is always ready must not keep the others of this runtime waiting.
                        tokio::task::yield_now().await;
                    }
                }
            }
        };
        if AssertUnwindSafe(pump).catch_unwind().await.is_err() {
            let _ = send.send(Err(Error::internal(Panicked).into())).await;
        }
    };
    tasks.spawn(work.in_current_span());
    Response::from_parts(parts, Body::new(StreamBody::new(ReceiverStream::new(frames))))
}

/// Nobody hears the answer any more; a failure is logged all the same.
fn orphaned(
    method: &str,
    trace: &TraceContext,
    outcome: Result<Response<Body>, Box<dyn std::any::Any + Send>>,
) {
    match outcome {
        Ok(response) => {
            let status = response.extensions().get::<Status>();
            let source = status.and_then(std::error::Error::source);
            if let Some(error) = source.and_then(|source| source.downcast_ref::<Error>()) {
                report(method, trace, error);
            }
        }
        Err(_) => report(method, trace, &Error::internal(Panicked)),
    }
}
