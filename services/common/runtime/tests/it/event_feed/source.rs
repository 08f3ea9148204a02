//! A source of events: a log on a real Postgres behind the feed's server.

use std::net::SocketAddr;
use std::time::Duration;

use chrono::DateTime;
use cqm_db::log::{self, NewEvent, Sequencer};
use cqm_db::{Db, EventsConfig};
use cqm_proto::events::v1::event_feed_client::EventFeedClient;
use cqm_proto::events::v1::event_feed_server::SERVICE_NAME;
use cqm_proto::events::v1::parked_aggregate::State;
use cqm_proto::events::v1::{
    AckRequest, ComplaintClosed, Event, GetCursorRequest, ListParkedRequest, ParkRequest, ParkedAggregate,
    ReadRequest, ReadResponse,
};
use cqm_rpc::{Call, Caller, Clock, Deadline, Error, Role, TraceContext};
use cqm_runtime::channel::{self, Channel, ChannelConfig};
use cqm_runtime::event_feed;
use cqm_runtime::server::{DrainConfig, Health, Options, Running, ServerConfig, Shape, bind};
use cqm_runtime::tasks::{Supervisor, detached};
use cqm_testkit::{TestDatabase, eventually};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use prost_types::{Duration as ProtoDuration, Timestamp};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Request, Status};

use crate::desk::gate;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("tests/it/migrations");
/// Longer than any test: what does not come by a wake-up does not come.
const NEVER: Duration = Duration::from_secs(3600);

pub struct Source {
    database: TestDatabase,
    pub db: Db,
    pub client: EventFeedClient<Channel>,
    pub shutdown: CancellationToken,
    pub running: Running,
}

impl Source {
    pub async fn new() -> Self {
        Self::with(EventsConfig { poll: NEVER, lease: Duration::from_secs(60), ..EventsConfig::default() })
            .await
    }

    pub async fn with(events: EventsConfig) -> Self {
        let database = TestDatabase::migrated(MIGRATIONS).await;
        let db = Db::new(database.config(), events, Clock::system()).unwrap();
        let config = ServerConfig {
            shape: Shape::MultiThread,
            drain: DrainConfig { settle: Duration::ZERO, timeout: Duration::from_secs(20) },
            ..ServerConfig::on(SocketAddr::from(([127, 0, 0, 1], 0)))
        };
        let health = Health::new(&[SERVICE_NAME]);
        let options = Options::new(health.clone());
        let shutdown = options.shutdown.clone();
        let served = db.clone();
        let make = move |shard: cqm_runtime::server::Shard| {
            Ok(Routes::new(event_feed::server(served.clone(), shard.closing.clone())))
        };
        let running = bind(&config).unwrap().serve(options, gate("source"), make).await.unwrap();
        health.ready().await;
        let channel = channel::connect(&format!("http://{}", running.address()), &ChannelConfig::default());
        let channel = channel.unwrap().with_passes(cqm_testkit::mint(Clock::system()).for_service("source"));
        Self { database, db, client: EventFeedClient::new(channel), shutdown, running }
    }

    /// With the sequencer of its process at work.
    pub async fn sequencing() -> Self {
        let source =
            Self::with(EventsConfig { lease: Duration::from_secs(60), ..EventsConfig::default() }).await;
        event_feed::sequencer(source.db.clone(), &Supervisor::under(&source.shutdown));
        source
    }

    /// Another process over the same database, which shares none of the wake-ups.
    pub fn replica(&self) -> Db {
        Db::new(self.database.config(), self.db.events().clone(), Clock::system()).unwrap()
    }

    /// Writes one event per aggregate and version, and gives them their places.
    pub async fn happen(&self, what: &[(&str, i64)]) {
        append(&self.db, what).await;
        sequence(&self.db).await;
    }

    pub async fn read(&self, message: ReadRequest) -> Result<ReadResponse, Status> {
        let mut client = self.client.clone();
        client.read(channel::request(&call(), message)).await.map(tonic::Response::into_inner)
    }

    pub async fn all(&self) -> Vec<Event> {
        self.read(reading("a")).await.unwrap().events
    }

    async fn lease(&self) -> Option<Timestamp> {
        let mut client = self.client.clone();
        let ask = GetCursorRequest { consumer: "coordinator".into() };
        client.get_cursor(channel::request(&call(), ask)).await.unwrap().into_inner().lease_expire_time
    }

    /// A read that has looked, found nothing and waits: its claim came with its look.
    pub async fn waiting_read(
        &self,
        message: Request<ReadRequest>,
    ) -> JoinHandle<Result<ReadResponse, Status>> {
        let before = self.lease().await;
        let mut client = self.client.clone();
        let read = detached(async move { client.read(message).await.map(tonic::Response::into_inner) });
        eventually("the read begins", async || self.lease().await != before).await;
        read
    }

    pub async fn park(&self, event: &Event, attempts: i32) -> Result<ParkedAggregate, Status> {
        let mut client = self.client.clone();
        let message = ParkRequest {
            consumer: "coordinator".into(),
            reader: "a".into(),
            aggregate: event.aggregate.clone(),
            event_id: event.event_id.clone(),
            position: event.position,
            reason: "CUSTOMER_NOT_FOUND".into(),
            detail_code: "NOT_FOUND".into(),
            attempts,
        };
        client.park(channel::request(&call(), message)).await.map(tonic::Response::into_inner)
    }

    pub async fn parked(&self) -> Vec<(String, State, i32)> {
        let mut client = self.client.clone();
        let message = ListParkedRequest { consumer: "coordinator".into(), ..Default::default() };
        let listed = client.list_parked(channel::request(&call(), message)).await.unwrap().into_inner();
        listed
            .parked_aggregates
            .into_iter()
            .map(|parked| (parked.aggregate.clone(), parked.state(), parked.attempts))
            .collect()
    }
}

pub async fn append(db: &Db, what: &[(&str, i64)]) {
    let payload = ComplaintClosed::default();
    let events: Vec<NewEvent> = what
        .iter()
        .map(|(aggregate, version)| NewEvent::new(aggregate, *version, DateTime::UNIX_EPOCH, &payload))
        .collect();
    let events = &events;
    db.tx(&call(), "happen", async |tx| {
        log::append(tx, &TraceContext::fresh(false), events).await?;
        Ok::<(), Error>(())
    })
    .await
    .unwrap();
}

pub async fn sequence(db: &Db) {
    // Zero while another turn holds the head.
    eventually("the events are sequenced", async || Sequencer::turn(db, &call()).await.unwrap() > 0).await;
}

pub fn call() -> Call {
    by(Role::Coordinator, Duration::from_secs(20))
}

pub fn by(role: Role, budget: Duration) -> Call {
    Call {
        caller: Caller { subject: "somebody".into(), roles: vec![role] },
        deadline: Deadline::after(budget),
        trace: TraceContext::fresh(false),
        path: "/test".into(),
        purpose: None,
    }
}

pub fn reading(reader: &str) -> ReadRequest {
    ReadRequest { consumer: "coordinator".into(), reader: reader.into(), ..Default::default() }
}

pub fn waiting(reader: &str) -> ReadRequest {
    ReadRequest { wait: Some(ProtoDuration { seconds: 20, nanos: 0 }), ..reading(reader) }
}

pub fn after(event: &Event) -> ReadRequest {
    ReadRequest { after_position: event.position, expect_hash: event.hash.clone(), ..reading("a") }
}

pub fn ack(reader: &str, event: &Event) -> AckRequest {
    AckRequest {
        consumer: "coordinator".into(),
        reader: reader.into(),
        position: event.position,
        hash: event.hash.clone(),
    }
}
