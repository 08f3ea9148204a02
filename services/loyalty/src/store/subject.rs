//! Persons who are to be forgotten, as the ledger sees them. It knows names and points and nothing of a person: what
//! there is stays, under a name that nobody is behind any more.

use cqm_db::{Conn, subjects};
use cqm_rpc::Error;
use diesel::dsl::exists;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::schema::{member, voucher};

const UNREDEEMED_POINTS: &str = "UNREDEEMED_POINTS";
const UNUSED_VOUCHER: &str = "UNUSED_VOUCHER";

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

/// Nothing but names, times and points: all of it is kept, and the receipt says how many members that is, those among
/// them that were merged into this one.
pub async fn kept(tx: &mut Conn, customer: Uuid) -> Result<Vec<(&'static str, i64)>, Error> {
    let mut names = subjects::merged_into(tx, customer).await?;
    names.push(customer);
    let members: i64 = member::table.filter(member::customer_id.eq_any(names)).count().get_result(tx).await?;
    Ok(vec![("pseudonymous_members", members)])
}
