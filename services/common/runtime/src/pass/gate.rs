//! Checking passes: the gate of a service.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use cqm_proto::policy::MethodPolicy;
use cqm_rpc::{BoxError, Caller, Clock, Error, metadata, reason, role_from_name};
use http::request::Parts;
use jsonwebtoken::{Algorithm, Validation};
use sha2::{Digest, Sha256};

use super::config::PassesConfig;
use super::key::{self, Keys};
use super::{Claims, ISSUER, KIND, LONGEST_LIFE};
use crate::remembered::Remembered;
use crate::server::Gate;
use crate::watched::Watched;

/// A larger one is refused before it is looked at.
const MAX_PASS_BYTES: usize = 2 * 1024;
/// Passes whose check is remembered.
const MOST: usize = 4096;
/// What the clocks of two machines may differ by, seconds.
const LEEWAY: i64 = 5;

/// Takes who calls from a pass for this service and the method that is called, and from nothing else. Every pass that is
/// not good gets the same answer. Clones share keys and memory.
#[derive(Clone)]
pub struct PassGate(Arc<Inner>);

struct Inner {
    keys: Watched<Keys>,
    validation: Validation,
    clock: Clock,
    /// By digest, so that no pass lies in memory.
    checked: Remembered<[u8; 32], Checked>,
}

/// A pass that was found good.
#[derive(Clone)]
struct Checked {
    caller: Caller,
    method: &'static str,
    not_before: DateTime<Utc>,
    expires: DateTime<Utc>,
    /// Of no use any more when other keys have come.
    keys: Arc<Keys>,
}

impl PassGate {
    /// `service`: as its process is called. Fails when the keys cannot be read.
    pub fn new(config: &PassesConfig, service: &str, clock: Clock) -> Result<Self, BoxError> {
        let keys = Watched::file(config.keys.clone(), config.reload, clock.now(), key::verifying)
            .map_err(|problem| format!("the keys that passes are checked by: {problem}"))?;
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[service]);
        // The library reads a clock of its own.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        Ok(Self(Arc::new(Inner { keys, validation, clock, checked: Remembered::new(MOST) })))
    }

    async fn check(&self, pass: &str, method: &'static str) -> Option<Caller> {
        let now = self.0.clock.now();
        let keys = self.0.keys.current(now).await;
        let digest = Sha256::digest(pass).into();
        let known = self.0.checked.find(&digest, now).filter(|known| Arc::ptr_eq(&known.keys, &keys));
        let checked = match known {
            Some(checked) => checked,
            None => {
                let checked = self.verify(pass, method, keys, now).await?;
                self.0.checked.keep(digest, checked.clone(), checked.expires, now);
                checked
            }
        };
        let good = checked.method == method && checked.not_before <= now && now < checked.expires;
        good.then_some(checked.caller)
    }

    async fn verify(
        &self,
        pass: &str,
        method: &'static str,
        mut keys: Arc<Keys>,
        now: DateTime<Utc>,
    ) -> Option<Checked> {
        let header = jsonwebtoken::decode_header(pass).ok()?;
        let id = header.kid.filter(|_| header.typ.as_deref() == Some(KIND) && header.crit.is_none())?;
        if !keys.contains_key(&id) {
            // The mint may have changed its key before this process has noticed the new one.
            keys = self.0.keys.latest(now).await;
        }
        let claims: Claims<String> =
            jsonwebtoken::decode(pass, keys.get(&id)?, &self.0.validation).ok()?.claims;
        let life = claims.exp.checked_sub(claims.iat)?;
        let sound = claims.method == method && (1..=LONGEST_LIFE).contains(&life) && !claims.sub.is_empty();
        sound.then_some(())?;
        Some(Checked {
            method,
            not_before: DateTime::from_timestamp(claims.iat.checked_sub(LEEWAY)?, 0)?,
            expires: DateTime::from_timestamp(claims.exp.checked_add(LEEWAY)?, 0)?,
            caller: Caller {
                subject: claims.sub.into(),
                // A role that this process does not know grants nothing.
                roles: claims.roles.iter().filter_map(|name| role_from_name(name)).collect(),
            },
            keys,
        })
    }
}

impl Gate for PassGate {
    async fn identify(&self, parts: &mut Parts, policy: &'static MethodPolicy) -> Result<Caller, Error> {
        let mut values = parts.headers.get_all(metadata::PASS).iter();
        let (Some(value), more) = (values.next(), values.next()) else {
            return Err(Error::Unauthenticated(reason::CREDENTIALS_MISSING));
        };
        let pass = value.to_str().ok().filter(|pass| more.is_none() && pass.len() <= MAX_PASS_BYTES);
        let caller = match pass {
            Some(pass) => self.check(pass, policy.path).await,
            None => None,
        };
        // What it says is known now; nobody behind this gate has a use for it.
        parts.headers.remove(metadata::PASS);
        caller.ok_or(Error::Unauthenticated(reason::TOKEN_INVALID))
    }
}
