//! The feed's answers.

use cqm_db::log::{Batch, Cursor, LoggedEvent, Parked, ParkedState, Reaction};
use cqm_proto::events::v1 as proto;
use cqm_rpc::{Page, time};

pub(super) fn read_response(batch: Batch, to_retry: Vec<Parked>) -> proto::ReadResponse {
    // The head was read first; an event that came between the two is past it.
    let last = batch.events.last().map_or(0, |event| event.position);
    proto::ReadResponse {
        log_id: batch.log_id.to_string(),
        head_position: batch.head_position.max(last),
        events: batch.events.into_iter().map(event).collect(),
        to_retry: to_retry.into_iter().map(parked).collect(),
    }
}

pub(super) fn aggregate_response(mut events: Vec<LoggedEvent>, max: i64) -> proto::ReadAggregateResponse {
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    let more = events.len() > max;
    events.truncate(max);
    proto::ReadAggregateResponse { events: events.into_iter().map(event).collect(), more }
}

pub(super) fn list_response(page: Page<Parked>) -> proto::ListParkedResponse {
    proto::ListParkedResponse {
        parked_aggregates: page.items.into_iter().map(parked).collect(),
        next_page_token: page.next_page_token,
    }
}

pub(super) fn cursor(consumer: String, cursor: Cursor) -> proto::Cursor {
    let claimed = !cursor.reader.is_empty();
    proto::Cursor {
        consumer,
        log_id: cursor.log_id.to_string(),
        position: cursor.position,
        hash: cursor.hash.into(),
        head_position: cursor.head_position,
        reader: cursor.reader,
        lease_expire_time: claimed.then(|| time::wire(cursor.lease_time)),
    }
}

pub(super) fn parked(parked: Parked) -> proto::ParkedAggregate {
    use proto::parked_aggregate::State;
    let state = match parked.state {
        ParkedState::Parked => State::Parked,
        ParkedState::RetryRequested => State::RetryRequested,
        ParkedState::DiscardRequested => State::DiscardRequested,
    };
    proto::ParkedAggregate {
        consumer: parked.park.consumer,
        aggregate: parked.park.aggregate,
        event_id: parked.park.event_id.to_string(),
        position: parked.park.position,
        r#type: parked.park.event_type,
        reason: parked.park.reason,
        detail_code: parked.park.detail_code,
        attempts: parked.park.attempts,
        waiting_events: parked.waiting_events,
        park_time: Some(time::wire(parked.park_time)),
        state: state.into(),
    }
}

pub(super) fn reactions(reactions: Vec<Reaction>) -> proto::RegisterReactionsResponse {
    let reactions = reactions.into_iter().map(|it| proto::Reaction {
        id: it.id,
        replaces: it.replaces,
        start_position: it.start_position,
    });
    proto::RegisterReactionsResponse { reactions: reactions.collect() }
}

fn event(event: LoggedEvent) -> proto::Event {
    proto::Event {
        event_id: event.event_id.to_string(),
        r#type: event.event_type,
        aggregate: event.aggregate,
        aggregate_version: event.aggregate_version,
        occur_time: Some(time::wire(event.occur_time)),
        payload: event.payload.into(),
        traceparent: event.trace,
        position: event.position,
        hash: event.hash.into(),
    }
}
