//! The connection of one shard to one service: opened at the first call, opened again when it is lost.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cqm_rpc::{BoxError, Error, reason};
use cqm_runtime::channel;
use cqm_runtime::tasks::{Backoff, detached};
use cqm_runtime::tls::ClientTls;
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tonic::body::Body;

use crate::backend::{Backend, Backends, authority};

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

/// Clones share the connection, which lives on the runtime that opened it.
#[derive(Clone)]
pub(super) struct Link(Arc<Inner>);

struct Inner {
    backend: Backend,
    authority: Authority,
    tls: Option<ClientTls>,
    sender: Mutex<Option<SendRequest<Body>>>,
    /// A call has been answered since the last try to connect.
    answered: AtomicBool,
    /// Held while dialling: who comes meanwhile waits for the same try.
    dialling: tokio::sync::Mutex<Pace>,
}

impl Link {
    pub fn new(backend: Backend, backends: &Backends) -> Result<Self, BoxError> {
        let authority = authority(backends.address(backend)).ok_or("a service's address must be a URL")?;
        let tls = backends.tls(backend).cloned();
        let (sender, answered, dialling) = Default::default();
        Ok(Self(Arc::new(Inner { backend, authority, tls, sender, answered, dialling })))
    }

    /// Sends a request over; whatever the transport does to it is UNAVAILABLE.
    pub async fn send(&self, mut request: Request<Body>) -> Result<Response<Incoming>, Error> {
        self.address(&mut request)?;
        let mut again = true;
        loop {
            let mut sender = self.sender().await.map_err(|error| self.unreachable(error))?;
            match sender.try_send_request(request).await {
                Ok(response) => {
                    self.0.answered.store(true, Ordering::Relaxed);
                    return Ok(response);
                }
                Err(mut failure) => match failure.take_message() {
                    // A GOAWAY or a loss that came before the first byte had left: another connection takes it.
                    Some(unsent) if again => {
                        again = false;
                        request = unsent;
                    }
                    _ => return Err(self.unreachable(failure.into_error())),
                },
            }
        }
    }

    /// As the service would be called directly.
    fn address(&self, request: &mut Request<Body>) -> Result<(), Error> {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(if self.0.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP });
        parts.authority = Some(self.0.authority.clone());
        *request.uri_mut() = Uri::from_parts(parts).map_err(Error::internal)?;
        *request.version_mut() = http::Version::HTTP_2;
        Ok(())
    }

    async fn sender(&self) -> Result<SendRequest<Body>, BoxError> {
        if let Some(sender) = self.open() {
            return Ok(sender);
        }
        let mut pace = self.0.dialling.lock().await;
        if let Some(sender) = self.open() {
            return Ok(sender);
        }
        pace.admit(Instant::now(), self.0.answered.swap(false, Ordering::Relaxed))?;
        let sender = self.dial().await?;
        *self.0.sender.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender.clone());
        Ok(sender)
    }

    /// The connection, while it takes requests.
    fn open(&self) -> Option<SendRequest<Body>> {
        let sender = self.0.sender.lock().unwrap_or_else(PoisonError::into_inner);
        sender.as_ref().filter(|sender| !sender.is_closed()).cloned()
    }

    async fn dial(&self) -> Result<SendRequest<Body>, BoxError> {
        let connect = async {
            let stream = channel::dial(&self.0.authority, self.0.tls.as_ref()).await?;
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

    fn unreachable(&self, error: impl Into<BoxError>) -> Error {
        Error::unavailable(
            reason::UNREACHABLE,
            Unreachable { backend: self.0.backend.name(), source: error.into() },
        )
    }
}

/// Which service could not be reached, for the log.
#[derive(Debug, thiserror::Error)]
#[error("{backend} could not be reached")]
struct Unreachable {
    backend: &'static str,
    source: BoxError,
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
