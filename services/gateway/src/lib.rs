//! The gateway: the one address callers use, and the coordinator that tells one service what happened in another.
//!
//! It owns no data. [`edge`] establishes who calls and whether they may, and forwards bytes to the service that the
//! path names, without decoding them; it answers two services itself, [`customer360`] and [`coordinator_service`].
//! [`coordinator`] reads the event feed of every service and carries out what `coordinator/reactions.rs` says.
//!
//! ```text
//!          +-------------------- edge --------------------+
//! caller --| gate (identity, quota) -> stack (access,     |-- link --> pod
//!          |   deadline, places) -> forward | 360 | feeds |
//!          |   -> repeat -> pods (discover, breaker)      |-- link --> pod
//!          +----------------------------------------------+
//!
//! service's event feed --> coordinator::source -> reactions -> executor --> another service
//! ```

pub mod backend;
pub mod config;
pub mod coordinator;
pub mod coordinator_service;
pub mod customer360;
pub mod edge;
mod error;
pub mod process;
