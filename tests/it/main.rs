//! The suite as a whole: journeys, faults, privacy.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod contract;
mod demo;
mod faults;
mod journey;
mod ledger_faults;
mod privacy;
mod rolling;
