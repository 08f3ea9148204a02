//! What a consumer could not digest: parked, decided about, taken back.

use std::time::Duration;

use cqm_proto::events::v1::parked_aggregate::State;
use cqm_proto::events::v1::{
    DiscardRequest, Event, ListParkedRequest, ReadAggregateRequest, ReadRequest, RequestRetryRequest,
    UnparkRequest,
};
use cqm_rpc::Role;
use cqm_runtime::channel;
use tonic::Code;

use super::source::{Source, ack, after, by, call, waiting};
use crate::desk::refused;

fn wait_after(event: &Event) -> ReadRequest {
    ReadRequest { wait: waiting("a").wait, ..after(event) }
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
    let told = source.read(wait_after(&events[2])).await.unwrap();
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
    assert_eq!(refused(other), (Code::FailedPrecondition, "PARKED_EVENT_MISMATCH".to_owned()));
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
    assert_eq!(refused(gone), (Code::NotFound, "PARKED_NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn only_an_event_of_the_log_can_be_parked() {
    let source = Source::new().await;
    source.happen(&[("complaints/1", 1), ("complaints/2", 1)]).await;
    let events = source.all().await;
    let mismatch = (Code::FailedPrecondition, "PARKED_EVENT_MISMATCH".to_owned());
    let elsewhere = Event { position: 2, ..events[0].clone() };
    assert_eq!(refused(source.park(&elsewhere, 1).await), mismatch);
    let other_aggregate = Event { aggregate: "complaints/2".into(), ..events[0].clone() };
    assert_eq!(refused(source.park(&other_aggregate, 1).await), mismatch);
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
async fn a_read_that_waits_is_woken_by_a_decision() {
    let mut source = Source::new().await;
    source.happen(&[("complaints/1", 1)]).await;
    let event = source.all().await.remove(0);
    source.park(&event, 5).await.unwrap();
    let supervisor = by(Role::Supervisor, Duration::from_secs(20));

    let read = source.waiting_read(channel::request(&call(), wait_after(&event))).await;
    let retry = RequestRetryRequest { consumer: "coordinator".into(), aggregate: "complaints/1".into() };
    source.client.request_retry(channel::request(&supervisor, retry)).await.unwrap();
    assert_eq!(read.await.unwrap().unwrap().to_retry[0].state(), State::RetryRequested);
    source.park(&event, 5).await.unwrap();

    let read = source.waiting_read(channel::request(&call(), wait_after(&event))).await;
    let discard = DiscardRequest {
        consumer: "coordinator".into(),
        aggregate: "complaints/1".into(),
        event_id: event.event_id,
    };
    source.client.discard(channel::request(&supervisor, discard)).await.unwrap();
    assert_eq!(read.await.unwrap().unwrap().to_retry[0].state(), State::DiscardRequested);
}
