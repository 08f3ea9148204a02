//! Batches of an import: a fixed number of statements, however many rows.
//!
//! Rows are written in the order of their keys, so that two batches with common rows wait for one another instead
//! of meeting in a deadlock.

use std::collections::{HashMap, HashSet};

use cqm_db::Conn;
use cqm_db::subjects::{self, Closed};
use cqm_rpc::Error;
use diesel::prelude::*;
use diesel::sql_types::{Array, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::customer::{CustomerRow, insert_tags};
use super::purchase::PurchaseRow;
use crate::domain::customer::Customer;
use crate::domain::purchase::Purchase;
use crate::schema::{customers, purchases};

/// Who has an external reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    pub id: Uuid,
    pub deleted: bool,
}

/// Inserts the customers whose external reference is new, the first of those with the same one, and returns the ids
/// of those that were inserted.
pub async fn insert_customers(tx: &mut Conn, batch: &[&Customer]) -> Result<HashSet<Uuid>, Error> {
    if batch.is_empty() {
        return Ok(HashSet::new());
    }
    let mut ordered = batch.to_vec();
    // Stable: of two rows with one reference the first one is the customer.
    ordered.sort_by(|a, b| a.profile.external_reference.cmp(&b.profile.external_reference));
    let rows = ordered.into_iter().map(CustomerRow::of).collect::<Result<Vec<_>, _>>()?;
    let inserted: HashSet<Uuid> = diesel::insert_into(customers::table)
        .values(rows)
        .on_conflict(customers::external_reference)
        .do_nothing()
        .returning(customers::id)
        .get_results::<Uuid>(tx)
        .await?
        .into_iter()
        .collect();
    let created = batch.iter().filter(|customer| inserted.contains(&customer.id));
    let tags =
        created.flat_map(|customer| customer.profile.tags.iter().map(|tag| (tag.as_str(), customer.id)));
    insert_tags(tx, tags.collect()).await?;
    Ok(inserted)
}

/// Who has the external references, tombstones too. Of a customer who is known under another name, that is who has that one.
pub async fn find_holders(tx: &mut Conn, references: Vec<&str>) -> Result<HashMap<String, Holder>, Error> {
    if references.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(Option<String>, Uuid, bool)> = customers::table
        .filter(customers::external_reference.eq_any(references))
        .select((customers::external_reference, customers::id, customers::delete_time.is_not_null()))
        .load(tx)
        .await?;
    let survivors =
        survivors(tx, rows.iter().filter(|(.., deleted)| *deleted).map(|(_, id, _)| *id).collect()).await?;
    let holder = |id, deleted| match survivors.get(&id) {
        Some(survivor) => Holder { id: *survivor, deleted: false },
        None => Holder { id, deleted },
    };
    Ok(rows.into_iter().filter_map(|(key, id, deleted)| Some((key?, holder(id, deleted)))).collect())
}

/// Of those whose record is a tombstone, who are known under another name, by that name.
async fn survivors(tx: &mut Conn, gone: Vec<Uuid>) -> Result<HashMap<Uuid, Uuid>, Error> {
    if gone.is_empty() {
        return Ok(HashMap::new());
    }
    let merged = subjects::among(tx, &gone).await?.into_iter().filter_map(|(id, closed)| match closed {
        Closed::Merged { survivor } => Some((id, survivor)),
        Closed::Restricted | Closed::Erased => None,
    });
    let mut merged: HashMap<Uuid, Uuid> = merged.collect();
    let alive: HashSet<Uuid> = customers::table
        .filter(customers::id.eq_any(merged.values()))
        .filter(customers::delete_time.is_null())
        .select(customers::id)
        .load(tx)
        .await?
        .into_iter()
        .collect();
    merged.retain(|_, survivor| alive.contains(survivor));
    Ok(merged)
}

/// The customers of a batch of purchases: those who exist, with the external reference they may have been named by.
/// They cannot be deleted until the transaction ends.
pub async fn hold_customers(
    tx: &mut Conn,
    ids: Vec<Uuid>,
    references: Vec<&str>,
) -> Result<Vec<(Uuid, Option<String>)>, Error> {
    if ids.is_empty() && references.is_empty() {
        return Ok(Vec::new());
    }
    Ok(customers::table
        .filter(customers::id.eq_any(ids).or(customers::external_reference.eq_any(references)))
        .filter(customers::delete_time.is_null())
        .order(customers::id)
        .select((customers::id, customers::external_reference))
        .for_key_share()
        .load(tx)
        .await?)
}

/// Inserts the purchases whose reference is new to their customer, the first of those with the same one, and returns
/// the ids of those that were inserted.
pub async fn insert_purchases(tx: &mut Conn, batch: &[&Purchase]) -> Result<HashSet<Uuid>, Error> {
    if batch.is_empty() {
        return Ok(HashSet::new());
    }
    let mut ordered = batch.to_vec();
    // Stable: of two rows with one reference the first one is the purchase.
    ordered.sort_by(|a, b| (a.customer_id, &a.facts.reference).cmp(&(b.customer_id, &b.facts.reference)));
    let rows: Vec<PurchaseRow> = ordered.into_iter().map(PurchaseRow::of).collect();
    let inserted = diesel::insert_into(purchases::table)
        .values(rows)
        .on_conflict((purchases::customer_id, purchases::purchase_reference))
        .do_nothing()
        .returning(purchases::id)
        .get_results::<Uuid>(tx)
        .await?;
    Ok(inserted.into_iter().collect())
}

/// The purchases that have these references, by customer and reference.
pub async fn find_purchases(
    tx: &mut Conn,
    keys: Vec<(Uuid, &str)>,
) -> Result<HashMap<(Uuid, String), Purchase>, Error> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let (customers, references): (Vec<Uuid>, Vec<&str>) = keys.into_iter().unzip();
    let rows: Vec<PurchaseRow> = diesel::sql_query(
        "SELECT purchases.* FROM purchases
         JOIN (SELECT DISTINCT * FROM unnest($1, $2) AS key (customer_id, purchase_reference)) AS key
         USING (customer_id, purchase_reference)",
    )
    .bind::<Array<SqlUuid>, _>(customers)
    .bind::<Array<Text>, _>(references)
    .load(tx)
    .await?;
    let purchases = rows.into_iter().map(PurchaseRow::into_purchase);
    Ok(purchases
        .map(|purchase| ((purchase.customer_id, purchase.facts.reference.clone()), purchase))
        .collect())
}
