//! The rows of complaints' clocks. They belong to their complaint's row and are written under its lock.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use cqm_db::{Conn, known, statement};
use cqm_rpc::Error;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::domain::Complaint;
use crate::domain::sla::{Clock, Clocks, Timer, Told};
use crate::policies::Policies;
use crate::schema::complaint_clocks;

#[derive(Queryable, Selectable)]
#[diesel(table_name = complaint_clocks, check_for_backend(diesel::pg::Pg))]
struct ClockRow {
    complaint_id: Uuid,
    clock: String,
    policy_version: i64,
    target_us: i64,
    consumed_us: i64,
    resume_time: DateTime<Utc>,
    warn_time: DateTime<Utc>,
    due_time: DateTime<Utc>,
    end_time: Option<DateTime<Utc>>,
    told: String,
}

impl ClockRow {
    fn read(&self) -> Result<Timer, Error> {
        Ok(Timer {
            target: TimeDelta::microseconds(self.target_us),
            consumed: TimeDelta::microseconds(self.consumed_us),
            resume_time: self.resume_time,
            warn_time: self.warn_time,
            due_time: self.due_time,
            end_time: self.end_time,
            told: known("complaint_clocks.told", &self.told, Told::find)?,
        })
    }
}

/// The clocks of those complaints that have some.
pub async fn find_all(
    conn: &mut Conn,
    policies: &Policies,
    complaints: &[Uuid],
) -> Result<HashMap<Uuid, Clocks>, Error> {
    let rows: Vec<ClockRow> = complaint_clocks::table
        .filter(complaint_clocks::complaint_id.eq_any(complaints))
        .order(complaint_clocks::complaint_id)
        .select(ClockRow::as_select())
        .load(conn)
        .await?;
    let mut found = HashMap::new();
    for rows in rows.chunk_by(|a, b| a.complaint_id == b.complaint_id) {
        let timer = |clock: Clock| {
            let row = rows.iter().find(|row| row.clock == clock.name());
            row.ok_or_else(|| Error::internal("a complaint has one clock without the other"))?.read()
        };
        let clocks = Clocks {
            policy: policies.get(conn, rows[0].policy_version).await?,
            first_response: timer(Clock::FirstResponse)?,
            resolution: timer(Clock::Resolution)?,
        };
        found.insert(rows[0].complaint_id, clocks);
    }
    Ok(found)
}

/// Writes the clocks of complaints that this transaction has made or locked, in one statement.
pub async fn save(tx: &mut Conn, complaints: &[Complaint]) -> Result<(), Error> {
    let rows: Vec<(Uuid, i64, Clock, &Timer)> = complaints
        .iter()
        .filter_map(|complaint| Some((complaint.id, complaint.clocks.as_ref()?)))
        .flat_map(|(id, clocks)| {
            Clock::ALL.iter().map(move |clock| (id, clocks.policy.version, *clock, clocks.timer(*clock)))
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    fn column<'a, T>(rows: &[(Uuid, i64, Clock, &'a Timer)], field: impl Fn(&'a Timer) -> T) -> Vec<T> {
        rows.iter().map(|(_, _, _, timer)| field(timer)).collect()
    }
    statement(
        "INSERT INTO complaint_clocks (complaint_id, policy_version, clock, target_us, consumed_us, resume_time,
             warn_time, due_time, end_time, told, tell_time)
         SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         ON CONFLICT (complaint_id, clock) DO UPDATE SET consumed_us = excluded.consumed_us,
             resume_time = excluded.resume_time, warn_time = excluded.warn_time, due_time = excluded.due_time,
             end_time = excluded.end_time, told = excluded.told, tell_time = excluded.tell_time",
    )
    .bind::<Array<SqlUuid>, _>(rows.iter().map(|row| row.0).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(rows.iter().map(|row| row.1).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(rows.iter().map(|row| row.2.name()).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(column(&rows, |timer| micros(timer.target)))
    .bind::<Array<BigInt>, _>(column(&rows, |timer| micros(timer.consumed)))
    .bind::<Array<Timestamptz>, _>(column(&rows, |timer| timer.resume_time))
    .bind::<Array<Timestamptz>, _>(column(&rows, |timer| timer.warn_time))
    .bind::<Array<Timestamptz>, _>(column(&rows, |timer| timer.due_time))
    .bind::<Array<Nullable<Timestamptz>>, _>(column(&rows, |timer| timer.end_time))
    .bind::<Array<Text>, _>(column(&rows, |timer| timer.told.name()))
    .bind::<Array<Nullable<Timestamptz>>, _>(column(&rows, Timer::tell_time))
    .execute(tx)
    .await?;
    Ok(())
}

/// The complaints of which something is to be told, those that wait longest for it first. A complaint may be among them
/// twice.
pub async fn find_due(conn: &mut Conn, now: DateTime<Utc>, limit: i64) -> Result<Vec<Uuid>, Error> {
    let due = complaint_clocks::table
        .filter(complaint_clocks::tell_time.le(now))
        .order(complaint_clocks::tell_time)
        .limit(limit)
        .select(complaint_clocks::complaint_id);
    Ok(due.load(conn).await?)
}

/// A span of open time. Neither targets nor what is looked through come near 2^63 of them.
fn micros(span: TimeDelta) -> i64 {
    span.num_microseconds().unwrap_or(i64::MAX)
}
