//! Remembered requests: a repeat gets the first answer, byte for byte.

use std::time::Duration;

use chrono::{DateTime, Utc};
use cqm_proto::Mutation;
use cqm_rpc::{Call, Error, Refusal, reason};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::pool::Conn;
use crate::schema::idempotency;

/// What makes two requests the same one.
#[derive(Clone, Debug)]
pub struct RequestKey {
    caller: String,
    request_id: Uuid,
    method: &'static str,
    body_digest: Vec<u8>,
}

impl RequestKey {
    /// `None` when the message has no `request_id`; a malformed one is a violation.
    pub fn of<M: Mutation>(call: &Call, message: &M) -> Result<Option<Self>, Error> {
        let text = message.request_id();
        if text.is_empty() {
            return Ok(None);
        }
        let request_id = Uuid::try_parse(text)
            .map_err(|_| Error::invalid("request_id", reason::REQUEST_ID_FORMAT, "must be a UUID"))?;
        Ok(Some(Self {
            caller: call.caller.subject.to_string(),
            request_id,
            method: M::PATH,
            body_digest: Sha256::digest(message.encode_to_vec()).to_vec(),
        }))
    }
}

/// What is known of a request.
pub(crate) enum Claim {
    New,
    Answered(Vec<u8>),
}

/// Takes the request id for this transaction, or finds the answer of the one that took it before.
///
/// A request in flight holds the row's lock: the repeat waits for it as long as locks are waited for, then
/// is told `REQUEST_ID_IN_FLIGHT`.
pub(crate) async fn claim(
    tx: &mut Conn,
    key: &RequestKey,
    now: DateTime<Utc>,
    remember: Duration,
) -> Result<Claim, Error> {
    if is_past(key.request_id, now, remember) {
        // Only an id that carries its own time can be refused for its age, so only such rows are ever deleted.
        return match find(tx, key).await? {
            Some(row) => answer_of(key, row),
            None => Err(expired()),
        };
    }
    let inserted = diesel::insert_into(idempotency::table)
        .values((
            idempotency::caller.eq(&key.caller),
            idempotency::request_id.eq(key.request_id),
            idempotency::method.eq(key.method),
            idempotency::body_digest.eq(&key.body_digest),
            idempotency::create_time.eq(now),
        ))
        .on_conflict_do_nothing()
        .execute(tx)
        .await
        .map_err(|error| match Error::from(error) {
            Error::Conflict { source, .. }
                if source.as_ref().is_some_and(|s| s.to_string().contains("lock timeout")) =>
            {
                Error::Conflict { reason: reason::REQUEST_ID_IN_FLIGHT, source }
            }
            other => other,
        })?;
    if inserted == 1 {
        return Ok(Claim::New);
    }
    match find(tx, key).await? {
        Some(row) => answer_of(key, row),
        // It was there a moment ago and is gone: forgotten between the two statements.
        None => Err(expired()),
    }
}

/// Writes the answer beside the claim, in the same transaction.
pub(crate) async fn keep(tx: &mut Conn, key: &RequestKey, answer: &[u8]) -> Result<(), Error> {
    diesel::update(idempotency::table.find((&key.caller, key.request_id)))
        .set(idempotency::answer.eq(Some(answer)))
        .execute(tx)
        .await?;
    Ok(())
}

/// Forgets answers older than `before`, at most `limit` a call, and tells how many it forgot. Ids that carry
/// their time (v7) go with them: such an id is refused by its age from then on. Others keep their row for
/// ever, without the answer, so that they are never taken as new; this grows with the number of such requests.
pub async fn forget(tx: &mut Conn, before: DateTime<Utc>, limit: i64) -> Result<usize, Error> {
    let oldest = idempotency::table
        .filter(idempotency::create_time.lt(before))
        .filter(idempotency::answer.is_not_null())
        .order(idempotency::create_time)
        .limit(limit)
        .select((idempotency::caller, idempotency::request_id))
        .load::<(String, Uuid)>(tx)
        .await?;
    let count = oldest.len();
    // By the id's own time, not the row's: a client whose clock runs ahead must not find its id new again.
    let (timed, untimed): (Vec<_>, Vec<_>) =
        oldest.into_iter().partition(|(_, id)| made(*id).is_some_and(|seconds| seconds < before.timestamp()));
    if !timed.is_empty() {
        let (callers, ids): (Vec<String>, Vec<Uuid>) = timed.into_iter().unzip();
        diesel::sql_query(
            "DELETE FROM idempotency USING unnest($1::text[], $2::uuid[]) AS gone(caller, request_id)
             WHERE idempotency.caller = gone.caller AND idempotency.request_id = gone.request_id",
        )
        .bind::<diesel::sql_types::Array<diesel::sql_types::Text>, _>(callers)
        .bind::<diesel::sql_types::Array<diesel::sql_types::Uuid>, _>(ids)
        .execute(tx)
        .await?;
    }
    if !untimed.is_empty() {
        let (callers, ids): (Vec<String>, Vec<Uuid>) = untimed.into_iter().unzip();
        diesel::sql_query(
            "UPDATE idempotency SET answer = NULL
             FROM unnest($1::text[], $2::uuid[]) AS gone(caller, request_id)
             WHERE idempotency.caller = gone.caller AND idempotency.request_id = gone.request_id",
        )
        .bind::<diesel::sql_types::Array<diesel::sql_types::Text>, _>(callers)
        .bind::<diesel::sql_types::Array<diesel::sql_types::Uuid>, _>(ids)
        .execute(tx)
        .await?;
    }
    Ok(count)
}

type Row = (String, Vec<u8>, Option<Vec<u8>>);

async fn find(tx: &mut Conn, key: &RequestKey) -> Result<Option<Row>, Error> {
    Ok(idempotency::table
        .find((&key.caller, key.request_id))
        .select((idempotency::method, idempotency::body_digest, idempotency::answer))
        .first(tx)
        .await
        .optional()?)
}

fn answer_of(key: &RequestKey, (method, digest, answer): Row) -> Result<Claim, Error> {
    if method != key.method || digest != key.body_digest {
        return Err(Error::Refused(
            Refusal::new(reason::REQUEST_ID_REUSED).fact("request_id", key.request_id),
        ));
    }
    answer.map(Claim::Answered).ok_or_else(expired)
}

fn expired() -> Error {
    Error::refused(reason::REQUEST_ID_EXPIRED)
}

/// Whether a v7 id was made before the time that answers are kept for.
fn is_past(id: Uuid, now: DateTime<Utc>, remember: Duration) -> bool {
    let remember = i64::try_from(remember.as_secs()).unwrap_or(i64::MAX);
    made(id).is_some_and(|seconds| seconds < now.timestamp().saturating_sub(remember))
}

/// When a v7 id was made, in Unix seconds; other versions do not tell.
fn made(id: Uuid) -> Option<i64> {
    let (seconds, _) = (id.get_version_num() == 7).then(|| id.get_timestamp()).flatten()?.to_unix();
    i64::try_from(seconds).ok()
}
