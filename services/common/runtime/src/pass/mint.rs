//! Making passes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cqm_proto::policy;
use cqm_rpc::{BoxError, Caller, Clock, Error, metadata, reason, role_name};
use http::{HeaderMap, HeaderName, HeaderValue};
use tonic::{Code, Status};

use super::config::SigningConfig;
use super::key::{self, SigningKey};
use super::{Claims, ISSUER};
use crate::remembered::Remembered;
use crate::watched::Watched;

/// Passes that are used again. Each is of one caller, one method and one service.
const MOST: usize = 4096;

/// Signs passes. Clones share the key and the passes that were made.
#[derive(Clone)]
pub struct Mint(Arc<Inner>);

struct Inner {
    key: Watched<SigningKey>,
    life: Duration,
    clock: Clock,
    made: Remembered<Subject, Made>,
}

/// What a pass is for.
#[derive(PartialEq, Eq, Hash)]
struct Subject {
    service: &'static str,
    method: &'static str,
    caller: Arc<str>,
    /// A bit for each role.
    roles: u32,
}

#[derive(Clone)]
struct Made {
    pass: HeaderValue,
    /// Of no use any more when another key has come.
    key: Arc<SigningKey>,
}

impl Mint {
    /// Reads the key. Fails when it cannot be used: nobody would take a call without a pass.
    pub fn new(config: &SigningConfig, clock: Clock) -> Result<Self, BoxError> {
        let key = Watched::file(config.key.clone(), config.reload, clock.now(), key::signing)
            .map_err(|problem| format!("the key that signs passes: {problem}"))?;
        Ok(Self(Arc::new(Inner { key, life: config.life, clock, made: Remembered::new(MOST) })))
    }

    /// Passes for the methods of one service, named as its process is.
    pub fn for_service(&self, service: &'static str) -> Passes {
        Passes { mint: self.clone(), service }
    }

    async fn pass(&self, service: &'static str, path: &str, caller: &Caller) -> Result<HeaderValue, Error> {
        let method = policy::find(path).ok_or(Error::Unimplemented)?.path;
        let roles = caller.roles.iter().fold(0, |bits, role| bits | 1 << *role as u32);
        let subject = Subject { service, method, caller: Arc::clone(&caller.subject), roles };
        let now = self.0.clock.now();
        let key = self.0.key.current(now).await;
        if let Some(made) = self.0.made.find(&subject, now)
            && Arc::ptr_eq(&made.key, &key)
        {
            return Ok(made.pass);
        }
        let (iat, life) = (now.timestamp(), self.0.life);
        let claims = Claims {
            iss: ISSUER,
            aud: service,
            sub: &*caller.subject,
            roles: caller.roles.iter().map(|role| role_name(*role)).collect(),
            method,
            iat,
            exp: iat.saturating_add_unsigned(life.as_secs()),
        };
        let pass = jsonwebtoken::encode(&key.header, &claims, &key.key).map_err(Error::internal)?;
        let pass = HeaderValue::try_from(pass).map_err(Error::internal)?;
        self.0.made.keep(subject, Made { pass: pass.clone(), key }, now + life / 2, now);
        Ok(pass)
    }
}

/// The passes of one service.
#[derive(Clone)]
pub struct Passes {
    mint: Mint,
    service: &'static str,
}

impl Passes {
    /// Writes the caller's pass for the method with this path over whatever stands there.
    pub async fn stamp(&self, headers: &mut HeaderMap, path: &str, caller: &Caller) -> Result<(), Error> {
        let pass = self.mint.pass(self.service, path, caller).await?;
        headers.insert(HeaderName::from_static(metadata::PASS), pass);
        Ok(())
    }

    /// Whether the service has taken the pass. It knows the caller from nothing else, so its "unauthenticated" speaks of
    /// keys or clocks of the suite that do not agree: an outage, and nothing that the caller could mend.
    pub fn taken(&self, answer: &HeaderMap) -> Result<(), Error> {
        let code = answer.get(Status::GRPC_STATUS).map(|code| Code::from_bytes(code.as_bytes()));
        if code == Some(Code::Unauthenticated) {
            let cause = format!("{} does not take the passes that it is shown", self.service);
            return Err(Error::unavailable(reason::UNREACHABLE, cause));
        }
        Ok(())
    }
}

impl fmt::Debug for Passes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passes").field("service", &self.service).finish_non_exhaustive()
    }
}
