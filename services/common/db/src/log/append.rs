//! Writing events down, in the transaction of what they tell.

use chrono::{DateTime, Utc};
use cqm_rpc::{Error, TraceContext};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use prost::{Message, Name};
use uuid::Uuid;

use crate::pool::Conn;
use crate::schema::event_pending;

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
