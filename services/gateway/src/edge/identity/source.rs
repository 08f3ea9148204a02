//! Where an issuer's keys come from, and how long they may be used.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use cqm_rpc::BoxError;
use cqm_runtime::tasks::detached;
use cqm_runtime::watched::Watched;
use jsonwebtoken::Algorithm;

use super::fetch::Fetcher;
use super::keys::Keys;
use crate::config::{IdentityConfig, IssuerConfig};

/// A file on this machine, or an address of the issuer's.
pub(super) enum Source {
    File(Watched<Keys>),
    Remote(Arc<Remote>),
}

impl Source {
    pub fn new(config: &IssuerConfig, times: &IdentityConfig, now: DateTime<Utc>) -> Result<Self, BoxError> {
        let algorithms = config.algorithms.0.clone();
        if let Some(path) = &config.jwks {
            return Self::file(path.clone(), times.reload, algorithms, now);
        }
        Ok(Self::Remote(Arc::new(Remote {
            issuer: config.issuer.clone(),
            fetcher: Fetcher::new(config, times.fetch_timeout)?,
            algorithms,
            refresh: times.refresh,
            retry: times.retry,
            outage_limit: times.outage_limit,
            state: Mutex::default(),
            flight: tokio::sync::Mutex::default(),
        })))
    }

    fn file(
        path: PathBuf,
        reload: Duration,
        algorithms: Vec<Algorithm>,
        now: DateTime<Utc>,
    ) -> Result<Self, BoxError> {
        let keys = Watched::read(path, reload, now, move |bytes| Keys::parse(bytes, &algorithms))
            .map_err(|problem| format!("the key set {problem}"))?;
        Ok(Self::File(keys))
    }

    /// Fetches the keys now, whatever there is; how many there are.
    pub async fn fetch(&self, now: DateTime<Utc>) -> Result<usize, BoxError> {
        match self {
            Self::File(file) => Ok(file.current(now).await.count()),
            Self::Remote(remote) => {
                let _flight = remote.flight.lock().await;
                remote.state().tried = Some(now);
                remote.exchange(now).await
            }
        }
    }

    /// The keys in force. Looks for newer ones when it is time to, without letting a call wait for the issuer.
    pub async fn current(&self, now: DateTime<Utc>) -> Option<Arc<Keys>> {
        match self {
            Self::File(file) => Some(file.current(now).await),
            Self::Remote(remote) => {
                if remote.is_due(now) {
                    let remote = Arc::clone(remote);
                    // Ends by itself within the fetch's time.
                    detached(async move {
                        let _flight = remote.flight.lock().await;
                        let _ = remote.exchange(now).await;
                    });
                }
                remote.usable(now)
            }
        }
    }

    /// The keys after a look for newer ones: for a token whose key is not among those in force. Whoever comes meanwhile
    /// waits for the same look, and whoever comes soon after gets what it has brought.
    pub async fn latest(&self, now: DateTime<Utc>) -> Option<Arc<Keys>> {
        match self {
            Self::File(file) => Some(file.latest(now).await),
            Self::Remote(remote) => {
                let _flight = remote.flight.lock().await;
                if remote.may_ask(now) {
                    let _ = remote.exchange(now).await;
                }
                remote.usable(now)
            }
        }
    }
}

/// Keys that are fetched from the issuer.
pub(super) struct Remote {
    issuer: String,
    fetcher: Fetcher,
    algorithms: Vec<Algorithm>,
    refresh: Duration,
    retry: Duration,
    outage_limit: Duration,
    state: Mutex<State>,
    /// Held while fetching: one at a time.
    flight: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    known: Option<Known>,
    /// The last fetch, and what became of it.
    tried: Option<DateTime<Utc>>,
    failed: bool,
    /// The last fetch that a token with an unknown key asked for.
    asked: Option<DateTime<Utc>>,
}

struct Known {
    keys: Arc<Keys>,
    /// What they were read from: the same again are the same keys, and tokens that were checked stay checked.
    bytes: Bytes,
    fetched: DateTime<Utc>,
}

impl Remote {
    fn is_due(&self, now: DateTime<Utc>) -> bool {
        let mut state = self.state();
        let pause = if state.failed { self.retry } else { self.refresh };
        let due = passed(state.tried, now, pause);
        if due {
            state.tried = Some(now);
        }
        due
    }

    fn may_ask(&self, now: DateTime<Utc>) -> bool {
        let mut state = self.state();
        let may = passed(state.asked, now, self.retry);
        if may {
            (state.asked, state.tried) = (Some(now), Some(now));
        }
        may
    }

    /// The keys, unless the issuer has not confirmed them for too long: who can keep us from the issuer must not be able
    /// to keep a withdrawn key alive.
    fn usable(&self, now: DateTime<Utc>) -> Option<Arc<Keys>> {
        let state = self.state();
        let known = state.known.as_ref()?;
        (!passed(Some(known.fetched), now, self.outage_limit)).then(|| Arc::clone(&known.keys))
    }

    async fn exchange(&self, now: DateTime<Utc>) -> Result<usize, BoxError> {
        let outcome = async {
            let bytes = self.fetcher.fetch().await?;
            Ok::<_, BoxError>((Keys::parse(&bytes, &self.algorithms)?, bytes))
        };
        let outcome = outcome.await;
        let usable = self.usable(now).is_some();
        let mut state = self.state();
        state.failed = outcome.is_err();
        let (keys, bytes) = outcome.inspect_err(|error| {
            let issuer = &self.issuer;
            if usable {
                tracing::warn!(issuer, %error, "an issuer's keys cannot be fetched, the earlier ones are in force");
            } else {
                tracing::error!(issuer, %error, "an issuer's keys cannot be fetched, all its tokens are refused");
            }
        })?;
        let count = keys.count();
        match &mut state.known {
            Some(known) if known.bytes == bytes => known.fetched = now,
            known => {
                tracing::info!(issuer = self.issuer, keys = count, "an issuer's keys are in force");
                *known = Some(Known { keys: Arc::new(keys), bytes, fetched: now });
            }
        }
        Ok(count)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the pause since then is over. Who has waited for another's fetch comes with a time before it, by a little; a
/// clock that was set back ends every pause.
fn passed(since: Option<DateTime<Utc>>, now: DateTime<Utc>, pause: Duration) -> bool {
    since.is_none_or(|since| (now - since).abs().to_std().is_ok_and(|apart| apart >= pause))
}
