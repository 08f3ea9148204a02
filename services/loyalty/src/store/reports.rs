//! Sums over many members, and a walk through all of them.

use cqm_db::{Conn, known};
use cqm_rpc::Error;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::domain::book::Book;
use crate::schema::member;

/// What stands on one account of the programme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub book: Book,
    /// Wider than that of one member, because those of all members together need not fit into 64 bits.
    pub balance: i128,
}

/// The sums over all accounts, read at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialBalance {
    /// In the order of [`Book::ALL`].
    pub positions: Vec<Position>,
    pub members: i64,
    pub entries: i128,
}

/// Adds up what stands on the accounts of all members. Reads every one of them: the cost grows with the number of
/// members, not with that of the entries.
pub async fn sum_accounts(conn: &mut Conn) -> Result<TrialBalance, Error> {
    #[derive(QueryableByName)]
    struct Sum {
        #[diesel(sql_type = Text)]
        account: String,
        // As text: diesel has no numeric without another crate, and 64 bits may not do.
        #[diesel(sql_type = Text)]
        balance: String,
        #[diesel(sql_type = BigInt)]
        members: i64,
        #[diesel(sql_type = Text)]
        entries: String,
    }
    let sums: Vec<Sum> = diesel::sql_query(
        "WITH programme AS (
             SELECT count(*) AS members, coalesce(sum(entry_count), 0)::text AS entries,
                    coalesce(sum(issued), 0) AS issued, coalesce(sum(redeemed), 0) AS redeemed,
                    coalesce(sum(expired), 0) AS expired, coalesce(sum(debt), 0) AS debt,
                    coalesce(sum(available), 0) AS available, coalesce(sum(pending), 0) AS pending,
                    coalesce(sum(held), 0) AS held
             FROM member)
         SELECT account, balance::text AS balance, members, entries
         FROM programme CROSS JOIN LATERAL (VALUES
             (1, 'programme:issued', issued), (2, 'programme:redeemed', redeemed),
             (3, 'programme:expired', expired), (4, 'programme:clawback_debt', debt),
             (5, 'member:available', available), (6, 'member:pending', pending), (7, 'member:held', held)
         ) AS position (place, account, balance)
         ORDER BY place",
    )
    .load(conn)
    .await?;
    let mut sum = TrialBalance { positions: Vec::new(), members: 0, entries: 0 };
    for row in sums {
        let book = known("account", &row.account, Book::find)?;
        sum.positions.push(Position { book, balance: whole(&row.balance)? });
        sum.members = row.members;
        sum.entries = whole(&row.entries)?;
    }
    Ok(sum)
}

fn whole(number: &str) -> Result<i128, Error> {
    number.parse().map_err(Error::internal)
}

/// How many members there are. Reads an index to its end: for long work that shows progress.
pub async fn count_members(conn: &mut Conn) -> Result<i64, Error> {
    Ok(member::table.count().get_result(conn).await?)
}

/// The next members by their ids.
pub async fn members_after(conn: &mut Conn, after: Option<Uuid>, limit: i64) -> Result<Vec<Uuid>, Error> {
    Ok(member::table
        .filter(member::customer_id.gt(after.unwrap_or(Uuid::nil())))
        .order(member::customer_id)
        .limit(limit)
        .select(member::customer_id)
        .load(conn)
        .await?)
}
