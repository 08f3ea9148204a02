//! What this service does to forget a person.

use cqm_db::{Conn, log};
use cqm_rpc::{Call, Error};
use uuid::Uuid;

use crate::App;
use crate::grpc::convert::event;
use crate::store;

/// Somebody has said that the data must be kept.
const LEGAL_HOLD: &str = "LEGAL_HOLD";

pub async fn blockers(tx: &mut Conn, customer: Uuid) -> Result<Vec<&'static str>, Error> {
    Ok(if store::erasure::is_held(tx, customer).await? { vec![LEGAL_HOLD] } else { Vec::new() })
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
