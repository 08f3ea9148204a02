//! Persons who are to be forgotten, as the ledger sees them. It knows names and points and nothing of a person: what
//! there is stays, under a name that nobody is behind any more.

use std::collections::HashMap;

use cqm_db::subjects::State;
use cqm_db::{Conn, known, statement};
use cqm_rpc::Error;
use diesel::dsl::exists;
use diesel::prelude::*;
use diesel::sql_types::{Array, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::schema::{member, voucher};

const UNREDEEMED_POINTS: &str = "UNREDEEMED_POINTS";
const UNUSED_VOUCHER: &str = "UNUSED_VOUCHER";

/// Which of the customers nothing new is taken about. One look for a whole batch, which travels with its others.
pub(super) async fn closed(mut conn: &Conn, customers: &[Uuid]) -> Result<HashMap<Uuid, State>, Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = SqlUuid)]
        customer_id: Uuid,
        #[diesel(sql_type = Text)]
        state: String,
    }
    let rows: Vec<Row> =
        statement("SELECT customer_id, state FROM subject WHERE customer_id = ANY($1) AND state <> 'OPEN'")
            .bind::<Array<SqlUuid>, _>(customers)
            .load(&mut conn)
            .await?;
    let read = |row: Row| Ok((row.customer_id, known("subject.state", &row.state, State::find)?));
    rows.into_iter().map(read).collect()
}

/// What the customer could still get.
pub async fn blockers(tx: &mut Conn, customer: Uuid) -> Result<Vec<&'static str>, Error> {
    let mut found = Vec::new();
    let points = member::table
        .filter(member::customer_id.eq(customer))
        .filter(member::available.gt(0).or(member::pending.gt(0)).or(member::held.gt(0)));
    if diesel::select(exists(points)).get_result(tx).await? {
        found.push(UNREDEEMED_POINTS);
    }
    let vouchers = voucher::table
        .filter(voucher::customer_id.eq(customer))
        .filter(voucher::state.eq(crate::domain::voucher::State::Issued.name()));
    if diesel::select(exists(vouchers)).get_result(tx).await? {
        found.push(UNUSED_VOUCHER);
    }
    Ok(found)
}

/// Nothing but names, times and points: all of it is kept, and the receipt says how many members that is.
pub async fn kept(tx: &mut Conn, customer: Uuid) -> Result<Vec<(&'static str, i64)>, Error> {
    let members: i64 = member::table.filter(member::customer_id.eq(customer)).count().get_result(tx).await?;
    Ok(vec![("pseudonymous_members", members)])
}
