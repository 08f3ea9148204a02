//! Notifications: templates, how customers are reached, messages and what became of them.
//!
//! A call accepts messages, one for each channel; a loop delivers them, by mail or into the inbox, and tells the others
//! how it ended with `MessageDelivered` or `MessageFailed`. Every decision on the way is written down. This service
//! asks nobody who a customer is: it keeps a copy of how they are reached, and a message whose customer it does not
//! know yet waits.
//!
//! [`domain`] is pure, `store` holds the queries, `grpc` joins the two, `worker` delivers through `mailer`; [`App`] is
//! all of it on one runtime.

pub mod config;
pub mod domain;
pub mod error;
mod grpc;
mod mailer;
mod schema;
mod store;
mod worker;

use cqm_db::{Conn, Db};
use cqm_proto::notifications::v1::contact_service_server::{
    ContactServiceServer, SERVICE_NAME as CONTACT_SERVICE,
};
use cqm_proto::notifications::v1::inbox_service_server::{InboxServiceServer, SERVICE_NAME as INBOX_SERVICE};
use cqm_proto::notifications::v1::message_service_server::{
    MessageServiceServer, SERVICE_NAME as MESSAGE_SERVICE,
};
use cqm_proto::notifications::v1::template_service_server::{
    SERVICE_NAME as TEMPLATE_SERVICE, TemplateServiceServer,
};
use cqm_rpc::{BoxError, Call, Clock, Error};
use cqm_runtime::figures::Figure;
use cqm_runtime::process::{Base, Service};
use cqm_runtime::server::{BULK_LIMIT, UNARY_LIMIT};
use cqm_runtime::tasks::Supervisor;
use tonic::service::Routes;
use uuid::Uuid;

use crate::mailer::Trust;

pub use config::{Config, RetryConfig, SmtpConfig, TlsMode};

/// The migrations of the database `notifications`.
pub const MIGRATIONS: cqm_db::Migrations = diesel_migrations::embed_migrations!();

/// The collections of resource names.
pub(crate) const TEMPLATES: &str = "templates";
pub(crate) const CONTACTS: &str = "contacts";
pub(crate) const CUSTOMERS: &str = "customers";
pub(crate) const MESSAGES: &str = "messages";
pub(crate) const INBOX_ITEMS: &str = "inboxItems";

/// The service on one runtime.
#[derive(Clone)]
pub struct App {
    pub(crate) db: Db,
    pub(crate) clock: Clock,
    pub(crate) config: Config,
    pub(crate) trust: Trust,
}

impl Service for App {
    const NAME: &'static str = "notifications";
    const SERVICES: &'static [&'static str] =
        &[TEMPLATE_SERVICE, CONTACT_SERVICE, MESSAGE_SERVICE, INBOX_SERVICE];
    const DEFAULTS: &'static str = config::DEFAULTS;
    type Config = Config;
    const MIGRATIONS: cqm_db::Migrations = MIGRATIONS;

    fn new(base: Base, config: Config) -> Result<Self, BoxError> {
        let trust = Trust::read(&config)?;
        Ok(Self { db: base.db, clock: base.clock, config, trust })
    }

    fn routes(&self) -> Routes {
        // A template in two languages may be larger than other messages; so may the variables of a message.
        Routes::new(TemplateServiceServer::new(self.clone()).max_decoding_message_size(BULK_LIMIT))
            .add_service(ContactServiceServer::new(self.clone()).max_decoding_message_size(UNARY_LIMIT))
            .add_service(MessageServiceServer::new(self.clone()).max_decoding_message_size(BULK_LIMIT))
            .add_service(InboxServiceServer::new(self.clone()).max_decoding_message_size(UNARY_LIMIT))
    }

    fn workers(&self, supervisor: &Supervisor) {
        worker::start(self, supervisor);
    }

    fn figures() -> Vec<Figure> {
        store::figures::all()
    }

    /// Without a look at what waits: no message is worth keeping somebody's address for.
    async fn erase(
        &self,
        tx: &mut Conn,
        call: &Call,
        customer: Uuid,
    ) -> Result<Vec<(&'static str, i64)>, Error> {
        grpc::forget(self, tx, call, customer).await
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
