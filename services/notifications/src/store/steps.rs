//! The ways of messages: every decision and attempt.

use chrono::{DateTime, Utc};
use cqm_db::{Conn, known};
use cqm_rpc::Error;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::domain::delivery::{Decision, Event, Outcome, Step};
use crate::schema::delivery_steps;

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = delivery_steps, check_for_backend(diesel::pg::Pg), treat_none_as_default_value = false)]
struct StepRow {
    message_id: Uuid,
    time: DateTime<Utc>,
    decision: Option<String>,
    attempt: Option<i32>,
    outcome: Option<String>,
    detail: String,
    next_attempt_time: Option<DateTime<Utc>>,
}

impl StepRow {
    fn of((message_id, step): &(Uuid, Step)) -> Self {
        let (decision, attempt, outcome) = match step.event {
            Event::Decided(decision) => (Some(decision.name().to_owned()), None, None),
            Event::Attempted(attempt, outcome) => (None, Some(attempt), Some(outcome.name().to_owned())),
        };
        Self {
            message_id: *message_id,
            time: step.time,
            decision,
            attempt,
            outcome,
            detail: step.detail.clone(),
            next_attempt_time: step.next_attempt_time,
        }
    }

    fn read(self) -> Result<Step, Error> {
        let event = match (self.decision, self.attempt, self.outcome) {
            (Some(decision), _, _) => {
                Event::Decided(known("delivery_steps.decision", &decision, Decision::find)?)
            }
            (None, Some(attempt), Some(outcome)) => {
                Event::Attempted(attempt, known("delivery_steps.outcome", &outcome, Outcome::find)?)
            }
            _ => {
                return Err(Error::internal(
                    "the database holds a step that is neither decision nor attempt",
                ));
            }
        };
        Ok(Step { time: self.time, event, detail: self.detail, next_attempt_time: self.next_attempt_time })
    }
}

/// Adds steps to messages whose rows are locked, or new.
pub async fn append(tx: &mut Conn, steps: &[(Uuid, Step)]) -> Result<(), Error> {
    for chunk in steps.chunks(1000) {
        diesel::insert_into(delivery_steps::table)
            .values(chunk.iter().map(StepRow::of).collect::<Vec<_>>())
            .execute(tx)
            .await?;
    }
    Ok(())
}

/// A message's way, from its start. It is bounded by the number of attempts.
pub async fn list(conn: &mut Conn, message_id: Uuid) -> Result<Vec<Step>, Error> {
    let rows: Vec<StepRow> = delivery_steps::table
        .filter(delivery_steps::message_id.eq(message_id))
        .order(delivery_steps::id)
        .select(StepRow::as_select())
        .load(conn)
        .await?;
    rows.into_iter().map(StepRow::read).collect()
}
