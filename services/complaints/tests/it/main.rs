//! The service as its callers know it: over HTTP/2, on a real Postgres.

#![allow(clippy::unwrap_used, reason = "the lint exempts test functions, and this is what they call")]

mod desk;
mod forgetting;
mod lifecycle;
mod lists;
mod merging;
mod refusals;
mod registration;
mod reopening;
mod repeats;
mod sla;
mod telling;
