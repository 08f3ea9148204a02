//! What complaints hold of a person.

use cqm_db::Conn;
use cqm_rpc::Error;
use diesel::dsl::exists;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::domain::State;
use crate::schema::{complaint_timeline, complaints};

/// Whether a complaint of the customer is not closed yet.
pub async fn has_open(conn: &mut Conn, customer: Uuid) -> Result<bool, Error> {
    let open = complaints::table
        .filter(complaints::customer_id.eq(customer))
        .filter(complaints::state.ne(State::Closed.code()));
    Ok(diesel::select(exists(open)).get_result(conn).await?)
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
