//! Remembered requests, many at a time: for a transaction that answers more than one.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use cqm_rpc::{Error, reason};
use diesel::deserialize::QueryableByName;
use diesel::sql_types::{Array, Binary, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::{Claim, RequestKey, answer_of, expired, is_past};
use crate::statement::statement;
use crate::{Conn, Db, OnConflict};

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    caller: String,
    #[diesel(sql_type = SqlUuid)]
    request_id: Uuid,
    #[diesel(sql_type = Text)]
    method: String,
    #[diesel(sql_type = Binary)]
    body_digest: Vec<u8>,
    #[diesel(sql_type = Nullable<Binary>)]
    answer: Option<Vec<u8>>,
}

/// What was known of some requests at one moment.
#[derive(Default)]
pub(crate) struct Known(HashMap<(String, Uuid), Row>);

impl Known {
    /// What is known of one of the requests that were asked about.
    pub(crate) fn claim(&self, db: &Db, key: &RequestKey) -> Result<Claim, Error> {
        match self.0.get(&(key.caller.clone(), key.request_id)) {
            Some(row) => answer_of(key, (row.method.clone(), row.body_digest.clone(), row.answer.clone())),
            None if is_past(key.request_id, db.clock().now(), db.events().remember) => Err(expired()),
            None => Ok(Claim::New),
        }
    }
}

pub(crate) async fn find_many(mut conn: &Conn, keys: &[&RequestKey]) -> Result<Known, Error> {
    let rows: Vec<Row> = statement(
        "SELECT caller, request_id, method, body_digest, answer
         FROM unnest($1, $2) AS asked (caller, request_id) JOIN idempotency USING (caller, request_id)",
    )
    .bind::<Array<Text>, _>(keys.iter().map(|key| key.caller.as_str()).collect::<Vec<_>>())
    .bind::<Array<SqlUuid>, _>(keys.iter().map(|key| key.request_id).collect::<Vec<_>>())
    .load(&mut conn)
    .await?;
    Ok(Known(rows.into_iter().map(|row| ((row.caller.clone(), row.request_id), row)).collect()))
}

/// Writes answers down, each with its request. Somebody else who answered one of them meanwhile makes all of it a
/// conflict: the same again will find their answer.
pub(crate) async fn keep_many(
    mut conn: &Conn,
    answered: &[(&RequestKey, &[u8])],
    now: DateTime<Utc>,
) -> Result<(), Error> {
    if answered.is_empty() {
        return Ok(());
    }
    // In one order everywhere, so that two who write the same requests wait for each other and do not deadlock.
    let mut answered = answered.to_vec();
    answered.sort_by(|(a, _), (b, _)| (&a.caller, a.request_id).cmp(&(&b.caller, b.request_id)));
    fn column<'a, T>(answered: &[(&'a RequestKey, &'a [u8])], field: impl Fn(&'a RequestKey) -> T) -> Vec<T> {
        answered.iter().map(|(key, _)| field(key)).collect()
    }
    statement(
        "INSERT INTO idempotency (caller, request_id, method, body_digest, answer, create_time)
         SELECT *, $6 FROM unnest($1, $2, $3, $4, $5)",
    )
    .bind::<Array<Text>, _>(column(&answered, |key| key.caller.as_str()))
    .bind::<Array<SqlUuid>, _>(column(&answered, |key| key.request_id))
    .bind::<Array<Text>, _>(column(&answered, |key| key.method))
    .bind::<Array<Binary>, _>(column(&answered, |key| key.body_digest.as_slice()))
    .bind::<Array<Binary>, _>(answered.iter().map(|(_, answer)| *answer).collect::<Vec<_>>())
    .bind::<Timestamptz, _>(now)
    .execute(&mut conn)
    .await
    .on_conflict("idempotency_pkey", || Error::Conflict {
        reason: reason::TRANSACTION_CONFLICT,
        source: None,
    })?;
    Ok(())
}
