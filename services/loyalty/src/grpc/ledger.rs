//! The ledger: earning, spending, taking back, reading.

use cqm_proto::Mutation;
use cqm_proto::loyalty::v1 as proto;
use cqm_rpc::{Call, Error};
use prost::Message;

use super::convert::hold::{Commit, Place, Release};
use super::convert::ledger::{self as convert, Earn, ListEntries, Redeem};
use super::convert::member::name;
use super::convert::reversal::Reverse;
use crate::error::member_not_found;
use crate::posting::Command;
use crate::{App, store};

/// Every change of points goes the same way: parsed, and carried out with those that wait beside it.
async fn post<M: Mutation, A: Message + Default>(
    app: &App,
    call: &Call,
    message: &M,
    command: Command,
) -> Result<A, Error> {
    app.coalescer.submit(&app.db, &app.posting, call, message, command).await
}

pub(super) async fn earn_points(
    app: &App,
    call: &Call,
    message: &proto::EarnPointsRequest,
) -> Result<proto::EarnPointsResponse, Error> {
    post(app, call, message, Command::Earn(Earn::parse(message)?)).await
}

pub(super) async fn redeem_points(
    app: &App,
    call: &Call,
    message: &proto::RedeemPointsRequest,
) -> Result<proto::RedeemPointsResponse, Error> {
    post(app, call, message, Command::Redeem(Redeem::parse(message)?)).await
}

pub(super) async fn hold_points(
    app: &App,
    call: &Call,
    message: &proto::HoldPointsRequest,
) -> Result<proto::HoldPointsResponse, Error> {
    post(app, call, message, Command::Hold(Place::parse(message)?)).await
}

pub(super) async fn commit_hold(
    app: &App,
    call: &Call,
    message: &proto::CommitHoldRequest,
) -> Result<proto::CommitHoldResponse, Error> {
    post(app, call, message, Command::Commit(Commit::parse(message)?)).await
}

pub(super) async fn release_hold(
    app: &App,
    call: &Call,
    message: &proto::ReleaseHoldRequest,
) -> Result<proto::ReleaseHoldResponse, Error> {
    post(app, call, message, Command::Release(Release::parse(message)?)).await
}

pub(super) async fn reverse_transaction(
    app: &App,
    call: &Call,
    message: &proto::ReverseTransactionRequest,
) -> Result<proto::ReverseTransactionResponse, Error> {
    post(app, call, message, Command::Reverse(Reverse::parse(message)?)).await
}

pub(super) async fn get_account(
    app: &App,
    call: &Call,
    message: &proto::GetAccountRequest,
) -> Result<proto::Account, Error> {
    let customer = convert::get_account(message)?;
    let account = app
        .db
        .read(call, "get_account", async |conn| {
            super::find_account(app, conn, customer, app.posting.clock.now()).await
        })
        .await?;
    Ok(convert::account(&account))
}

pub(super) async fn list_entries(
    app: &App,
    call: &Call,
    message: &proto::ListEntriesRequest,
) -> Result<proto::ListEntriesResponse, Error> {
    let query = ListEntries::parse(message)?;
    let entries = app
        .db
        .read(call, "list_entries", async |conn| {
            if store::find_member(conn, query.customer).await?.is_none() {
                return Err(member_not_found(name(query.customer)));
            }
            store::list_entries(conn, query.customer, query.page.after, query.page.limit()).await
        })
        .await?;
    Ok(query.answer(entries))
}

pub(super) async fn get_trial_balance(
    app: &App,
    call: &Call,
) -> Result<proto::GetTrialBalanceResponse, Error> {
    let balance =
        app.db.read(call, "get_trial_balance", async |conn| store::sum_accounts(conn).await).await?;
    convert::trial_balance(&balance, app.posting.clock.now())
}
