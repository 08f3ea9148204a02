//! Connections to a service, with a pause between tries that fail.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::Uri;
use hyper_util::rt::TokioIo;
use tower::Service;

use super::dial;
use crate::tasks::Backoff;
use crate::tls::{ClientTls, Stream};

/// A connection that is asked for this long after the one before is no sign of trouble.
const CALM: Duration = Duration::from_secs(10);

/// Dials. While it holds back, calls fail at once instead of queueing behind tries that will fail:
/// tonic would try anew for each of them.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    timeout: Duration,
    tls: Option<ClientTls>,
    pace: Arc<Mutex<Pace>>,
}

#[derive(Debug, Default)]
struct Pace {
    backoff: Backoff,
    last: Option<Instant>,
    not_before: Option<Instant>,
}

impl Connector {
    pub(crate) fn new(timeout: Duration, tls: Option<ClientTls>) -> Self {
        Self { timeout, tls, pace: Arc::default() }
    }
}

impl Pace {
    /// Counts tries, not failures: a peer that accepts and hangs up is held off as well.
    fn admit(&mut self, now: Instant) -> Result<(), Duration> {
        if let Some(wait) =
            self.not_before.and_then(|at| at.checked_duration_since(now)).filter(|d| !d.is_zero())
        {
            return Err(wait);
        }
        if self.last.is_none_or(|last| now.duration_since(last) >= CALM) {
            self.backoff.reset();
        }
        self.last = Some(now);
        self.not_before = Some(now + self.backoff.next_delay());
        Ok(())
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Stream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let admitted = self.pace.lock().unwrap_or_else(PoisonError::into_inner).admit(Instant::now());
        let (timeout, tls) = (self.timeout, self.tls.clone());
        Box::pin(async move {
            if let Err(wait) = admitted {
                let text = format!("the next try to connect is in {} ms", wait.as_millis());
                return Err(io::Error::new(io::ErrorKind::WouldBlock, text));
            }
            let authority = target.authority().ok_or_else(|| io::Error::other("the address has no host"))?;
            let stream = tokio::time::timeout(timeout, dial(authority, tls.as_ref()))
                .await
                .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no connection in time"))??;
            Ok(TokioIo::new(stream))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_in_a_row_are_held_apart_further_and_further() {
        let mut pace = Pace::default();
        let mut now = Instant::now();
        let start = now;
        for _ in 0..200 {
            if let Err(wait) = pace.admit(now) {
                now += wait;
                pace.admit(now).expect("the pause is over");
            }
        }
        // Drawn from 0 to 5 s, 2.5 s on average once the cap is reached.
        assert!(now - start > Duration::from_secs(100), "{:?}", now - start);
    }

    #[test]
    fn a_reconnect_after_a_calm_time_does_not_wait() {
        let mut pace = Pace::default();
        let mut now = Instant::now();
        for _ in 0..20 {
            now += pace.admit(now).err().unwrap_or_default();
        }
        now += CALM;
        assert_eq!(pace.admit(now), Ok(()));
        assert!(pace.not_before.is_some_and(|at| at - now <= Duration::from_millis(50)));
    }
}
