//! Complaints, from their registration to their closing, and the whole timeline of what was done about them.
//!
//! The service owns its database and answers `cqm.complaints.v1`. What a change leads to elsewhere (the customer is
//! told and asked, the compensation is paid) is nobody's business here: it says what happened in its event log.

mod config;
pub mod domain;
mod error;
mod grpc;
mod schema;
mod store;

use cqm_db::{Conn, Db, Migrations};
use cqm_proto::complaints::v1::complaint_service_server::{ComplaintServiceServer, SERVICE_NAME};
use cqm_rpc::{BoxError, Call, Clock, Error};
use cqm_runtime::figures::Figure;
use cqm_runtime::process::{Base, Service};
use cqm_runtime::server::UNARY_LIMIT;
use cqm_runtime::tasks::Supervisor;
use diesel_migrations::embed_migrations;
use tonic::service::Routes;
use uuid::Uuid;

pub use config::Config;

/// Why an erasure must wait: the customer is still to be heard and told.
const OPEN_COMPLAINT: &str = "OPEN_COMPLAINT";

/// The tables of this service.
pub const MIGRATIONS: Migrations = embed_migrations!("migrations");

/// The service on one runtime.
#[derive(Clone)]
pub struct App {
    db: Db,
    clock: Clock,
}

impl Service for App {
    const NAME: &'static str = "complaints";
    const SERVICES: &'static [&'static str] = &[SERVICE_NAME];
    const DEFAULTS: &'static str = config::DEFAULTS;
    type Config = Config;
    const MIGRATIONS: Migrations = MIGRATIONS;

    fn new(base: Base, _: Config) -> Result<Self, BoxError> {
        Ok(Self { db: base.db, clock: base.clock })
    }

    fn routes(&self) -> Routes {
        Routes::new(ComplaintServiceServer::new(self.clone()).max_decoding_message_size(UNARY_LIMIT))
    }

    /// It has no loops of its own yet: nothing happens to a complaint without a call.
    fn workers(&self, _: &Supervisor) {}

    fn figures() -> Vec<Figure> {
        store::figures::all()
    }

    async fn blockers(&self, tx: &mut Conn, customer: Uuid, _: bool) -> Result<Vec<&'static str>, Error> {
        let open = store::subject::has_open(tx, customer).await?;
        Ok(open.then_some(OPEN_COMPLAINT).into_iter().collect())
    }

    async fn erase(
        &self,
        tx: &mut Conn,
        _: &Call,
        customer: Uuid,
    ) -> Result<Vec<(&'static str, i64)>, Error> {
        store::subject::erase(tx, customer).await
    }

    async fn merge(
        &self,
        tx: &mut Conn,
        _: &Call,
        customer: Uuid,
        survivor: Uuid,
    ) -> Result<Vec<(&'static str, i64)>, Error> {
        // Locked before the clock is read, so that times grow with versions.
        store::subject::lock(tx, customer).await?;
        store::subject::merge(tx, customer, survivor, self.clock.now()).await
    }
}
