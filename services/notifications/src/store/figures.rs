//! How many messages wait to be delivered, as figures.

use chrono::{DateTime, Utc};
use cqm_db::{Conn, statement};
use cqm_rpc::Error;
use cqm_runtime::figures::{Figure, Reading};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Timestamptz};
use diesel_async::RunQueryDsl;

use crate::schema::messages;

pub fn all() -> Vec<Figure> {
    vec![
        Figure::new(
            "cqm.notifications.due",
            "{message}",
            "messages that are due, 10,000 at most",
            |conn, now| Box::pin(due(conn, now)),
        ),
        Figure::new(
            "cqm.notifications.oldest_due",
            "s",
            "for how long the message waits that has been due longest; 0: none is",
            |conn, now| {
                Box::pin(async move {
                    // The end of the index messages_due.
                    let oldest: Option<DateTime<Utc>> = messages::table
                        .select(messages::due_time.assume_not_null())
                        .filter(messages::due_time.is_not_null())
                        .order(messages::due_time)
                        .first(conn)
                        .await
                        .optional()?;
                    let waits = oldest.map_or(0.0, |oldest| (now - oldest).as_seconds_f64().max(0.0));
                    Ok(vec![Reading::whole(waits)])
                })
            },
        ),
    ]
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

/// By the index messages_due, and not to the end of a long queue.
async fn due(conn: &mut Conn, now: DateTime<Utc>) -> Result<Vec<Reading>, Error> {
    let count: Count = statement(
        "SELECT count(*) AS n FROM (SELECT FROM messages WHERE due_time <= $1 ORDER BY due_time LIMIT 10000) AS due",
    )
    .bind::<Timestamptz, _>(now)
    .get_result(conn)
    .await?;
    Ok(vec![Reading::count(Vec::new(), count.n)])
}
