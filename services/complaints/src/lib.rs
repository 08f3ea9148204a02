//! Complaints, from their registration to their closing, and the whole timeline of what was done about them.
//!
//! The service owns its database and answers `cqm.complaints.v1`. What a change leads to elsewhere (the customer is
//! told and asked, the compensation is paid) is nobody's business here: it says what happened in its event log.
//!
//! In what time a complaint is to be handled stands in the policy that was in force at its registration ([`domain::sla`],
//! copies in `policies`). What its clocks show is worked out when it is read; that one is about to run out or has is told
//! once, by `worker`.

mod config;
pub mod domain;
mod error;
mod grpc;
mod policies;
mod schema;
mod store;
mod worker;

use std::collections::HashMap;

use cqm_db::{Conn, Db, Migrations};
use cqm_proto::complaints::v1::complaint_service_server::{
    ComplaintServiceServer, SERVICE_NAME as COMPLAINT_SERVICE,
};
use cqm_proto::complaints::v1::sla_policy_service_server::{
    SERVICE_NAME as SLA_POLICY_SERVICE, SlaPolicyServiceServer,
};
use cqm_rpc::{BoxError, Call, Clock, Error};
use cqm_runtime::figures::Figure;
use cqm_runtime::process::{Base, Service};
use cqm_runtime::server::UNARY_LIMIT;
use cqm_runtime::tasks::Supervisor;
use diesel_migrations::embed_migrations;
use tonic::service::Routes;
use uuid::Uuid;

pub use config::Config;
use policies::Policies;

/// Why an erasure must wait: the customer is still to be heard and told.
const OPEN_COMPLAINT: &str = "OPEN_COMPLAINT";

/// The tables of this service.
pub const MIGRATIONS: Migrations = embed_migrations!("migrations");

/// The service on one runtime.
#[derive(Clone)]
pub struct App {
    db: Db,
    clock: Clock,
    policies: Policies,
    config: Config,
}

impl Service for App {
    const NAME: &'static str = "complaints";
    const SERVICES: &'static [&'static str] = &[COMPLAINT_SERVICE, SLA_POLICY_SERVICE];
    const DEFAULTS: &'static str = config::DEFAULTS;
    type Config = Config;
    const MIGRATIONS: Migrations = MIGRATIONS;

    fn new(base: Base, config: Config) -> Result<Self, BoxError> {
        Ok(Self { db: base.db, clock: base.clock, policies: Policies::default(), config })
    }

    fn routes(&self) -> Routes {
        Routes::new(ComplaintServiceServer::new(self.clone()).max_decoding_message_size(UNARY_LIMIT))
            .add_service(SlaPolicyServiceServer::new(self.clone()).max_decoding_message_size(UNARY_LIMIT))
    }

    fn workers(&self, supervisor: &Supervisor) {
        worker::start(self, supervisor);
    }

    fn figures() -> Vec<Figure> {
        store::figures::all()
    }

    async fn blockers(
        &self,
        conn: &mut Conn,
        customers: &[Uuid],
        _: bool,
    ) -> Result<HashMap<Uuid, Vec<&'static str>>, Error> {
        let open = store::subject::with_open(conn, customers).await?;
        Ok(open.into_iter().map(|customer| (customer, vec![OPEN_COMPLAINT])).collect())
    }

    /// Who reopens a complaint holds nothing but its row's lock.
    async fn lock(&self, tx: &mut Conn, customer: Uuid) -> Result<(), Error> {
        store::subject::lock(tx, customer).await
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
