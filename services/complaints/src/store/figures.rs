//! How many complaints wait for somebody, as figures.

use chrono::{DateTime, Utc};
use cqm_db::{Conn, statement};
use cqm_rpc::Error;
use cqm_runtime::figures::{Figure, Reading};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, SmallInt, Text, Timestamptz};
use diesel_async::RunQueryDsl;
use opentelemetry::KeyValue;

use crate::domain::sla::Clock;
use crate::domain::{ClockState, Severity, State};
use crate::schema::complaints;

/// Nobody is done with these.
const OPEN: [State; 3] = [State::Registered, State::Acknowledged, State::Investigating];

pub fn all() -> Vec<Figure> {
    vec![
        Figure::new(
            "cqm.complaints.open",
            "{complaint}",
            "complaints that are not resolved yet",
            |conn, _| Box::pin(open(conn)),
        ),
        Figure::new(
            "cqm.complaints.oldest_unacknowledged",
            "s",
            "for how long the oldest complaint waits that nobody has taken note of; 0: none does",
            |conn, now| {
                Box::pin(async move {
                    // In the order of registration, by the index complaints_by_state.
                    let oldest: Option<DateTime<Utc>> = complaints::table
                        .select(complaints::create_time)
                        .filter(complaints::state.eq(State::Registered.code()))
                        .order(complaints::id)
                        .first(conn)
                        .await
                        .optional()?;
                    let waits = oldest.map_or(0.0, |oldest| (now - oldest).as_seconds_f64().max(0.0));
                    Ok(vec![Reading::whole(waits)])
                })
            },
        ),
        Figure::new(
            "cqm.complaints.sla",
            "{complaint}",
            "complaints of which a clock runs, by the clock and how it is with it",
            |conn, now| Box::pin(clocks(conn, now)),
        ),
    ]
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = SmallInt)]
    state: i16,
    #[diesel(sql_type = SmallInt)]
    severity_rank: i16,
    #[diesel(sql_type = BigInt)]
    n: i64,
}

/// By the index complaints_by_state_severity alone; its cost grows with the complaints that are open.
async fn open(conn: &mut Conn) -> Result<Vec<Reading>, Error> {
    let counts: Vec<Count> = statement(
        "SELECT state, severity_rank, count(*) AS n FROM complaints WHERE state = ANY($1) GROUP BY state, severity_rank",
    )
    .bind::<Array<SmallInt>, _>(OPEN.map(State::code).to_vec())
    .load(conn)
    .await?;
    let reading = |state: State, severity: Severity| {
        let found = counts
            .iter()
            .find(|count| count.state == state.code() && count.severity_rank == -severity.code());
        let labels =
            vec![KeyValue::new("cqm.severity", severity.name()), KeyValue::new("cqm.state", state.name())];
        Reading::count(labels, found.map_or(0, |count| count.n))
    };
    let each =
        OPEN.into_iter().flat_map(|state| Severity::ALL.iter().map(move |severity| (state, *severity)));
    Ok(each.map(|(state, severity)| reading(state, severity)).collect())
}

#[derive(QueryableByName)]
struct Running {
    #[diesel(sql_type = Text)]
    clock: String,
    #[diesel(sql_type = BigInt)]
    running: i64,
    #[diesel(sql_type = BigInt)]
    near: i64,
    #[diesel(sql_type = BigInt)]
    breached: i64,
}

/// By the index complaint_clocks_running alone; its cost grows with the complaints that are open.
const CLOCKS: &str = "
    SELECT clock,
           count(*) FILTER (WHERE warn_time > $1 AND due_time > $1) AS running,
           count(*) FILTER (WHERE warn_time <= $1 AND due_time > $1) AS near,
           count(*) FILTER (WHERE due_time <= $1) AS breached
    FROM complaint_clocks WHERE end_time IS NULL GROUP BY clock";

async fn clocks(conn: &mut Conn, now: DateTime<Utc>) -> Result<Vec<Reading>, Error> {
    let counts: Vec<Running> = statement(CLOCKS).bind::<Timestamptz, _>(now).load(conn).await?;
    let reading = |clock: Clock, state: ClockState, count: fn(&Running) -> i64| {
        let found = counts.iter().find(|counts| counts.clock == clock.name());
        let labels =
            vec![KeyValue::new("cqm.clock", clock.name()), KeyValue::new("cqm.clock_state", state.name())];
        Reading::count(labels, found.map_or(0, count))
    };
    let each = Clock::ALL.iter().flat_map(|clock| {
        [
            reading(*clock, ClockState::Running, |counts| counts.running),
            reading(*clock, ClockState::NearBreach, |counts| counts.near),
            reading(*clock, ClockState::Breached, |counts| counts.breached),
        ]
    });
    Ok(each.collect())
}

#[cfg(test)]
mod tests;
