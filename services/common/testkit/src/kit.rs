//! One service, served for real: its own schema, its own port, a clock that stands still.

mod rows;

use std::net::SocketAddr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use cqm_db::{Db, EventsConfig};
use cqm_rpc::{Caller, Clock, Role, role_name};
use cqm_runtime::cache::CacheConfig;
use cqm_runtime::config::Settings;
use cqm_runtime::process::{self, Running, Service};
use cqm_runtime::server::{DrainConfig, ServerConfig, Shape};
use cqm_runtime::telemetry::TelemetryConfig;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::{Events, Line, TestDatabase, environment, passes};

/// When tests happen, unless they say otherwise: a Thursday morning in Shanghai.
pub const NOW: &str = "2026-01-15T01:30:00Z";

/// A service at work. Tests talk to it as its callers do, over HTTP/2.
#[derive(Debug)]
pub struct Kit {
    pub clock: Clock,
    /// For looking at rows.
    pub db: Db,
    /// What happened; the test fails if it ends without having looked at all of it.
    pub events: Events,
    pub channel: Line,
    pub address: SocketAddr,
    service: &'static str,
    database: TestDatabase,
    running: Option<Running>,
    shutdown: DropGuard,
}

impl Kit {
    /// Serves `S` on a fresh schema, with a clock that stands at [`NOW`].
    pub async fn start<S: Service>(config: S::Config) -> Self {
        let now: DateTime<Utc> = NOW.parse().expect("a time");
        Self::start_at::<S>(config, Clock::fixed(now)).await
    }

    pub async fn start_at<S: Service>(config: S::Config, clock: Clock) -> Self {
        let database = TestDatabase::migrated(S::MIGRATIONS).await;
        let settings = settings::<S>(&database, config);
        let shutdown = CancellationToken::new();
        let mut running =
            process::start::<S>(settings, clock.clone(), shutdown.clone()).await.expect("the service starts");
        tokio::time::timeout(Duration::from_secs(30), running.ready()).await.expect("the service gets ready");
        let address = running.address();
        let channel = Line::to(address, S::NAME, clock.clone()).await;
        let db =
            Db::new(database.config(), EventsConfig::default(), clock.clone()).expect("the database opens");
        let events = Events::of(&db);
        Self {
            clock,
            db,
            events,
            channel,
            address,
            service: S::NAME,
            database,
            running: Some(running),
            shutdown: shutdown.drop_guard(),
        }
    }

    pub fn database(&self) -> &TestDatabase {
        &self.database
    }

    /// A connection to another replica of the service, which goes by the same clock.
    pub async fn line(&self, address: SocketAddr) -> Line {
        Line::to(address, self.service, self.clock.clone()).await
    }

    /// A request as the gateway passes it on for a caller with this role.
    pub fn request<M>(&self, role: Role, message: M) -> tonic::Request<M> {
        request(role, message)
    }

    /// Stops the service and waits for its drain.
    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            let token = std::mem::replace(&mut self.shutdown, CancellationToken::new().drop_guard()).disarm();
            token.cancel();
            running.join().await;
        }
    }
}

/// A request as the gateway passes it on for a caller with this role, who is named after it.
pub fn request<M>(role: Role, message: M) -> tonic::Request<M> {
    named(caller(role), message)
}

/// A request as the gateway passes it on for this caller. It has to go over a [`Line`].
pub fn named<M>(caller: Caller, message: M) -> tonic::Request<M> {
    let mut request = tonic::Request::new(message);
    request.extensions_mut().insert(caller);
    request
}

/// Somebody with this role, who is named after it.
pub fn caller(role: Role) -> Caller {
    Caller { subject: role_name(role).into(), roles: vec![role] }
}

/// The id of a request that nobody made before. Of version 4, which does not tell its time: tests' clocks stand still.
pub fn request_id() -> String {
    Uuid::new_v4().to_string()
}

/// A service manager's request.
pub fn manager<M>(message: M) -> tonic::Request<M> {
    request(Role::ServiceManager, message)
}

/// A service representative's request.
pub fn representative<M>(message: M) -> tonic::Request<M> {
    request(Role::ServiceRepresentative, message)
}

/// A customer relationship specialist's request: who sees customers in clear.
pub fn specialist<M>(message: M) -> tonic::Request<M> {
    request(Role::CrmSpecialist, message)
}

/// The coordinator's command.
pub fn coordinator<M>(message: M) -> tonic::Request<M> {
    request(Role::Coordinator, message)
}

/// What a service under test is configured by: a free port, its schema, the run's Redis with a key of its own.
pub fn settings<S: Service>(database: &TestDatabase, service: S::Config) -> Settings<S::Config> {
    Settings {
        server: ServerConfig {
            shape: Shape::MultiThread,
            drain: DrainConfig { settle: Duration::ZERO, timeout: Duration::from_secs(5) },
            ..ServerConfig::on(SocketAddr::from(([127, 0, 0, 1], 0)))
        },
        telemetry: TelemetryConfig::default(),
        passes: passes(),
        database: database.config(),
        events: EventsConfig::default(),
        cache: CacheConfig {
            redis_url: Some(environment("CQM_TEST_REDIS_URL").into()),
            // Any 32 bytes. Ids are unique over all tests, so their entries never meet.
            key: Some("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=".to_owned().into()),
            ..CacheConfig::default()
        },
        service,
    }
}
