//! The command line tool, run as it is installed: against a real gateway, a real service and a real Postgres.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod counter;
mod imports;
mod policy;
mod reactions;
