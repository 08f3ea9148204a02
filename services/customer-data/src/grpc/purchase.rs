//! Purchases: recorded by the batch, listed per customer.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use cqm_db::subjects::{self, Closed};
use cqm_db::{Conn, log};
use cqm_proto::customers::v1 as proto;
use cqm_proto::customers::v1::record_purchases_response::Outcome;
use cqm_proto::customers::v1::{RecordPurchasesRequest, RecordPurchasesResponse};
use cqm_rpc::{Call, Error};
use uuid::Uuid;

use super::convert::purchase::{List, Owner, Row, write};
use super::convert::{event, row_status};
use crate::App;
use crate::domain::purchase::Purchase;
use crate::error::{CUSTOMER_NOT_FOUND, customer_not_found, purchase_reference_reused};
use crate::store::{self, bulk};

pub async fn record(
    app: App,
    call: Call,
    rows: Arc<Vec<RecordPurchasesRequest>>,
) -> Result<Vec<RecordPurchasesResponse>, Error> {
    let now = app.clock.now();
    let parsed: Vec<Result<Row, Error>> = rows.iter().map(|row| Row::parse(row, now)).collect();
    let batch: &[&Row] = &parsed.iter().filter_map(|row| row.as_ref().ok()).collect::<Vec<_>>();
    let settled =
        app.db.tx(&call, "record_purchases", async |tx| settle(tx, &call, batch, now).await).await?;
    let mut settled = settled.into_iter();
    let outcomes = parsed.into_iter().map(|row| {
        row.and_then(|_| settled.next().ok_or_else(|| Error::internal("a row was not settled"))?)
    });
    Ok(rows.iter().zip(outcomes).map(|(row, outcome)| answer(row.row, outcome)).collect())
}

type Settled = Result<(Outcome, String), Error>;

/// Writes a batch and says of each row what became of it, in the order of the rows.
async fn settle(
    tx: &mut Conn,
    call: &Call,
    batch: &[&Row],
    now: DateTime<Utc>,
) -> Result<Vec<Settled>, Error> {
    let owners = hold_owners(tx, batch).await?;
    let purchases: Vec<Result<Purchase, Error>> = batch
        .iter()
        .map(|row| {
            let customer_id = owners.resolve(&row.owner)?;
            if let Some(closed) = owners.closed.get(&customer_id) {
                return Err(closed.refuse(customer_id));
            }
            Ok(Purchase { customer_id, id: Uuid::now_v7(), facts: row.facts.clone(), create_time: now })
        })
        .collect();
    let wanted: Vec<&Purchase> = purchases.iter().filter_map(|purchase| purchase.as_ref().ok()).collect();
    let recorded = bulk::insert_purchases(tx, &wanted).await?;
    let (new, old): (Vec<&Purchase>, Vec<&Purchase>) =
        wanted.into_iter().partition(|purchase| recorded.contains(&purchase.id));
    let keys = old.iter().map(|purchase| (purchase.customer_id, purchase.facts.reference.as_str()));
    let earlier = bulk::find_purchases(tx, keys.collect()).await?;
    let events: Vec<_> = new.into_iter().map(event::of_purchase).collect();
    log::append(tx, &call.trace, &events).await?;
    Ok(purchases.into_iter().map(|purchase| outcome(&purchase?, &recorded, &earlier)).collect())
}

/// A reference that was there already belongs to the same purchase, told again, or to another one.
fn outcome(
    purchase: &Purchase,
    recorded: &HashSet<Uuid>,
    earlier: &HashMap<(Uuid, String), Purchase>,
) -> Settled {
    if recorded.contains(&purchase.id) {
        return Ok((Outcome::Recorded, purchase.name()));
    }
    match earlier.get(&(purchase.customer_id, purchase.facts.reference.clone())) {
        Some(first) if first.facts == purchase.facts => Ok((Outcome::AlreadyRecorded, first.name())),
        Some(first) => Err(purchase_reference_reused(first.name())),
        None => Err(Error::internal("a row was neither inserted nor there before")),
    }
}

/// The customers of a batch, found in one query.
struct Owners {
    ids: HashSet<Uuid>,
    by_reference: HashMap<String, Uuid>,
    /// Those who are to be forgotten, or are known under another name.
    closed: HashMap<Uuid, Closed>,
}

impl Owners {
    fn resolve(&self, owner: &Owner) -> Result<Uuid, Error> {
        match owner {
            Owner::Id(id) if self.ids.contains(id) => Ok(*id),
            Owner::Id(id) => Err(match self.closed.get(id) {
                Some(merged @ Closed::Merged { .. }) => merged.refuse(*id),
                _ => customer_not_found(*id),
            }),
            Owner::ExternalReference(reference) => {
                self.by_reference.get(reference).copied().ok_or_else(|| Error::NotFound {
                    reason: CUSTOMER_NOT_FOUND,
                    name: "customers/-".to_owned(),
                })
            }
        }
    }
}

async fn hold_owners(tx: &mut Conn, batch: &[&Row]) -> Result<Owners, Error> {
    let (mut asked, mut references) = (HashSet::new(), HashSet::new());
    for row in batch {
        match &row.owner {
            Owner::Id(id) => {
                asked.insert(*id);
            }
            Owner::ExternalReference(reference) => {
                references.insert(reference.as_str());
            }
        }
    }
    let held =
        bulk::hold_customers(tx, asked.iter().copied().collect(), references.iter().copied().collect())
            .await?;
    let mut ids: HashSet<Uuid> = held.iter().map(|(id, _)| *id).collect();
    let mut by_reference: HashMap<String, Uuid> =
        held.into_iter().filter_map(|(id, reference)| Some((reference?, id))).collect();
    references.retain(|reference| !by_reference.contains_key(*reference));
    let survivors = hold_survivors(tx, references.into_iter().collect()).await?;
    ids.extend(survivors.values());
    by_reference.extend(survivors);
    // Behind their rows' locks, which an erasure and a merge wait for; those who are not there may be known otherwise.
    let known: Vec<Uuid> = ids.union(&asked).copied().collect();
    let closed = subjects::among(tx, &known).await?;
    Ok(Owners { ids, by_reference, closed })
}

/// The customers whom references lead to that nobody has any more, because who had them is known under another name.
async fn hold_survivors(tx: &mut Conn, references: Vec<&str>) -> Result<HashMap<String, Uuid>, Error> {
    let mut holders = bulk::find_holders(tx, references).await?;
    holders.retain(|_, holder| !holder.deleted);
    let survivors: HashSet<Uuid> = holders.values().map(|holder| holder.id).collect();
    let held = bulk::hold_customers(tx, survivors.iter().copied().collect(), Vec::new()).await?;
    if held.len() < survivors.len() {
        // Gone between the look and the lock, and perhaps known under a third name.
        return Err(store::customer::try_again());
    }
    Ok(holders.into_iter().map(|(reference, holder)| (reference, holder.id)).collect())
}

fn answer(row: i64, settled: Settled) -> RecordPurchasesResponse {
    match settled {
        Ok((outcome, purchase)) => {
            RecordPurchasesResponse { row, outcome: outcome.into(), purchase, error: None }
        }
        Err(error) => RecordPurchasesResponse {
            row,
            outcome: Outcome::Rejected.into(),
            purchase: String::new(),
            error: Some(row_status(error)),
        },
    }
}

pub async fn list(
    app: &App,
    call: &Call,
    message: proto::ListPurchasesRequest,
) -> Result<proto::ListPurchasesResponse, Error> {
    let list = &List::parse(&message)?;
    let rows = app
        .db
        .read(call, "list_purchases", async |conn| {
            store::customer::check_customer(conn, list.customer_id).await?;
            store::purchase::list_purchases(conn, list.customer_id, list.page.after, list.page.limit()).await
        })
        .await?;
    let page = list.page.page(rows, |purchase| (purchase.facts.purchase_time, purchase.id));
    Ok(proto::ListPurchasesResponse {
        purchases: page.items.iter().map(write).collect(),
        next_page_token: page.next_page_token,
    })
}
