//! The service as its callers know it: over HTTP/2, on a real Postgres and a real Redis.

#![allow(
    clippy::unwrap_used,
    clippy::result_large_err,
    reason = "the lints exempt test functions, and this is what they call"
)]

mod customers;
mod deletion;
mod desk;
mod erasures;
mod imports;
mod interactions;
mod lists;
mod merges;
mod overrun;
mod privacy;
mod purchases;
mod references;
mod refusals;
mod repeats;
mod versions;
