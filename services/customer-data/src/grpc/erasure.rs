//! Erasures: asked for, seen through, reported; and what keeps data all the same.

use cqm_db::{log, subjects};
use cqm_proto::customers::v1 as proto;
use cqm_rpc::{Call, Error};
use uuid::Uuid;

use super::convert::erasure::{
    Place, Request, StepTaken, erasure_name, lift, parse_cancel, written, written_hold,
};
use super::convert::event;
use crate::App;
use crate::domain::erasure::{Erasure, Happened, State};
use crate::error::{ERASURE_UNFINISHED, REPORT_KEY_MISSING, erasure_not_found, legal_hold_not_found};
use crate::holder;
use crate::store;
use crate::store::customer::Lock;
use crate::store::erasure::LegalHold;

/// Also of a customer who was deleted: the others may still have something of them.
pub async fn erase_customer(
    app: &App,
    call: &Call,
    message: proto::EraseCustomerRequest,
) -> Result<proto::Erasure, Error> {
    let request = &Request::parse(&message)?;
    app.db
        .mutate(call, "erase_customer", &message, async |tx| {
            // The row's lock: of two who ask, the second finds the first one's erasure.
            store::customer::lock_record(tx, request.customer).await?;
            let (requester, now) = (call.caller.subject.to_string(), app.clock.now());
            let Request { customer, ground, forfeit_points } = *request;
            let (erasure, told) = match store::erasure::lock_erasure(tx, customer).await? {
                Some(mut erasure) => {
                    let told = erasure.request_again(ground, forfeit_points, requester, now);
                    (erasure, told)
                }
                None => {
                    let erasure = Erasure::request(customer, ground, forfeit_points, requester, now);
                    (erasure, Some(Happened::Requested))
                }
            };
            if let Some(happened) = told {
                store::erasure::save_erasure(tx, &erasure).await?;
                log::append(tx, &call.trace, &[event::of_erasure(&erasure, happened)]).await?;
            }
            Ok(written(&erasure))
        })
        .await
}

pub async fn cancel(
    app: &App,
    call: &Call,
    message: proto::CancelErasureRequest,
) -> Result<proto::Erasure, Error> {
    let customer = parse_cancel(&message)?;
    app.db
        .mutate(call, "cancel_erasure", &message, async |tx| {
            let erasure = store::erasure::lock_erasure(tx, customer).await?;
            let mut erasure = erasure.ok_or_else(|| erasure_not_found(customer))?;
            if let Some(happened) = erasure.cancel(app.clock.now())? {
                store::erasure::save_erasure(tx, &erasure).await?;
                store::erasure::delete_steps(tx, customer).await?;
                log::append(tx, &call.trace, &[event::of_erasure(&erasure, happened)]).await?;
            }
            Ok(written(&erasure))
        })
        .await
}

pub async fn get(app: &App, call: &Call, message: proto::GetErasureRequest) -> Result<proto::Erasure, Error> {
    Ok(written(&find(app, call, erasure_name(&message.name)?).await?))
}

pub async fn report(
    app: &App,
    call: &Call,
    message: proto::GetErasureReportRequest,
) -> Result<proto::GetErasureReportResponse, Error> {
    let erasure = find(app, call, erasure_name(&message.name)?).await?;
    if erasure.state != State::Erased {
        return Err(Error::refused(ERASURE_UNFINISHED));
    }
    let report = app.reports.sign(&erasure).ok_or_else(|| Error::refused(REPORT_KEY_MISSING))?;
    Ok(proto::GetErasureReportResponse { report })
}

pub fn keys(app: &App) -> proto::GetReportKeysResponse {
    proto::GetReportKeysResponse { jwks: app.reports.jwks() }
}

pub async fn record_step(
    app: &App,
    call: &Call,
    message: proto::RecordErasureStepRequest,
) -> Result<proto::Erasure, Error> {
    let taken = &StepTaken::parse(&message, app.clock.now())?;
    app.db
        .mutate(call, "record_erasure_step", &message, async |tx| {
            let erasure = store::erasure::lock_erasure(tx, taken.customer).await?;
            let mut erasure = erasure.ok_or_else(|| erasure_not_found(taken.customer))?;
            if !erasure.is_about(taken.round) {
                return Ok(written(&erasure));
            }
            // Under the erasure's lock, which whoever places a hold takes too: this service's own answer may be on its way
            // when the last one of the others comes, and a hold must never be late.
            let stands_in_the_way = !holder::blockers(tx, &[taken.customer]).await?.is_empty();
            let (step, now) = (taken.step.clone(), app.clock.now());
            if let Some(told) = erasure.record(taken.holder, step, stands_in_the_way, now) {
                store::erasure::save_erasure(tx, &erasure).await?;
                store::erasure::save_step(tx, taken.customer, taken.holder, &taken.step).await?;
                let events: Vec<_> =
                    told.into_iter().map(|happened| event::of_erasure(&erasure, happened)).collect();
                log::append(tx, &call.trace, &events).await?;
            }
            Ok(written(&erasure))
        })
        .await
}

pub async fn place_hold(
    app: &App,
    call: &Call,
    message: proto::PlaceLegalHoldRequest,
) -> Result<proto::LegalHold, Error> {
    let place = &Place::parse(&message)?;
    app.db
        .mutate(call, "place_legal_hold", &message, async |tx| {
            // Nothing is left to keep of one who was deleted or is erased, and a hold must not come between. From the
            // beginning the lock that is needed to tell of the hold: two who share it would wait for each other.
            subjects::lock(tx, place.customer).await?;
            subjects::check_row(tx, place.customer, false).await?;
            store::customer::lock_customer(tx, place.customer, Lock::Delete).await?;
            // Whoever erases would not be stopped any more: a hold that is placed is one that holds.
            if let Some(erasure) = store::erasure::lock_erasure(tx, place.customer).await? {
                erasure.check_not_begun()?;
            }
            let now = app.clock.now();
            let hold = LegalHold {
                customer_id: place.customer,
                reference: place.reference.clone(),
                actor: call.caller.subject.to_string(),
                create_time: now,
            };
            store::erasure::place_hold(tx, &hold).await?;
            cqm_runtime::subjects::look(app, tx, call, place.customer, now).await?;
            Ok(written_hold(&hold))
        })
        .await
}

pub async fn lift_hold(
    app: &App,
    call: &Call,
    message: proto::LiftLegalHoldRequest,
) -> Result<proto::LegalHold, Error> {
    let customer = lift(&message)?;
    app.db
        .mutate(call, "lift_legal_hold", &message, async |tx| {
            let lifted = store::erasure::lift_hold(tx, customer).await?;
            Ok(written_hold(&lifted.ok_or_else(|| legal_hold_not_found(customer))?))
        })
        .await
}

async fn find(app: &App, call: &Call, customer: Uuid) -> Result<Erasure, Error> {
    let found = app
        .db
        .read(call, "get_erasure", async |conn| store::erasure::find_erasure(conn, customer).await)
        .await?;
    found.ok_or_else(|| erasure_not_found(customer))
}
