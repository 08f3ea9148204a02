//! Who calls, and whether the method is open to them.

use std::net::IpAddr;
use std::sync::Arc;

use cqm_proto::policy::MethodPolicy;
use cqm_rpc::{Caller, Error};
use http::request::Parts;

use super::method::Method;

/// Who is at the other end of the connection, in the extensions of every request at the edge.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

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

    /// Whether the caller may call now: quotas. Runs after access was granted. The answer is whom the call counts for where
    /// callers have a share each: the caller, unless many go by that name.
    fn admit(
        &self,
        caller: &Caller,
        parts: &Parts,
        policy: &'static MethodPolicy,
    ) -> impl Future<Output = Result<Arc<str>, Error>> + Send {
        let _ = (parts, policy);
        let account = Arc::clone(&caller.subject);
        async { Ok(account) }
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
