//! Giving events their place: contiguous positions, each hash chained over its predecessor's.

use cqm_rpc::{Call, Error, Refusal};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary};
use diesel_async::RunQueryDsl;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::LOG_DIVERGED;
use crate::Db;
use crate::pool::Conn;
use crate::schema::{event_head, event_log, event_pending};
use crate::statement::statement;

/// Events moved by one transaction: large enough to drain a burst, small enough to keep the head's lock short.
const BATCH: i64 = 1000;

/// Moves committed events from `event_pending` to `event_log`. Any replica may; the head's lock lets one at a
/// time, the others skip.
#[derive(Clone, Debug)]
pub struct Sequencer;

/// What is hashed of an event.
#[derive(Queryable, Selectable)]
#[diesel(table_name = event_pending)]
struct PendingRow {
    id: i64,
    event_id: Uuid,
    aggregate: String,
    aggregate_version: i64,
    type_: String,
    payload: Vec<u8>,
}

/// What one look at the log tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// The position of the newest event.
    pub head: i64,
    /// Whether committed events wait for their positions.
    pub waiting: bool,
}

impl Sequencer {
    /// Whether there is anything to do: one prepared statement without a transaction, cheap enough to poll. A turn
    /// that finds nothing costs six, and the head's row lock makes it write to the disk.
    pub async fn look(db: &Db, call: &Call) -> Result<Look, Error> {
        db.read(call, "look_at_log", async |conn| {
            // In the order of the key, not EXISTS: that would walk over all the dead rows of a table that is a queue.
            let oldest = event_pending::table
                .select(event_pending::id)
                .order(event_pending::id)
                .limit(1)
                .single_value();
            let (head, oldest) = event_head::table
                .select((event_head::position, oldest))
                .first::<(i64, Option<i64>)>(conn)
                .await?;
            Ok(Look { head, waiting: oldest.is_some() })
        })
        .await
    }

    /// One turn: sequences up to a batch and returns how many. Zero when nothing waits or another replica is
    /// at it. Call again at once while it returns a full batch.
    pub async fn turn(db: &Db, call: &Call) -> Result<usize, Error> {
        let moved = db.tx_without_events(call, "sequence_events", async |tx| Self::advance(tx).await).await?;
        if moved > 0 {
            db.sequenced().notify_waiters();
        }
        Ok(moved)
    }

    /// Whether a turn moved as much as it could, so that more may wait.
    pub fn is_full(moved: usize) -> bool {
        moved as i64 >= BATCH
    }

    async fn advance(tx: &mut Conn) -> Result<usize, Error> {
        let head = event_head::table
            .select((event_head::position, event_head::hash))
            .for_update()
            .skip_locked()
            .first::<(i64, Vec<u8>)>(tx)
            .await
            .optional()?;
        let Some((mut position, mut hash)) = head else {
            return Ok(0);
        };
        // In the order of ids: within an aggregate that is the order of its commits, because the ids were
        // drawn under its row lock. Rows that are not committed are not seen, and come in a later turn.
        let pending: Vec<PendingRow> = event_pending::table
            .select(PendingRow::as_select())
            .order(event_pending::id)
            .limit(BATCH)
            .load(tx)
            .await?;
        if pending.is_empty() {
            return Ok(0);
        }
        let ids: Vec<i64> = pending.iter().map(|row| row.id).collect();
        let (mut positions, mut hashes) = (Vec::new(), Vec::new());
        for row in &pending {
            position += 1;
            hash = chain(
                &hash,
                position,
                row.event_id,
                &row.aggregate,
                row.aggregate_version,
                &row.type_,
                &row.payload,
            );
            positions.push(position);
            hashes.push(hash.clone());
        }
        // One statement: the events do not travel a second time.
        let moved = statement(
            "WITH placed AS (SELECT * FROM unnest($1, $2, $3) AS placed (id, position, hash)),
                  moved AS (DELETE FROM event_pending USING placed WHERE event_pending.id = placed.id
                            RETURNING placed.position, event_id, aggregate, aggregate_version, type, payload, trace,
                                      occur_time, placed.hash),
                  head AS (UPDATE event_head SET position = $4, hash = $5)
             INSERT INTO event_log
                 (position, event_id, aggregate, aggregate_version, type, payload, trace, occur_time, hash)
             SELECT * FROM moved ORDER BY position",
        )
        .bind::<Array<BigInt>, _>(ids)
        .bind::<Array<BigInt>, _>(positions)
        .bind::<Array<Binary>, _>(hashes)
        .bind::<BigInt, _>(position)
        .bind::<Binary, _>(hash)
        .execute(tx)
        .await?;
        if moved == pending.len() { Ok(moved) } else { Err(Error::internal("a pending event is not there")) }
    }
}

/// `SHA-256(previous hash ‖ position ‖ event id ‖ aggregate ‖ version ‖ type ‖ payload)`, texts and payload
/// behind their length, numbers big-endian. The trace and the time are not part of it: they say nothing of
/// what happened.
fn chain(
    previous: &[u8],
    position: i64,
    event_id: Uuid,
    aggregate: &str,
    aggregate_version: i64,
    event_type: &str,
    payload: &[u8],
) -> Vec<u8> {
    let mut hash = Sha256::new();
    hash.update(previous);
    hash.update(position.to_be_bytes());
    hash.update(event_id.as_bytes());
    for part in [aggregate.as_bytes(), &aggregate_version.to_be_bytes(), event_type.as_bytes(), payload] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().to_vec()
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = event_log)]
struct ChainRow {
    position: i64,
    event_id: Uuid,
    aggregate: String,
    aggregate_version: i64,
    type_: String,
    payload: Vec<u8>,
    hash: Vec<u8>,
}

/// Walks the whole chain in batches and returns its length; `LOG_DIVERGED` names the first position whose
/// hash does not follow. Reads the whole log: for checks and tests, not for a hot path.
pub async fn verify(conn: &mut Conn) -> Result<i64, Error> {
    let (mut position, mut hash) = (0, Vec::new());
    loop {
        let rows: Vec<ChainRow> = event_log::table
            .select(ChainRow::as_select())
            .filter(event_log::position.gt(position))
            .order(event_log::position)
            .limit(BATCH)
            .load(conn)
            .await?;
        if rows.is_empty() {
            return Ok(position);
        }
        for row in rows {
            position += 1;
            hash = chain(
                &hash,
                position,
                row.event_id,
                &row.aggregate,
                row.aggregate_version,
                &row.type_,
                &row.payload,
            );
            if row.position != position || row.hash != hash {
                return Err(Refusal::new(LOG_DIVERGED).fact("position", position).into());
            }
        }
    }
}
