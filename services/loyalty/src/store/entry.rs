//! Entries: written and read, never changed.

use chrono::{DateTime, Utc};
use cqm_db::{Conn, known, statement};
use cqm_rpc::Error;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::column;
use crate::domain::account::{Past, PastLot};
use crate::domain::book::Book;
use crate::domain::entry::{Entry, Kind, Reason};
use crate::schema::entry;

#[derive(Queryable, QueryableByName, Selectable)]
#[diesel(table_name = entry)]
pub(super) struct EntryRow {
    customer_id: Uuid,
    sequence: i64,
    id: Uuid,
    transaction_id: Uuid,
    kind: String,
    reason: String,
    source: String,
    debit: String,
    credit: String,
    points: i64,
    balance_after: i64,
    lot_id: Uuid,
    hold_id: Option<Uuid>,
    reverses: Option<i64>,
    rule_id: Option<Uuid>,
    actor: String,
    request_id: Uuid,
    create_time: DateTime<Utc>,
    hash: Vec<u8>,
    reverses_of: Option<Uuid>,
}

/// Writes entries.
pub(super) async fn insert_entries(mut conn: &Conn, entries: &[&Entry]) -> Result<(), Error> {
    if entries.is_empty() {
        return Ok(());
    }
    statement(
        "INSERT INTO entry (customer_id, sequence, id, transaction_id, kind, reason, source, debit, credit, points,
                            balance_after, lot_id, hold_id, reverses, rule_id, actor, request_id, create_time, hash,
                            reverses_of)
         SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19,
                              $20)",
    )
    .bind::<Array<SqlUuid>, _>(column(entries, |entry| entry.customer))
    .bind::<Array<BigInt>, _>(column(entries, |entry| entry.sequence))
    .bind::<Array<SqlUuid>, _>(column(entries, |entry| entry.id))
    .bind::<Array<SqlUuid>, _>(column(entries, |entry| entry.transaction))
    .bind::<Array<Text>, _>(column(entries, |entry| entry.kind.name()))
    .bind::<Array<Text>, _>(column(entries, |entry| entry.reason.name()))
    .bind::<Array<Text>, _>(column(entries, |entry| entry.source.as_str()))
    .bind::<Array<Text>, _>(column(entries, |entry| entry.debit.name()))
    .bind::<Array<Text>, _>(column(entries, |entry| entry.credit.name()))
    .bind::<Array<BigInt>, _>(column(entries, |entry| entry.points))
    .bind::<Array<BigInt>, _>(column(entries, |entry| entry.balance_after))
    .bind::<Array<SqlUuid>, _>(column(entries, |entry| entry.lot))
    .bind::<Array<Nullable<SqlUuid>>, _>(column(entries, |entry| entry.hold))
    .bind::<Array<Nullable<BigInt>>, _>(column(entries, |entry| entry.reverses))
    .bind::<Array<Nullable<SqlUuid>>, _>(column(entries, |entry| entry.rule))
    .bind::<Array<Text>, _>(column(entries, |entry| entry.actor.as_str()))
    .bind::<Array<SqlUuid>, _>(column(entries, |entry| entry.request_id))
    .bind::<Array<Timestamptz>, _>(column(entries, |entry| entry.create_time))
    .bind::<Array<Binary>, _>(column(entries, |entry| entry.hash.as_slice()))
    .bind::<Array<Nullable<SqlUuid>>, _>(column(entries, |entry| entry.reverses_of))
    .execute(&mut conn)
    .await?;
    Ok(())
}

/// Finds transactions of the past by their names, with what was taken back of them: those of the customers and those
/// that were made under names that were merged into theirs.
pub(super) async fn find_past(
    mut conn: &Conn,
    transactions: &[(Uuid, Uuid)],
) -> Result<Vec<(Uuid, Past)>, Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = SqlUuid)]
        asked_id: Uuid,
        #[diesel(sql_type = SqlUuid)]
        customer_id: Uuid,
        #[diesel(sql_type = SqlUuid)]
        transaction_id: Uuid,
        #[diesel(sql_type = BigInt)]
        sequence: i64,
        #[diesel(sql_type = Text)]
        kind: String,
        #[diesel(sql_type = Text)]
        reason: String,
        #[diesel(sql_type = Text)]
        debit: String,
        #[diesel(sql_type = Text)]
        credit: String,
        #[diesel(sql_type = SqlUuid)]
        lot_id: Uuid,
        #[diesel(sql_type = BigInt)]
        points: i64,
        #[diesel(sql_type = BigInt)]
        reversed: i64,
        #[diesel(sql_type = BigInt)]
        owed: i64,
    }
    if transactions.is_empty() {
        return Ok(Vec::new());
    }
    // By entry_by_id: IS NOT DISTINCT FROM keeps the plan from going through all entries of the customer instead. An id
    // that is not that of a transaction's first entry has made nothing. What was taken back stands under the name that
    // the transaction was made under or under one that this was merged into: entry_reverses and entry_reverses_of.
    let rows: Vec<Row> = statement(
        "SELECT first.asked_id, made.customer_id, made.transaction_id, made.sequence, made.kind, made.reason, made.debit,
                made.credit, made.lot_id, made.points, back.reversed, back.owed
         FROM unnest($1, $2) AS asked (customer_id, id)
         CROSS JOIN LATERAL (
             SELECT asked.customer_id AS asked_id, entry.customer_id, sequence, entry.id FROM entry
             WHERE entry.id = asked.id
                   AND (entry.customer_id IS NOT DISTINCT FROM asked.customer_id
                        OR EXISTS (SELECT FROM subject
                                   WHERE subject.customer_id = entry.customer_id
                                         AND subject.survivor_id = asked.customer_id))
             LIMIT 1) AS first
         CROSS JOIN LATERAL (
             SELECT * FROM entry
             WHERE entry.customer_id = first.customer_id AND sequence BETWEEN first.sequence AND first.sequence + 2000
                   AND transaction_id = first.id
             ORDER BY sequence LIMIT 2000) AS made
         CROSS JOIN LATERAL (
             SELECT coalesce(sum(points), 0)::bigint AS reversed,
                    coalesce(sum(points) FILTER (WHERE debit = 'programme:clawback_debt'), 0)::bigint AS owed
             FROM (SELECT points, debit FROM entry
                   WHERE entry.customer_id = made.customer_id AND reverses = made.sequence AND reverses_of IS NULL
                   UNION ALL
                   SELECT points, debit FROM entry
                   WHERE reverses_of = made.customer_id AND reverses = made.sequence) AS parts) AS back
         ORDER BY first.asked_id, made.customer_id, made.sequence",
    )
    .bind::<Array<SqlUuid>, _>(column(transactions, |transaction| transaction.0))
    .bind::<Array<SqlUuid>, _>(column(transactions, |transaction| transaction.1))
    .load(&mut conn)
    .await?;
    let mut found: Vec<(Uuid, Past)> = Vec::new();
    for row in rows {
        let moves = |word: &str, book: Book| word == book.name();
        if found.last().is_none_or(|(_, past)| past.transaction != row.transaction_id) {
            let kind = known("entry.kind", &row.kind, Kind::find)?;
            let reason = known("entry.reason", &row.reason, Reason::find)?;
            let of = Some(row.customer_id).filter(|of| *of != row.asked_id);
            let past = Past { transaction: row.transaction_id, of, kind, reason, lots: Vec::new() };
            found.push((row.asked_id, past));
        }
        // What a lot was given, or what was spent of it. Nothing else of a transaction is taken back: not that a part
        // paid off a debt, nor that the rest of a hold was given back.
        let counts = moves(&row.debit, Book::Issued) || moves(&row.credit, Book::Redeemed);
        if let (true, Some((_, past))) = (counts, found.last_mut()) {
            past.lots.push(PastLot {
                lot: row.lot_id,
                sequence: row.sequence,
                points: row.points,
                reversed: row.reversed,
                owed: row.owed,
            });
        }
    }
    Ok(found)
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

/// Reads the next of a member's entries, in order.
pub async fn read_entries(
    conn: &mut Conn,
    customer: Uuid,
    after: i64,
    limit: i64,
) -> Result<Vec<Entry>, Error> {
    let rows: Vec<EntryRow> = entry::table
        .filter(entry::customer_id.eq(customer))
        .filter(entry::sequence.gt(after))
        .order(entry::sequence)
        .limit(limit)
        .select(EntryRow::as_select())
        .load(conn)
        .await?;
    rows.into_iter().map(EntryRow::into_domain).collect()
}

impl EntryRow {
    pub(super) fn into_domain(self) -> Result<Entry, Error> {
        Ok(Entry {
            customer: self.customer_id,
            sequence: self.sequence,
            id: self.id,
            transaction: self.transaction_id,
            kind: known("entry.kind", &self.kind, Kind::find)?,
            reason: known("entry.reason", &self.reason, Reason::find)?,
            source: self.source,
            debit: known("entry.debit", &self.debit, Book::find)?,
            credit: known("entry.credit", &self.credit, Book::find)?,
            points: self.points,
            balance_after: self.balance_after,
            lot: self.lot_id,
            hold: self.hold_id,
            reverses: self.reverses,
            rule: self.rule_id,
            actor: self.actor,
            request_id: self.request_id,
            create_time: self.create_time,
            hash: super::hash(self.hash)?,
            reverses_of: self.reverses_of,
        })
    }
}
