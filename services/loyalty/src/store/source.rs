//! What sources have given points for, each of them once.

use std::collections::{BTreeSet, HashMap, HashSet};

use cqm_db::{Conn, OnConflict, statement};
use cqm_rpc::{Error, reason};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::column;
use super::entry::EntryRow;
use crate::domain::book::Book;
use crate::domain::entry::{Entry, Reason};
use crate::error::constraint;

/// Keeps what has given points for once, of the entries that are written with it.
pub(super) async fn insert_sources(mut conn: &Conn, entries: &[&Entry]) -> Result<(), Error> {
    let once: Vec<&Entry> = entries.iter().copied().filter(|entry| entry.is_once()).collect();
    if once.is_empty() {
        return Ok(());
    }
    statement(
        "INSERT INTO entry_source (customer_id, reason, source, sequence, transaction_id)
         SELECT * FROM unnest($1, $2, $3, $4, $5)",
    )
    .bind::<Array<SqlUuid>, _>(column(&once, |entry| entry.customer))
    .bind::<Array<Text>, _>(column(&once, |entry| entry.reason.name()))
    .bind::<Array<Text>, _>(column(&once, |entry| entry.source.as_str()))
    .bind::<Array<BigInt>, _>(column(&once, |entry| entry.sequence))
    .bind::<Array<SqlUuid>, _>(column(&once, |entry| entry.transaction))
    .execute(&mut conn)
    .await
    // The member's lock keeps two earns of one source apart; should it ever not, the repeat finds the first.
    .on_conflict(constraint::ENTRY_SOURCE_ONCE, || Error::Conflict {
        reason: reason::TRANSACTION_CONFLICT,
        source: None,
    })?;
    Ok(())
}

/// What a source has already been rewarded with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewarded {
    /// The last of the entries that gave the points.
    pub entry: Entry,
    /// All that the transaction gave.
    pub points: i64,
}

/// What a reward is found by: whom it is for, why, and its source.
pub type RewardKey = (Uuid, Reason, String);

/// Finds what sources have already been rewarded with, for reasons that give once, under the customer's name or under one
/// that was merged into it. A source that tells the name, as a birthday's does, tells the one that it was given under.
pub(super) async fn find_rewarded(
    mut conn: &Conn,
    sources: &[(Uuid, Reason, &str)],
) -> Result<HashMap<RewardKey, Rewarded>, Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = SqlUuid)]
        asked_id: Uuid,
        #[diesel(sql_type = Text)]
        asked_source: String,
        #[diesel(embed)]
        entry: EntryRow,
    }
    if sources.is_empty() {
        return Ok(HashMap::new());
    }
    // LATERAL and a limit, so that each source is looked up by the key and nothing is joined the other way round; each by
    // its whole key, for with a list of sources in it the plan goes through all that the customer has. The entries of a
    // transaction follow each other, and there are few of them.
    let rows: Vec<Row> = statement(
        "SELECT asked.customer_id AS asked_id, asked.source AS asked_source, made.*
         FROM unnest($1, $2, $3) AS asked (customer_id, reason, source)
         CROSS JOIN LATERAL (
             SELECT asked.customer_id AS id, asked.source
             UNION
             SELECT subject.customer_id, named.source
             FROM subject, LATERAL (VALUES
                 (asked.source), (replace(asked.source, asked.customer_id::text, subject.customer_id::text))
             ) AS named (source)
             WHERE subject.survivor_id = asked.customer_id) AS known
         CROSS JOIN LATERAL (
             SELECT had.customer_id, had.sequence, had.transaction_id FROM entry_source AS had
             WHERE had.customer_id = known.id AND had.reason = asked.reason AND had.source = known.source
             LIMIT 1) AS entry_source
         CROSS JOIN LATERAL (
             SELECT * FROM entry
             WHERE entry.customer_id = entry_source.customer_id
                   AND sequence BETWEEN entry_source.sequence AND entry_source.sequence + 1000
                   AND transaction_id = entry_source.transaction_id
             ORDER BY sequence LIMIT 1000) AS made
         ORDER BY asked_id, made.reason, asked_source, made.customer_id, made.sequence",
    )
    .bind::<Array<SqlUuid>, _>(column(sources, |source| source.0))
    .bind::<Array<Text>, _>(column(sources, |source| source.1.name()))
    .bind::<Array<Text>, _>(column(sources, |source| source.2))
    .load(&mut conn)
    .await?;
    let mut made: Vec<(RewardKey, Entry)> = Vec::with_capacity(rows.len());
    for row in rows {
        let entry = row.entry.into_domain()?;
        made.push(((row.asked_id, entry.reason, row.asked_source), entry));
    }
    // Under two names it may have been given twice, before anybody knew that they are one: either will do.
    let together =
        |a: &(RewardKey, Entry), b: &(RewardKey, Entry)| a.0 == b.0 && a.1.transaction == b.1.transaction;
    Ok(made
        .chunk_by(together)
        .filter_map(|made| {
            Some((made.first()?.0.clone(), Rewarded::of(made.iter().map(|(_, entry)| entry))?))
        })
        .collect())
}

impl Rewarded {
    /// Sums up the entries of one transaction; what of it paid off a debt was given, too.
    pub fn of<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Option<Self> {
        let (mut points, mut last) = (0, None);
        for given in entries.into_iter().filter(|entry| entry.debit == Book::Issued) {
            points += given.points;
            last = Some(given);
        }
        Some(Self { points, entry: last?.clone() })
    }
}

/// Finds those of the customers whom a purchase has given points before, under whatever name. LATERAL and limits, for the
/// plan of EXISTS within OR may be to read all purchases there are, once and for all customers.
pub async fn find_buyers(mut conn: &Conn, customers: &BTreeSet<Uuid>) -> Result<HashSet<Uuid>, Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = SqlUuid)]
        customer_id: Uuid,
    }
    if customers.is_empty() {
        return Ok(HashSet::new());
    }
    let ids: Vec<Uuid> = customers.iter().copied().collect();
    let rows: Vec<Row> = statement(
        "SELECT asked.customer_id FROM unnest($1) AS asked (customer_id)
         CROSS JOIN LATERAL (
             SELECT FROM (
                 SELECT asked.customer_id AS id
                 UNION ALL
                 SELECT subject.customer_id FROM subject WHERE subject.survivor_id = asked.customer_id) AS known
             CROSS JOIN LATERAL (
                 SELECT FROM entry_source AS had
                 WHERE had.customer_id = known.id AND had.reason = 'PURCHASE' LIMIT 1) AS had
             LIMIT 1) AS bought",
    )
    .bind::<Array<SqlUuid>, _>(ids)
    .load(&mut conn)
    .await?;
    Ok(rows.into_iter().map(|row| row.customer_id).collect())
}

/// The sequences of those of a member's entries that their sources are kept with: all that give once, in a ledger that
/// is in order.
pub async fn find_sourced(mut conn: &Conn, customer: Uuid, entries: &[Entry]) -> Result<HashSet<i64>, Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        sequence: i64,
    }
    let once: Vec<&Entry> = entries.iter().filter(|entry| entry.is_once()).collect();
    let rows: Vec<Row> = statement(
        "SELECT sequence FROM unnest($2, $3, $4, $5) AS asked (reason, source, sequence, transaction_id)
         JOIN entry_source USING (reason, source, sequence, transaction_id)
         WHERE customer_id = $1",
    )
    .bind::<SqlUuid, _>(customer)
    .bind::<Array<Text>, _>(column(&once, |entry| entry.reason.name()))
    .bind::<Array<Text>, _>(column(&once, |entry| entry.source.as_str()))
    .bind::<Array<BigInt>, _>(column(&once, |entry| entry.sequence))
    .bind::<Array<SqlUuid>, _>(column(&once, |entry| entry.transaction))
    .load(&mut conn)
    .await?;
    Ok(rows.into_iter().map(|row| row.sequence).collect())
}

/// How many sources are kept of a member. Grows with their history: for the check of the ledger.
pub async fn count_sources(conn: &mut Conn, customer: Uuid) -> Result<i64, Error> {
    use crate::schema::entry_source;
    Ok(entry_source::table.filter(entry_source::customer_id.eq(customer)).count().get_result(conn).await?)
}
