//! The event feed over a real Postgres and a real server.

mod parking;
mod source;

use std::time::{Duration, Instant};

use cqm_db::EventsConfig;
use cqm_proto::events::v1::{
    Event, GetCursorRequest, Reaction, ReadRequest, RegisterReactionsRequest, ReleaseRequest,
};
use cqm_rpc::{Failure, Role, TraceContext};
use cqm_runtime::channel;
use cqm_testkit::eventually;
use tonic::Code;

use crate::desk::refused;
use source::{Source, ack, after, append, by, call, reading, sequence, waiting};

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
    let read = source.waiting_read(channel::request(&call(), waiting("a"))).await;
    source.happen(&[("complaints/1", 1)]).await;
    let found = read.await.unwrap().unwrap();
    assert_eq!(found.events.iter().map(|event| event.position).collect::<Vec<_>>(), [1]);
}

#[tokio::test]
async fn a_read_that_waits_sees_what_another_replica_has_sequenced() {
    let source = Source::sequencing().await;
    let read = source.waiting_read(channel::request(&call(), waiting("a"))).await;
    let replica = source.replica();
    append(&replica, &[("complaints/1", 1)]).await;
    sequence(&replica).await;
    assert_eq!(read.await.unwrap().unwrap().events.len(), 1);
}

#[tokio::test]
async fn what_a_replica_left_behind_that_died_is_sequenced_by_another() {
    let source = Source::sequencing().await;
    let read = source.waiting_read(channel::request(&call(), waiting("a"))).await;
    append(&source.replica(), &[("complaints/1", 1)]).await;
    assert_eq!(read.await.unwrap().unwrap().events.len(), 1);
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
    let read = source.waiting_read(channel::streaming(&call(), waiting("a"))).await;
    source.shutdown.cancel();
    let (code, reason) = refused(read.await.unwrap());
    assert_eq!((code, reason.as_str()), (Code::Unavailable, "DRAINING"));
    source.running.join().await;
}

#[tokio::test]
async fn one_reader_at_a_time() {
    let source = Source::new().await;
    source.happen(&[("complaints/1", 1)]).await;
    let event = source.all().await.remove(0);
    let claimed = (Code::Aborted, "FEED_CLAIMED".to_owned());
    assert_eq!(refused(source.read(reading("b")).await), claimed);
    let mut client = source.client.clone();
    assert_eq!(refused(client.ack(channel::request(&call(), ack("b", &event))).await), claimed);
    // Another consumer has a claim of its own.
    let other = ReadRequest { consumer: "somebody-else".into(), ..reading("b") };
    assert_eq!(source.read(other).await.unwrap().events.len(), 1);
}

#[tokio::test]
async fn a_reader_that_is_gone_is_succeeded_when_its_lease_ends() {
    let source =
        Source::with(EventsConfig { lease: Duration::from_millis(50), ..EventsConfig::default() }).await;
    source.read(reading("a")).await.unwrap();
    eventually("the claim ends", async || source.read(reading("b")).await.is_ok()).await;
}

#[tokio::test]
async fn a_log_that_lost_its_tail_is_found_out() {
    let source = Source::new().await;
    source.happen(&[("complaints/1", 1)]).await;
    let event = source.all().await.remove(0);
    let diverged = (Code::FailedPrecondition, "LOG_DIVERGED".to_owned());
    let other_hash = Event { hash: vec![7; 32].into(), ..event.clone() };
    assert_eq!(refused(source.read(after(&other_hash)).await), diverged);
    let beyond = Event { position: 9, ..event };
    assert_eq!(refused(source.read(after(&beyond)).await), diverged);
    let mut client = source.client.clone();
    assert_eq!(refused(client.ack(channel::request(&call(), ack("a", &beyond))).await), diverged);
    // A wait for what will never come ends at once as well.
    let waiting = ReadRequest { wait: waiting("a").wait, ..after(&beyond) };
    assert_eq!(refused(source.read(waiting).await), diverged);
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

#[tokio::test]
async fn reactions_are_registered_by_the_claims_holder_who_gives_it_back() {
    let mut source = Source::new().await;
    source.happen(&[("complaints/1", 1)]).await;
    let register = |reader: &str, id: &str| RegisterReactionsRequest {
        consumer: "coordinator".into(),
        reader: reader.into(),
        reactions: vec![Reaction { id: id.into(), start_position: 7, ..Default::default() }],
    };
    let told = source.client.register_reactions(channel::request(&call(), register("a", "points"))).await;
    let told: Vec<_> =
        told.unwrap().into_inner().reactions.into_iter().map(|it| (it.id, it.start_position)).collect();
    assert_eq!(told, [("points".to_owned(), 0)], "where it begins is the source's to say");
    let other = source.client.register_reactions(channel::request(&call(), register("b", "points"))).await;
    assert_eq!(refused(other), (Code::Aborted, "FEED_CLAIMED".to_owned()));

    let release = |reader: &str| ReleaseRequest { consumer: "coordinator".into(), reader: reader.into() };
    let released = source.client.release(channel::request(&call(), release("b"))).await.unwrap().into_inner();
    assert!(!released.released, "it is another one's");
    let released = source.client.release(channel::request(&call(), release("a"))).await.unwrap().into_inner();
    assert!(released.released);
    source.client.register_reactions(channel::request(&call(), register("b", "points"))).await.unwrap();

    let wrong =
        source.client.register_reactions(channel::request(&call(), register("b", "No Such Id"))).await;
    let failure = Failure::of(&wrong.unwrap_err());
    assert_eq!(failure.violations[0].0, "reactions[0].id");
}
