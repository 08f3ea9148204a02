//! What every service does with its database, once: a bounded pool, named transactions, migrations,
//! remembered requests, the event log and the log of releases of personal data.
//!
//! A handler sees [`Db`] and, inside a transaction, one borrowed [`Conn`]. Queries are free functions over
//! that connection; nothing here knows what they are about.

pub mod audit;
mod coalesce;
mod config;
mod connect;
mod expect;
pub mod idempotency;
mod lane;
pub mod log;
mod messages;
mod migrate;
mod pool;
mod schema;
mod statement;
pub mod subjects;
mod tx;

pub use coalesce::{Batch, Coalescer, Patience, Request, Verdict};
pub use config::{DatabaseConfig, DatabaseTls, EventsConfig};
pub use expect::{OnConflict, known};
pub use migrate::{Migrations, pending, run};
pub use pool::Conn;
pub use statement::{Bound, Statement, statement};
pub use tx::{Db, Retryable};
