//! A service's process, from its start to its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cqm_db::{Conn, EventsConfig};
use cqm_proto::customers::v1::customer_service_client::CustomerServiceClient;
use cqm_proto::customers::v1::customer_service_server::CustomerServiceServer;
use cqm_proto::events::v1::GetCursorRequest;
use cqm_proto::events::v1::event_feed_client::EventFeedClient;
use cqm_rpc::{BoxError, Call, Clock, Error};
use cqm_runtime::cache::CacheConfig;
use cqm_runtime::config::{ConfigError, Settings, Validate};
use cqm_runtime::process::{self, Base, Running, Service};
use cqm_runtime::server::{ServerConfig, Shape};
use cqm_runtime::tasks::Supervisor;
use cqm_runtime::telemetry::TelemetryConfig;
use cqm_testkit::{Line, TestDatabase, eventually};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use uuid::Uuid;

use crate::desk::{CUSTOMERS, Desk, NAME, PATIENCE, config, from_manager, get};

const NOTES: EmbeddedMigrations = embed_migrations!("tests/it/migrations");

#[derive(Clone)]
struct App {
    config: Counts,
}

/// Lets a test see what the process did with the service.
#[derive(Clone, Debug, Default, Deserialize)]
struct Counts {
    #[serde(skip)]
    made: Arc<AtomicUsize>,
    #[serde(skip)]
    worked: Arc<AtomicUsize>,
    #[serde(skip)]
    stopped: Arc<AtomicUsize>,
}

impl Validate for Counts {
    fn validate(&self) -> Result<(), ConfigError> {
        Ok(())
    }
}

impl Service for App {
    const NAME: &'static str = NAME;
    const SERVICES: &'static [&'static str] = &[CUSTOMERS];
    const DEFAULTS: &'static str = "";
    type Config = Counts;
    const MIGRATIONS: cqm_db::Migrations = NOTES;

    fn new(_: Base, config: Counts) -> Result<Self, BoxError> {
        config.made.fetch_add(1, Ordering::SeqCst);
        Ok(Self { config })
    }

    fn routes(&self) -> Routes {
        Routes::new(CustomerServiceServer::new(Desk::default()))
    }

    async fn erase(&self, _: &mut Conn, _: &Call, _: Uuid) -> Result<Vec<(&'static str, i64)>, Error> {
        Ok(Vec::new())
    }

    async fn merge(
        &self,
        _: &mut Conn,
        _: &Call,
        _: Uuid,
        _: Uuid,
    ) -> Result<Vec<(&'static str, i64)>, Error> {
        Ok(Vec::new())
    }

    fn workers(&self, supervisor: &Supervisor) {
        let (config, stop) = (self.config.clone(), supervisor.stopping());
        supervisor.spawn("counting", move || {
            let (config, stop) = (config.clone(), stop.clone());
            async move {
                config.worked.fetch_add(1, Ordering::SeqCst);
                stop.cancelled().await;
                config.stopped.fetch_add(1, Ordering::SeqCst);
                Ok(())
            }
        });
    }
}

fn settings(database: &TestDatabase, server: ServerConfig, counts: &Counts) -> Settings<Counts> {
    Settings {
        server,
        telemetry: TelemetryConfig::default(),
        passes: cqm_testkit::passes(),
        database: database.config(),
        events: EventsConfig::default(),
        cache: CacheConfig::default(),
        service: counts.clone(),
    }
}

async fn channel(address: SocketAddr) -> Line {
    Line::to(address, NAME, Clock::system()).await
}

async fn end(shutdown: &CancellationToken, running: Running) {
    shutdown.cancel();
    tokio::time::timeout(PATIENCE, running.join()).await.expect("it ends");
}

#[tokio::test]
async fn a_process_serves_its_routes_and_the_event_feed_and_stops_its_workers() {
    for shape in [Shape::PerCore, Shape::MultiThread] {
        let (database, counts) = (TestDatabase::migrated(NOTES).await, Counts::default());
        let shutdown = CancellationToken::new();
        let settings = settings(&database, config(shape), &counts);
        let mut running = process::start::<App>(settings, Clock::system(), shutdown.clone()).await.unwrap();
        tokio::time::timeout(PATIENCE, running.ready()).await.expect("it gets ready");
        let channel = channel(running.address()).await;

        CustomerServiceClient::new(channel.clone()).get_customer(from_manager(get("known"))).await.unwrap();
        let cursor = GetCursorRequest { consumer: "test".to_owned() };
        let cursor =
            EventFeedClient::new(channel).get_cursor(from_manager(cursor)).await.unwrap().into_inner();
        assert_eq!(cursor.position, 0);
        // One per shard and one for the workers.
        let shards = if shape == Shape::PerCore { 2 } else { 1 };
        assert_eq!(counts.made.load(Ordering::SeqCst), shards + 1);
        eventually("the worker", || async { counts.worked.load(Ordering::SeqCst) == 1 }).await;
        assert_eq!(counts.stopped.load(Ordering::SeqCst), 0);

        end(&shutdown, running).await;
        assert_eq!(counts.stopped.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn a_pending_migration_keeps_a_process_from_serving_until_it_is_done() {
    let (database, counts) = (TestDatabase::empty().await, Counts::default());
    let shutdown = CancellationToken::new();
    let settings = settings(&database, config(Shape::PerCore), &counts);
    let mut running = process::start::<App>(settings, Clock::system(), shutdown.clone()).await.unwrap();
    assert!(!running.is_ready());
    let mut client = CustomerServiceClient::new(channel(running.address()).await);
    let status = client.get_customer(from_manager(get("known"))).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert_eq!(counts.worked.load(Ordering::SeqCst), 0);

    cqm_db::run(&cqm_db::DatabaseConfig::new(database.url.clone()), NOTES).await.unwrap();
    tokio::time::timeout(PATIENCE, running.ready()).await.expect("it notices");
    assert!(running.is_ready());
    client.get_customer(from_manager(get("known"))).await.unwrap();
    eventually("the worker", || async { counts.worked.load(Ordering::SeqCst) == 1 }).await;
    end(&shutdown, running).await;
}

#[tokio::test]
async fn a_process_starts_and_ends_without_its_database() {
    let database = TestDatabase { url: "host=/nowhere user=cqm dbname=none".to_owned().into() };
    let shutdown = CancellationToken::new();
    let settings = settings(&database, config(Shape::MultiThread), &Counts::default());
    let running = process::start::<App>(settings, Clock::system(), shutdown.clone()).await.unwrap();
    assert!(!running.is_ready());
    let address = running.address();
    TcpStream::connect(address).await.unwrap();
    end(&shutdown, running).await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn settings_without_sense_do_not_start() {
    let database = TestDatabase { url: "host=/nowhere user=cqm dbname=none".to_owned().into() };
    let mut settings = settings(&database, config(Shape::MultiThread), &Counts::default());
    settings.server.drain.timeout = Duration::ZERO;
    let started = process::start::<App>(settings.clone(), Clock::system(), CancellationToken::new()).await;
    assert!(started.unwrap_err().to_string().contains("server.drain.timeout"));
    settings.server.drain.timeout = PATIENCE;
    settings.passes.keys = "/nowhere/keys.pem".into();
    let started = process::start::<App>(settings, Clock::system(), CancellationToken::new()).await;
    assert!(started.unwrap_err().to_string().contains("/nowhere/keys.pem"), "it could not tell who calls");
}
