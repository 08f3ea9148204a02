//! What every process of the suite runs on: configuration, telemetry, the server stack, client channels, TLS, the
//! cache, supervised tasks and the event feed's gRPC edge.
//!
//! A service is a [`process::Service`]; its `main` is [`process::main`]. The gateway and the standalone put the
//! same parts together themselves.

pub mod cache;
pub mod channel;
pub mod config;
pub mod event_feed;
pub mod figures;
pub mod process;
pub mod server;
pub mod tasks;
pub mod telemetry;
pub mod tls;
