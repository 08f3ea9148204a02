//! The event feed over a real Postgres and a real server.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use chrono::DateTime;
use cqm_db::log::{self, NewEvent, Sequencer};
use cqm_db::{Db, EventsConfig};
use cqm_proto::events::v1::event_feed_client::EventFeedClient;
use cqm_proto::events::v1::event_feed_server::SERVICE_NAME;
use cqm_proto::events::v1::parked_aggregate::State;
use cqm_proto::events::v1::{
    AckRequest, ComplaintClosed, DiscardRequest, Event, GetCursorRequest, ListParkedRequest, ParkRequest,
    ReadAggregateRequest, ReadRequest, ReadResponse, RequestRetryRequest, UnparkRequest,
};
use cqm_rpc::{Call, Caller, Clock, Deadline, Error, Failure, Role, TraceContext};
use cqm_runtime::channel::{self, Channel, ChannelConfig};
use cqm_runtime::event_feed;
use cqm_runtime::server::{DrainConfig, Health, Options, Running, ServerConfig, Shape, bind};
use cqm_runtime::tasks::detached;
use cqm_testkit::TestDatabase;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use prost_types::Duration as ProtoDuration;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Code, Status};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("tests/it/migrations");
/// Longer than any test: what does not come by a wake-up does not come.
const NEVER: Duration = Duration::from_secs(3600);

struct Source {
    database: TestDatabase,
    db: Db,
    client: EventFeedClient<Channel>,
    shutdown: CancellationToken,
    running: Running,
}

impl Source {
    async fn new() -> Self {
        Self::with(EventsConfig { poll: NEVER, lease: Duration::from_secs(60), ..EventsConfig::default() })
            .await
    }

    async fn with(events: EventsConfig) -> Self {
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
        let running = bind(&config).unwrap().serve(options, make).await.unwrap();
        health.ready().await;
        let channel = channel::connect(&format!("http://{}", running.address()), &ChannelConfig::default());
        Self { database, db, client: EventFeedClient::new(channel.unwrap()), shutdown, running }
    }

    /// Writes one event per aggregate and version, and gives them their places.
    async fn happen(&self, what: &[(&str, i64)]) {
        append(&self.db, what).await;
        sequence(&self.db).await;
    }

    async fn read(&self, message: ReadRequest) -> Result<ReadResponse, Status> {
        let mut client = self.client.clone();
        client.read(channel::request(&call(), message)).await.map(tonic::Response::into_inner)
    }

    async fn all(&self) -> Vec<Event> {
        self.read(reading("a")).await.unwrap().events
    }

    /// Returns when a reader has claimed the feed, so that its read is under way.
    async fn claimed(&self) {
        let give_up = Instant::now() + Duration::from_secs(20);
        let mut client = self.client.clone();
        loop {
            let ask = GetCursorRequest { consumer: "coordinator".into() };
            let cursor = client.get_cursor(channel::request(&call(), ask)).await.unwrap().into_inner();
            if !cursor.reader.is_empty() {
                return;
            }
            assert!(Instant::now() < give_up, "the read does not begin");
        }
    }

    async fn park(
        &self,
        event: &Event,
        attempts: i32,
    ) -> Result<cqm_proto::events::v1::ParkedAggregate, Status> {
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

    async fn parked(&self) -> Vec<(String, State, i32)> {
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

async fn append(db: &Db, what: &[(&str, i64)]) {
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

async fn sequence(db: &Db) {
    let give_up = Instant::now() + Duration::from_secs(20);
    // Zero while another turn holds the head.
    while Sequencer::turn(db, &call()).await.unwrap() == 0 {
        assert!(Instant::now() < give_up, "the events are not sequenced");
    }
}

fn call() -> Call {
    by(Role::Coordinator, Duration::from_secs(20))
}

fn by(role: Role, budget: Duration) -> Call {
    Call {
        caller: Caller { subject: "somebody".into(), roles: vec![role] },
        deadline: Deadline::after(budget),
        trace: TraceContext::fresh(false),
        path: "/test".into(),
    }
}

fn reading(reader: &str) -> ReadRequest {
    ReadRequest { consumer: "coordinator".into(), reader: reader.into(), ..Default::default() }
}

fn waiting(reader: &str) -> ReadRequest {
    ReadRequest { wait: Some(ProtoDuration { seconds: 20, nanos: 0 }), ..reading(reader) }
}

fn after(event: &Event) -> ReadRequest {
    ReadRequest { after_position: event.position, expect_hash: event.hash.clone(), ..reading("a") }
}

fn ack(reader: &str, event: &Event) -> AckRequest {
    AckRequest {
        consumer: "coordinator".into(),
        reader: reader.into(),
        position: event.position,
        hash: event.hash.clone(),
    }
}

#[track_caller]
fn failure<T>(answer: Result<T, Status>) -> (Code, String) {
    let Err(status) = answer else { panic!("the call was answered") };
    let failure = Failure::of(&status);
    (failure.code, failure.reason)
}

#[tokio::test]
async fn events_are_read_in_order_and_acknowledged() {
    let mut source = Source::new().await;
    source.happen(&[("complaints/1", 1), ("complaints/2", 1), ("complaints/1", 2)]).await;

    let first = source.read(ReadRequest { max_events: 2, ..reading("a") }).await.unwrap();
    assert_eq!(first.head_position, 3);
    let places: Vec<_> =
        first.events.iter().map(|event| (event.position, event.aggregate.as_str())).collect();
    assert_eq!(places, [(1, "complaints/1"), (2, "complaints/2")]);
    assert_eq!(first.events[0].r#type, "cqm.events.v1.ComplaintClosed");
    assert_eq!((first.events[0].aggregate_version, first.events[0].hash.len()), (1, 32));
    assert!(TraceContext::parse(&first.events[0].traceparent).is_some());

    let rest = source.read(after(&first.events[1])).await.unwrap();
    assert_eq!(rest.events.iter().map(|event| event.aggregate_version).collect::<Vec<_>>(), [2]);
    assert_eq!(rest.log_id, first.log_id);
    assert!(source.read(after(&rest.events[0])).await.unwrap().events.is_empty());

    let cursor = source.client.ack(channel::request(&call(), ack("a", &first.events[1]))).await.unwrap();
    assert_eq!(cursor.into_inner().position, 2);
    // An older one changes nothing.
    source.client.ack(channel::request(&call(), ack("a", &first.events[0]))).await.unwrap();
    let ask = GetCursorRequest { consumer: "coordinator".into() };
    let cursor = source.client.get_cursor(channel::request(&call(), ask)).await.unwrap().into_inner();
    assert_eq!((cursor.position, cursor.head_position, cursor.reader.as_str()), (2, 3, "a"));
    assert_eq!(cursor.hash, first.events[1].hash);
    assert!(cursor.lease_expire_time.is_some());

    let ask = GetCursorRequest { consumer: "newcomer".into() };
    let cursor = source.client.get_cursor(channel::request(&call(), ask)).await.unwrap().into_inner();
    assert_eq!((cursor.position, cursor.reader.as_str(), cursor.lease_expire_time), (0, "", None));
}

#[tokio::test]
async fn a_read_that_waits_is_woken_by_the_next_event() {
    let source = Source::new().await;
    let mut client = source.client.clone();
    let waiting = detached(async move { client.read(channel::request(&call(), waiting("a"))).await });
    source.claimed().await;
    source.happen(&[("complaints/1", 1)]).await;
    let found = waiting.await.unwrap().unwrap().into_inner();
    assert_eq!(found.events.iter().map(|event| event.position).collect::<Vec<_>>(), [1]);
}

#[tokio::test]
async fn a_read_that_waits_sees_what_another_replica_has_sequenced() {
    let events = EventsConfig { lease: Duration::from_secs(60), ..EventsConfig::default() };
    let source = Source::with(events.clone()).await;
    // Shares the database and none of the wake-ups.
    let replica = Db::new(source.database.config(), events, Clock::system()).unwrap();
    let mut client = source.client.clone();
    let waiting = detached(async move { client.read(channel::request(&call(), waiting("a"))).await });
    source.claimed().await;
    append(&replica, &[("complaints/1", 1)]).await;
    sequence(&replica).await;
    let found = waiting.await.unwrap().unwrap().into_inner();
    assert_eq!(found.events.len(), 1);
}

#[tokio::test]
async fn a_wait_ends_before_the_deadline_and_within_the_lease() {
    let source = Source::new().await;
    let mut client = source.client.clone();
    let short = by(Role::Coordinator, Duration::from_millis(800));
    let empty = client.read(channel::request(&short, waiting("a"))).await.unwrap().into_inner();
    assert!(empty.events.is_empty());

    let brief =
        Source::with(EventsConfig { lease: Duration::from_millis(100), ..EventsConfig::default() }).await;
    let started = Instant::now();
    assert!(brief.read(waiting("a")).await.unwrap().events.is_empty());
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_drain_sends_the_waiting_away() {
    let source = Source::new().await;
    let mut client = source.client.clone();
    let waiting =
        detached(async move { client.read(channel::streaming(&call(), waiting("a"))).await.map(drop) });
    source.claimed().await;
    source.shutdown.cancel();
    let (code, reason) = failure(waiting.await.unwrap());
    assert_eq!((code, reason.as_str()), (Code::Unavailable, "DRAINING"));
    source.running.join().await;
}

#[tokio::test]
async fn one_reader_at_a_time() {
    let source = Source::new().await;
    source.happen(&[("complaints/1", 1)]).await;
    let event = source.all().await.remove(0);
    let claimed = (Code::Aborted, "FEED_CLAIMED".to_owned());
    assert_eq!(failure(source.read(reading("b")).await), claimed);
    let mut client = source.client.clone();
    assert_eq!(failure(client.ack(channel::request(&call(), ack("b", &event))).await), claimed);
    // Another consumer has a claim of its own.
    let other = ReadRequest { consumer: "somebody-else".into(), ..reading("b") };
    assert_eq!(source.read(other).await.unwrap().events.len(), 1);
}

#[tokio::test]
async fn a_reader_that_is_gone_is_succeeded_when_its_lease_ends() {
    let source =
        Source::with(EventsConfig { lease: Duration::from_millis(50), ..EventsConfig::default() }).await;
    source.read(reading("a")).await.unwrap();
    let give_up = Instant::now() + Duration::from_secs(20);
    while source.read(reading("b")).await.is_err() {
        assert!(Instant::now() < give_up, "the claim does not end");
    }
}

#[tokio::test]
async fn a_log_that_lost_its_tail_is_found_out() {
    let source = Source::new().await;
    source.happen(&[("complaints/1", 1)]).await;
    let event = source.all().await.remove(0);
    let diverged = (Code::FailedPrecondition, "LOG_DIVERGED".to_owned());
    let other_hash = Event { hash: vec![7; 32].into(), ..event.clone() };
    assert_eq!(failure(source.read(after(&other_hash)).await), diverged);
    let beyond = Event { position: 9, ..event };
    assert_eq!(failure(source.read(after(&beyond)).await), diverged);
    let mut client = source.client.clone();
    assert_eq!(failure(client.ack(channel::request(&call(), ack("a", &beyond))).await), diverged);
    // A wait for what will never come ends at once as well.
    let waiting = ReadRequest { wait: waiting("a").wait, ..after(&beyond) };
    assert_eq!(failure(source.read(waiting).await), diverged);
}

#[tokio::test]
async fn a_parked_aggregate_waits_for_a_decision() {
    let mut source = Source::new().await;
    source.happen(&[("complaints/1", 1), ("complaints/2", 1), ("complaints/1", 2)]).await;
    let events = source.all().await;

    let parked = source.park(&events[0], 5).await.unwrap();
    assert_eq!((parked.attempts, parked.waiting_events, parked.state()), (5, 2, State::Parked));
    assert_eq!(
        (parked.r#type.as_str(), parked.reason.as_str()),
        (events[0].r#type.as_str(), "CUSTOMER_NOT_FOUND")
    );
    assert_eq!((parked.detail_code.as_str(), parked.position), ("NOT_FOUND", 1));
    source.client.ack(channel::request(&call(), ack("a", &events[2]))).await.unwrap();

    let retry = RequestRetryRequest { consumer: "coordinator".into(), aggregate: "complaints/1".into() };
    let supervisor = by(Role::Supervisor, Duration::from_secs(20));
    source.client.request_retry(channel::request(&supervisor, retry)).await.unwrap();
    // A read tells about it at once, though nothing has happened.
    let told = source.read(ReadRequest { wait: waiting("a").wait, ..after(&events[2]) }).await.unwrap();
    assert_eq!(told.to_retry.len(), 1);
    assert_eq!(told.to_retry[0].state(), State::RetryRequested);
    // It failed again: the tries add up, and it waits again.
    assert_eq!(source.park(&events[0], 5).await.unwrap().attempts, 10);
    assert_eq!(source.parked().await, [("complaints/1".to_owned(), State::Parked, 10)]);

    let discard = |event: &Event| DiscardRequest {
        consumer: "coordinator".into(),
        aggregate: "complaints/1".into(),
        event_id: event.event_id.clone(),
    };
    let other = source.client.discard(channel::request(&supervisor, discard(&events[2]))).await;
    assert_eq!(failure(other), (Code::FailedPrecondition, "PARKED_EVENT_MISMATCH".to_owned()));
    let discarded = source.client.discard(channel::request(&supervisor, discard(&events[0]))).await.unwrap();
    assert_eq!(discarded.into_inner().state(), State::DiscardRequested);

    let behind = ReadAggregateRequest {
        consumer: "coordinator".into(),
        aggregate: "complaints/1".into(),
        after_position: 1,
        ..Default::default()
    };
    let behind = source.client.read_aggregate(channel::request(&call(), behind)).await.unwrap().into_inner();
    assert_eq!(behind.events.iter().map(|event| event.position).collect::<Vec<_>>(), [3]);
    assert!(!behind.more);

    let unpark = |through_position| UnparkRequest {
        consumer: "coordinator".into(),
        reader: "a".into(),
        aggregate: "complaints/1".into(),
        through_position,
    };
    let early = source.client.unpark(channel::request(&call(), unpark(1))).await.unwrap();
    assert!(!early.into_inner().unparked, "position 3 waits behind it");
    let done = source.client.unpark(channel::request(&call(), unpark(3))).await.unwrap();
    assert!(done.into_inner().unparked);
    assert_eq!(source.parked().await, []);

    let gone = RequestRetryRequest { consumer: "coordinator".into(), aggregate: "complaints/1".into() };
    let gone = source.client.request_retry(channel::request(&supervisor, gone)).await;
    assert_eq!(failure(gone), (Code::NotFound, "PARKED_NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn only_an_event_of_the_log_can_be_parked() {
    let source = Source::new().await;
    source.happen(&[("complaints/1", 1), ("complaints/2", 1)]).await;
    let events = source.all().await;
    let mismatch = (Code::FailedPrecondition, "PARKED_EVENT_MISMATCH".to_owned());
    let elsewhere = Event { position: 2, ..events[0].clone() };
    assert_eq!(failure(source.park(&elsewhere, 1).await), mismatch);
    let other_aggregate = Event { aggregate: "complaints/2".into(), ..events[0].clone() };
    assert_eq!(failure(source.park(&other_aggregate, 1).await), mismatch);
    assert_eq!(source.parked().await, []);
}

#[tokio::test]
async fn lists_come_in_pages() {
    let mut source = Source::new().await;
    let aggregates: Vec<String> = (0..5).map(|number| format!("complaints/{number}")).collect();
    source.happen(&aggregates.iter().map(|name| (name.as_str(), 1)).collect::<Vec<_>>()).await;
    for event in source.all().await {
        source.park(&event, 1).await.unwrap();
    }
    let mut page_token = String::new();
    let mut found = Vec::new();
    loop {
        let ask = ListParkedRequest { consumer: "coordinator".into(), page_size: 2, page_token };
        let page = source.client.list_parked(channel::request(&call(), ask)).await.unwrap().into_inner();
        assert!(page.parked_aggregates.len() <= 2);
        found.extend(page.parked_aggregates.into_iter().map(|parked| parked.aggregate));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(found, aggregates);

    source.happen(&[("complaints/0", 2), ("complaints/0", 3)]).await;
    let ask = ReadAggregateRequest {
        consumer: "coordinator".into(),
        aggregate: "complaints/0".into(),
        max_events: 2,
        ..Default::default()
    };
    let events = source.client.read_aggregate(channel::request(&call(), ask)).await.unwrap().into_inner();
    assert!(events.more);
    assert_eq!(events.events.iter().map(|event| event.aggregate_version).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn malformed_requests_are_refused_with_all_that_is_wrong() {
    let source = Source::new().await;
    let wrong = ReadRequest { consumer: "No Such Name".into(), after_position: 4, ..reading("") };
    let status = source.read(wrong).await.unwrap_err();
    let failure = Failure::of(&status);
    assert_eq!(failure.code, Code::InvalidArgument);
    let fields: Vec<_> = failure.violations.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(fields, ["consumer", "reader", "expect_hash"]);
}
