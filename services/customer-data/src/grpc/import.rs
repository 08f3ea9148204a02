//! Customers by the batch.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cqm_db::{Conn, log};
use cqm_proto::customers::v1::import_customers_response::Outcome;
use cqm_proto::customers::v1::{ImportCustomersRequest, ImportCustomersResponse};
use cqm_rpc::{Call, Error, ResourceName};
use uuid::Uuid;

use super::convert::customer::parse_import;
use super::convert::{event, row_status};
use crate::App;
use crate::domain::customer::{COLLECTION, Customer, CustomerEvent};
use crate::error::external_reference_taken;
use crate::store::bulk::{self, Holder};
use crate::store::customer::try_again;

/// What the database made of a batch.
struct Written {
    created: HashSet<Uuid>,
    /// Who has the references that were not new.
    holders: HashMap<String, Holder>,
}

pub async fn import_customers(
    app: App,
    call: Call,
    rows: Arc<Vec<ImportCustomersRequest>>,
) -> Result<Vec<ImportCustomersResponse>, Error> {
    let now = app.clock.now();
    let read = |row| Ok(Customer::create(Uuid::now_v7(), parse_import(row, now)?, now));
    let customers: Vec<Result<Customer, Error>> = rows.iter().map(read).collect();
    let batch: &[&Customer] =
        &customers.iter().filter_map(|customer| customer.as_ref().ok()).collect::<Vec<_>>();
    let written = app.db.tx(&call, "import_customers", async |tx| write(tx, &call, batch).await).await?;
    Ok(rows.iter().zip(customers).map(|(row, customer)| answer(row.row, customer, &written)).collect())
}

async fn write(tx: &mut Conn, call: &Call, batch: &[&Customer]) -> Result<Written, Error> {
    let created = bulk::insert_customers(tx, batch).await?;
    let (new, old): (Vec<&Customer>, Vec<&Customer>) =
        batch.iter().partition(|customer| created.contains(&customer.id));
    let references = old.iter().filter_map(|customer| customer.profile.external_reference.as_deref());
    let references: Vec<&str> = references.collect();
    let holders = bulk::find_holders(tx, references.clone()).await?;
    if references.iter().any(|reference| !holders.contains_key(*reference)) {
        // Whoever had the reference gave it up between the two statements.
        return Err(try_again());
    }
    let events: Vec<_> =
        new.iter().map(|customer| event::of_customer(customer, CustomerEvent::Created)).collect();
    log::append(tx, &call.trace, &events).await?;
    Ok(Written { created, holders })
}

fn answer(row: i64, customer: Result<Customer, Error>, written: &Written) -> ImportCustomersResponse {
    match customer.and_then(|customer| settle(&customer, written)) {
        Ok((outcome, id)) => ImportCustomersResponse {
            row,
            outcome: outcome.into(),
            name: ResourceName::new(COLLECTION, id).to_string(),
            error: None,
        },
        Err(error) => ImportCustomersResponse {
            row,
            outcome: Outcome::Rejected.into(),
            name: String::new(),
            error: Some(row_status(error)),
        },
    }
}

/// What became of a well-formed row. A reference whose customer was deleted is taken: a repeated import must not
/// bring a person back who has been forgotten.
fn settle(customer: &Customer, written: &Written) -> Result<(Outcome, Uuid), Error> {
    if written.created.contains(&customer.id) {
        return Ok((Outcome::Created, customer.id));
    }
    let reference = customer.profile.external_reference.as_deref().unwrap_or_default();
    match written.holders.get(reference) {
        Some(holder) if holder.deleted => Err(external_reference_taken(holder.id)),
        Some(holder) => Ok((Outcome::AlreadyPresent, holder.id)),
        None => Err(Error::internal("a row was neither inserted nor there before")),
    }
}
