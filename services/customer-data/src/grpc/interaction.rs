//! Contacts with customers: recorded, listed.

use cqm_db::{log, subjects};
use cqm_proto::customers::v1 as proto;
use cqm_rpc::{Call, Error};
use uuid::Uuid;

use super::convert::event;
use super::convert::interaction::{List, Record, write};
use crate::App;
use crate::store;

pub async fn record(
    app: &App,
    call: &Call,
    message: proto::RecordInteractionRequest,
) -> Result<proto::Interaction, Error> {
    let record = &Record::parse(&message, app.clock.now())?;
    app.db
        .mutate(call, "record_interaction", &message, async |tx| {
            store::customer::hold_customer(tx, record.customer_id).await?;
            subjects::check_row(tx, record.customer_id, true).await?;
            let interaction = record.interaction(Uuid::now_v7(), app.clock.now());
            store::interaction::insert_interaction(tx, &interaction).await?;
            log::append(tx, &call.trace, &[event::of_interaction(&interaction)]).await?;
            Ok(write(&interaction))
        })
        .await
}

pub async fn list(
    app: &App,
    call: &Call,
    message: proto::ListInteractionsRequest,
) -> Result<proto::ListInteractionsResponse, Error> {
    let list = &List::parse(&message)?;
    let rows = app
        .db
        .read(call, "list_interactions", async |conn| {
            store::customer::check_customer(conn, list.customer_id).await?;
            store::interaction::list_interactions(conn, list.customer_id, list.page.after, list.page.limit())
                .await
        })
        .await?;
    let page = list.page.page(rows, |interaction| (interaction.occur_time, interaction.id));
    Ok(proto::ListInteractionsResponse {
        interactions: page.items.iter().map(write).collect(),
        next_page_token: page.next_page_token,
    })
}
