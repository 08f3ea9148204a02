//! What is expected of the points: made and read.

use cqm_proto::loyalty::v1 as proto;
use cqm_rpc::{Call, Error, Refusal};

use super::convert::estimate::{self as convert, Create, List};
use super::convert::{BREAKAGE_ESTIMATES, named};
use crate::error::{BREAKAGE_ESTIMATE_NOT_FOUND, ESTIMATE_CURRENCY};
use crate::{App, store};

pub(super) async fn create_breakage_estimate(
    app: &App,
    call: &Call,
    message: &proto::CreateBreakageEstimateRequest,
) -> Result<proto::BreakageEstimate, Error> {
    let now = app.posting.clock.now();
    let command = Create::parse(message, now)?;
    app.db
        .mutate(call, "create_breakage_estimate", message, async |tx| {
            let last = store::list_estimates(tx, None, 1).await?.pop();
            if let Some(last) = last.as_ref().filter(|last| last.currency != command.currency) {
                return Err(Refusal::new(ESTIMATE_CURRENCY).fact("currency", &last.currency).into());
            }
            let estimate = command.clone().follow(last.as_ref(), &call.caller.subject, now);
            let answer = convert::estimate(&estimate);
            store::insert_estimate(tx, estimate).await?;
            Ok(answer)
        })
        .await
}

pub(super) async fn get_breakage_estimate(
    app: &App,
    call: &Call,
    message: &proto::GetBreakageEstimateRequest,
) -> Result<proto::BreakageEstimate, Error> {
    let id = named(BREAKAGE_ESTIMATES, &message.name)?;
    let estimate =
        app.db.read(call, "get_breakage_estimate", async |conn| store::find_estimate(conn, id).await).await?;
    let missing = || Error::not_found(BREAKAGE_ESTIMATE_NOT_FOUND, convert::name(id));
    estimate.as_ref().map(convert::estimate).ok_or_else(missing)
}

pub(super) async fn list_breakage_estimates(
    app: &App,
    call: &Call,
    message: &proto::ListBreakageEstimatesRequest,
) -> Result<proto::ListBreakageEstimatesResponse, Error> {
    let query = List::parse(message)?;
    let estimates = app
        .db
        .read(call, "list_breakage_estimates", async |conn| {
            store::list_estimates(conn, query.page.after, query.page.limit()).await
        })
        .await?;
    Ok(query.answer(estimates))
}
