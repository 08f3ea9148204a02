//! Vouchers: used, taken back, read.

use cqm_db::{Conn, Patience, log};
use cqm_proto::loyalty::v1 as proto;
use cqm_rpc::{Call, Error, Etag, TraceContext};
use uuid::Uuid;

use super::convert::voucher::{self as convert, Cancel, Consume, List};
use super::convert::{VOUCHERS, child, event, reward};
use crate::App;
use crate::domain::account::{Account, Extent};
use crate::domain::entry::{Cause, Reason};
use crate::domain::voucher::{State, Voucher};
use crate::error::{code_of_no_voucher, voucher_not_found};
use crate::store::{self, Loaded, Wants};

pub(super) async fn validate_voucher(
    app: &App,
    call: &Call,
    message: &proto::ValidateVoucherRequest,
) -> Result<proto::ValidateVoucherResponse, Error> {
    let digests = app.config.voucher_keys.digests(convert::validate(message)?);
    let (voucher, reward) = app
        .db
        .read(call, "validate_voucher", async |conn| {
            let voucher =
                store::find_voucher_by_code(conn, &digests).await?.ok_or_else(code_of_no_voucher)?;
            let reward = store::find_reward(conn, voucher.reward).await?;
            Ok::<_, Error>((voucher, reward.ok_or_else(|| Error::internal("a voucher without its reward"))?))
        })
        .await?;
    Ok(proto::ValidateVoucherResponse {
        voucher: Some(convert::voucher(&voucher, app.posting.clock.now())),
        reward: Some(reward::reward(&reward)),
    })
}

pub(super) async fn consume_voucher(
    app: &App,
    call: &Call,
    message: &proto::ConsumeVoucherRequest,
) -> Result<proto::Voucher, Error> {
    let command = Consume::parse(message)?;
    let digests = app.config.voucher_keys.digests(command.code);
    app.db
        .mutate(call, "consume_voucher", message, async |tx| {
            let found = store::lock_voucher_by_code(tx, &digests).await?;
            let mut voucher = found.ok_or_else(code_of_no_voucher)?;
            // After the lock: whoever had it before has left what this finds.
            let now = app.posting.clock.now();
            let name = child(voucher.customer, VOUCHERS, voucher.id);
            Etag::check(command.etag, voucher.version, &name)?;
            let consumed = voucher.consume(command.order.clone(), now)?;
            let answer = convert::voucher(&voucher, now);
            store::update_vouchers(tx, &[voucher]).await?;
            log::append(tx, &call.trace, &[convert::logged(&consumed)]).await?;
            Ok(answer)
        })
        .await
}

pub(super) async fn cancel_voucher(
    app: &App,
    call: &Call,
    message: &proto::CancelVoucherRequest,
) -> Result<proto::CancelVoucherResponse, Error> {
    let command = Cancel::parse(message)?;
    app.db.mutate(call, "cancel_voucher", message, async |tx| cancel(app, call, tx, &command).await).await
}

async fn cancel(
    app: &App,
    call: &Call,
    tx: &mut Conn,
    command: &Cancel,
) -> Result<proto::CancelVoucherResponse, Error> {
    let (customer, id, posting) = (command.customer, command.id, &app.posting);
    let not_found = || voucher_not_found(customer, id);
    // What paid for it never changes, so that it is read before the locks: the member's is the first, as everywhere.
    let transaction = match store::find_voucher(tx, customer, id).await? {
        Some(voucher) => voucher.transaction,
        None => return Err(super::missing(tx, customer, not_found()).await),
    };
    let mut wants = Wants::default();
    wants.customers.insert(customer);
    wants.transactions.extend(transaction.map(|transaction| (customer, transaction)));
    let loaded =
        store::load(tx, &wants, Patience::Wait, &posting.policy, &posting.tiers, || posting.clock.now())
            .await?;
    loaded.check(customer)?;
    let Loaded { mut accounts, past, events: passed, .. } = loaded;
    let account = accounts.get_mut(&customer).ok_or_else(not_found)?;
    let mut voucher = store::lock_voucher(tx, customer, id).await?.ok_or_else(not_found)?;
    let now = posting.clock.now();
    Etag::check(command.etag, voucher.version, &child(customer, VOUCHERS, id))?;
    let cancelled = voucher.cancel(now)?;

    let (entries, returned) = match transaction.and_then(|transaction| past.get(&(customer, transaction))) {
        Some(past) => {
            let cause = Cause {
                actor: call.caller.subject.to_string(),
                request_id: command.request_id,
                reason: Reason::Reversal,
                source: child(customer, VOUCHERS, id),
                time: now,
            };
            let change = account.reverse(past, Extent::Rest, &posting.policy, &cause, Uuid::now_v7)?;
            account.apply(change)
        }
        None if voucher.points > 0 => return Err(Error::internal("a voucher that nothing paid for")),
        None => (Vec::new(), Vec::new()),
    };
    let changed: Vec<&Account> = Some(&*account).filter(|account| account.is_changed()).into_iter().collect();
    store::save(tx, &changed).await?;
    let answer = convert::cancelled(&voucher, &entries, account, now);
    let told = passed.iter().chain(&returned).map(event::logged).chain([convert::logged(&cancelled)]);
    let told: Vec<(TraceContext, log::NewEvent)> = told.map(|event| (call.trace, event)).collect();
    let (reward, from_stock) = (voucher.reward, voucher.from_stock);
    store::update_vouchers(tx, &[voucher]).await?;
    log::append_all(tx, &told).await?;
    // The last of all, as whoever takes one.
    if from_stock {
        store::return_to_stock(tx, reward).await?;
    }
    Ok(answer)
}

/// Ends the vouchers that a customer gives up, with their erasure: from then on their codes are good for nothing. Their
/// pieces return to the stock; their points do not, for the customer has given those up too. Returns how many that were.
pub(crate) async fn give_up_vouchers(
    app: &App,
    tx: &mut Conn,
    call: &Call,
    customer: Uuid,
) -> Result<i64, Error> {
    let mut vouchers = store::lock_issued_vouchers(tx, customer).await?;
    let now = app.posting.clock.now();
    let ended = vouchers.iter_mut().filter_map(|voucher| voucher.give_up(now));
    let told: Vec<log::NewEvent> = ended.map(|event| convert::logged(&event)).collect();
    store::update_vouchers(tx, &vouchers).await?;
    log::append(tx, &call.trace, &told).await?;
    let given_up: Vec<&Voucher> = vouchers.iter().filter(|it| it.state == State::Cancelled).collect();
    // Behind all other locks, as whoever takes a piece, and in one order.
    let mut pieces: Vec<Uuid> =
        given_up.iter().filter(|voucher| voucher.from_stock).map(|voucher| voucher.reward).collect();
    pieces.sort_unstable();
    for reward in pieces {
        store::return_to_stock(tx, reward).await?;
    }
    Ok(given_up.len() as i64)
}

pub(super) async fn get_voucher(
    app: &App,
    call: &Call,
    message: &proto::GetVoucherRequest,
) -> Result<proto::Voucher, Error> {
    let (customer, id) = convert::get(message)?;
    let voucher = app
        .db
        .read(call, "get_voucher", async |conn| match store::find_voucher(conn, customer, id).await? {
            Some(voucher) => Ok(voucher),
            None => Err(super::missing(conn, customer, voucher_not_found(customer, id)).await),
        })
        .await?;
    Ok(convert::voucher(&voucher, app.posting.clock.now()))
}

pub(super) async fn list_vouchers(
    app: &App,
    call: &Call,
    message: &proto::ListVouchersRequest,
) -> Result<proto::ListVouchersResponse, Error> {
    let query = List::parse(message)?;
    let vouchers = app
        .db
        .read(call, "list_vouchers", async |conn| {
            super::find_member(conn, query.customer).await?;
            store::list_vouchers(conn, query.customer, query.page.after, query.page.limit()).await
        })
        .await?;
    Ok(query.answer(vouchers, app.posting.clock.now()))
}
