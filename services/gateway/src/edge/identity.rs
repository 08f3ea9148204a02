//! Who calls: bearer tokens, checked against the keys of their issuers.
//!
//! Every bad token gets the same answer, TOKEN_INVALID: why one is bad would only help whoever forges them.

mod keys;
mod token;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use cqm_rpc::{BoxError, Caller, Clock, Error, reason};
use http::{HeaderMap, header};
use sha2::{Digest, Sha256};

use crate::config::IdentityConfig;
use keys::IssuerKeys;
use token::Claims;

/// A larger token is refused before it is looked at.
const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// Tokens whose check is remembered. A check costs as much as a whole hop.
const MAX_REMEMBERED: usize = 4096;

/// Checks tokens. Clones share keys and memory.
#[derive(Clone)]
pub struct Identity(Arc<Inner>);

struct Inner {
    issuers: Vec<IssuerKeys>,
    clock: Clock,
    remembered: Mutex<Remembered>,
}

/// Tokens that were found good, by digest, so that no token lies in memory.
#[derive(Default)]
struct Remembered {
    /// Counts the changes of keys: what was checked against earlier keys is not remembered.
    generation: u64,
    tokens: HashMap<[u8; 32], Valid>,
}

/// A token that was checked, and when it may be used.
#[derive(Clone)]
struct Valid {
    caller: Caller,
    not_before: DateTime<Utc>,
    expires: DateTime<Utc>,
}

impl Identity {
    /// Reads every issuer's keys. Fails when one of the files cannot be used: a gateway that knows nobody is of no use.
    pub fn new(config: &IdentityConfig, clock: Clock) -> Result<Self, BoxError> {
        let now = clock.now();
        let issuers = config
            .issuers
            .values()
            .map(|issuer| IssuerKeys::read(issuer.clone(), config.reload, now))
            .collect::<Result<_, _>>()?;
        Ok(Self(Arc::new(Inner { issuers, clock, remembered: Mutex::default() })))
    }

    /// The caller that the headers prove; `None` when they name nobody.
    pub async fn of(&self, headers: &HeaderMap) -> Result<Option<Caller>, Error> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        let one = values.next().is_none();
        let token = value.to_str().ok().filter(|_| one).and_then(bearer);
        match token {
            Some(token) => self.check(token).await.map(Some),
            None => Err(invalid()),
        }
    }

    async fn check(&self, token: &str) -> Result<Caller, Error> {
        let now = self.0.clock.now();
        for issuer in &self.0.issuers {
            if issuer.refresh(now).await {
                self.remembered().forget();
            }
        }
        let digest = Sha256::digest(token).into();
        let (known, generation) = self.remembered().find(&digest);
        let valid = match known {
            Some(valid) => valid,
            None => {
                let valid =
                    self.0.issuers.iter().find_map(|issuer| check(issuer, token)).ok_or_else(invalid)?;
                self.remembered().keep(digest, valid.clone(), generation, now);
                valid
            }
        };
        if valid.not_before <= now && now < valid.expires { Ok(valid.caller) } else { Err(invalid()) }
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.0.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Remembered {
    fn find(&self, digest: &[u8; 32]) -> (Option<Valid>, u64) {
        (self.tokens.get(digest).cloned(), self.generation)
    }

    fn keep(&mut self, digest: [u8; 32], valid: Valid, generation: u64, now: DateTime<Utc>) {
        if generation != self.generation {
            return;
        }
        if self.tokens.len() >= MAX_REMEMBERED {
            self.tokens.retain(|_, valid| valid.expires > now);
        }
        if self.tokens.len() >= MAX_REMEMBERED {
            self.tokens.clear();
        }
        self.tokens.insert(digest, valid);
    }

    fn forget(&mut self) {
        self.generation += 1;
        self.tokens.clear();
    }
}

fn check(issuer: &IssuerKeys, token: &str) -> Option<Valid> {
    let key = issuer.key(token::key_id(token)?.as_str())?;
    let claims = Claims::verified(token, &key, issuer.config())?;
    let (not_before, expires) = claims.validity()?;
    Some(Valid { caller: claims.caller(issuer.config())?, not_before, expires })
}

/// The token of `Bearer <token>`; RFC 9110 leaves the case of the scheme open.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && token.len() <= MAX_TOKEN_BYTES).then_some(token)
}

fn invalid() -> Error {
    Error::Unauthenticated(reason::TOKEN_INVALID)
}
