//! cqm-db over a real Postgres.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod audit;
mod coalesce;
mod idempotency;
mod log;
mod log_properties;
mod migrations;
mod subjects;
mod tx;

use std::time::Duration;

use cqm_db::{Db, EventsConfig, Migrations};
use cqm_rpc::{Call, Clock};
use cqm_testkit::TestDatabase;

/// A service with one table, to have something to change.
pub const MIGRATIONS: Migrations = diesel_migrations::embed_migrations!("tests/migrations");

pub async fn database() -> Db {
    let database = TestDatabase::migrated(MIGRATIONS).await;
    Db::new(database.config(), EventsConfig::default(), Clock::system()).unwrap()
}

pub fn call() -> Call {
    Call::internal("test", Duration::from_secs(10))
}
