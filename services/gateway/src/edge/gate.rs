//! The gate of the edge: believes nothing that comes from outside but a token.

use std::sync::Arc;

use cqm_proto::policy::MethodPolicy;
use cqm_rpc::{Caller, Error, Role, metadata, reason};
use cqm_runtime::server::Gate;
use http::request::Parts;
use http::{HeaderMap, HeaderName, header};

use super::identity::Identity;
use super::quota::Quota;

/// Metadata of the suite that an outside caller may set.
const OPEN: [&str; 2] = [metadata::PURPOSE, metadata::SOURCE];
/// What is missing to who may not see the shape of the API.
const REFLECTION: &str = "grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
/// What belongs to one hop or to the edge alone. The deadline and the trace are rewritten where the call is forwarded.
const NOT_FORWARDED: [HeaderName; 12] = [
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    header::COOKIE,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::FORWARDED,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Establishes who calls from outside.
#[derive(Clone)]
pub(super) struct EdgeGate {
    identity: Identity,
    quota: Quota,
    /// Whom the shape of the API is told to.
    reflection: Arc<[Role]>,
}

impl EdgeGate {
    pub fn new(identity: Identity, quota: Quota, reflection: &[Role]) -> Self {
        Self { identity, quota, reflection: reflection.into() }
    }
}

impl Gate for EdgeGate {
    async fn identify(&self, parts: &mut Parts, policy: &'static MethodPolicy) -> Result<Caller, Error> {
        let caller = self.identity.of(&parts.headers).await?;
        strip(&mut parts.headers);
        match caller {
            Some(caller) => Ok(caller),
            // Nobody: only what a signed link opens is open to them.
            None if policy.roles.contains(&Role::Customer) => {
                Ok(Caller { subject: "customer".into(), roles: vec![Role::Customer] })
            }
            None => Err(Error::Unauthenticated(reason::CREDENTIALS_MISSING)),
        }
    }

    async fn admit(
        &self,
        caller: &Caller,
        parts: &Parts,
        policy: &'static MethodPolicy,
    ) -> Result<Arc<str>, Error> {
        let account = self.quota.account(caller, parts);
        self.quota.spend(caller, &account, policy.class()).await?;
        Ok(account)
    }

    async fn describe(&self, parts: &mut Parts) -> Result<(), Error> {
        match self.identity.of(&parts.headers).await? {
            Some(caller) if self.reflection.iter().any(|role| caller.has(*role)) => Ok(()),
            Some(_) => Err(Error::Denied { permission: REFLECTION.to_owned() }),
            None => Err(Error::Unauthenticated(reason::CREDENTIALS_MISSING)),
        }
    }
}

/// Removes what an outside caller must not tell the services.
fn strip(headers: &mut HeaderMap) {
    let forged: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with(metadata::PREFIX) && !OPEN.contains(&name.as_str()))
        .cloned()
        .collect();
    for name in forged.iter().chain(&NOT_FORWARDED) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_suites_own_metadata_cannot_come_from_outside() {
        let mut headers = HeaderMap::new();
        for name in [
            metadata::PASS,
            metadata::PURPOSE,
            metadata::SOURCE,
            "x-cqm-anything",
            "x-cqm-pass-bin",
            "authorization",
            "cookie",
            "te",
            "grpc-timeout",
            "grpc-encoding",
            "user-agent",
            "x-request-id",
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static("one"));
            headers.append(HeaderName::from_static(name), HeaderValue::from_static("two"));
        }
        strip(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(
            left,
            ["grpc-encoding", "grpc-timeout", "user-agent", "x-cqm-purpose", "x-cqm-source", "x-request-id"]
        );
    }
}
