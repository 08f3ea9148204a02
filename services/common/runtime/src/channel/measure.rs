//! How calls to other processes go, by method and status: each attempt by itself, because a repeat that succeeds hides what
//! the first one met.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use cqm_proto::policy;
use http_body::{Frame, SizeHint};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Histogram;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::server::status_code;

/// What the channels of a process count.
#[derive(Clone, Debug)]
pub(super) struct Measure(Arc<Histogram<f64>>);

impl Default for Measure {
    fn default() -> Self {
        let duration = opentelemetry::global::meter("cqm")
            .f64_histogram("rpc.client.call.duration")
            .with_unit("s")
            .with_description("duration of attempts to call another process, by method and status")
            .with_boundaries(vec![
                0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
            ])
            .build();
        Self(Arc::new(duration))
    }
}

impl Measure {
    pub fn begin(&self, path: &str) -> Attempt {
        // What is not in the contract would make a series per guess.
        let path = policy::find(path).map_or("_OTHER/_OTHER", |policy| policy.path.trim_start_matches('/'));
        Attempt { measure: self.clone(), path, started: Instant::now(), done: false }
    }
}

/// One attempt, until its status is known. Dropped before, nobody waited for it any more.
#[derive(Debug)]
pub(super) struct Attempt {
    measure: Measure,
    path: &'static str,
    started: Instant,
    done: bool,
}

impl Attempt {
    pub fn end(mut self, code: Code) {
        self.record(code);
    }

    /// The status of an answer that consists of nothing else stands in its headers, any other comes last.
    pub fn watch<B>(self, response: http::Response<B>) -> http::Response<Body>
    where
        B: http_body::Body<Data = Bytes, Error = Status> + Send + Unpin + 'static,
    {
        let code = response.headers().get(Status::GRPC_STATUS).map(|code| Code::from_bytes(code.as_bytes()));
        match code {
            Some(code) => {
                self.end(code);
                response.map(Body::new)
            }
            None => response.map(|inner| Body::new(Watched { inner, attempt: Some(self) })),
        }
    }

    fn record(&mut self, code: Code) {
        self.done = true;
        let (service, method) = self.path.rsplit_once('/').unwrap_or((self.path, "_OTHER"));
        self.measure.0.record(
            self.started.elapsed().as_secs_f64(),
            &[
                KeyValue::new("rpc.system", "grpc"),
                KeyValue::new("rpc.service", service),
                KeyValue::new("rpc.method", method),
                KeyValue::new("rpc.response.status_code", status_code(code)),
            ],
        );
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.done {
            self.record(Code::Cancelled);
        }
    }
}

/// An answer on its way in.
struct Watched<B> {
    inner: B,
    attempt: Option<Attempt>,
}

impl<B> http_body::Body for Watched<B>
where
    B: http_body::Body<Data = Bytes, Error = Status> + Unpin,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        let code = match &frame {
            Some(Ok(frame)) => frame.trailers_ref().map(|trailers| {
                let code = trailers.get(Status::GRPC_STATUS);
                code.map_or(Code::Unknown, |code| Code::from_bytes(code.as_bytes()))
            }),
            Some(Err(status)) => Some(status.code()),
            // An answer without a status.
            None => Some(Code::Unknown),
        };
        if let Some(code) = code
            && let Some(attempt) = self.attempt.take()
        {
            attempt.end(code);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
