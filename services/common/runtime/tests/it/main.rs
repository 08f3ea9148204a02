//! The runtime, used as a process uses it: over TCP, with real clients.

#![allow(clippy::unwrap_used, reason = "the lint exempts test functions, and this is what they call")]

mod cache;
mod channel;
mod connections;
mod desk;
mod drain;
mod edge;
mod event_feed;
mod hangup;
mod health;
mod process;
mod telemetry;
mod tls;
mod wire;
