//! Entries and their postings: written and read, never changed.

use chrono::{DateTime, Utc};
use cqm_db::{Conn, OnConflict, known};
use cqm_rpc::{Error, reason};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Bool, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::domain::ledger::{Entry, Kind, Posting, Reason};
use crate::error::constraint;
use crate::schema::entry;

#[derive(Queryable, Selectable)]
#[diesel(table_name = entry)]
struct EntryRow {
    customer_id: Uuid,
    sequence: i64,
    id: Uuid,
    transaction_id: Uuid,
    kind: String,
    reason: String,
    source: String,
    lot_id: Uuid,
    points: i64,
    balance_after: i64,
    actor: String,
    request_id: Uuid,
    create_time: DateTime<Utc>,
}

/// Writes the entries of a change.
pub async fn insert_entries(tx: &mut Conn, entries: &[Entry]) -> Result<(), Error> {
    diesel::sql_query(
        "INSERT INTO entry (customer_id, sequence, id, transaction_id, kind, reason, source, lot_id, points,
                            balance_after, actor, request_id, create_time)
         SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
    )
    .bind::<Array<SqlUuid>, _>(column(entries, |entry| entry.customer))
    .bind::<Array<BigInt>, _>(column(entries, |entry| entry.sequence))
    .bind::<Array<SqlUuid>, _>(column(entries, |entry| entry.id))
    .bind::<Array<SqlUuid>, _>(column(entries, |entry| entry.transaction))
    .bind::<Array<Text>, _>(column(entries, |entry| entry.kind.name()))
    .bind::<Array<Text>, _>(column(entries, |entry| entry.reason.name()))
    .bind::<Array<Text>, _>(column(entries, |entry| entry.source.as_str()))
    .bind::<Array<SqlUuid>, _>(column(entries, |entry| entry.lot))
    .bind::<Array<BigInt>, _>(column(entries, |entry| entry.points))
    .bind::<Array<BigInt>, _>(column(entries, |entry| entry.balance_after))
    .bind::<Array<Text>, _>(column(entries, |entry| entry.actor.as_str()))
    .bind::<Array<SqlUuid>, _>(column(entries, |entry| entry.request_id))
    .bind::<Array<Timestamptz>, _>(column(entries, |entry| entry.create_time))
    .execute(tx)
    .await
    // The member's lock keeps two earns of one source apart; should it ever not, the repeat finds the first.
    .on_conflict(constraint::ENTRY_SOURCE_ONCE, || Error::Conflict {
        reason: reason::TRANSACTION_CONFLICT,
        source: None,
    })?;
    Ok(())
}

/// Writes the postings of a change. In one statement, because that is what the database adds up.
pub async fn insert_postings(tx: &mut Conn, postings: &[Posting]) -> Result<(), Error> {
    diesel::sql_query(
        "INSERT INTO posting (customer_id, account, sequence, transaction_id, entry_sequence, amount, balance_after,
                              hash)
         SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind::<Array<SqlUuid>, _>(column(postings, |posting| posting.customer))
    .bind::<Array<Text>, _>(column(postings, |posting| posting.book.name()))
    .bind::<Array<BigInt>, _>(column(postings, |posting| posting.sequence))
    .bind::<Array<SqlUuid>, _>(column(postings, |posting| posting.transaction))
    .bind::<Array<BigInt>, _>(column(postings, |posting| posting.entry_sequence))
    .bind::<Array<BigInt>, _>(column(postings, |posting| posting.amount))
    .bind::<Array<BigInt>, _>(column(postings, |posting| posting.balance_after))
    .bind::<Array<Binary>, _>(column(postings, |posting| posting.hash.as_slice()))
    .execute(tx)
    .await?;
    Ok(())
}

/// Finds the entry that a source has already given, for a reason that gives once.
pub async fn find_entry_of_source(
    tx: &mut Conn,
    customer: Uuid,
    reason: Reason,
    source: &str,
) -> Result<Option<Entry>, Error> {
    if source.is_empty() || !reason.is_once() {
        return Ok(None);
    }
    let row: Option<EntryRow> = entry::table
        .filter(entry::customer_id.eq(customer))
        .filter(entry::reason.eq(reason.name()))
        .filter(entry::source.eq(source))
        // What the index says of its rows, said again as constants: with parameters alone, a plan that is kept for
        // all values could not use the index and would read all entries of the member.
        .filter(sql::<Bool>("source <> '' AND reason IN ('PURCHASE', 'SURVEY_ANSWERED', 'COMPENSATION')"))
        .select(EntryRow::as_select())
        .first(tx)
        .await
        .optional()?;
    row.map(EntryRow::into_domain).transpose()
}

/// Pages through a member's entries, the newest first, `before` the sequence of the last of the page before.
pub async fn list_entries(
    conn: &mut Conn,
    customer: Uuid,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<Entry>, Error> {
    let rows: Vec<EntryRow> = entry::table
        .filter(entry::customer_id.eq(customer))
        .filter(entry::sequence.lt(before.unwrap_or(i64::MAX)))
        .order(entry::sequence.desc())
        .limit(limit)
        .select(EntryRow::as_select())
        .load(conn)
        .await?;
    rows.into_iter().map(EntryRow::into_domain).collect()
}

fn column<'a, R, T>(rows: &'a [R], field: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(field).collect()
}

impl EntryRow {
    fn into_domain(self) -> Result<Entry, Error> {
        Ok(Entry {
            customer: self.customer_id,
            sequence: self.sequence,
            id: self.id,
            transaction: self.transaction_id,
            kind: known("entry.kind", &self.kind, Kind::find)?,
            reason: known("entry.reason", &self.reason, Reason::find)?,
            source: self.source,
            lot: self.lot_id,
            points: self.points,
            balance_after: self.balance_after,
            actor: self.actor,
            request_id: self.request_id,
            create_time: self.create_time,
        })
    }
}
