//! Aggregates that a consumer has set aside, and what somebody decided about them.

use chrono::{DateTime, Utc};
use cqm_rpc::{Error, Refusal};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::{PARKED_EVENT_MISMATCH, PARKED_NOT_FOUND};
use crate::pool::Conn;
use crate::schema::{event_ack, event_discarded, event_log, event_parked};

/// What a consumer could not digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Park {
    pub consumer: String,
    pub aggregate: String,
    pub event_id: Uuid,
    pub position: i64,
    pub event_type: String,
    /// An error reason such as `CUSTOMER_NOT_FOUND`, never free text.
    pub reason: String,
    /// The gRPC status code that came with it, such as `NOT_FOUND`; may be empty.
    pub detail_code: String,
    pub attempts: i32,
}

/// A parked aggregate as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    pub park: Park,
    pub park_time: DateTime<Utc>,
    pub state: ParkedState,
    /// Events of the aggregate that wait behind the parked one, it included.
    pub waiting_events: i64,
}

/// What is to become of a parked aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParkedState {
    Parked,
    RetryRequested,
    DiscardRequested,
}

impl ParkedState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Parked => "PARKED",
            Self::RetryRequested => "RETRY_REQUESTED",
            Self::DiscardRequested => "DISCARD_REQUESTED",
        }
    }

    fn of(text: &str) -> Self {
        match text {
            "RETRY_REQUESTED" => Self::RetryRequested,
            "DISCARD_REQUESTED" => Self::DiscardRequested,
            _ => Self::Parked,
        }
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = event_parked)]
struct Row {
    consumer: String,
    aggregate: String,
    event_id: Uuid,
    position: i64,
    type_: String,
    reason: String,
    detail_code: String,
    attempts: i32,
    park_time: DateTime<Utc>,
    state: String,
}

/// Sets an aggregate aside, or records that its retry failed again. That somebody has decided meanwhile to leave the same
/// event out stands.
pub async fn park(tx: &mut Conn, park: &Park) -> Result<(), Error> {
    let kept: Option<(Uuid, String)> = event_parked::table
        .find((&park.consumer, &park.aggregate))
        .select((event_parked::event_id, event_parked::state))
        .for_update()
        .first(tx)
        .await
        .optional()?;
    let discard = ParkedState::DiscardRequested.as_str();
    let state = match kept {
        Some((event_id, state)) if event_id == park.event_id && state == discard => discard,
        _ => ParkedState::Parked.as_str(),
    };
    let values = (
        event_parked::event_id.eq(park.event_id),
        event_parked::position.eq(park.position),
        event_parked::type_.eq(&park.event_type),
        event_parked::reason.eq(&park.reason),
        event_parked::detail_code.eq(&park.detail_code),
        event_parked::attempts.eq(park.attempts),
        event_parked::state.eq(state),
    );
    diesel::insert_into(event_parked::table)
        .values((
            event_parked::consumer.eq(&park.consumer),
            event_parked::aggregate.eq(&park.aggregate),
            values,
        ))
        .on_conflict((event_parked::consumer, event_parked::aggregate))
        .do_update()
        .set(values)
        .execute(tx)
        .await?;
    Ok(())
}

/// A consumer's parked aggregates, the longest parked first, after the key of the last one seen.
pub async fn list(
    conn: &mut Conn,
    consumer: &str,
    after: Option<(DateTime<Utc>, &str)>,
    limit: i64,
) -> Result<Vec<Parked>, Error> {
    let (time, aggregate) = after.unwrap_or((DateTime::UNIX_EPOCH, ""));
    let rows: Vec<Row> = event_parked::table
        .select(Row::as_select())
        .filter(event_parked::consumer.eq(consumer))
        .filter(
            event_parked::park_time
                .gt(time)
                .or(event_parked::park_time.eq(time).and(event_parked::aggregate.gt(aggregate))),
        )
        .order((event_parked::park_time, event_parked::aggregate))
        .limit(limit)
        .load(conn)
        .await?;
    with_waiting(conn, rows).await
}

/// One parked aggregate.
pub async fn find(conn: &mut Conn, consumer: &str, aggregate: &str) -> Result<Option<Parked>, Error> {
    let row = event_parked::table
        .find((consumer, aggregate))
        .select(Row::as_select())
        .first::<Row>(conn)
        .await
        .optional()?;
    Ok(with_waiting(conn, row.into_iter().collect()).await?.pop())
}

/// Those that somebody wants tried again or skipped: what the consumer's reader acts on.
pub async fn requested(conn: &mut Conn, consumer: &str, limit: i64) -> Result<Vec<Parked>, Error> {
    let rows: Vec<Row> = event_parked::table
        .select(Row::as_select())
        .filter(event_parked::consumer.eq(consumer))
        .filter(event_parked::state.ne(ParkedState::Parked.as_str()))
        .order(event_parked::aggregate)
        .limit(limit)
        .load(conn)
        .await?;
    with_waiting(conn, rows).await
}

/// Which of these aggregates are parked: what a reader asks before it handles a batch.
pub async fn among(conn: &mut Conn, consumer: &str, aggregates: &[String]) -> Result<Vec<String>, Error> {
    Ok(event_parked::table
        .select(event_parked::aggregate)
        .filter(event_parked::consumer.eq(consumer))
        .filter(event_parked::aggregate.eq_any(aggregates))
        .load(conn)
        .await?)
}

/// Asks the reader to try an aggregate again.
pub async fn request_retry(tx: &mut Conn, consumer: &str, aggregate: &str) -> Result<Parked, Error> {
    request(tx, consumer, aggregate, None, ParkedState::RetryRequested).await
}

/// Decides that one event is skipped for this consumer; what waits behind it is tried then. The event must be
/// the one that is parked, so that two operators cannot skip two events by one decision each.
pub async fn discard(
    tx: &mut Conn,
    consumer: &str,
    aggregate: &str,
    event_id: Uuid,
    actor: &str,
) -> Result<Parked, Error> {
    let parked = request(tx, consumer, aggregate, Some(event_id), ParkedState::DiscardRequested).await?;
    diesel::insert_into(event_discarded::table)
        .values((
            event_discarded::consumer.eq(consumer),
            event_discarded::event_id.eq(event_id),
            event_discarded::aggregate.eq(aggregate),
            event_discarded::position.eq(parked.park.position),
            event_discarded::reason.eq(&parked.park.reason),
            event_discarded::actor.eq(actor),
        ))
        .on_conflict_do_nothing()
        .execute(tx)
        .await?;
    Ok(parked)
}

async fn request(
    tx: &mut Conn,
    consumer: &str,
    aggregate: &str,
    event_id: Option<Uuid>,
    state: ParkedState,
) -> Result<Parked, Error> {
    let row = event_parked::table
        .find((consumer, aggregate))
        .select(Row::as_select())
        .for_update()
        .first::<Row>(tx)
        .await
        .optional()?
        .ok_or_else(|| Error::NotFound { reason: PARKED_NOT_FOUND, name: aggregate.to_owned() })?;
    if event_id.is_some_and(|id| id != row.event_id) {
        return Err(Refusal::new(PARKED_EVENT_MISMATCH).fact("event_id", row.event_id).into());
    }
    diesel::update(event_parked::table.find((consumer, aggregate)))
        .set(event_parked::state.eq(state.as_str()))
        .execute(tx)
        .await?;
    let row = Row { state: state.as_str().to_owned(), ..row };
    let mut parked = with_waiting(tx, vec![row]).await?;
    parked.pop().ok_or_else(|| Error::internal("one row in, none out"))
}

/// Lifts the parking when everything of the aggregate up to the consumer's cursor has been handled; `false`
/// when the cursor has meanwhile passed more of its events, which must be handled first. Only the claim's
/// holder calls it, and it is the one that moves the cursor, so nothing can slip between.
pub async fn unpark(tx: &mut Conn, consumer: &str, aggregate: &str, through: i64) -> Result<bool, Error> {
    let acked = event_ack::table
        .find(consumer)
        .select(event_ack::position)
        .for_update()
        .first::<i64>(tx)
        .await
        .optional()?
        .unwrap_or(0);
    let behind: i64 = event_log::table
        .filter(event_log::aggregate.eq(aggregate))
        .filter(event_log::position.gt(through))
        .filter(event_log::position.le(acked))
        .count()
        .get_result(tx)
        .await?;
    if behind > 0 {
        return Ok(false);
    }
    diesel::delete(event_parked::table.find((consumer, aggregate))).execute(tx).await?;
    Ok(true)
}

async fn with_waiting(conn: &mut Conn, rows: Vec<Row>) -> Result<Vec<Parked>, Error> {
    #[derive(QueryableByName)]
    struct Waiting {
        #[diesel(sql_type = Text)]
        aggregate: String,
        #[diesel(sql_type = BigInt)]
        waiting: i64,
    }
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let aggregates: Vec<&str> = rows.iter().map(|row| row.aggregate.as_str()).collect();
    let positions: Vec<i64> = rows.iter().map(|row| row.position).collect();
    let waiting: Vec<Waiting> = diesel::sql_query(
        "SELECT parked.aggregate, count(*) AS waiting
         FROM unnest($1::text[], $2::bigint[]) AS parked(aggregate, position)
         JOIN event_log ON event_log.aggregate = parked.aggregate AND event_log.position >= parked.position
         GROUP BY parked.aggregate",
    )
    .bind::<diesel::sql_types::Array<Text>, _>(aggregates)
    .bind::<diesel::sql_types::Array<BigInt>, _>(positions)
    .load(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let found = waiting.iter().find(|count| count.aggregate == row.aggregate);
            Parked {
                waiting_events: found.map_or(0, |count| count.waiting),
                park_time: row.park_time,
                state: ParkedState::of(&row.state),
                park: Park {
                    consumer: row.consumer,
                    aggregate: row.aggregate,
                    event_id: row.event_id,
                    position: row.position,
                    event_type: row.type_,
                    reason: row.reason,
                    detail_code: row.detail_code,
                    attempts: row.attempts,
                },
            }
        })
        .collect())
}
