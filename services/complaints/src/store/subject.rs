//! What complaints hold of a person.

use chrono::{DateTime, Utc};
use cqm_db::Conn;
use cqm_rpc::Error;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::domain::State;
use crate::schema::{complaint_timeline, complaints};

/// Those of the customers who have a complaint that is not closed yet.
pub async fn with_open(conn: &mut Conn, customers: &[Uuid]) -> Result<Vec<Uuid>, Error> {
    Ok(complaints::table
        .filter(complaints::customer_id.eq_any(customers))
        .filter(complaints::state.ne(State::Closed.code()))
        .select(complaints::customer_id)
        .distinct()
        .load(conn)
        .await?)
}

/// Empties what was said and written about the customer's complaints. Their facts stay: what kind, how grave, when, by
/// whom; and how many complaints and lines of their timelines were emptied.
pub async fn erase(tx: &mut Conn, customer: Uuid) -> Result<Vec<(&'static str, i64)>, Error> {
    let theirs = || complaints::table.filter(complaints::customer_id.eq(customer));
    let count = diesel::update(theirs())
        .set((complaints::subject.eq(""), complaints::description.eq(""), complaints::remedy_note.eq("")))
        .execute(tx)
        .await?;
    // Where there was nothing, nothing stays.
    diesel::update(theirs().filter(complaints::cause_explanation.is_not_null()))
        .set(complaints::cause_explanation.eq(Some("")))
        .execute(tx)
        .await?;
    diesel::update(theirs().filter(complaints::resolution_summary.is_not_null()))
        .set(complaints::resolution_summary.eq(Some("")))
        .execute(tx)
        .await?;
    let notes = diesel::update(
        complaint_timeline::table
            .filter(complaint_timeline::complaint_id.eq_any(theirs().select(complaints::id)))
            .filter(complaint_timeline::note.ne("")),
    )
    .set(complaint_timeline::note.eq(""))
    .execute(tx)
    .await?;
    Ok(vec![("complaints", count as i64), ("timeline_notes", notes as i64)])
}

/// Locks the customer's complaints, in the order of their ids: whoever works on one is waited for.
pub async fn lock(tx: &mut Conn, customer: Uuid) -> Result<(), Error> {
    let _: Vec<Uuid> = complaints::table
        .filter(complaints::customer_id.eq(customer))
        .order(complaints::id)
        .select(complaints::id)
        .for_update()
        .load(tx)
        .await?;
    Ok(())
}

/// Makes the customer's complaints, which are locked, the survivor's, and with them their timelines; and how many that
/// were. Whoever has read a complaint has read whose it was: it has another version then. No event tells of it and no
/// line of a timeline: nothing was done about the complaint.
pub async fn merge(
    tx: &mut Conn,
    customer: Uuid,
    survivor: Uuid,
    now: DateTime<Utc>,
) -> Result<Vec<(&'static str, i64)>, Error> {
    let count = diesel::update(complaints::table.filter(complaints::customer_id.eq(customer)))
        .set((
            complaints::customer_id.eq(survivor),
            complaints::version.eq(complaints::version + 1),
            complaints::update_time.eq(now),
        ))
        .execute(tx)
        .await?;
    Ok(vec![("complaints", count as i64)])
}
