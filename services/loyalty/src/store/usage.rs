//! What has been given by the programmes' rules: of budgets, and to members.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use cqm_db::{Conn, known, statement};
use cqm_rpc::Error;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, SmallInt, Text, Timestamptz, Uuid as SqlUuid};
use diesel::upsert::excluded;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::column;
use crate::domain::programme::Refusal;
use crate::domain::rules::{Counter, Period, Pot, Slice, UsageKey};
use crate::schema::{budget_slice, earning_counter};

/// In how many parts a budget is kept. Too few: batches of many replicas wait for each other. Too many: the last points
/// of a budget are spread over as many rows.
pub const SLICES: i16 = 16;
/// How many slices a batch takes while there is plenty.
const FEW: i64 = 2;

/// By whom, by which rule, in which kind of period.
pub type CounterKey = (Uuid, Uuid, &'static str);

/// What a batch may need of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    pub budget: Uuid,
    /// In all.
    pub points: i64,
    /// The least that one of its requests could take: with less than that nobody is given anything.
    pub least: i64,
}

#[derive(QueryableByName)]
#[diesel(table_name = budget_slice)]
struct SliceRow {
    budget_id: Uuid,
    slice: i16,
    remaining: i64,
}

/// Locks a few slices of each budget that nobody else has.
pub async fn lock_slices(mut conn: &Conn, needs: &[Need], first: i16) -> Result<HashMap<Uuid, Pot>, Error> {
    if needs.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<SliceRow> = statement(
        "SELECT part.* FROM unnest($1) AS asked (budget_id)
         CROSS JOIN LATERAL (SELECT budget_id, slice, remaining FROM budget_slice
                             WHERE budget_slice.budget_id = asked.budget_id AND remaining > 0
                             ORDER BY (slice + $3 - $2) % $3 LIMIT $4
                             FOR UPDATE SKIP LOCKED) AS part",
    )
    .bind::<Array<SqlUuid>, _>(column(needs, |need| need.budget))
    .bind::<SmallInt, _>(first)
    .bind::<SmallInt, _>(SLICES)
    .bind::<BigInt, _>(FEW)
    .load(&mut conn)
    .await?;
    Ok(pots(rows))
}

/// Locks all that is left of budgets, in one order everywhere, waiting for whoever has it. Of a budget with less than
/// anybody could take it locks nothing: its last points are not to hold all customers up for ever. Budgets only shrink
/// but for somebody raising them, so that what is seen without the lock is never too little.
pub async fn lock_budgets(mut conn: &Conn, needs: &[Need]) -> Result<HashMap<Uuid, Pot>, Error> {
    if needs.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<SliceRow> = statement(
        "SELECT budget_id, slice, remaining FROM budget_slice
         WHERE remaining > 0
               AND budget_id IN (SELECT asked.budget_id FROM unnest($1, $2) AS asked (budget_id, least)
                                 JOIN budget_slice USING (budget_id)
                                 GROUP BY asked.budget_id, asked.least HAVING sum(remaining) >= asked.least)
         ORDER BY budget_id, slice
         FOR UPDATE OF budget_slice",
    )
    .bind::<Array<SqlUuid>, _>(column(needs, |need| need.budget))
    .bind::<Array<BigInt>, _>(column(needs, |need| need.least))
    .load(&mut conn)
    .await?;
    Ok(pots(rows))
}

/// Reads what is left of budgets, without a lock.
pub async fn find_budgets(mut conn: &Conn, budgets: &BTreeSet<Uuid>) -> Result<HashMap<Uuid, Pot>, Error> {
    if budgets.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: Vec<Uuid> = budgets.iter().copied().collect();
    let rows: Vec<SliceRow> =
        statement("SELECT budget_id, slice, remaining FROM budget_slice WHERE budget_id = ANY($1)")
            .bind::<Array<SqlUuid>, _>(ids)
            .load(&mut conn)
            .await?;
    Ok(pots(rows))
}

fn pots(rows: Vec<SliceRow>) -> HashMap<Uuid, Pot> {
    let mut slices: HashMap<Uuid, Vec<Slice>> = HashMap::new();
    for row in rows {
        let slice = Slice { number: row.slice, remaining: row.remaining };
        slices.entry(row.budget_id).or_default().push(slice);
    }
    slices.into_iter().map(|(budget, slices)| (budget, Pot::of(slices))).collect()
}

/// Writes what is left of locked slices.
pub async fn save_slices(mut conn: &Conn, slices: &[(Uuid, Slice)]) -> Result<(), Error> {
    if slices.is_empty() {
        return Ok(());
    }
    let written = statement(
        "UPDATE budget_slice SET remaining = new.remaining
         FROM unnest($1, $2, $3) AS new (budget_id, slice, remaining)
         WHERE budget_slice.budget_id = new.budget_id AND budget_slice.slice = new.slice",
    )
    .bind::<Array<SqlUuid>, _>(column(slices, |slice| slice.0))
    .bind::<Array<SmallInt>, _>(column(slices, |slice| slice.1.number))
    .bind::<Array<BigInt>, _>(column(slices, |slice| slice.1.remaining))
    .execute(&mut conn)
    .await?;
    if written == slices.len() { Ok(()) } else { Err(Error::internal("a locked slice is not there")) }
}

/// Reads what members have had by rules.
pub async fn find_counters(
    mut conn: &Conn,
    keys: &BTreeSet<CounterKey>,
) -> Result<HashMap<UsageKey, Counter>, Error> {
    #[derive(QueryableByName)]
    #[diesel(table_name = earning_counter)]
    struct Row {
        customer_id: Uuid,
        rule_id: Uuid,
        period: String,
        period_start: DateTime<Utc>,
        points: i64,
        awards: i64,
    }
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let keys: Vec<CounterKey> = keys.iter().copied().collect();
    let rows: Vec<Row> = statement(
        "SELECT earning_counter.* FROM unnest($1, $2, $3) AS asked (customer_id, rule_id, period)
         JOIN earning_counter USING (customer_id, rule_id, period)",
    )
    .bind::<Array<SqlUuid>, _>(column(&keys, |key| key.0))
    .bind::<Array<SqlUuid>, _>(column(&keys, |key| key.1))
    .bind::<Array<Text>, _>(column(&keys, |key| key.2))
    .load(&mut conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let period = known("earning_counter.period", &row.period, Period::find)?;
            let counter = Counter { start: row.period_start, points: row.points, awards: row.awards };
            Ok(((row.customer_id, row.rule_id, period), counter))
        })
        .collect()
}

/// Writes what members have had by rules. Under the members' locks: nobody else has counted since they were read.
pub async fn save_counters(mut conn: &Conn, counters: &[(UsageKey, Counter)]) -> Result<(), Error> {
    if counters.is_empty() {
        return Ok(());
    }
    statement(
        "INSERT INTO earning_counter (customer_id, rule_id, period, period_start, points, awards)
         SELECT * FROM unnest($1, $2, $3, $4, $5, $6)
         ON CONFLICT (customer_id, rule_id, period)
         DO UPDATE SET period_start = EXCLUDED.period_start, points = EXCLUDED.points, awards = EXCLUDED.awards",
    )
    .bind::<Array<SqlUuid>, _>(column(counters, |(key, _)| key.0))
    .bind::<Array<SqlUuid>, _>(column(counters, |(key, _)| key.1))
    .bind::<Array<Text>, _>(column(counters, |(key, _)| key.2.name()))
    .bind::<Array<Timestamptz>, _>(column(counters, |(_, counter)| counter.start))
    .bind::<Array<BigInt>, _>(column(counters, |(_, counter)| counter.points))
    .bind::<Array<BigInt>, _>(column(counters, |(_, counter)| counter.awards))
    .execute(&mut conn)
    .await?;
    Ok(())
}

/// Has a budget be another one from now on, under the lock of the rule or the programme that it belongs to. What was
/// given of it stays given, as long as there is a budget.
pub async fn change_budget(
    tx: &mut Conn,
    budget: Uuid,
    before: Option<i64>,
    after: Option<i64>,
) -> Result<(), Error> {
    if before == after {
        return Ok(());
    }
    let locked: Vec<(i16, i64)> = budget_slice::table
        .filter(budget_slice::budget_id.eq(budget))
        .order(budget_slice::slice)
        .select((budget_slice::slice, budget_slice::remaining))
        .for_update()
        .load(tx)
        .await?;
    let left: i64 = locked.iter().map(|(_, remaining)| remaining).sum();
    let spent = before.map_or(0, |before| before - left);
    let left = after.map(|after| after - spent);
    if left.is_some_and(|left| left < 0) {
        return Err(Refusal::Spent { spent }.into());
    }
    let Some(left) = left else {
        diesel::delete(budget_slice::table.filter(budget_slice::budget_id.eq(budget))).execute(tx).await?;
        return Ok(());
    };
    let (share, rest) = (left / i64::from(SLICES), left % i64::from(SLICES));
    let slices: Vec<_> = (0..SLICES)
        .map(|slice| {
            let remaining = share + i64::from(i64::from(slice) < rest);
            (
                budget_slice::budget_id.eq(budget),
                budget_slice::slice.eq(slice),
                budget_slice::remaining.eq(remaining),
            )
        })
        .collect();
    // The rows stay: whoever waits for their locks finds them again.
    diesel::insert_into(budget_slice::table)
        .values(slices)
        .on_conflict((budget_slice::budget_id, budget_slice::slice))
        .do_update()
        .set(budget_slice::remaining.eq(excluded(budget_slice::remaining)))
        .execute(tx)
        .await?;
    Ok(())
}
