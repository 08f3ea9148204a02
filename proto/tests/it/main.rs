//! What the compiled contracts promise.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod checks;
mod codec;
mod debug;
mod masks;
mod policy;
