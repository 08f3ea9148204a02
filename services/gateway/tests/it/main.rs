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
mod tokens;
mod wire;

use std::time::{Duration, Instant};

/// No test waits longer for a condition.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for a condition of another task; fails when it does not come.
pub async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let give_up = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < give_up, "{what} does not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
