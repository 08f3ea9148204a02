//! Lots.

use chrono::{DateTime, Utc};
use cqm_db::Conn;
use cqm_rpc::Error;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::domain::lot::{Lot, Take};
use crate::schema::lot;

#[derive(Queryable, QueryableByName, Insertable)]
#[diesel(table_name = lot)]
struct LotRow {
    customer_id: Uuid,
    id: Uuid,
    amount: i64,
    remaining: i64,
    earned_at: DateTime<Utc>,
    available_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
}

/// Writes a new lot.
pub async fn insert_lot(tx: &mut Conn, customer: Uuid, lot: &Lot) -> Result<(), Error> {
    let row = LotRow {
        customer_id: customer,
        id: lot.id,
        amount: lot.amount,
        remaining: lot.remaining,
        earned_at: lot.earned_at,
        available_at: lot.available_at,
        expires_at: lot.expires_at,
    };
    diesel::insert_into(lot::table).values(row).execute(tx).await?;
    Ok(())
}

/// Reads the lots that `points` can be taken from, in the order of spending and no more of them than it takes; all
/// that can be spent when they do not suffice.
pub async fn list_spendable_lots(
    tx: &mut Conn,
    customer: Uuid,
    points: i64,
    now: DateTime<Utc>,
) -> Result<Vec<Lot>, Error> {
    // The order is that of domain::lot, which decides; served by lot_spendable (NULL sorts last there as here).
    let rows: Vec<LotRow> = diesel::sql_query(
        "SELECT customer_id, id, amount, remaining, earned_at, available_at, expires_at
         FROM (SELECT *, sum(remaining) OVER (ORDER BY expires_at, earned_at, id) - remaining AS before
               FROM lot
               WHERE customer_id = $1 AND remaining > 0 AND available_at <= $2
                     AND (expires_at IS NULL OR expires_at > $2)) AS spendable
         WHERE before < $3
         ORDER BY expires_at, earned_at, id",
    )
    .bind::<SqlUuid, _>(customer)
    .bind::<Timestamptz, _>(now)
    .bind::<BigInt, _>(points)
    .load(tx)
    .await?;
    Ok(rows.into_iter().map(LotRow::into_domain).collect())
}

/// Takes points out of lots.
pub async fn take_from_lots(tx: &mut Conn, customer: Uuid, takes: &[Take]) -> Result<(), Error> {
    let taken = diesel::sql_query(
        "UPDATE lot SET remaining = lot.remaining - taken.points
         FROM unnest($2, $3) AS taken (id, points)
         WHERE lot.customer_id = $1 AND lot.id = taken.id",
    )
    .bind::<SqlUuid, _>(customer)
    .bind::<Array<SqlUuid>, _>(takes.iter().map(|take| take.lot).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(takes.iter().map(|take| take.points).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    if taken != takes.len() {
        return Err(Error::internal("a lot that points were taken from is not there"));
    }
    Ok(())
}

impl LotRow {
    fn into_domain(self) -> Lot {
        Lot {
            id: self.id,
            amount: self.amount,
            remaining: self.remaining,
            earned_at: self.earned_at,
            available_at: self.available_at,
            expires_at: self.expires_at,
        }
    }
}
