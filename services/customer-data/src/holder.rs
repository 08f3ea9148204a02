//! What this service does to forget a person, or to know them under one name.

use std::collections::HashMap;

use cqm_db::{Conn, log};
use cqm_rpc::{Call, Error};
use uuid::Uuid;

use crate::App;
use crate::grpc::convert::event;
use crate::store;

/// Somebody has said that the data must be kept.
const LEGAL_HOLD: &str = "LEGAL_HOLD";
/// A service may still have something under a name that was merged into this one; erasing would pass it by.
const MERGE_UNFINISHED: &str = "MERGE_UNFINISHED";

pub async fn blockers(
    conn: &mut Conn,
    customers: &[Uuid],
) -> Result<HashMap<Uuid, Vec<&'static str>>, Error> {
    let mut found: HashMap<Uuid, Vec<&'static str>> = HashMap::new();
    for customer in store::erasure::held_among(conn, customers).await? {
        found.entry(customer).or_default().push(LEGAL_HOLD);
    }
    for customer in store::merge::unfinished_among(conn, customers).await? {
        found.entry(customer).or_default().push(MERGE_UNFINISHED);
    }
    Ok(found)
}

/// Empties the record, if nobody has deleted it before, and all contacts. Purchases stay as they are: they lead to a name
/// that nobody is behind any more.
pub async fn erase(
    app: &App,
    tx: &mut Conn,
    call: &Call,
    customer: Uuid,
) -> Result<Vec<(&'static str, i64)>, Error> {
    let mut records = 0;
    if let Some(mut customer) = store::customer::find_to_delete(tx, customer).await? {
        let before = customer.profile.clone();
        let deleted = customer.delete(app.clock.now());
        store::customer::update_customer(tx, &before, &customer).await?;
        log::append(tx, &call.trace, &[event::of_customer(&customer, deleted)]).await?;
        records = 1;
    }
    let contacts = store::interaction::erase_summaries(tx, customer).await?;
    Ok(vec![("customers", records), ("interactions", contacts)])
}

/// Makes one record of two, and gives purchases and contacts to the one that stays. The other record is emptied as a
/// deletion empties it, and nobody is told of that: who follows the name is told of the merge.
pub async fn merge(
    app: &App,
    tx: &mut Conn,
    call: &Call,
    customer: Uuid,
    survivor: Uuid,
) -> Result<Vec<(&'static str, i64)>, Error> {
    let (mut gone, mut stays) = store::customer::lock_two(tx, customer, survivor).await?;
    let before = (gone.profile.clone(), stays.profile.clone());
    let updated = stays.absorb(&mut gone, app.clock.now());
    // The one that goes first: it may give its external reference up, which one customer has at a time.
    store::customer::update_customer(tx, &before.0, &gone).await?;
    store::customer::update_customer(tx, &before.1, &stays).await?;
    let purchases = store::purchase::move_purchases(tx, customer, survivor).await?;
    let contacts = store::interaction::move_interactions(tx, customer, survivor).await?;
    log::append(tx, &call.trace, &[event::of_customer(&stays, updated)]).await?;
    Ok(vec![("customers", 1), ("interactions", contacts), ("purchases", purchases)])
}
