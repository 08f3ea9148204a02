//! The gRPC server of every process: an accept loop of our own on hyper, the stack of steps that a call goes
//! through before a handler sees it, and a drain that ends.
//!
//! tonic's own server is not used: its connection age cuts calls, its limits fall away and its graceful
//! shutdown waits for ever. tonic's generated routes are what stands at the end of the stack.
//!
//! ```no_run
//! # async fn example(
//! #     config: cqm_runtime::server::ServerConfig,
//! #     passes: cqm_runtime::pass::PassesConfig,
//! #     routes: tonic::service::Routes,
//! # ) -> Result<(), cqm_rpc::BoxError> {
//! use cqm_runtime::pass::PassGate;
//! use cqm_runtime::server::{Health, Options, bind};
//!
//! let health = Health::new(&["cqm.complaints.v1.ComplaintService"]);
//! let bound = bind(&config)?;
//! println!("{}", bound.address());
//! let options = Options::new(health.clone());
//! let stop = options.shutdown.clone();
//! let gate = PassGate::new(&passes, "complaints", cqm_rpc::Clock::system())?;
//! let running = bound.serve(options, gate, move |_shard| Ok(routes.clone())).await?;
//! health.ready().await;
//! stop.cancel();
//! running.join().await;
//! # Ok(()) }
//! ```

mod accept;
mod body;
mod config;
mod connection;
mod crowd;
mod deadline;
mod detach;
mod gate;
mod health;
mod inbound;
mod limit;
mod method;
mod observe;
mod remap;
mod stack;
mod web;

pub use accept::{Bound, Options, Running, Shard, bind};
pub use config::{DeadlineConfig, DrainConfig, ServerConfig, Shape, WebConfig};
pub use gate::{Gate, Peer};
pub use health::{Health, LIVENESS, READINESS};
pub use method::all_services;
pub use observe::report;
pub(crate) use observe::status_code;
pub use stack::Served;

/// What a process would listen with, for its `check`: whether it is secured, and by a certificate that can be used.
pub fn check(config: &ServerConfig) -> Result<&'static str, cqm_rpc::BoxError> {
    let listener = crate::tls::Listener::open(&config.tls, config.plaintext)?;
    Ok(if listener.is_secured() { "with TLS, its certificate can be used" } else { "without TLS" })
}

/// What a unary message may weigh, in bytes. tonic reserves the announced length before a byte arrives, so
/// the limit is also what a liar can make us allocate. Services set it by `max_decoding_message_size`.
pub const UNARY_LIMIT: usize = 64 * 1024;
/// The same for bulk methods.
pub const BULK_LIMIT: usize = 1024 * 1024;
