//! Passes: what one process of the suite shows to another with a call.
//!
//! A pass says who calls, in which roles, which one method of which one service, for some seconds. It is a JSON Web Token
//! that is signed with Ed25519 by those who call (the edge, the coordinator: [`Mint`]) and checked by every service
//! ([`PassGate`]), which takes no call without. Who reaches a service's port but holds no key can do nothing there, and
//! who gets hold of a pass can do with it what its caller was about to do anyway, for seconds.
//!
//! Signing and checking cost as much as a whole hop, so each is done once for many calls: a pass is used for half of its
//! life, and one that was checked is remembered for the rest of it.

mod config;
mod gate;
mod key;
mod mint;

use serde::{Deserialize, Serialize};

pub use config::{PassesConfig, SigningConfig};
pub use gate::PassGate;
pub use mint::{Mint, Passes};

/// What `iss` is: the suite's own.
const ISSUER: &str = "cqm";
/// What `typ` is: no other token of any issuer is one of these (RFC 8725, 3.11).
const KIND: &str = "cqm-pass+jwt";
/// A pass that lives for longer is refused whoever has signed it, seconds.
const LONGEST_LIFE: i64 = 60;

/// What a pass says.
#[derive(Debug, Deserialize, Serialize)]
struct Claims<T> {
    iss: T,
    /// The service, as its process is called.
    aud: T,
    /// The caller's subject.
    sub: T,
    /// The caller's roles by name.
    roles: Vec<T>,
    /// `/cqm.loyalty.v1.LedgerService/EarnPoints`
    method: T,
    /// Seconds since the epoch.
    iat: i64,
    exp: i64,
}
