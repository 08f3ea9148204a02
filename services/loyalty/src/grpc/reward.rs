//! The catalogue: kept, read, and taken from.

use cqm_db::{Conn, Patience, log};
use cqm_proto::loyalty::v1 as proto;
use cqm_rpc::{Call, Error, Etag, TraceContext};
use uuid::Uuid;

use super::convert::reward::{self as convert, Create, List, Redeem, Update};
use super::convert::voucher::{self, Remembered};
use super::convert::{REWARDS, VOUCHERS, child, event, member, named, versioned};
use crate::App;
use crate::domain::Refusal;
use crate::domain::account::Account;
use crate::domain::code::Seed;
use crate::domain::entry::{Cause, Reason};
use crate::domain::reward::{self, Reward};
use crate::domain::voucher::Voucher;
use crate::error::{member_not_found, reward_not_found};
use crate::store::{self, Loaded, Wants};

pub(super) async fn create_reward(
    app: &App,
    call: &Call,
    message: &proto::CreateRewardRequest,
) -> Result<proto::Reward, Error> {
    let command = Create::parse(message)?;
    app.db
        .mutate(call, "create_reward", message, async |tx| {
            let now = app.posting.clock.now();
            let reward = Reward::draft(Uuid::now_v7(), command.kind, command.offer.clone(), now);
            store::insert_reward(tx, &reward).await?;
            Ok(convert::reward(&reward))
        })
        .await
}

pub(super) async fn get_reward(
    app: &App,
    call: &Call,
    message: &proto::GetRewardRequest,
) -> Result<proto::Reward, Error> {
    let id = named(REWARDS, &message.name)?;
    let reward = app.db.read(call, "get_reward", async |conn| store::find_reward(conn, id).await).await?;
    reward.as_ref().map(convert::reward).ok_or_else(|| reward_not_found(id))
}

pub(super) async fn list_rewards(
    app: &App,
    call: &Call,
    message: &proto::ListRewardsRequest,
) -> Result<proto::ListRewardsResponse, Error> {
    let query = List::parse(message)?;
    let rewards = app
        .db
        .read(call, "list_rewards", async |conn| {
            store::list_rewards(conn, query.state, query.page.after, query.page.limit()).await
        })
        .await?;
    Ok(query.answer(&rewards))
}

pub(super) async fn update_reward(
    app: &App,
    call: &Call,
    message: &proto::UpdateRewardRequest,
) -> Result<proto::Reward, Error> {
    let command = Update::parse(message)?;
    app.db
        .mutate(call, "update_reward", message, async |tx| {
            turn(tx, command.id, command.etag, |reward| {
                let offer = command.apply(reward)?;
                Ok(reward.change(offer, app.posting.clock.now())?)
            })
            .await
        })
        .await
}

pub(super) async fn activate_reward(
    app: &App,
    call: &Call,
    message: &proto::ActivateRewardRequest,
) -> Result<proto::Reward, Error> {
    let (id, etag) = versioned(REWARDS, &message.name, &message.etag, &message.request_id)?;
    app.db
        .mutate(call, "activate_reward", message, async |tx| {
            let now = app.posting.clock.now();
            turn(tx, id, etag, |reward| Ok(reward.activate(now)?)).await
        })
        .await
}

pub(super) async fn archive_reward(
    app: &App,
    call: &Call,
    message: &proto::ArchiveRewardRequest,
) -> Result<proto::Reward, Error> {
    let (id, etag) = versioned(REWARDS, &message.name, &message.etag, &message.request_id)?;
    app.db
        .mutate(call, "archive_reward", message, async |tx| {
            let now = app.posting.clock.now();
            turn(tx, id, etag, |reward| Ok(reward.archive(now)?)).await
        })
        .await
}

async fn turn(
    tx: &mut Conn,
    id: Uuid,
    etag: Option<Etag>,
    decide: impl FnOnce(&mut Reward) -> Result<(), Error> + Send,
) -> Result<proto::Reward, Error> {
    let mut reward = store::lock_reward(tx, id).await?.ok_or_else(|| reward_not_found(id))?;
    Etag::check(etag, reward.version, &convert::name(id).to_string())?;
    decide(&mut reward)?;
    store::update_reward(tx, &reward).await?;
    Ok(convert::reward(&reward))
}

pub(super) async fn redeem_reward(
    app: &App,
    call: &Call,
    message: &proto::RedeemRewardRequest,
) -> Result<proto::RedeemRewardResponse, Error> {
    let command = Redeem::parse(message)?;
    // What is remembered of the answer holds no code: it is made again each time.
    let remembered: Remembered = app
        .db
        .mutate(call, "redeem_reward", message, async |tx| redeem(app, call, tx, &command).await)
        .await?;
    remembered.answer(app.config.voucher_keys)
}

async fn redeem(app: &App, call: &Call, tx: &mut Conn, command: &Redeem) -> Result<Remembered, Error> {
    let (customer, posting) = (command.customer, &app.posting);
    // Without a lock: who took the reward before it was changed has taken what it was then.
    let reward =
        store::find_reward(tx, command.reward).await?.ok_or_else(|| reward_not_found(command.reward))?;
    let price = reward.offer.price;
    let mut wants = Wants::default();
    wants.customers.insert(customer);
    wants.spending.insert(customer, i128::from(price));
    let loaded =
        store::load(tx, &wants, Patience::Wait, &posting.policy, &posting.tiers, || posting.clock.now())
            .await?;
    loaded.check(customer)?;
    let Loaded { mut accounts, events: passed, .. } = loaded;
    let account = accounts.get_mut(&customer).ok_or_else(|| member_not_found(member::name(customer)))?;

    let now = posting.clock.now();
    Etag::check(command.etag, reward.version, &convert::name(reward.id).to_string())?;
    let had = match reward.offer.most_per_member {
        Some(most) => store::count_vouchers(tx, customer, reward.id, most).await?,
        None => 0,
    };
    reward.check_redeemable(had, now)?;
    let id = Uuid::now_v7();
    let cause = Cause {
        actor: call.caller.subject.to_string(),
        request_id: command.request_id,
        reason: Reason::Reward,
        source: child(customer, VOUCHERS, id),
        time: now,
    };
    let (entries, spent) = pay(account, price, &cause)?;
    let transaction = entries.first().map(|first| first.transaction);
    let (voucher, issued) = Voucher::issue(id, customer, &reward, transaction, now);
    let seed = Seed { voucher: id, drawn: Uuid::new_v4() };
    let digest = app.config.voucher_keys.digest(app.config.voucher_keys.make(&seed));

    let changed: Vec<&Account> = Some(&*account).filter(|account| account.is_changed()).into_iter().collect();
    store::save(tx, &changed).await?;
    store::insert_voucher(tx, &voucher, &digest).await?;
    let told = passed.iter().chain(&spent).map(event::logged).chain([voucher::logged(&issued)]);
    let told: Vec<(TraceContext, log::NewEvent)> = told.map(|event| (call.trace, event)).collect();
    log::append_all(tx, &told).await?;
    // The last of all: from here to the commit, whoever wants a piece waits.
    if voucher.from_stock && !store::take_from_stock(tx, reward.id).await? {
        return Err(reward::Refusal::OutOfStock.into());
    }
    Ok(Remembered::new(voucher::redeemed(&voucher, &entries, account, now), &seed, &digest))
}

/// Spends what a reward costs. To hold the points first would be two movements that nobody could ever see apart.
fn pay(
    account: &mut Account,
    price: i64,
    cause: &Cause,
) -> Result<(Vec<crate::domain::entry::Entry>, Vec<crate::domain::Event>), Refusal> {
    if price == 0 {
        account.may_spend()?;
        return Ok((Vec::new(), Vec::new()));
    }
    let change = account.redeem(price, cause, Uuid::now_v7)?;
    Ok(account.apply(change))
}
