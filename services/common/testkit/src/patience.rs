//! Waiting for what comes by itself, with a deadline.

use std::time::{Duration, Instant};

use cqm_rpc::Failure;
use tonic::Status;

/// Longer than anything takes that comes at all, on a machine that runs many tests at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// Looks until there is something to see; fails with `wanted` when it does not come.
pub async fn until<T>(wanted: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < give_up, "not within {PATIENCE:?}: {wanted}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Looks until it is so; fails with `wanted` when it does not come.
pub async fn eventually(wanted: &str, mut is_so: impl AsyncFnMut() -> bool) {
    until(wanted, async || is_so().await.then_some(())).await;
}

/// Calls until the answer stands: who is told that somebody else holds the row asks again, as the contract says.
pub async fn persistent<T>(mut call: impl AsyncFnMut() -> Result<T, Status>) -> Result<T, Status> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        match call().await {
            Err(status) if Failure::of(&status).is_transient() && Instant::now() < give_up => {}
            outcome => return outcome,
        }
    }
}
