//! What a consumer does about events, and from where in the log each of it applies.

use cqm_rpc::Error;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::feed;
use crate::pool::Conn;
use crate::schema::event_reaction;

/// One reaction of a consumer.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = event_reaction)]
pub struct Reaction {
    #[diesel(column_name = reaction)]
    pub id: String,
    /// The one whose place it takes; empty = none.
    pub replaces: String,
    /// It applies to events behind this position.
    pub start_position: i64,
}

/// Writes down where reactions begin that were not known yet, given as id and the id that each replaces, and returns all
/// that the consumer ever had, by id. Only the claim's holder calls it, so the cursor stands still meanwhile.
///
/// One that is new begins behind the cursor: what was handled before it existed is not handled again. One that takes
/// another's place begins behind the newest event, because a reader that has died may have done for all of them what the
/// other one says. Of a consumer that never said so, the reactions that replace nothing have been there from the start.
pub async fn register(
    tx: &mut Conn,
    consumer: &str,
    reactions: &[(String, String)],
) -> Result<Vec<Reaction>, Error> {
    let known = list(tx, consumer).await?;
    let cursor = feed::cursor(tx, consumer).await?;
    for (id, replaces) in reactions {
        if known.iter().any(|reaction| reaction.id == *id) {
            continue;
        }
        let start = match (replaces.is_empty(), known.is_empty()) {
            (false, _) => cursor.head_position,
            (true, false) => cursor.position,
            (true, true) => 0,
        };
        diesel::insert_into(event_reaction::table)
            .values((
                event_reaction::consumer.eq(consumer),
                event_reaction::reaction.eq(id),
                event_reaction::replaces.eq(replaces),
                event_reaction::start_position.eq(start),
            ))
            .on_conflict_do_nothing()
            .execute(tx)
            .await?;
    }
    list(tx, consumer).await
}

async fn list(conn: &mut Conn, consumer: &str) -> Result<Vec<Reaction>, Error> {
    Ok(event_reaction::table
        .filter(event_reaction::consumer.eq(consumer))
        .order(event_reaction::reaction)
        .select(Reaction::as_select())
        .load(conn)
        .await?)
}
