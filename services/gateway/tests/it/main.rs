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
mod history;
mod identity;
mod issuers;
mod office;
mod passes;
mod places;
mod pods;
mod process;
mod provider;
mod quota;
mod secured;
mod tokens;
mod traffic;
mod web;
mod wire;

use std::time::Duration;

/// No test waits longer for a condition.
pub const PATIENCE: Duration = Duration::from_secs(30);
