//! Customers, what they bought and the contacts with them: `cqm.customers.v1`.
//!
//! The only service that knows who a customer is. The others know a name, `customers/{uuid}`, and learn through
//! events that something about it changed; personal data leaves here only in the answer to a caller who asks for it.
//! It also sees a customer's erasure across all services through, see `domain/erasure.rs`, and the merge of two names of one
//! person, see `domain/merge.rs`, and keeps the receipts.
//! Deleting a customer empties the record and keeps a tombstone, so that the purchases of others' ledgers lead to a
//! name that nobody is behind.

mod config;
mod domain;
mod error;
mod grpc;
mod holder;
mod report;
mod schema;
mod store;

use std::collections::HashMap;

use cqm_db::{Conn, Db, Migrations};
use cqm_rpc::{BoxError, Call, Clock, Error};
use cqm_runtime::cache::Cache;
use cqm_runtime::process::{Base, Service};
use cqm_runtime::tasks::Supervisor;
use diesel_migrations::embed_migrations;
use tonic::service::Routes;
use uuid::Uuid;

pub use config::Config;
use report::ReportKeys;

/// This service's tables.
pub const MIGRATIONS: Migrations = embed_migrations!("migrations");

/// What a handler works with. Clones share it.
#[derive(Clone)]
pub struct App {
    db: Db,
    cache: Cache,
    clock: Clock,
    config: Config,
    reports: ReportKeys,
}

impl Service for App {
    const NAME: &'static str = "customer-data";
    const SERVICES: &'static [&'static str] = &[
        "cqm.customers.v1.CustomerService",
        "cqm.customers.v1.PurchaseService",
        "cqm.customers.v1.InteractionService",
        "cqm.customers.v1.ErasureService",
        "cqm.customers.v1.MergeService",
    ];
    const DEFAULTS: &'static str = config::DEFAULTS;
    type Config = Config;
    const MIGRATIONS: Migrations = MIGRATIONS;

    fn new(base: Base, config: Config) -> Result<Self, BoxError> {
        let reports = ReportKeys::of(&config.report_keys);
        Ok(Self { db: base.db, cache: base.cache, clock: base.clock, config, reports })
    }

    fn routes(&self) -> Routes {
        grpc::routes(self)
    }

    /// Nothing here happens by itself.
    fn workers(&self, _: &Supervisor) {}

    async fn blockers(
        &self,
        conn: &mut Conn,
        customers: &[Uuid],
        _: bool,
    ) -> Result<HashMap<Uuid, Vec<&'static str>>, Error> {
        holder::blockers(conn, customers).await
    }

    async fn erase(
        &self,
        tx: &mut Conn,
        call: &Call,
        customer: Uuid,
    ) -> Result<Vec<(&'static str, i64)>, Error> {
        holder::erase(self, tx, call, customer).await
    }

    async fn gone(&self, customer: Uuid) {
        grpc::forget_cached(self, customer).await;
    }

    async fn merge(
        &self,
        tx: &mut Conn,
        call: &Call,
        customer: Uuid,
        survivor: Uuid,
    ) -> Result<Vec<(&'static str, i64)>, Error> {
        holder::merge(self, tx, call, customer, survivor).await
    }
}
