//! Surveys: questionnaires and their published versions, invitations, and what customers answered.
//!
//! A customer is asked once about one thing (`invitations_once`), by a link whose token is stored nowhere, and answers
//! once (`responses_once`). A response is told to the others as `ResponseAccepted` with two facts: whether the customer
//! is dissatisfied, and whether something was promised for the answer. What follows from them is not decided here.
//!
//! [`domain`] is pure, `store` holds the queries, `grpc` joins the two; [`App`] is all of it on one runtime.

pub mod config;
pub mod domain;
pub mod error;
mod grpc;
mod schema;
mod store;
mod worker;

use cqm_db::{Conn, Db};
use cqm_proto::surveys::v1::invitation_service_server::{
    InvitationServiceServer, SERVICE_NAME as INVITATION_SERVICE,
};
use cqm_proto::surveys::v1::questionnaire_service_server::{
    QuestionnaireServiceServer, SERVICE_NAME as QUESTIONNAIRE_SERVICE,
};
use cqm_proto::surveys::v1::response_service_server::{
    ResponseServiceServer, SERVICE_NAME as RESPONSE_SERVICE,
};
use cqm_rpc::{BoxError, Call, Clock, Error};
use cqm_runtime::figures::Figure;
use cqm_runtime::process::{Base, Service};
use cqm_runtime::server::UNARY_LIMIT;
use cqm_runtime::tasks::Supervisor;
use std::sync::Arc;
use std::time::Duration;
use tonic::service::Routes;
use uuid::Uuid;

pub use config::Config;
use domain::token::TokenKeys;

/// The migrations of the database `surveys`.
pub const MIGRATIONS: cqm_db::Migrations = diesel_migrations::embed_migrations!();

/// The collections of resource names.
pub(crate) const QUESTIONNAIRES: &str = "questionnaires";
pub(crate) const INVITATIONS: &str = "invitations";
pub(crate) const RESPONSES: &str = "responses";
pub(crate) const CUSTOMERS: &str = "customers";

/// The service on one runtime.
#[derive(Clone)]
pub struct App {
    pub(crate) db: Db,
    pub(crate) clock: Clock,
    pub(crate) tokens: TokenKeys,
    pub(crate) public_url: Arc<str>,
    pub(crate) expiry_interval: Duration,
}

impl Service for App {
    const NAME: &'static str = "surveys";
    const SERVICES: &'static [&'static str] = &[QUESTIONNAIRE_SERVICE, INVITATION_SERVICE, RESPONSE_SERVICE];
    const DEFAULTS: &'static str = config::DEFAULTS;
    type Config = Config;
    const MIGRATIONS: cqm_db::Migrations = MIGRATIONS;

    fn new(base: Base, config: Config) -> Result<Self, BoxError> {
        Ok(Self {
            db: base.db,
            clock: base.clock,
            tokens: TokenKeys::new(config.token_keys).ok_or("the configuration holds no token key")?,
            public_url: config.public_url.into(),
            expiry_interval: config.expiry_interval,
        })
    }

    fn routes(&self) -> Routes {
        Routes::new(QuestionnaireServiceServer::new(self.clone()).max_decoding_message_size(UNARY_LIMIT))
            .add_service(InvitationServiceServer::new(self.clone()).max_decoding_message_size(UNARY_LIMIT))
            .add_service(ResponseServiceServer::new(self.clone()).max_decoding_message_size(UNARY_LIMIT))
    }

    fn workers(&self, supervisor: &Supervisor) {
        worker::start(self, supervisor);
    }

    fn figures() -> Vec<Figure> {
        store::figures::all()
    }

    /// Without a look at what is open: nobody waits for an answer.
    async fn erase(
        &self,
        tx: &mut Conn,
        _: &Call,
        customer: Uuid,
    ) -> Result<Vec<(&'static str, i64)>, Error> {
        store::subjects::erase(tx, customer, self.clock.now()).await
    }

    async fn merge(
        &self,
        tx: &mut Conn,
        call: &Call,
        customer: Uuid,
        survivor: Uuid,
    ) -> Result<Vec<(&'static str, i64)>, Error> {
        grpc::merge(self, tx, call, customer, survivor).await
    }
}
