//! The suite as a whole: journeys, faults, privacy.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod abuse;
mod contract;
mod database_tls;
mod demo;
mod erasure;
mod faults;
mod fuzz;
mod journey;
mod killed;
mod ledger_faults;
mod merging;
mod observed;
mod overrun;
mod policy;
mod privacy;
mod recording;
mod releases;
mod rolling;
mod takeover;
mod upgrade;
