//! What surveys hold of a person.

use chrono::{DateTime, Utc};
use cqm_db::Conn;
use cqm_rpc::Error;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::domain::invitation::State;
use crate::schema::{answers, invitations, responses};

/// Ends what the customer could still answer, and empties the words of their answers. Scores and choices stay, for the
/// summaries that they are part of.
pub async fn erase(
    tx: &mut Conn,
    customer: Uuid,
    now: DateTime<Utc>,
) -> Result<Vec<(&'static str, i64)>, Error> {
    // The invitations first: who answers one has its lock, and what they write is there when the answers are emptied.
    let ended = diesel::update(
        invitations::table
            .filter(invitations::customer_id.eq(customer))
            .filter(invitations::state.eq(State::Pending.name()))
            .filter(invitations::expire_time.gt(now)),
    )
    // The link is signed over the time, so that it opens nothing any more; the expiry comes by and tells of it.
    .set(invitations::expire_time.eq(now))
    .execute(tx)
    .await?;
    let theirs: Vec<Uuid> =
        responses::table.filter(responses::customer_id.eq(customer)).select(responses::id).load(tx).await?;
    let emptied = diesel::update(
        answers::table.filter(answers::response_id.eq_any(theirs)).filter(answers::words.is_not_null()),
    )
    .set(answers::words.eq(Some("")))
    .execute(tx)
    .await?;
    Ok(vec![("invitations", ended as i64), ("answers", emptied as i64)])
}
