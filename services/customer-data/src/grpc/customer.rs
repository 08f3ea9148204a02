//! Customers: create, get, update, list, delete.

use cqm_db::{Conn, log, subjects};
use cqm_proto::customers::v1 as proto;
use cqm_rpc::{Call, Error, Etag};
use uuid::Uuid;

use super::convert::customer::{Delete, Get, List, Update, parse_create, version, write};
use super::convert::event;
use crate::App;
use crate::domain::customer::{Customer, CustomerEvent};
use crate::error::LEGAL_HOLD;
use crate::store;
use crate::store::customer::{Filter, Lock};

/// The kind of the cache's entries.
const CACHED: &str = "customer";

/// Makes the caches read anew: whatever version they had is one that is gone.
pub async fn forget_cached(app: &App, id: Uuid) {
    app.cache.wrote(CACHED, &id.to_string(), i64::MAX).await;
}

pub async fn create(
    app: &App,
    call: &Call,
    message: proto::CreateCustomerRequest,
) -> Result<proto::Customer, Error> {
    let profile = &parse_create(&message, app.clock.now())?;
    app.db
        .mutate(call, "create_customer", &message, async |tx| {
            let customer = Customer::create(Uuid::now_v7(), profile.clone(), app.clock.now());
            store::customer::insert_customer(tx, &customer).await?;
            log::append(tx, &call.trace, &[event::of_customer(&customer, CustomerEvent::Created)]).await?;
            Ok(write(&customer))
        })
        .await
}

pub async fn get(
    app: &App,
    call: &Call,
    message: proto::GetCustomerRequest,
) -> Result<proto::Customer, Error> {
    let get = Get::parse(&message)?;
    let id = &get.id;
    let load = async {
        let found =
            app.db.read(call, "get_customer", async |conn| store::customer::find_customer(conn, *id).await);
        Ok(found.await?.map(|customer| (customer.version, write(&customer))))
    };
    match app.cache.get(CACHED, &id.to_string(), get.minimum_version, load).await? {
        Some((_, customer)) => Ok(customer),
        None => {
            let missing = async |conn: &mut Conn| Err(store::customer::missing(conn, *id).await);
            app.db.read(call, "missing_customer", missing).await
        }
    }
}

pub async fn update(
    app: &App,
    call: &Call,
    message: proto::UpdateCustomerRequest,
) -> Result<proto::Customer, Error> {
    let update = &Update::parse(&message, call.sees(), app.clock.now())?;
    let answer = app
        .db
        .mutate(call, "update_customer", &message, async |tx| {
            let mut customer = store::customer::lock_customer(tx, update.id, Lock::Change).await?;
            subjects::check_row(tx, customer.id, true).await?;
            Etag::check(update.etag, customer.version, &customer.name().to_string())?;
            let before = customer.profile.clone();
            // The clock is read behind the lock: times go the way that versions go.
            if let Some(changed) = customer.change(&update.profile, &update.mask, app.clock.now()) {
                store::customer::update_customer(tx, &before, &customer).await?;
                log::append(tx, &call.trace, &[event::of_customer(&customer, changed)]).await?;
            }
            Ok(write(&customer))
        })
        .await?;
    app.cache.wrote(CACHED, &update.id.to_string(), version(&answer)).await;
    Ok(answer)
}

pub async fn list(
    app: &App,
    call: &Call,
    message: proto::ListCustomersRequest,
) -> Result<proto::ListCustomersResponse, Error> {
    let list = &List::parse(&message)?;
    let rows = app
        .db
        .read(call, "list_customers", async |conn| {
            let rows = store::customer::list_customers(conn, &list.filter, &list.page).await?;
            match &list.filter.external_reference {
                Some(reference) if rows.is_empty() => by_former_reference(conn, list, reference).await,
                _ => Ok(rows),
            }
        })
        .await?;
    let page = list.page.page(rows, |customer| customer.id);
    Ok(proto::ListCustomersResponse {
        customers: page.items.iter().map(write).collect(),
        next_page_token: page.next_page_token,
    })
}

/// Nobody has the reference: one who had it may be known under another name.
async fn by_former_reference(conn: &mut Conn, list: &List, reference: &str) -> Result<Vec<Customer>, Error> {
    let holder = store::bulk::find_holders(conn, vec![reference]).await?.remove(reference);
    let Some(holder) = holder.filter(|holder| !holder.deleted) else {
        return Ok(Vec::new());
    };
    let filter = Filter { external_reference: None, id: Some(holder.id), ..list.filter.clone() };
    store::customer::list_customers(conn, &filter, &list.page).await
}

pub async fn delete(
    app: &App,
    call: &Call,
    message: proto::DeleteCustomerRequest,
) -> Result<proto::Customer, Error> {
    let delete = &Delete::parse(&message)?;
    let answer = app
        .db
        .mutate(call, "delete_customer", &message, async |tx| {
            let mut customer = store::customer::lock_customer(tx, delete.id, Lock::Delete).await?;
            // What an erasure waits for, a deletion does not pass by.
            subjects::check_row(tx, customer.id, true).await?;
            if store::erasure::is_held(tx, customer.id).await? {
                return Err(Error::refused(LEGAL_HOLD));
            }
            Etag::check(delete.etag, customer.version, &customer.name().to_string())?;
            let before = customer.profile.clone();
            let deleted = customer.delete(app.clock.now());
            store::customer::update_customer(tx, &before, &customer).await?;
            // Purchases stay as they are: they lead to a name that nobody is behind any more.
            store::interaction::erase_summaries(tx, customer.id).await?;
            log::append(tx, &call.trace, &[event::of_customer(&customer, deleted)]).await?;
            Ok(write(&customer))
        })
        .await?;
    app.cache.wrote(CACHED, &delete.id.to_string(), version(&answer)).await;
    Ok(answer)
}
