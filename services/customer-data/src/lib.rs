//! Customers, what they bought and the contacts with them: `cqm.customers.v1`.
//!
//! The only service that knows who a customer is. The others know a name, `customers/{uuid}`, and learn through
//! events that something about it changed; personal data leaves here only in the answer to a caller who asks for it.
//! Deleting a customer empties the record and keeps a tombstone, so that the purchases of others' ledgers lead to a
//! name that nobody is behind.

mod config;
mod domain;
mod error;
mod grpc;
mod schema;
mod store;

use cqm_db::{Db, Migrations};
use cqm_rpc::{BoxError, Clock};
use cqm_runtime::cache::Cache;
use cqm_runtime::process::{Base, Service};
use cqm_runtime::tasks::Supervisor;
use diesel_migrations::embed_migrations;
use tonic::service::Routes;

pub use config::Config;

/// This service's tables.
pub const MIGRATIONS: Migrations = embed_migrations!("migrations");

/// What a handler works with. Clones share it.
#[derive(Clone)]
pub struct App {
    db: Db,
    cache: Cache,
    clock: Clock,
    config: Config,
}

impl Service for App {
    const NAME: &'static str = "customer-data";
    const SERVICES: &'static [&'static str] = &[
        "cqm.customers.v1.CustomerService",
        "cqm.customers.v1.PurchaseService",
        "cqm.customers.v1.InteractionService",
    ];
    const DEFAULTS: &'static str = config::DEFAULTS;
    type Config = Config;
    const MIGRATIONS: Migrations = MIGRATIONS;

    fn new(base: Base, config: Config) -> Result<Self, BoxError> {
        Ok(Self { db: base.db, cache: base.cache, clock: base.clock, config })
    }

    fn routes(&self) -> Routes {
        grpc::routes(self)
    }

    /// Nothing here happens by itself.
    fn workers(&self, _: &Supervisor) {}
}
