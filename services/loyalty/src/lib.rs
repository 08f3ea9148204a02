//! Members and the ledger of their points: `cqm.loyalty.v1`.
//!
//! This service owns who takes part in the programme, what points are given for, and the ledger: append-only, double
//! entry, in whole points. A balance is never stored without the entries that make it, cannot fall below zero in the
//! database itself, and every account of every member has a hash chain that shows an altered byte.
//!
//! # One earn, from the wire to the disk
//!
//! 1. [`grpc`]: one line for each RPC takes the call; the handler in `grpc/ledger.rs` has `grpc/convert` parse the
//!    message into a command that holds nothing invalid, every violation at once.
//! 2. `Db::mutate` opens the transaction and looks whether the request was answered before.
//! 3. [`store::lock_account`] takes the member's row, the only lock there is, and reads the heads of the member's
//!    accounts. A customer who is no member becomes one.
//! 4. [`domain::earning`] says what it is worth, [`domain::ledger`] makes the change: a lot, an entry, two postings
//!    that add up to zero, each chained to the one before on its account, and an event.
//! 5. The change is written, the event last, and the answer beside the request's id. One commit carries all of it.
//!
//! # How it is put together
//!
//! `grpc` knows the contract and not the tables, `store` the tables and not the contract, `domain` neither. Nothing is
//! cached: what a member has must be what they have now, and is one row by its key.

pub mod config;
pub mod domain;
pub mod error;
pub mod grpc;
mod schema;
pub mod store;

pub use config::Config;

use cqm_db::Db;
use cqm_proto::loyalty::v1::ledger_service_server::{self, LedgerServiceServer};
use cqm_proto::loyalty::v1::member_service_server::{self, MemberServiceServer};
use cqm_rpc::{BoxError, Clock};
use cqm_runtime::process::{Base, Service};
use cqm_runtime::server::UNARY_LIMIT;
use cqm_runtime::tasks::Supervisor;
use diesel_migrations::embed_migrations;
use tonic::service::Routes;

use domain::earning::Rules;

/// The tables of this service, over those that every service has.
pub const MIGRATIONS: cqm_db::Migrations = embed_migrations!("migrations");

/// The service on one runtime.
#[derive(Clone)]
pub struct App {
    db: Db,
    clock: Clock,
    rules: Rules,
}

impl Service for App {
    const NAME: &'static str = "loyalty";
    const SERVICES: &'static [&'static str] =
        &[member_service_server::SERVICE_NAME, ledger_service_server::SERVICE_NAME];
    const DEFAULTS: &'static str = config::DEFAULTS;
    type Config = Config;
    const MIGRATIONS: cqm_db::Migrations = MIGRATIONS;

    fn new(base: Base, config: Config) -> Result<Self, BoxError> {
        Ok(Self { db: base.db, clock: base.clock, rules: config.rules() })
    }

    fn routes(&self) -> Routes {
        Routes::new(MemberServiceServer::new(self.clone()).max_decoding_message_size(UNARY_LIMIT))
            .add_service(LedgerServiceServer::new(self.clone()).max_decoding_message_size(UNARY_LIMIT))
    }

    /// None: nothing happens here by itself yet.
    fn workers(&self, _supervisor: &Supervisor) {}
}
