//! One member's entries, summed up for a statement.

use chrono::{DateTime, Utc};
use cqm_db::{Conn, known, statement};
use cqm_rpc::Error;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::domain::book::Book;
use crate::domain::entry::Kind;
use crate::domain::turnover::Moved;

/// What was moved of a member's points before a period, within it and after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    pub before: Vec<Moved>,
    pub within: Vec<Moved>,
    pub after: Vec<Moved>,
    /// The places of the first and the last entry within the period; `None`: there is none.
    pub sequences: Option<(i64, i64)>,
}

/// Points that end at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiring {
    pub expires_at: DateTime<Utc>,
    pub points: i128,
}

/// Adds up all entries of a member by the primary key. The cost grows with the member's history, and with nobody else's:
/// the sum from its beginning is what proves the balance.
pub async fn sum_history(
    conn: &mut Conn,
    customer: Uuid,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
) -> Result<History, Error> {
    #[derive(QueryableByName)]
    struct Sum {
        #[diesel(sql_type = Integer)]
        part: i32,
        #[diesel(sql_type = Text)]
        kind: String,
        #[diesel(sql_type = Text)]
        debit: String,
        #[diesel(sql_type = Text)]
        credit: String,
        #[diesel(sql_type = Text)]
        points: String,
        #[diesel(sql_type = Text)]
        entries: String,
        #[diesel(sql_type = BigInt)]
        first: i64,
        #[diesel(sql_type = BigInt)]
        last: i64,
    }
    let sums: Vec<Sum> = statement(
        "SELECT CASE WHEN create_time < $2 THEN 0 WHEN create_time < $3 THEN 1 ELSE 2 END AS part, kind, debit, credit,
                sum(points)::text AS points, count(*)::text AS entries, min(sequence) AS first, max(sequence) AS last
         FROM entry WHERE customer_id = $1
         GROUP BY part, kind, debit, credit",
    )
    .bind::<SqlUuid, _>(customer)
    .bind::<Timestamptz, _>(start)
    .bind::<Timestamptz, _>(end)
    .load(conn)
    .await?;
    let mut history = History::default();
    for sum in sums {
        let moved = moved(&sum.kind, &sum.debit, &sum.credit, &sum.points, &sum.entries)?;
        match sum.part {
            0 => history.before.push(moved),
            1 => {
                history.within.push(moved);
                let (first, last) = history.sequences.unwrap_or((sum.first, sum.last));
                history.sequences = Some((first.min(sum.first), last.max(sum.last)));
            }
            _ => history.after.push(moved),
        }
    }
    Ok(history)
}

/// Finds the points of a member that end next, the first ones first. Reads the index lot_spendable.
pub async fn expiring_next(
    conn: &mut Conn,
    customer: Uuid,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Expiring>, Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Timestamptz)]
        expires_at: DateTime<Utc>,
        #[diesel(sql_type = Text)]
        points: String,
    }
    let rows: Vec<Row> = statement(
        "SELECT expires_at, sum(remaining)::text AS points FROM lot
         WHERE customer_id = $1 AND remaining > 0 AND expires_at > $2
         GROUP BY expires_at ORDER BY expires_at LIMIT $3",
    )
    .bind::<SqlUuid, _>(customer)
    .bind::<Timestamptz, _>(now)
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await?;
    let expiring = |row: Row| {
        let points = row.points.parse().map_err(Error::internal)?;
        Ok(Expiring { expires_at: row.expires_at, points })
    };
    rows.into_iter().map(expiring).collect()
}

/// A sum of entries; whole numbers as text, because they need not fit into 64 bits.
pub(super) fn moved(
    kind: &str,
    debit: &str,
    credit: &str,
    points: &str,
    entries: &str,
) -> Result<Moved, Error> {
    Ok(Moved {
        kind: known("entry.kind", kind, Kind::find)?,
        debit: known("entry.debit", debit, Book::find)?,
        credit: known("entry.credit", credit, Book::find)?,
        points: points.parse().map_err(Error::internal)?,
        entries: entries.parse().map_err(Error::internal)?,
    })
}
