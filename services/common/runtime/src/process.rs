//! A service's process: its command line, its start, its end.
//!
//! ```ignore
//! fn main() -> std::process::ExitCode {
//!     cqm_runtime::process::main::<cqm_complaints::App>()
//! }
//! ```

mod admin;
mod command;
mod descriptors;
mod program;
mod readiness;
mod shared;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cqm_db::audit::{Auditor, ReleaseLane};
use cqm_db::{Conn, DatabaseConfig, Db};
use cqm_proto::audit::v1::audit_service_server;
use cqm_proto::events::v1::event_feed_server;
use cqm_proto::subjects::v1::subject_service_server;
use cqm_rpc::{BoxError, Call, Clock, Error, Releases};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use uuid::Uuid;

use crate::audit::{self, Releasing};
use crate::cache::Cache;
use crate::config::{Settings, Validate};
use crate::event_feed;
use crate::figures::Figure;
use crate::pass::PassGate;
use crate::server::{self, Health, Options, Shard};
use crate::subjects;
use crate::tasks::{Supervisor, detached};
use crate::telemetry::Sampling;

pub use admin::Admin;
pub use command::main;
pub use program::{Findings, run, serving};
use readiness::Readiness;
pub use shared::Shared;

/// How long workers may take to finish what they are doing once the server has drained. Too high: the
/// orchestrator kills the process first. Too low: deliveries are cut and done again by the next process.
const WORKERS_LIMIT: Duration = Duration::from_secs(5);
/// Of the process's connections, the part for background work: one in five, so that workers cannot starve calls.
const BACKGROUND_SHARE: usize = 5;

/// A service of the suite, as its process sees it.
pub trait Service: Clone + Send + Sync + Sized + 'static {
    /// `complaints`: in logs, traces and cache keys.
    const NAME: &'static str;
    /// The gRPC services it answers for, as in the contract: `cqm.complaints.v1.ComplaintService`. The event
    /// feed, the audit service and the forgetting of persons are added to every service and not named here.
    const SERVICES: &'static [&'static str];
    /// TOML over the suite's defaults.
    const DEFAULTS: &'static str;
    /// The `[service]` section.
    type Config: DeserializeOwned + Validate + Clone + Send + Sync + 'static;
    const MIGRATIONS: cqm_db::Migrations;
    /// Whether remembered answers may tell of a person. Looking for one in all of a day's answers is nothing to do where
    /// none can be there and there are very many.
    const ANSWERS_TELL_OF_PERSONS: bool = true;

    /// Puts the service together on one runtime. Called once per shard, and once for the workers.
    fn new(base: Base, config: Self::Config) -> Result<Self, BoxError>;
    fn routes(&self) -> Routes;
    /// Starts the loops. Called once per process, when the database is as the binary expects it.
    fn workers(&self, supervisor: &Supervisor);
    /// How its business goes, looked up now and then.
    fn figures() -> Vec<Figure> {
        Vec::new()
    }

    /// Why the erasures of customers must wait here, as words such as `OPEN_COMPLAINT`, in one order. Of whom there is
    /// nothing, nothing stands in the way. Many at once, because all who wait are looked at again and again. Nobody waits
    /// where the service has nothing that must be kept.
    fn blockers(
        &self,
        _conn: &mut Conn,
        _customers: &[Uuid],
        _forfeit_points: bool,
    ) -> impl Future<Output = Result<HashMap<Uuid, Vec<&'static str>>, Error>> + Send {
        std::future::ready(Ok(HashMap::new()))
    }

    /// Waits for whoever is changing what the customer has and holds no lock of the person, and keeps them from it until
    /// the transaction ends: [`Self::blockers`] then finds what they have left, and they find the person restricted. Nothing
    /// to do where such a change cannot come to stand in the way.
    fn lock(&self, _tx: &mut Conn, _customer: Uuid) -> impl Future<Output = Result<(), Error>> + Send {
        std::future::ready(Ok(()))
    }

    /// Erases or pseudonymises everything that the service has of the person, in the caller's transaction, and returns how
    /// many records that were, by what they are. Remembered answers are not its business.
    fn erase(
        &self,
        tx: &mut Conn,
        call: &Call,
        customer: Uuid,
    ) -> impl Future<Output = Result<Vec<(&'static str, i64)>, Error>> + Send;

    /// Gives everything that the service has under one customer's name to another customer, who is the same person, in the
    /// caller's transaction, and returns how many records that were, by what they are. Nothing new about either is taken
    /// until the transaction ends; afterwards nothing that anybody works with is under the old name.
    fn merge(
        &self,
        tx: &mut Conn,
        call: &Call,
        customer: Uuid,
        survivor: Uuid,
    ) -> impl Future<Output = Result<Vec<(&'static str, i64)>, Error>> + Send;

    /// After an erasure or a merge was committed: what was kept of the customer outside the database goes too.
    fn gone(&self, _customer: Uuid) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// What a service works with, on one runtime. Values, never globals: six services run in one process.
#[derive(Clone)]
pub struct Base {
    pub db: Db,
    pub cache: Cache,
    pub clock: Clock,
    /// What all shards of the service share.
    pub shared: Shared,
}

impl Base {
    /// For background work: the smaller part of the connections.
    fn background<C>(settings: &Settings<C>, service: &str, clock: Clock) -> Result<Self, BoxError> {
        let (background, _) = shares(settings.database.max_connections, 1);
        let database = DatabaseConfig { max_connections: background, ..settings.database.clone() };
        Ok(Self {
            db: Db::new(database, settings.events.clone(), clock.clone())?,
            cache: Cache::new(&settings.cache, service)?,
            clock,
            shared: Shared::default(),
        })
    }

    /// For one shard: a pool that opens its connections there, and the same in-process cache.
    fn for_shard(&self, connections: usize) -> Result<Self, BoxError> {
        Ok(Self {
            db: self.db.sibling(connections)?,
            cache: self.cache.for_shard(),
            clock: self.clock.clone(),
            shared: self.shared.clone(),
        })
    }
}

/// Background work's connections and each shard's. Nobody gets none, so a very small total is exceeded.
fn shares(total: usize, shards: usize) -> (usize, usize) {
    let background = (total / BACKGROUND_SHARE).max(1);
    (background, (total.saturating_sub(background) / shards).max(1))
}

/// A service at work.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    health: Health,
    ready: watch::Receiver<bool>,
    ended: JoinHandle<()>,
}

impl Running {
    /// Where it listens, the chosen port included.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it tells balancers and probes.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Whether it serves; `false` while the database is away or a migration is pending.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Returns when it serves, or when it never will because it has been stopped.
    pub async fn ready(&mut self) {
        let _ = self.ready.wait_for(|ready| *ready).await;
    }

    /// Returns when the drain is over and the workers have stopped.
    pub async fn join(self) {
        let _ = self.ended.await;
    }
}

/// Starts a service on the current runtime: binds, checks the database, serves. Returns at once when the
/// database is not as it should be, and becomes ready when it is; fails when it could not tell who calls. Cancel `shutdown` to end it.
pub async fn start<S: Service>(
    settings: Settings<S::Config>,
    clock: Clock,
    shutdown: CancellationToken,
) -> Result<Running, BoxError> {
    settings.validate()?;
    let gate = PassGate::new(&settings.passes, S::NAME, clock.clone())?;
    let background = Base::background(&settings, S::NAME, clock)?;
    let bound = server::bind(&settings.server)?;

    let mut names = S::SERVICES.to_vec();
    names.extend([
        event_feed_server::SERVICE_NAME,
        audit_service_server::SERVICE_NAME,
        subject_service_server::SERVICE_NAME,
    ]);
    let health = Health::new(&names);
    let options = Options {
        health: health.clone(),
        shutdown: shutdown.clone(),
        sampling: Sampling::of(&settings.telemetry),
    };

    let (base, config) = (background.clone(), settings.service.clone());
    let total = settings.database.max_connections;
    let make = move |shard: Shard| {
        let (_, connections) = shares(total, shard.count);
        let base = base.for_shard(connections)?;
        let feed = event_feed::server(base.db.clone(), shard.closing.clone());
        let audit = audit::server(base.db.clone());
        let auditor = Auditor::new(base.db.clone(), base.shared.of::<ReleaseLane>());
        let service = S::new(base.clone(), config.clone())?;
        let forgetting = subjects::server(service.clone(), base);
        let routes = service.routes().add_service(feed).add_service(audit).add_service(forgetting).prepare();
        Ok(Releasing::new(routes, Releases::Written(Arc::new(auditor))))
    };
    let server = bound.serve(options, gate, make).await?;
    let address = server.address();

    let supervisor = Supervisor::default();
    let service = S::new(background.clone(), settings.service.clone())?;
    let (tell, ready) = watch::channel(false);
    let figures_interval = settings.telemetry.figures_interval;
    let told = health.clone();
    let readiness =
        Readiness { database: settings.database, health, service, background, figures_interval, tell };
    if let Err(obstacle) = readiness.reach(&supervisor).await {
        supervisor.spawn_once("readiness", readiness.wait(obstacle, supervisor.clone()));
    }

    let ended = detached(async move {
        server.join().await;
        // After the drain: the calls at work may still need what the workers do.
        supervisor.shutdown(WORKERS_LIMIT).await;
    });
    Ok(Running { address, health: told, ready, ended })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn background_work_gets_a_fifth_and_nobody_gets_none() {
        assert_eq!(shares(10, 1), (2, 8));
        assert_eq!(shares(10, 2), (2, 4));
        assert_eq!(shares(8, 2), (1, 3));
        assert_eq!(shares(1, 4), (1, 1));
    }
}
