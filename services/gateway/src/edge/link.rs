//! The connections of one shard to one pod: opened when they are needed, opened again when they are lost.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use cqm_rpc::BoxError;
use cqm_runtime::channel;
use cqm_runtime::tasks::{Backoff, detached};
use cqm_runtime::tls::ClientTls;
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tonic::body::Body;
use tower::Service;

use super::discover::Whereabouts;
use crate::backend::Backend;

/// Too high: calls hang on a host that is gone. Too low: a busy host is never reached.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a dead peer keeps its calls: one interval and one timeout.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// What one answer may fill before its caller reads it, bytes.
const STREAM_WINDOW: u32 = 256 * 1024;
/// More than all streams of a connection together may fill (services allow 100): one caller who does not read must not
/// stop the others.
const CONNECTION_WINDOW: u32 = 32 * 1024 * 1024;
const MAX_HEADER_LIST: u32 = 16 * 1024;
/// Calls on one connection before another one is opened: what services allow (`server.max_concurrent_streams`). What
/// goes beyond it waits in the peer's line, behind streams that may take minutes.
const STREAMS: usize = 100;
/// Connections that one shard opens to one pod at most.
const MAX_LINES: usize = 64;

/// Clones share the connections, which live on the runtime that opened them.
#[derive(Clone)]
pub(super) struct Link(Arc<Inner>);

struct Inner {
    backend: Backend,
    authority: Authority,
    peer: SocketAddr,
    tls: Option<ClientTls>,
    lines: Mutex<Vec<Line>>,
    /// A call has been answered since the last try to connect.
    answered: AtomicBool,
    /// Held while dialling: who comes meanwhile waits for the same try.
    dialling: tokio::sync::Mutex<Pace>,
}

/// One connection.
struct Line {
    sender: SendRequest<Body>,
    calls: Arc<AtomicUsize>,
}

/// A stream's place on its connection, until it is dropped.
pub(super) struct Held(Arc<AtomicUsize>);

/// Why a request has no answer.
pub(super) enum Lost {
    /// Nothing of it has left: it may go elsewhere, whatever it asks for.
    Unsent(Box<Request<Body>>, BoxError),
    /// It may have arrived.
    Broken(BoxError),
}

impl Link {
    pub fn new(whereabouts: &Whereabouts, peer: SocketAddr) -> Self {
        let (backend, authority) = (whereabouts.backend, whereabouts.authority.clone());
        let tls = whereabouts.tls.clone();
        let (lines, answered, dialling) = Default::default();
        Self(Arc::new(Inner { backend, authority, peer, tls, lines, answered, dialling }))
    }

    /// Sends a request over. The stream's place is to be held until the answer has ended.
    pub async fn send(&self, mut request: Request<Body>) -> Result<(Response<Incoming>, Held), Lost> {
        if let Err(error) = self.address(&mut request) {
            return Err(Lost::Broken(error));
        }
        let mut again = true;
        loop {
            let (mut sender, held) = match self.line().await {
                Ok(line) => line,
                Err(cause) => return Err(Lost::Unsent(Box::new(request), cause)),
            };
            match sender.try_send_request(request).await {
                Ok(response) => {
                    self.0.answered.store(true, Ordering::Relaxed);
                    return Ok((response, held));
                }
                Err(mut failure) => match failure.take_message() {
                    // A GOAWAY or a loss that came before the first byte had left: another connection takes it.
                    Some(unsent) if again => {
                        again = false;
                        request = unsent;
                    }
                    Some(unsent) => {
                        return Err(Lost::Unsent(Box::new(unsent), failure.into_error().into()));
                    }
                    None => return Err(Lost::Broken(failure.into_error().into())),
                },
            }
        }
    }

    /// As the service would be called directly.
    fn address(&self, request: &mut Request<Body>) -> Result<(), BoxError> {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(if self.0.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP });
        parts.authority = Some(self.0.authority.clone());
        *request.uri_mut() = Uri::from_parts(parts)?;
        *request.version_mut() = http::Version::HTTP_2;
        Ok(())
    }

    async fn line(&self) -> Result<(SendRequest<Body>, Held), BoxError> {
        if let Some(line) = self.open(STREAMS) {
            return Ok(line);
        }
        let mut pace = self.0.dialling.lock().await;
        if let Some(line) = self.open(STREAMS) {
            return Ok(line);
        }
        let count = self.lines().len();
        if count == 0 {
            pace.admit(Instant::now(), self.0.answered.swap(false, Ordering::Relaxed))?;
        }
        let dialled = if count < MAX_LINES { self.dial().await } else { Err("enough connections".into()) };
        match dialled {
            Ok(sender) => {
                let line = Line { sender, calls: Arc::default() };
                let taken = line.take();
                self.lines().push(line);
                Ok(taken)
            }
            // Rather in line on a full connection than not at all.
            Err(error) => self.open(usize::MAX).ok_or(error),
        }
    }

    /// The emptiest connection that takes requests, if it has fewer calls than `limit`.
    fn open(&self, limit: usize) -> Option<(SendRequest<Body>, Held)> {
        let mut lines = self.lines();
        lines.retain(|line| !line.sender.is_closed());
        let line = lines.iter().min_by_key(|line| line.calls())?;
        (line.calls() < limit).then(|| line.take())
    }

    fn lines(&self) -> MutexGuard<'_, Vec<Line>> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn dial(&self) -> Result<SendRequest<Body>, BoxError> {
        let connect = async {
            let stream = channel::dial_at(self.0.peer, &self.0.authority, self.0.tls.as_ref()).await?;
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .adaptive_window(false)
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_header_list_size(MAX_HEADER_LIST)
                .keep_alive_interval(KEEPALIVE_INTERVAL)
                .keep_alive_timeout(KEEPALIVE_TIMEOUT)
                .keep_alive_while_idle(true);
            Ok::<_, BoxError>(builder.handshake(TokioIo::new(stream)).await?)
        };
        let (sender, connection) = tokio::time::timeout(CONNECT_TIMEOUT, connect)
            .await
            .map_err(|_elapsed| io::Error::new(io::ErrorKind::TimedOut, "no connection in time"))??;
        let backend = self.0.backend.name();
        // Ends by itself with the connection.
        detached(async move {
            if let Err(error) = connection.await {
                tracing::debug!(backend, error = %error, "connection to a service ended");
            }
        });
        Ok(sender)
    }
}

impl Line {
    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    fn take(&self) -> (SendRequest<Body>, Held) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        (self.sender.clone(), Held(Arc::clone(&self.calls)))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// For clients that tonic generates: one pod is asked about itself.
impl Service<Request<Body>> for Link {
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let link = self.clone();
        Box::pin(async move {
            match link.send(request).await {
                Ok((response, _held)) => Ok(response),
                Err(Lost::Unsent(_, cause) | Lost::Broken(cause)) => Err(cause),
            }
        })
    }
}

/// Holds the next try back, so that calls to a service that is down fail at once instead of queueing behind tries that
/// will fail. Counts tries, not failures: a peer that accepts and hangs up is held off as well.
#[derive(Default)]
struct Pace {
    backoff: Backoff,
    not_before: Option<Instant>,
}

impl Pace {
    /// `answered`: the last connection was of use, so that its end is no sign of trouble.
    fn admit(&mut self, now: Instant, answered: bool) -> io::Result<()> {
        if answered {
            *self = Self::default();
        }
        if let Some(wait) =
            self.not_before.and_then(|at| at.checked_duration_since(now)).filter(|wait| !wait.is_zero())
        {
            let text = format!("the next try to connect is in {} ms", wait.as_millis());
            return Err(io::Error::new(io::ErrorKind::WouldBlock, text));
        }
        self.not_before = Some(now + self.backoff.next_delay());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_are_held_apart_until_a_connection_was_of_use() {
        let mut pace = Pace::default();
        let start = Instant::now();
        let mut now = start;
        for _ in 0..200 {
            if pace.admit(now, false).is_err() {
                now = pace.not_before.unwrap();
                pace.admit(now, false).unwrap();
            }
        }
        // Drawn from 0 to 5 s, 2.5 s on average once the cap is reached.
        assert!(now - start > Duration::from_secs(100), "{:?}", now - start);
        pace.admit(now, true).unwrap();
        assert!(pace.not_before.unwrap() - now <= Duration::from_millis(50));
    }
}
