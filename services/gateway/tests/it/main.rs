//! The gateway, used as its callers and its services use it: over TCP, with real tokens, real logs and a real Postgres.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod coordinator;
mod coordinator_outages;
mod coordinator_parked;
mod customer360;
mod desk;
mod feeds;
mod forwarding;
mod identity;
mod office;
mod process;
mod secured;
mod tokens;
mod wire;

use std::time::Duration;

/// No test waits longer for a condition.
pub const PATIENCE: Duration = Duration::from_secs(30);
