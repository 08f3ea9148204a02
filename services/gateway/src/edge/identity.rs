//! Who calls: bearer tokens, checked against the keys of their issuers.
//!
//! A token's `iss` says whose keys it is checked by, and the issuer's configuration says everything else: which
//! algorithms, which audience, what of the token's claims is believed. Every bad token gets the same answer,
//! TOKEN_INVALID: why one is bad would only help whoever forges them.

mod fetch;
mod issuer;
mod keys;
mod source;
mod token;

use std::sync::Arc;

use cqm_rpc::{BoxError, Caller, Clock, Error, reason};
use cqm_runtime::remembered::Remembered;
use futures::future::join_all;
use http::{HeaderMap, header};
use sha2::{Digest, Sha256};

use crate::config::IdentityConfig;
use issuer::{Issuer, Valid};

/// A larger token is refused before it is looked at.
const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// Tokens whose check is remembered. A check costs as much as a whole hop.
const MAX_REMEMBERED: usize = 4096;

/// Checks tokens. Clones share keys and memory.
#[derive(Clone)]
pub struct Identity(Arc<Inner>);

struct Inner {
    issuers: Vec<Issuer>,
    clock: Clock,
    /// Tokens that were found good, by digest, so that no token lies in memory.
    remembered: Remembered<[u8; 32], Remembrance>,
}

/// A token that was found good, and by whose keys.
#[derive(Clone)]
struct Remembrance {
    issuer: usize,
    valid: Valid,
}

impl Identity {
    /// Reads the keys that lie in files. Fails when one of the files cannot be used: a gateway that knows nobody is of no
    /// use. Keys that have to be fetched are fetched by [`Self::fetch`], or when the first token comes.
    pub fn new(config: &IdentityConfig, clock: Clock) -> Result<Self, BoxError> {
        let now = clock.now();
        let issuers = config
            .issuers
            .values()
            .map(|issuer| Issuer::new(issuer, config, now))
            .collect::<Result<_, _>>()?;
        Ok(Self(Arc::new(Inner { issuers, clock, remembered: Remembered::new(MAX_REMEMBERED) })))
    }

    /// Fetches the keys that do not lie in files; for each issuer, how many keys it has, or why not.
    pub async fn fetch(&self) -> Vec<(&str, Result<usize, BoxError>)> {
        let now = self.0.clock.now();
        join_all(self.0.issuers.iter().map(async |issuer| (issuer.name(), issuer.fetch(now).await))).await
    }

    /// The caller that the headers prove; `None` when they name nobody.
    pub async fn of(&self, headers: &HeaderMap) -> Result<Option<Caller>, Error> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        let one = values.next().is_none();
        let caller = match value.to_str().ok().filter(|_| one).and_then(bearer) {
            Some(token) => self.check(token).await,
            None => None,
        };
        caller.map(Some).ok_or(Error::Unauthenticated(reason::TOKEN_INVALID))
    }

    async fn check(&self, token: &str) -> Option<Caller> {
        let now = self.0.clock.now();
        let digest = Sha256::digest(token).into();
        if let Some(known) = self.0.remembered.find(&digest, now)
            // Keys that have gone, or whose time is over, take with them what was checked by them.
            && self.0.issuers[known.issuer].keys(now).await.is_some_and(|keys| Arc::ptr_eq(&keys, &known.valid.keys))
        {
            return known.valid.at(now);
        }
        let name = token::issuer(token)?;
        let issuer = self.0.issuers.iter().position(|issuer| issuer.name() == name)?;
        let valid = self.0.issuers[issuer].verify(token, now).await?;
        let expires = valid.expires;
        self.0.remembered.keep(digest, Remembrance { issuer, valid: valid.clone() }, expires, now);
        valid.at(now)
    }
}

/// The token of `Bearer <token>`; RFC 9110 leaves the case of the scheme open.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && token.len() <= MAX_TOKEN_BYTES).then_some(token)
}
