//! Purchases: recorded in batches, listed per customer.

use chrono::{DateTime, Utc};
use cqm_db::{Conn, statement};
use cqm_rpc::Error;
use diesel::prelude::*;
use diesel::sql_types::Uuid as SqlUuid;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::domain::purchase::{Amount, Purchase, PurchaseFacts};
use crate::schema::purchases;

#[derive(Queryable, QueryableByName, Selectable, Insertable)]
#[diesel(table_name = purchases, check_for_backend(diesel::pg::Pg))]
pub(super) struct PurchaseRow {
    customer_id: Uuid,
    id: Uuid,
    purchase_reference: String,
    purchase_time: DateTime<Utc>,
    currency_code: String,
    amount_units: i64,
    amount_nanos: i32,
    quantity: i64,
    product: String,
    create_time: DateTime<Utc>,
}

impl PurchaseRow {
    pub(super) fn of(purchase: &Purchase) -> Self {
        let facts = &purchase.facts;
        Self {
            customer_id: purchase.customer_id,
            id: purchase.id,
            purchase_reference: facts.reference.clone(),
            purchase_time: facts.purchase_time,
            currency_code: facts.amount.currency_code.clone(),
            amount_units: facts.amount.units,
            amount_nanos: facts.amount.nanos,
            quantity: facts.quantity,
            product: facts.product.clone(),
            create_time: purchase.create_time,
        }
    }

    pub(super) fn into_purchase(self) -> Purchase {
        Purchase {
            customer_id: self.customer_id,
            id: self.id,
            facts: PurchaseFacts {
                reference: self.purchase_reference,
                purchase_time: self.purchase_time,
                amount: Amount {
                    currency_code: self.currency_code,
                    units: self.amount_units,
                    nanos: self.amount_nanos,
                },
                quantity: self.quantity,
                product: self.product,
            },
            create_time: self.create_time,
        }
    }
}

/// Gives a customer's purchases to another one, who is the same person, and returns how many that were. A reference that
/// the other one has used gets the purchase's own id behind it: what points were given for is not thrown away, even where
/// both names may have been told of the same purchase.
///
/// It writes each of them anew, in the table and in every index: about as long as recording them took, in one statement.
pub async fn move_purchases(tx: &mut Conn, from: Uuid, to: Uuid) -> Result<i64, Error> {
    // 91 characters and a uuid are as long as a reference may be.
    let moved = statement(
        "UPDATE purchases AS moved SET customer_id = $2, purchase_reference = CASE
             WHEN EXISTS (SELECT FROM purchases AS kept
                          WHERE kept.customer_id = $2 AND kept.purchase_reference = moved.purchase_reference)
             THEN left(moved.purchase_reference, 91) || '/' || moved.id
             ELSE moved.purchase_reference END
         WHERE moved.customer_id = $1",
    )
    .bind::<SqlUuid, _>(from)
    .bind::<SqlUuid, _>(to)
    .execute(tx)
    .await?;
    Ok(moved as i64)
}

/// A customer's purchases, the latest first, at most `limit`, from behind the one at `after`.
pub async fn list_purchases(
    conn: &mut Conn,
    customer_id: Uuid,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<Purchase>, Error> {
    let mut query = purchases::table
        .filter(purchases::customer_id.eq(customer_id))
        .order((purchases::purchase_time.desc(), purchases::id.desc()))
        .limit(limit)
        .select(PurchaseRow::as_select())
        .into_boxed();
    if let Some((time, id)) = after {
        // The first condition is what the index is searched by.
        query = query
            .filter(purchases::purchase_time.le(time))
            .filter(purchases::purchase_time.lt(time).or(purchases::id.lt(id)));
    }
    Ok(query.load(conn).await?.into_iter().map(PurchaseRow::into_purchase).collect())
}
