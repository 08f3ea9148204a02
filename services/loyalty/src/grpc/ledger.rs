//! The ledger: earning, spending, reading.

use cqm_db::Conn;
use cqm_proto::loyalty::v1 as proto;
use cqm_rpc::{Call, Error, Etag};

use super::append;
use super::convert::ledger::{self as convert, Earn, ListEntries, Redeem};
use super::convert::member::name;
use super::member::lock_or_open;
use crate::domain::ledger::{Account, Cause, Change, Reason};
use crate::domain::{Event, Refusal};
use crate::error::member_not_found;
use crate::{App, store};

pub(super) async fn earn_points(
    app: &App,
    call: &Call,
    message: &proto::EarnPointsRequest,
) -> Result<proto::EarnPointsResponse, Error> {
    let command = Earn::parse(message)?;
    app.db
        .mutate(call, "earn_points", message, async |tx| {
            let (mut account, enrolled) = lock_or_open(app, tx, command.customer).await?;
            let reason = command.basis.reason();
            let earlier = store::find_entry_of_source(tx, command.customer, reason, &command.source).await?;
            if earlier.is_some() {
                return Ok(convert::earned(earlier.as_ref(), &account));
            }
            let change = earn(app, call, tx, &mut account, &command).await?;
            let mut events: Vec<Event> = enrolled.into_iter().collect();
            if let Some(change) = &change {
                write(tx, &account, change).await?;
                events.push(change.event.clone());
            }
            append(tx, call, &events).await?;
            let entry = change.as_ref().and_then(|change| change.entries.last());
            let points = change.iter().flat_map(|change| &change.entries).map(|entry| entry.points).sum();
            Ok(proto::EarnPointsResponse { points, ..convert::earned(entry, &account) })
        })
        .await
}

/// Decides what is earned; `None` when the rules give no points.
async fn earn(
    app: &App,
    call: &Call,
    tx: &mut Conn,
    account: &mut Account,
    command: &Earn,
) -> Result<Option<Change>, Error> {
    // After the lock: of two changes of a member, the one that is written later has the later time.
    let cause = Cause {
        actor: call.caller.subject.to_string(),
        request_id: command.request_id,
        reason: command.basis.reason(),
        source: command.source.clone(),
        time: app.clock.now(),
    };
    let points = command.basis.points(&app.rules)?;
    if points == 0 {
        return Ok(None);
    }
    if points > 0 {
        let earned_at = command.basis.earned_at(cause.time);
        return Ok(Some(account.earn(points, earned_at, &cause, uuid::Uuid::now_v7)?));
    }
    let taken = points.checked_neg().ok_or(Refusal::Overflow)?;
    let lots = store::list_spendable_lots(tx, command.customer, taken, cause.time).await?;
    Ok(Some(account.deduct(taken, &lots, &cause, uuid::Uuid::now_v7)?))
}

pub(super) async fn redeem_points(
    app: &App,
    call: &Call,
    message: &proto::RedeemPointsRequest,
) -> Result<proto::RedeemPointsResponse, Error> {
    let command = Redeem::parse(message)?;
    app.db
        .mutate(call, "redeem_points", message, async |tx| {
            let name = name(command.customer);
            let account = store::lock_account(tx, command.customer).await?;
            let mut account = account.ok_or_else(|| member_not_found(name))?;
            Etag::check(command.etag, account.member.version, &name.to_string())?;
            let cause = Cause {
                actor: call.caller.subject.to_string(),
                request_id: command.request_id,
                reason: Reason::Redemption,
                source: command.source.clone(),
                time: app.clock.now(),
            };
            let lots = store::list_spendable_lots(tx, command.customer, command.points, cause.time).await?;
            let change = account.redeem(command.points, &lots, &cause, uuid::Uuid::now_v7)?;
            write(tx, &account, &change).await?;
            append(tx, call, std::slice::from_ref(&change.event)).await?;
            Ok(convert::redeemed(&change.entries, &account))
        })
        .await
}

/// Writes a change, all but its event. Each table after those that it refers to.
async fn write(tx: &mut Conn, account: &Account, change: &Change) -> Result<(), Error> {
    let customer = account.member.customer;
    if let Some(lot) = &change.lot {
        store::insert_lot(tx, customer, lot).await?;
    }
    if !change.takes.is_empty() {
        store::take_from_lots(tx, customer, &change.takes).await?;
    }
    store::insert_entries(tx, &change.entries).await?;
    store::update_account(tx, account).await?;
    store::insert_postings(tx, &change.postings).await
}

pub(super) async fn get_account(
    app: &App,
    call: &Call,
    message: &proto::GetAccountRequest,
) -> Result<proto::Account, Error> {
    let customer = convert::get_account(message)?;
    let account =
        app.db.read(call, "get_account", async |conn| store::find_account(conn, customer).await).await?;
    account.as_ref().map(convert::account).ok_or_else(|| member_not_found(name(customer)))
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
    convert::trial_balance(&balance, app.clock.now())
}
