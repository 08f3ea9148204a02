//! A source of events: a real log on a real Postgres behind the real feed, beside a desk for everything else.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use chrono::{DateTime, Utc};
use cqm_db::log::{self, Cursor, NewEvent, Parked, Sequencer};
use cqm_db::{Db, EventsConfig, Migrations};
use cqm_rpc::{Call, Clock, TraceContext};
use cqm_runtime::event_feed;
use cqm_runtime::server::ServerConfig;
use cqm_testkit::TestDatabase;
use diesel_migrations::embed_migrations;
use http::{Request, Response};
use prost::{Message, Name};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::service::Routes;
use tower::{Service, ServiceExt};

use crate::desk::{self, Desk, Served};

const MIGRATIONS: Migrations = embed_migrations!("tests/migrations");
const CONSUMER: &str = "coordinator";

/// Served by itself: [`Office::url`].
pub struct Office {
    pub db: Db,
    pub served: Served,
}

impl Office {
    pub async fn open(desk: Desk) -> Self {
        Self::with_lease(desk, EventsConfig::default().lease).await
    }

    pub async fn with_lease(desk: Desk, lease: Duration) -> Self {
        Self::serving(desk, lease, desk::config()).await
    }

    pub async fn at(desk: Desk, address: SocketAddr) -> Self {
        let config = ServerConfig { listen: address, ..desk::config() };
        Self::serving(desk, EventsConfig::default().lease, config).await
    }

    pub async fn serving(desk: Desk, lease: Duration, config: ServerConfig) -> Self {
        let database = TestDatabase::migrated(MIGRATIONS).await;
        let events = EventsConfig { lease, ..EventsConfig::default() };
        let db = Db::new(database.config(), events, Clock::system()).expect("a pool");
        let feed = Routes::new(event_feed::server(db.clone(), CancellationToken::new())).prepare();
        let served = desk::serve(config, Front { feed, desk }).await;
        Self { db, served }
    }

    /// Goes by the machine's clock from now on, as a process of its own does that calls it.
    pub fn by_the_machines_clock(&self) {
        let behind = Clock::system().now() - self.served.clock.now();
        self.served.clock.advance(behind.to_std().expect("tests happen in the past"));
    }

    pub fn url(&self) -> String {
        self.served.url()
    }

    /// Writes one event down and gives it its place.
    pub async fn happened<P: Message + Name>(&self, aggregate: &str, version: i64, payload: &P) -> NewEvent {
        self.all_happened(&[event(aggregate, version, payload)]).await.remove(0)
    }

    /// Writes events down in one transaction.
    pub async fn all_happened(&self, events: &[NewEvent]) -> Vec<NewEvent> {
        let trace = self.trace();
        self.db
            .tx(&call(), "append", async |tx| log::append(tx, &trace, events).await)
            .await
            .expect("appended");
        while Sequencer::turn(&self.db, &call()).await.expect("sequenced") > 0 {}
        events.to_vec()
    }

    /// The trace that every event of the office was caused in.
    pub fn trace(&self) -> TraceContext {
        TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap()
    }

    pub async fn cursor(&self) -> Cursor {
        self.db
            .read(&call(), "cursor", async |conn| log::feed::cursor(conn, CONSUMER).await)
            .await
            .expect("the cursor reads")
    }

    /// Whether everything that has happened was acknowledged.
    pub async fn is_through(&self) -> bool {
        let cursor = self.cursor().await;
        cursor.position == cursor.head_position
    }

    pub async fn parked(&self) -> Vec<Parked> {
        self.db
            .read(&call(), "parked", async |conn| log::parked::list(conn, CONSUMER, None, 1000).await)
            .await
            .expect("the list reads")
    }

    /// Runs a statement on the log's tables, as an accident would.
    pub async fn tamper(&self, statement: &str) {
        use diesel_async::SimpleAsyncConnection;
        self.db
            .read(&call(), "tamper", async |conn| {
                Ok::<_, cqm_rpc::Error>(conn.batch_execute(statement).await?)
            })
            .await
            .expect("the statement runs");
    }
}

pub fn event<P: Message + Name>(aggregate: &str, version: i64, payload: &P) -> NewEvent {
    let time: DateTime<Utc> = cqm_testkit::NOW.parse().unwrap();
    NewEvent::new(aggregate, version, time, payload)
}

fn call() -> Call {
    Call::internal("test", Duration::from_secs(30))
}

/// The feed under its own name, the desk under every other.
#[derive(Clone)]
struct Front {
    feed: Routes,
    desk: Desk,
}

impl Service<Request<Body>> for Front {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let front = self.clone();
        Box::pin(async move {
            if request.uri().path().starts_with("/cqm.events.v1.") {
                front.feed.oneshot(request).await
            } else {
                Ok(front.desk.answer(request).await)
            }
        })
    }
}
