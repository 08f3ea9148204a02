//! Lots.

use chrono::{DateTime, Utc};
use cqm_db::{Conn, statement};
use cqm_rpc::Error;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Nullable, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::column;
use crate::domain::lot::Lot;
use crate::schema::lot;

#[derive(Queryable, QueryableByName, Selectable)]
#[diesel(table_name = lot)]
pub(super) struct LotRow {
    pub customer_id: Uuid,
    id: Uuid,
    amount: i64,
    remaining: i64,
    held: i64,
    spent: i64,
    expired: i64,
    reversed: i64,
    pending: bool,
    earned_at: DateTime<Utc>,
    available_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
}

/// Reads the first lots of each customer that can be spent, in the order of spending, at most so many of each.
pub(super) async fn spendable(mut conn: &Conn, customers: &[Uuid], most: i64) -> Result<Vec<LotRow>, Error> {
    // Served by lot_spendable for each customer: nothing is sorted.
    Ok(statement(
        "SELECT lot.* FROM unnest($1) AS wanted (customer_id)
         CROSS JOIN LATERAL (SELECT * FROM lot
                             WHERE lot.customer_id = wanted.customer_id AND remaining > 0 AND NOT pending
                             ORDER BY expires_at, earned_at, id LIMIT $2) AS lot",
    )
    .bind::<Array<SqlUuid>, _>(customers)
    .bind::<BigInt, _>(most)
    .load(&mut conn)
    .await?)
}

/// Reads lots by their ids.
pub(super) async fn find_lots(mut conn: &Conn, lots: &[(Uuid, Uuid)]) -> Result<Vec<LotRow>, Error> {
    if lots.is_empty() {
        return Ok(Vec::new());
    }
    Ok(statement(
        "SELECT lot.* FROM unnest($1, $2) AS wanted (customer_id, id) JOIN lot USING (customer_id, id)",
    )
    .bind::<Array<SqlUuid>, _>(column(lots, |lot| lot.0))
    .bind::<Array<SqlUuid>, _>(column(lots, |lot| lot.1))
    .load(&mut conn)
    .await?)
}

/// Reads all lots of a customer. Grows with what they ever earned: for checks and reports.
pub async fn all_lots(conn: &mut Conn, customer: Uuid) -> Result<Vec<Lot>, Error> {
    let rows: Vec<LotRow> = lot::table
        .filter(lot::customer_id.eq(customer))
        .order(lot::id)
        .select(LotRow::as_select())
        .load(conn)
        .await?;
    Ok(rows.into_iter().map(LotRow::into_domain).collect())
}

/// Writes new lots.
pub(super) async fn insert_lots(mut conn: &Conn, lots: &[(Uuid, Lot)]) -> Result<(), Error> {
    if lots.is_empty() {
        return Ok(());
    }
    statement(
        "INSERT INTO lot (customer_id, id, amount, remaining, held, spent, expired, reversed, pending, earned_at,
                          available_at, expires_at)
         SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind::<Array<SqlUuid>, _>(column(lots, |lot| lot.0))
    .bind::<Array<SqlUuid>, _>(column(lots, |lot| lot.1.id))
    .bind::<Array<BigInt>, _>(column(lots, |lot| lot.1.amount))
    .bind::<Array<BigInt>, _>(column(lots, |lot| lot.1.remaining))
    .bind::<Array<BigInt>, _>(column(lots, |lot| lot.1.held))
    .bind::<Array<BigInt>, _>(column(lots, |lot| lot.1.spent))
    .bind::<Array<BigInt>, _>(column(lots, |lot| lot.1.expired))
    .bind::<Array<BigInt>, _>(column(lots, |lot| lot.1.reversed))
    .bind::<Array<Bool>, _>(column(lots, |lot| lot.1.pending))
    .bind::<Array<Timestamptz>, _>(column(lots, |lot| lot.1.earned_at))
    .bind::<Array<Timestamptz>, _>(column(lots, |lot| lot.1.available_at))
    .bind::<Array<Nullable<Timestamptz>>, _>(column(lots, |lot| lot.1.expires_at))
    .execute(&mut conn)
    .await?;
    Ok(())
}

/// Writes what has changed of lots.
pub(super) async fn update_lots(mut conn: &Conn, lots: &[(Uuid, Lot)]) -> Result<(), Error> {
    if lots.is_empty() {
        return Ok(());
    }
    let updated = statement(
        "UPDATE lot
         SET remaining = new.remaining, held = new.held, spent = new.spent, expired = new.expired,
             reversed = new.reversed, pending = new.pending, expires_at = new.expires_at
         FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9)
              AS new (customer_id, id, remaining, held, spent, expired, reversed, pending, expires_at)
         WHERE lot.customer_id = new.customer_id AND lot.id = new.id",
    )
    .bind::<Array<SqlUuid>, _>(column(lots, |lot| lot.0))
    .bind::<Array<SqlUuid>, _>(column(lots, |lot| lot.1.id))
    .bind::<Array<BigInt>, _>(column(lots, |lot| lot.1.remaining))
    .bind::<Array<BigInt>, _>(column(lots, |lot| lot.1.held))
    .bind::<Array<BigInt>, _>(column(lots, |lot| lot.1.spent))
    .bind::<Array<BigInt>, _>(column(lots, |lot| lot.1.expired))
    .bind::<Array<BigInt>, _>(column(lots, |lot| lot.1.reversed))
    .bind::<Array<Bool>, _>(column(lots, |lot| lot.1.pending))
    .bind::<Array<Nullable<Timestamptz>>, _>(column(lots, |lot| lot.1.expires_at))
    .execute(&mut conn)
    .await?;
    if updated != lots.len() {
        return Err(Error::internal("a lot that has changed is not there"));
    }
    Ok(())
}

impl LotRow {
    pub(super) fn into_domain(self) -> Lot {
        Lot {
            id: self.id,
            amount: self.amount,
            remaining: self.remaining,
            held: self.held,
            spent: self.spent,
            expired: self.expired,
            reversed: self.reversed,
            pending: self.pending,
            earned_at: self.earned_at,
            available_at: self.available_at,
            expires_at: self.expires_at,
        }
    }
}
