//! What is made of something outside of the process that may change while it runs: keys and certificates are exchanged
//! without a restart.
//!
//! Nobody has to tell a [`Watched`] that there is something new. Whoever uses the value has it looked at when it is time
//! to, see [`Pauses`]. What cannot be used leaves the value as it is, because a file that is half written must not lock
//! everybody out; one that the source has not confirmed for too long is of no use any more.

mod files;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use cqm_rpc::BoxError;
use sha2::{Digest, Sha256};

pub use files::Files;

/// Where it is read from.
pub trait Source: Send + Sync + 'static {
    /// Whether what is wrong with it passes by itself: nobody has to act as long as an earlier value is in use.
    const RECOVERS: bool;

    /// What it is called in the log.
    fn name(&self) -> String;

    /// What is there now, piece by piece; an error names the piece.
    fn read(&self) -> impl Future<Output = Result<Vec<Bytes>, BoxError>> + Send;
}

/// When the source is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    /// Between two looks.
    pub every: Duration,
    /// After a look that brought nothing that can be used.
    pub retry: Duration,
    /// Between two looks that somebody asked for because something was not there.
    pub asked: Duration,
    /// For how long a value is good that the source has not confirmed.
    pub outage_limit: Duration,
}

type Make<T> = Box<dyn Fn(&[Bytes]) -> Result<T, BoxError> + Send + Sync>;

/// A value and the source that it is made of. Clones share it.
pub struct Watched<T, S = Files>(Arc<Inner<T, S>>);

struct Inner<T, S> {
    source: S,
    make: Make<T>,
    pauses: Pauses,
    state: Mutex<State<T>>,
    /// Held while looking: one at a time.
    flight: tokio::sync::Mutex<()>,
}

struct State<T> {
    known: Option<Known<T>>,
    /// The last look, and what was wrong with what it found: told once, as long as it stays the same.
    looked: Option<DateTime<Utc>>,
    problem: Option<Problem>,
    /// The last look that somebody asked for.
    asked: Option<DateTime<Utc>>,
}

struct Known<T> {
    value: Arc<T>,
    /// Of what it was made of, which may be secret: the same again is the same value, and what was found out by it holds.
    digest: [u8; 32],
    confirmed: DateTime<Utc>,
}

#[derive(PartialEq, Eq)]
struct Problem {
    told: String,
    /// There was a value to go on with.
    usable: bool,
}

impl<T, S: Source> Watched<T, S> {
    /// Nothing is read yet.
    pub fn new(
        source: S,
        pauses: Pauses,
        make: impl Fn(&[Bytes]) -> Result<T, BoxError> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Inner {
            source,
            make: Box::new(make),
            pauses,
            state: Mutex::new(State { known: None, looked: None, problem: None, asked: None }),
            flight: tokio::sync::Mutex::default(),
        }))
    }

    /// The value in use, unless the source has not confirmed it for too long: who can keep us from the source must not be
    /// able to keep a withdrawn key alive.
    pub fn usable(&self, now: DateTime<Utc>) -> Option<Arc<T>> {
        self.state().usable(now, &self.0.pauses)
    }

    /// Whether it is time for a look, which is the caller's to do then.
    pub fn is_due(&self, now: DateTime<Utc>) -> bool {
        let mut state = self.state();
        let pause = if state.problem.is_some() { self.0.pauses.retry } else { self.0.pauses.every };
        let due = passed(state.looked, now, pause);
        if due {
            state.looked = Some(now);
        }
        due
    }

    /// Looks now; the value that is in use afterwards, or what is wrong with what was found.
    pub async fn look(&self, now: DateTime<Utc>) -> Result<Arc<T>, BoxError> {
        let _flight = self.0.flight.lock().await;
        self.state().looked = Some(now);
        self.read(now).await
    }

    /// The value after a look, for who misses something in it. Whoever comes meanwhile waits for the same look, and
    /// whoever comes soon after gets what it has brought.
    pub async fn latest_usable(&self, now: DateTime<Utc>) -> Option<Arc<T>> {
        let _flight = self.0.flight.lock().await;
        if self.may_ask(now) {
            // What is wrong is told where it is found.
            let _ = self.read(now).await;
        }
        self.usable(now)
    }

    fn may_ask(&self, now: DateTime<Utc>) -> bool {
        let mut state = self.state();
        let may = passed(state.asked, now, self.0.pauses.asked);
        if may {
            (state.asked, state.looked) = (Some(now), Some(now));
        }
        may
    }

    async fn read(&self, now: DateTime<Utc>) -> Result<Arc<T>, BoxError> {
        let found = self.0.source.read().await;
        self.take(found, now)
    }

    fn take(&self, found: Result<Vec<Bytes>, BoxError>, now: DateTime<Utc>) -> Result<Arc<T>, BoxError> {
        let mut state = self.state();
        match found.and_then(|contents| state.take(&contents, now, &self.0.make)) {
            Ok((value, is_new)) => {
                state.problem = None;
                if is_new {
                    tracing::info!(source = self.0.source.name(), "has changed and is in use");
                }
                Ok(value)
            }
            Err(error) => {
                let usable = state.usable(now, &self.0.pauses).is_some();
                let problem = Problem { told: error.to_string(), usable };
                if state.problem.as_ref() != Some(&problem) {
                    self.tell(&problem);
                    state.problem = Some(problem);
                }
                Err(error)
            }
        }
    }

    fn tell(&self, Problem { told, usable }: &Problem) {
        let source = self.0.source.name();
        if !usable {
            tracing::error!(source, error = told, "cannot be used, and nothing is in use");
        } else if S::RECOVERS {
            tracing::warn!(source, error = told, "cannot be used, what was read before stays in use");
        } else {
            tracing::error!(source, error = told, "cannot be used, what was read before stays in use");
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn usable(&self, now: DateTime<Utc>, pauses: &Pauses) -> Option<Arc<T>> {
        let known = self.known.as_ref()?;
        (!passed(Some(known.confirmed), now, pauses.outage_limit)).then(|| Arc::clone(&known.value))
    }

    /// The value that these contents stand for, and whether it is another one than before.
    fn take(
        &mut self,
        contents: &[Bytes],
        now: DateTime<Utc>,
        make: &Make<T>,
    ) -> Result<(Arc<T>, bool), BoxError> {
        let digest = digest(contents);
        if let Some(known) = self.known.as_mut().filter(|known| known.digest == digest) {
            known.confirmed = now;
            return Ok((Arc::clone(&known.value), false));
        }
        let value = Arc::new(make(contents)?);
        self.known = Some(Known { value: Arc::clone(&value), digest, confirmed: now });
        Ok((value, true))
    }
}

impl<T, S> Clone for Watched<T, S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Without the value: it may be a key.
impl<T, S: Source> fmt::Debug for Watched<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("source", &self.0.source.name()).finish_non_exhaustive()
    }
}

/// Each piece with its length, so that two pieces are not the same as one that is cut elsewhere.
fn digest(contents: &[Bytes]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for piece in contents {
        digest.update((piece.len() as u64).to_be_bytes());
        digest.update(piece);
    }
    digest.finalize().into()
}

/// Whether the pause since then is over. Who has waited for another's look comes with a time before it, by a little; a
/// clock that was set back ends every pause.
fn passed(since: Option<DateTime<Utc>>, now: DateTime<Utc>, pause: Duration) -> bool {
    since.is_none_or(|since| (now - since).abs().to_std().is_ok_and(|apart| apart >= pause))
}

#[cfg(test)]
mod tests;
