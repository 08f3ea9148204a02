//! Who calls, and whether the method is open to them.

use cqm_proto::policy::MethodPolicy;
use cqm_rpc::{Caller, Error, Role, metadata, reason, role_from_name};
use http::HeaderMap;
use http::request::Parts;

use super::method::Method;

/// How a process learns who calls. Services believe the suite's own metadata; the edge, which faces the
/// world, puts a gate of its own here.
pub trait Gate: Clone + Send + Sync + 'static {
    /// The caller, or [`Error::Unauthenticated`]. May rewrite the headers: what is forwarded is what stands
    /// there afterwards.
    fn identify(
        &self,
        parts: &mut Parts,
        policy: &'static MethodPolicy,
    ) -> impl Future<Output = Result<Caller, Error>> + Send;

    /// Whether the caller may call now: quotas. Runs after access was granted.
    fn admit(
        &self,
        caller: &Caller,
        policy: &'static MethodPolicy,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        let _ = (caller, policy);
        async { Ok(()) }
    }

    /// Whether the shape of the API may be told to whoever asks by these headers. A service inside the suite tells
    /// everybody.
    fn describe(&self, parts: &mut Parts) -> impl Future<Output = Result<(), Error>> + Send {
        let _ = parts;
        async { Ok(()) }
    }
}

/// The gate of a service: the metadata that the edge and the coordinator set.
#[derive(Clone, Copy, Debug)]
pub struct SuiteMetadata;

impl Gate for SuiteMetadata {
    async fn identify(&self, parts: &mut Parts, policy: &'static MethodPolicy) -> Result<Caller, Error> {
        caller(&parts.headers, policy)
    }
}

fn caller(headers: &HeaderMap, policy: &MethodPolicy) -> Result<Caller, Error> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    match text(metadata::CALLER).filter(|subject| !subject.is_empty()) {
        Some(subject) => Ok(Caller {
            subject: subject.into(),
            roles: text(metadata::ROLES)
                .unwrap_or_default()
                .split(',')
                .filter_map(|name| role_from_name(name.trim()))
                .collect(),
        }),
        // Nobody: only what a signed link opens is open to them.
        None if policy.roles.contains(&Role::Customer) => {
            Ok(Caller { subject: "customer".into(), roles: vec![Role::Customer] })
        }
        None => Err(Error::Unauthenticated(reason::CREDENTIALS_MISSING)),
    }
}

/// Denies by default: a caller needs one of the roles that the contract names.
pub(super) fn access(caller: &Caller, method: &Method) -> Result<(), Error> {
    if method.policy.roles.iter().any(|role| caller.has(*role)) {
        Ok(())
    } else {
        Err(Error::Denied { permission: method.permission().to_owned() })
    }
}
