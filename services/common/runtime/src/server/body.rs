//! The body of an answer that takes its time: watched until its status is known.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use cqm_rpc::{BoxError, Deadline, Error, reason};
use http::HeaderMap;
use http_body::Frame;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::body::Body;
use tonic::{Code, Status};

use super::limit::Place;
use super::observe::{Observation, Panicked};
use super::remap::remap;

/// Where a body comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A handler of this process.
    Handler,
    /// Another process, which has logged its own failures.
    Forwarded,
}

/// Ends with a status of ours when the deadline passes, the process closes, or the stream breaks or panics;
/// finishes the call's observation when the status is known; holds the call's place until then.
pub(super) struct Watched {
    inner: Body,
    origin: Origin,
    deadline: Pin<Box<Sleep>>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    observation: Option<Observation>,
    place: Option<Place>,
    done: bool,
}

impl Watched {
    pub fn new(
        inner: Body,
        origin: Origin,
        deadline: Deadline,
        cut: CancellationToken,
        observation: Observation,
        place: Place,
    ) -> Self {
        Self {
            inner,
            origin,
            deadline: Box::pin(tokio::time::sleep_until(Instant::from_std(deadline.instant()))),
            cut: Box::pin(cut.cancelled_owned()),
            observation: Some(observation),
            place: Some(place),
            done: false,
        }
    }

    fn end(&mut self) {
        self.done = true;
        self.place = None;
        // Whatever still works for this stream stops now, not when the peer has taken the last frame.
        self.inner = Body::empty();
    }

    fn fail(&mut self, status: Status) -> Result<Frame<Bytes>, Status> {
        let mut trailers = HeaderMap::new();
        status.add_header(&mut trailers)?;
        if let Some(observation) = self.observation.take() {
            observation.fail(&status);
        }
        self.end();
        Ok(Frame::trailers(trailers))
    }

    /// The stream's own end.
    fn close(&mut self, trailers: HeaderMap) -> Result<Frame<Bytes>, Status> {
        let Some(status) = Status::from_header_map(&trailers) else {
            return self.broken("no status".into());
        };
        if let Some(error) = remap(&status) {
            return self.fail(error.into());
        }
        if let Some(observation) = self.observation.take() {
            match (status.code(), self.origin) {
                (Code::Ok, _) => observation.succeed(),
                // What caused it stayed behind in the handler's stream; the line at least is there.
                (Code::Internal, Origin::Handler) => observation.fail(&status),
                (code, _) => observation.pass(code),
            }
        }
        self.end();
        Ok(Frame::trailers(trailers))
    }

    /// The stream ended without a status of its own.
    fn broken(&mut self, cause: BoxError) -> Result<Frame<Bytes>, Status> {
        let error = match self.origin {
            Origin::Handler => Error::internal(cause),
            Origin::Forwarded => Error::unavailable(reason::UNREACHABLE, cause),
        };
        self.fail(error.into())
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.done {
            return Poll::Ready(None);
        }
        if self.deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(self.fail(Error::DeadlinePassed.into())));
        }
        if self.cut.as_mut().poll(cx).is_ready() {
            let draining = Error::Unavailable { reason: reason::DRAINING, source: None };
            return Poll::Ready(Some(self.fail(draining.into())));
        }
        let this = &mut *self;
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let _entered = this.observation.as_ref().map(|observation| observation.span.enter());
            Pin::new(&mut this.inner).poll_frame(cx)
        }));
        let Ok(polled) = polled else {
            return Poll::Ready(Some(this.fail(Error::internal(Panicked).into())));
        };
        Poll::Ready(Some(match ready!(polled) {
            Some(Ok(frame)) => match frame.into_trailers() {
                Ok(trailers) => this.close(trailers),
                Err(frame) => Ok(frame),
            },
            // Of ours: a detached stream says how it ended.
            Some(Err(status)) if !status.details().is_empty() => this.fail(status),
            Some(Err(status)) => this.broken(status.into()),
            None => this.broken("the stream ended without a status".into()),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.done
    }
}

/// A body that ends without further words when the door closes, for a health watch would hold every drain, or when its
/// time is over. Keeps a place until then.
pub(super) struct Until {
    inner: Body,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    ends: Option<Pin<Box<Sleep>>>,
    _place: Option<OwnedSemaphorePermit>,
    done: bool,
}

impl Until {
    pub fn new(
        inner: Body,
        stop: CancellationToken,
        ends: Option<std::time::Instant>,
        place: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self {
            inner,
            stop: Box::pin(stop.cancelled_owned()),
            ends: ends.map(|ends| Box::pin(tokio::time::sleep_until(Instant::from_std(ends)))),
            _place: place,
            done: false,
        }
    }
}

impl http_body::Body for Until {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.done {
            return Poll::Ready(None);
        }
        // What is ready goes out first: a probe's answer, the news that the process no longer serves.
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
            self.done = frame.is_none();
            return Poll::Ready(frame);
        }
        let over = self.ends.as_mut().is_some_and(|ends| ends.as_mut().poll(cx).is_ready());
        let error = if over {
            Error::DeadlinePassed
        } else {
            ready!(self.stop.as_mut().poll(cx));
            Error::Unavailable { reason: reason::DRAINING, source: None }
        };
        self.done = true;
        let mut trailers = HeaderMap::new();
        Status::from(error).add_header(&mut trailers)?;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.done || self.inner.is_end_stream()
    }
}
