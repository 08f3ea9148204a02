//! Merges: asked for and seen through.

use cqm_db::{log, subjects};
use cqm_proto::customers::v1 as proto;
use cqm_rpc::{Call, Error, Etag, reason};

use super::convert::event;
use super::convert::merge::{Ask, StepTaken, merge_name, written};
use super::customer::forget_cached;
use crate::App;
use crate::domain::merge::{Happened, Merge};
use crate::error::merge_not_found;
use crate::store;

/// One transaction, as long as what it moves: what the customer whose name goes has bought, and how often they were spoken
/// to, see `store/purchase.rs`.
pub async fn merge_customers(
    app: &App,
    call: &Call,
    message: proto::MergeCustomersRequest,
) -> Result<proto::Merge, Error> {
    let ask = &Ask::parse(&message)?;
    let answer = app
        .db
        .mutate(call, "merge_customers", &message, async |tx| {
            let Ask { customer, survivor, etag, survivor_etag } = *ask;
            // The persons before their rows, as everybody locks them who locks both.
            let (before, into) = subjects::lock_two(tx, customer, survivor).await?;
            if let Some(merge) = store::merge::find_merge(tx, customer).await?
                && merge.survivor == survivor
            {
                return Ok(written(&merge));
            }
            for (id, subject) in [(customer, before), (survivor, into)] {
                if let Some(closed) = subject.and_then(|subject| subject.closed()) {
                    return Err(closed.refuse(id));
                }
            }
            let (gone, stays) = store::customer::lock_two(tx, customer, survivor).await?;
            for it in [&gone, &stays] {
                // Asked for, and not heard of by every service yet: each would find another name to forget.
                if store::erasure::is_asked_for(tx, it.id).await? {
                    return Err(Error::refused(reason::CUSTOMER_RESTRICTED));
                }
            }
            Etag::check(etag, gone.version, &gone.name().to_string())?;
            Etag::check(survivor_etag, stays.version, &stays.name().to_string())?;
            let now = app.clock.now();
            cqm_runtime::subjects::merge(app, tx, call, customer, survivor, now).await?;
            let merge = Merge::begin(customer, survivor, call.caller.subject.to_string(), now);
            store::merge::save_merge(tx, &merge).await?;
            log::append(tx, &call.trace, &[event::of_merge(&merge, Happened::Begun)]).await?;
            Ok(written(&merge))
        })
        .await?;
    for customer in [ask.customer, ask.survivor] {
        forget_cached(app, customer).await;
    }
    Ok(answer)
}

pub async fn get(app: &App, call: &Call, message: proto::GetMergeRequest) -> Result<proto::Merge, Error> {
    let customer = merge_name(&message.name)?;
    let found =
        app.db.read(call, "get_merge", async |conn| store::merge::find_merge(conn, customer).await).await?;
    Ok(written(&found.ok_or_else(|| merge_not_found(customer))?))
}

pub async fn record_step(
    app: &App,
    call: &Call,
    message: proto::RecordMergeStepRequest,
) -> Result<proto::Merge, Error> {
    let taken = &StepTaken::parse(&message, app.clock.now())?;
    app.db
        .mutate(call, "record_merge_step", &message, async |tx| {
            let merge = store::merge::lock_merge(tx, taken.customer).await?;
            let mut merge = merge.ok_or_else(|| merge_not_found(taken.customer))?;
            if let Some(told) = merge.record(taken.holder, taken.step.clone(), app.clock.now()) {
                store::merge::save_merge(tx, &merge).await?;
                store::merge::insert_step(tx, taken.customer, taken.holder, &taken.step).await?;
                let events: Vec<_> =
                    told.into_iter().map(|happened| event::of_merge(&merge, happened)).collect();
                log::append(tx, &call.trace, &events).await?;
            }
            Ok(written(&merge))
        })
        .await
}
