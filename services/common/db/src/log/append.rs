//! Writing events down, in the transaction of what they tell.

use chrono::{DateTime, Utc};
use cqm_rpc::{Error, TraceContext};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use prost::{Message, Name};
use uuid::Uuid;

use crate::pool::Conn;
use crate::schema::event_pending;
use crate::statement::statement;

/// Something that happened to one aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    pub event_id: Uuid,
    /// The resource's name: `complaints/{uuid}`.
    pub aggregate: String,
    /// The resource's version after the change. Each event has a version of its own, given under the
    /// resource's row lock; that is what keeps the order.
    pub aggregate_version: i64,
    /// The payload's full message name.
    pub event_type: String,
    pub payload: Vec<u8>,
    pub occur_time: DateTime<Utc>,
}

impl NewEvent {
    pub fn new<P: Message + Name>(
        aggregate: impl ToString,
        aggregate_version: i64,
        occur_time: DateTime<Utc>,
        payload: &P,
    ) -> Self {
        Self {
            event_id: Uuid::now_v7(),
            aggregate: aggregate.to_string(),
            aggregate_version,
            event_type: P::full_name(),
            payload: payload.encode_to_vec(),
            occur_time,
        }
    }
}

#[derive(Insertable)]
#[diesel(table_name = event_pending)]
struct Row<'a> {
    event_id: Uuid,
    aggregate: &'a str,
    aggregate_version: i64,
    type_: &'a str,
    payload: &'a [u8],
    trace: &'a str,
    occur_time: DateTime<Utc>,
}

/// Writes events last in the transaction, while the aggregate's row is locked: their order in the log is the
/// order of these inserts.
pub async fn append(tx: &mut Conn, trace: &TraceContext, events: &[NewEvent]) -> Result<(), Error> {
    let trace = trace.to_string();
    let rows: Vec<Row<'_>> = events
        .iter()
        .map(|event| Row {
            event_id: event.event_id,
            aggregate: &event.aggregate,
            aggregate_version: event.aggregate_version,
            type_: &event.event_type,
            payload: &event.payload,
            trace: &trace,
            occur_time: event.occur_time,
        })
        .collect();
    match rows.as_slice() {
        [] => {}
        // One row is a statement that stays prepared; many are parsed anew, which a batch can afford.
        [row] => {
            diesel::insert_into(event_pending::table).values(row).execute(tx).await?;
        }
        rows => {
            for chunk in rows.chunks(1000) {
                diesel::insert_into(event_pending::table).values(chunk).execute(tx).await?;
            }
        }
    }
    Ok(())
}

/// [`append`] for a transaction that answers many calls: each event in the trace of the call that caused it. One
/// statement, whatever their number; the order is theirs.
pub async fn append_all(mut conn: &Conn, events: &[(TraceContext, NewEvent)]) -> Result<(), Error> {
    if events.is_empty() {
        return Ok(());
    }
    fn column<'a, T>(events: &'a [(TraceContext, NewEvent)], field: impl Fn(&'a NewEvent) -> T) -> Vec<T> {
        events.iter().map(|(_, event)| field(event)).collect()
    }
    statement(
        "INSERT INTO event_pending (event_id, aggregate, aggregate_version, type, payload, trace, occur_time)
         SELECT event_id, aggregate, aggregate_version, type, payload, trace, occur_time
         FROM unnest($1, $2, $3, $4, $5, $6, $7) WITH ORDINALITY
              AS event (event_id, aggregate, aggregate_version, type, payload, trace, occur_time, place)
         ORDER BY place",
    )
    .bind::<Array<SqlUuid>, _>(column(events, |event| event.event_id))
    .bind::<Array<Text>, _>(column(events, |event| event.aggregate.as_str()))
    .bind::<Array<BigInt>, _>(column(events, |event| event.aggregate_version))
    .bind::<Array<Text>, _>(column(events, |event| event.event_type.as_str()))
    .bind::<Array<Binary>, _>(column(events, |event| event.payload.as_slice()))
    .bind::<Array<Text>, _>(events.iter().map(|(trace, _)| trace.to_string()).collect::<Vec<_>>())
    .bind::<Array<Timestamptz>, _>(column(events, |event| event.occur_time))
    .execute(&mut conn)
    .await?;
    Ok(())
}
