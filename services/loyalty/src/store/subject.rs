//! Persons who are to be forgotten, as the ledger sees them. It knows names and points and nothing of a person: what
//! there is stays, under a name that nobody is behind any more. Only the vouchers end that were given up.

use std::collections::HashMap;

use cqm_db::{Conn, statement, subjects};
use cqm_rpc::Error;
use diesel::prelude::*;
use diesel::sql_types::{Array, Bool, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::schema::member;

const UNREDEEMED_POINTS: &str = "UNREDEEMED_POINTS";
const UNUSED_VOUCHER: &str = "UNUSED_VOUCHER";

/// What the customers could still get: one look for all of them.
pub async fn blockers(
    conn: &mut Conn,
    customers: &[Uuid],
) -> Result<HashMap<Uuid, Vec<&'static str>>, Error> {
    #[derive(QueryableByName)]
    struct Left {
        #[diesel(sql_type = SqlUuid)]
        customer_id: Uuid,
        #[diesel(sql_type = Bool)]
        points: bool,
        #[diesel(sql_type = Bool)]
        vouchers: bool,
    }
    let rows: Vec<Left> = statement(
        "SELECT customer_id,
                EXISTS (SELECT FROM member WHERE member.customer_id = asked.customer_id
                                             AND (available > 0 OR pending > 0 OR held > 0)) AS points,
                EXISTS (SELECT FROM voucher WHERE voucher.customer_id = asked.customer_id
                                              AND state = 'ISSUED') AS vouchers
         FROM unnest($1) AS asked (customer_id)",
    )
    .bind::<Array<SqlUuid>, _>(customers)
    .load(conn)
    .await?;
    let words = |row: &Left| {
        let found = [(row.points, UNREDEEMED_POINTS), (row.vouchers, UNUSED_VOUCHER)];
        found.into_iter().filter_map(|(is_so, word)| is_so.then_some(word)).collect()
    };
    Ok(rows.iter().map(|row| (row.customer_id, words(row))).collect())
}

/// Nothing but names, times and points: all of it is kept, and the receipt says how many members that is, those among
/// them that were merged into this one.
pub async fn kept(tx: &mut Conn, customer: Uuid) -> Result<Vec<(&'static str, i64)>, Error> {
    let mut names = subjects::merged_into(tx, customer).await?;
    names.push(customer);
    let members: i64 = member::table.filter(member::customer_id.eq_any(names)).count().get_result(tx).await?;
    Ok(vec![("pseudonymous_members", members)])
}
