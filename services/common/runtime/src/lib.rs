//! What every process of the suite runs on: configuration, telemetry, the server stack, client channels, TLS, passes
//! between processes, the cache, supervised tasks, and the gRPC edges of the event feed and of the log of releases.
//!
//! A service is a [`process::Service`]; its `main` is [`process::main`]. The gateway and the standalone put the
//! same parts together themselves.

pub mod audit;
pub mod cache;
pub mod channel;
pub mod config;
pub mod event_feed;
pub mod figures;
pub mod pass;
pub mod process;
pub mod redis_link;
pub mod remembered;
pub mod server;
pub mod subjects;
pub mod tasks;
pub mod telemetry;
pub mod tls;
pub mod watched;
