//! Passing calls on: bytes and trailers in both directions, as they come, never decoded.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use cqm_rpc::{BoxError, Call, Error, metadata, reason};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body::Frame;
use hyper::body::Incoming;
use tonic::Status;
use tonic::body::Body;

use super::link::Link;
use crate::backend::{Backend, Backends};

/// Every hop gives the next one a little less, so that the innermost deadline passes first and its answer still finds
/// somebody who waits.
const HOP: Duration = Duration::from_millis(10);

/// The links of one shard.
#[derive(Clone)]
pub(super) struct Forwarder {
    links: [Link; Backend::ALL.len()],
}

impl Forwarder {
    pub fn new(backends: &Backends) -> Result<Self, BoxError> {
        let mut links = Vec::new();
        for backend in Backend::ALL {
            links.push(Link::new(backend, backends)?);
        }
        let links = links.try_into().map_err(|_| "a link for every service")?;
        Ok(Self { links })
    }

    /// Sends the call to its service. The headers come as the gate left them.
    pub async fn forward(
        &self,
        backend: Backend,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, Error> {
        let call = request
            .extensions_mut()
            .remove::<Call>()
            .ok_or_else(|| Error::internal("the server stack put no call into the request"))?;
        // What the server's layers left there means nothing to the next hop.
        request.extensions_mut().clear();
        stamp(request.headers_mut(), &call)?;
        let link = &self.links[backend as usize];
        let response = link.send(request).await?;
        if response.status() != StatusCode::OK {
            return Err(lost(format!("{} answered with HTTP status {}", backend.name(), response.status())));
        }
        let complete = response.headers().contains_key(Status::GRPC_STATUS);
        Ok(response.map(|body| Body::new(Relayed { body, complete })))
    }
}

/// Writes who calls, in which trace and how long they wait, over whatever stands there.
fn stamp(headers: &mut HeaderMap, call: &Call) -> Result<(), Error> {
    let mut set = |name: &'static str, value: &str| {
        let value = HeaderValue::from_str(value).map_err(Error::internal)?;
        headers.insert(HeaderName::from_static(name), value);
        Ok::<_, Error>(())
    };
    set(metadata::CALLER, &call.caller.subject)?;
    set(metadata::ROLES, &call.caller.role_names())?;
    set(metadata::TRACEPARENT, &call.trace.to_string())?;
    set(metadata::TIMEOUT, &timeout(call.deadline.remaining().saturating_sub(HOP))?)?;
    // gRPC asks for it, and it may not be copied from hop to hop.
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    Ok(())
}

/// `grpc-timeout`: at most eight digits and a unit.
fn timeout(left: Duration) -> Result<String, Error> {
    match left.as_millis() {
        0 => Err(Error::DeadlinePassed),
        millis @ 1..=99_999_999 => Ok(format!("{millis}m")),
        millis => Ok(format!("{}S", (millis / 1000).min(99_999_999))),
    }
}

fn lost(cause: impl Into<BoxError>) -> Error {
    Error::unavailable(reason::UNREACHABLE, cause)
}

/// A service's answer on its way out. Where the transport breaks it off, a status stands instead of a reset: the caller
/// learns that it may repeat.
struct Relayed {
    body: Incoming,
    /// The status is known; nothing has to come any more.
    complete: bool,
}

impl Relayed {
    fn broken(&mut self, cause: impl Into<BoxError>) -> Result<Frame<Bytes>, Status> {
        self.complete = true;
        let mut trailers = HeaderMap::new();
        Status::from(lost(cause)).add_header(&mut trailers)?;
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
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if self.complete {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(match frame {
            Some(Ok(frame)) => {
                self.complete = frame.is_trailers();
                Ok(frame)
            }
            Some(Err(error)) => self.broken(error),
            None => self.broken("the answer ended without a status"),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.complete
    }
}

#[cfg(test)]
mod tests {
    use cqm_rpc::{Caller, Deadline, Role, TraceContext};

    use super::*;

    #[test]
    fn the_suites_word_stands_over_what_was_there() {
        let trace = TraceContext::fresh(true);
        let call = Call {
            caller: Caller { subject: "staff-7".into(), roles: vec![Role::Supervisor, Role::AfterSales] },
            deadline: Deadline::after(Duration::from_secs(2)),
            trace,
            path: "/x".into(),
        };
        let mut headers = HeaderMap::new();
        for name in [metadata::CALLER, metadata::ROLES, metadata::TRACEPARENT, metadata::TIMEOUT] {
            headers.append(name, HeaderValue::from_static("forged"));
            headers.append(name, HeaderValue::from_static("forged"));
        }
        stamp(&mut headers, &call).unwrap();
        let values =
            |name: &str| headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!(values(metadata::CALLER), ["staff-7"]);
        assert_eq!(values(metadata::ROLES), ["supervisor,after_sales"]);
        assert_eq!(values(metadata::TRACEPARENT), [trace.to_string()]);
        let millis: u64 = values(metadata::TIMEOUT)[0].trim_end_matches('m').parse().unwrap();
        assert!((1_000..=1_990).contains(&millis), "{millis}");
    }

    #[test]
    fn a_call_without_time_is_not_sent() {
        assert!(matches!(timeout(Duration::from_micros(999)), Err(Error::DeadlinePassed)));
        assert_eq!(timeout(Duration::from_secs(20)).unwrap(), "20000m");
        assert_eq!(timeout(Duration::from_secs(200_000)).unwrap(), "200000S");
    }

    #[test]
    fn every_service_has_its_own_link() {
        for (index, backend) in Backend::ALL.into_iter().enumerate() {
            assert_eq!(backend as usize, index);
        }
    }
}
