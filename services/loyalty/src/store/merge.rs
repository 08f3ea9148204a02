//! What is not written by entries when a member turns out to be another one: rows that only have another name now.

use cqm_db::{Conn, statement};
use cqm_rpc::Error;
use diesel::prelude::*;
use diesel::sql_types::Uuid as SqlUuid;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::schema::{hold, hold_lot, referral, voucher, voucher_code};

/// How much went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    pub holds: i64,
    pub vouchers: i64,
    /// Members who were brought in.
    pub referrals: i64,
}

/// Gives the name that stays what the other one holds, under both members' locks and behind their accounts. `newcomer`:
/// it was no member before.
pub async fn move_on(tx: &mut Conn, from: Uuid, to: Uuid, newcomer: bool) -> Result<Moved, Error> {
    let holds = diesel::update(hold::table.filter(hold::customer_id.eq(from)))
        .set(hold::customer_id.eq(to))
        .execute(tx)
        .await?;
    diesel::update(hold_lot::table.filter(hold_lot::customer_id.eq(from)))
        .set(hold_lot::customer_id.eq(to))
        .execute(tx)
        .await?;
    let vouchers: Vec<Uuid> = diesel::update(voucher::table.filter(voucher::customer_id.eq(from)))
        .set(voucher::customer_id.eq(to))
        .returning(voucher::id)
        .get_results(tx)
        .await?;
    diesel::update(voucher_code::table.filter(voucher_code::voucher_id.eq_any(&vouchers)))
        .set(voucher_code::customer_id.eq(to))
        .execute(tx)
        .await?;
    let referrals = move_referrals(tx, from, to, newcomer).await?;
    add_counters(tx, from, to).await?;
    Ok(Moved { holds: holds as i64, vouchers: vouchers.len() as i64, referrals })
}

/// Whom the one has brought in, the other has, but for themselves. Who brought the one in has brought in the other only
/// when they were no member before: a member has perhaps brought in whoever it was, and no circle may come to be.
async fn move_referrals(tx: &mut Conn, from: Uuid, to: Uuid, newcomer: bool) -> Result<i64, Error> {
    let brought_in =
        referral::table.filter(referral::referrer_id.eq(from)).filter(referral::customer_id.ne(to));
    let moved = diesel::update(brought_in).set(referral::referrer_id.eq(to)).execute(tx).await?;
    if newcomer {
        diesel::update(referral::table.find(from)).set(referral::customer_id.eq(to)).execute(tx).await?;
    }
    Ok(moved as i64)
}

/// What rules gave under either name counts against their limits. Of two periods the later one is the one that goes on.
async fn add_counters(mut conn: &Conn, from: Uuid, to: Uuid) -> Result<(), Error> {
    statement(
        "INSERT INTO earning_counter AS has (customer_id, rule_id, period, period_start, points, awards)
         SELECT $2, rule_id, period, period_start, points, awards FROM earning_counter WHERE customer_id = $1
         ON CONFLICT (customer_id, rule_id, period) DO UPDATE
         SET points = EXCLUDED.points + CASE WHEN has.period_start = EXCLUDED.period_start THEN has.points ELSE 0 END,
             awards = EXCLUDED.awards + CASE WHEN has.period_start = EXCLUDED.period_start THEN has.awards ELSE 0 END,
             period_start = EXCLUDED.period_start
         WHERE has.period_start <= EXCLUDED.period_start",
    )
    .bind::<SqlUuid, _>(from)
    .bind::<SqlUuid, _>(to)
    .execute(&mut conn)
    .await?;
    Ok(())
}
