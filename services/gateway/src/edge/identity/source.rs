//! Where an issuer's keys come from, and how long they may be used.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use cqm_rpc::BoxError;
use cqm_runtime::tasks::detached;
use cqm_runtime::watched::{Pauses, Watched};

use super::fetch::Fetcher;
use super::keys::Keys;
use crate::config::{IdentityConfig, IssuerConfig};

/// A file on this machine, or an address of the issuer's.
pub(super) enum Source {
    File(Watched<Keys>),
    Remote(Watched<Keys, Fetcher>),
}

impl Source {
    pub fn new(config: &IssuerConfig, times: &IdentityConfig, now: DateTime<Utc>) -> Result<Self, BoxError> {
        let algorithms = config.algorithms.0.clone();
        if let Some(path) = &config.jwks {
            let parse = move |bytes: &[u8]| Keys::parse(bytes, &algorithms);
            let keys = Watched::file(path.clone(), times.reload, now, parse)
                .map_err(|problem| format!("the key set {problem}"))?;
            return Ok(Self::File(keys));
        }
        let pauses = Pauses {
            every: times.refresh,
            retry: times.retry,
            asked: times.retry,
            outage_limit: times.outage_limit,
        };
        let fetcher = Fetcher::new(config, times.fetch_timeout, now)?;
        Ok(Self::Remote(Watched::new(fetcher, pauses, move |contents| {
            Keys::parse(contents.first().map_or(&[], |all| all), &algorithms)
        })))
    }

    /// Fetches the keys now, whatever there is; how many there are.
    pub async fn fetch(&self, now: DateTime<Utc>) -> Result<usize, BoxError> {
        match self {
            Self::File(file) => Ok(file.current(now).await.count()),
            Self::Remote(remote) => Ok(remote.look(now).await?.count()),
        }
    }

    /// The keys in force. Looks for newer ones when it is time to, without letting a call wait for the issuer.
    pub async fn current(&self, now: DateTime<Utc>) -> Option<Arc<Keys>> {
        match self {
            Self::File(file) => Some(file.current(now).await),
            Self::Remote(remote) => {
                if remote.is_due(now) {
                    let remote = remote.clone();
                    // Ends by itself within the fetch's time; what is wrong is told where it is found.
                    detached(async move { remote.look(now).await.map(drop) });
                }
                remote.usable(now)
            }
        }
    }

    /// The keys after a look for newer ones: for a token whose key is not among those in force.
    pub async fn latest(&self, now: DateTime<Utc>) -> Option<Arc<Keys>> {
        match self {
            Self::File(file) => Some(file.latest(now).await),
            Self::Remote(remote) => remote.latest_usable(now).await,
        }
    }
}
