//! Who calls, and whether the method is open to them.

use cqm_proto::policy::MethodPolicy;
use cqm_rpc::{Caller, Error};
use http::request::Parts;

use super::method::Method;

/// How a process learns who calls. Services take a pass ([`crate::pass::PassGate`]); the edge, which faces the
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

/// Denies by default: a caller needs one of the roles that the contract names.
pub(super) fn access(caller: &Caller, method: &Method) -> Result<(), Error> {
    if method.policy.roles.iter().any(|role| caller.has(*role)) {
        Ok(())
    } else {
        Err(Error::Denied { permission: method.permission().to_owned() })
    }
}
