//! Reading the log by position, and remembering how far each consumer has got.

use std::time::Duration;

use chrono::{DateTime, Utc};
use cqm_rpc::{Error, Refusal};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Double, Text};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::{FEED_CLAIMED, LOG_DIVERGED};
use crate::pool::Conn;
use crate::schema::{event_ack, event_head, event_log};

/// One event with its place in the log.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = event_log)]
pub struct LoggedEvent {
    pub position: i64,
    pub event_id: Uuid,
    pub aggregate: String,
    pub aggregate_version: i64,
    #[diesel(column_name = type_)]
    pub event_type: String,
    pub payload: Vec<u8>,
    pub trace: String,
    pub occur_time: DateTime<Utc>,
    pub hash: Vec<u8>,
}

/// What one read found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub log_id: Uuid,
    pub head_position: i64,
    pub events: Vec<LoggedEvent>,
}

/// How far a consumer has got, and who reads for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub log_id: Uuid,
    pub position: i64,
    pub hash: Vec<u8>,
    pub head_position: i64,
    /// Empty when nobody has claimed it.
    pub reader: String,
    pub lease_time: DateTime<Utc>,
}

/// Takes or renews the claim of `reader` on a consumer's cursor; `FEED_CLAIMED` while another one holds it.
/// The database's clock decides, because replicas' clocks differ.
pub async fn claim(tx: &mut Conn, consumer: &str, reader: &str, lease: Duration) -> Result<(), Error> {
    let taken = diesel::sql_query(
        "INSERT INTO event_ack AS held (consumer, reader, lease_time)
         VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))
         ON CONFLICT (consumer) DO UPDATE SET reader = excluded.reader, lease_time = excluded.lease_time
         WHERE held.reader = excluded.reader OR held.lease_time < clock_timestamp()",
    )
    .bind::<Text, _>(consumer)
    .bind::<Text, _>(reader)
    .bind::<Double, _>(lease.as_secs_f64())
    .execute(tx)
    .await?;
    if taken == 0 {
        return Err(Error::Conflict { reason: FEED_CLAIMED, source: None });
    }
    Ok(())
}

/// Gives a claim back, so that a successor need not wait for the lease to run out; `false` when another one holds it.
pub async fn release(tx: &mut Conn, consumer: &str, reader: &str) -> Result<bool, Error> {
    let released = diesel::update(event_ack::table.find(consumer).filter(event_ack::reader.eq(reader)))
        .set((event_ack::reader.eq(""), event_ack::lease_time.eq(DateTime::UNIX_EPOCH)))
        .execute(tx)
        .await?;
    Ok(released > 0)
}

/// Reads up to `max` events after a position whose hash the reader knows. `LOG_DIVERGED` when this log has
/// another hash there or ends before it.
pub async fn read(conn: &mut Conn, after: i64, expect_hash: &[u8], max: i64) -> Result<Batch, Error> {
    let (log_id, head_position) = head(conn).await?;
    check(conn, after, expect_hash).await?;
    if head_position <= after {
        return Ok(Batch { log_id, head_position, events: Vec::new() });
    }
    let events = event_log::table
        .select(LoggedEvent::as_select())
        .filter(event_log::position.gt(after))
        .order(event_log::position)
        .limit(max)
        .load(conn)
        .await?;
    Ok(Batch { log_id, head_position, events })
}

/// Reads the events of one aggregate after a position, in order.
pub async fn read_aggregate(
    conn: &mut Conn,
    aggregate: &str,
    after: i64,
    max: i64,
) -> Result<Vec<LoggedEvent>, Error> {
    // Served by UNIQUE (aggregate, aggregate_version): versions and positions grow together.
    Ok(event_log::table
        .select(LoggedEvent::as_select())
        .filter(event_log::aggregate.eq(aggregate))
        .filter(event_log::position.gt(after))
        .order(event_log::aggregate_version)
        .limit(max)
        .load(conn)
        .await?)
}

/// Where the log ends. One row: cheap enough to poll.
pub async fn head(conn: &mut Conn) -> Result<(Uuid, i64), Error> {
    Ok(event_head::table.select((event_head::log_id, event_head::position)).first(conn).await?)
}

/// Moves a consumer's cursor forward. Only the reader that holds the claim may; a position that this log
/// does not have with this hash is `LOG_DIVERGED`; one behind the cursor changes nothing.
pub async fn ack(
    tx: &mut Conn,
    consumer: &str,
    reader: &str,
    position: i64,
    hash: &[u8],
) -> Result<(), Error> {
    check(tx, position, hash).await?;
    let moved = diesel::sql_query(
        "INSERT INTO event_ack AS held (consumer, reader, position, hash, ack_time)
         VALUES ($1, $2, $3, $4, clock_timestamp())
         ON CONFLICT (consumer) DO UPDATE
         SET position = greatest(held.position, excluded.position),
             hash = CASE WHEN excluded.position >= held.position THEN excluded.hash ELSE held.hash END,
             ack_time = excluded.ack_time
         WHERE held.reader = excluded.reader",
    )
    .bind::<Text, _>(consumer)
    .bind::<Text, _>(reader)
    .bind::<BigInt, _>(position)
    .bind::<Binary, _>(hash)
    .execute(tx)
    .await?;
    if moved == 0 {
        return Err(Error::Conflict { reason: FEED_CLAIMED, source: None });
    }
    Ok(())
}

/// A consumer's cursor; one that never read stands at position 0.
pub async fn cursor(conn: &mut Conn, consumer: &str) -> Result<Cursor, Error> {
    let (log_id, head_position) = head(conn).await?;
    let row = event_ack::table
        .find(consumer)
        .select((event_ack::position, event_ack::hash, event_ack::reader, event_ack::lease_time))
        .first::<(i64, Vec<u8>, String, DateTime<Utc>)>(conn)
        .await
        .optional()?;
    let (position, hash, reader, lease_time) =
        row.unwrap_or((0, Vec::new(), String::new(), DateTime::UNIX_EPOCH));
    Ok(Cursor { log_id, position, hash, head_position, reader, lease_time })
}

async fn check(conn: &mut Conn, position: i64, hash: &[u8]) -> Result<(), Error> {
    if position == 0 && hash.is_empty() {
        return Ok(());
    }
    let ours =
        event_log::table.find(position).select(event_log::hash).first::<Vec<u8>>(conn).await.optional()?;
    if ours.as_deref() != Some(hash) {
        return Err(Refusal::new(LOG_DIVERGED).fact("position", position).into());
    }
    Ok(())
}

/// Events that are committed and not sequenced yet: the sequencer's backlog, for metrics and tests.
pub async fn pending(conn: &mut Conn) -> Result<i64, Error> {
    Ok(crate::schema::event_pending::table.count().get_result(conn).await?)
}
