//! Members: enrolled, read, frozen.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use cqm_db::{Conn, Patience, subjects};
use cqm_proto::loyalty::v1 as proto;
use cqm_rpc::{Call, Error, Etag};
use uuid::Uuid;

use super::append;
use super::convert::member::{self as convert, Create, List};
use super::convert::{MEMBERS, named, versioned};
use crate::App;
use crate::domain::account::Account;
use crate::domain::member::Member;
use crate::domain::referral::{self, ReferralCode};
use crate::domain::{Event, Refusal};
use crate::error::{REFERRAL_CODE_UNKNOWN, member_not_found};
use crate::posting::check_etag;
use crate::store::{self, Wants};

pub(super) async fn create_member(
    app: &App,
    call: &Call,
    message: &proto::CreateMemberRequest,
) -> Result<proto::Member, Error> {
    let command = Create::parse(message)?;
    app.db.mutate(call, "create_member", message, async |tx| enrol(app, tx, call, &command).await).await
}

async fn enrol(app: &App, tx: &mut Conn, call: &Call, command: &Create) -> Result<proto::Member, Error> {
    subjects::check_open(tx, command.customer).await?;
    let (posting, now) = (&app.posting, app.posting.clock.now());
    let referrer = match &command.referral_code {
        None => None,
        Some(code) => match store::find_by_code(tx, code).await? {
            None => return Err(Error::refused(REFERRAL_CODE_UNKNOWN)),
            found => found,
        },
    };
    let ladder = posting.tiers.current(tx).await?;
    let code = ReferralCode::of(Uuid::new_v4());
    let (mut account, mut events) = Account::open(command.customer, code, Arc::clone(&ladder), now);
    if let Some(referrer) = referrer {
        events.push(account.refer(referrer, now));
    }
    // A tier that was deleted meanwhile is not given again.
    let inserted = store::insert_member(tx, &account.member).await.inspect_err(|_| posting.tiers.forget())?;
    if !inserted {
        return as_they_are(app, tx, command.customer, referrer, now).await;
    }
    let turns: Vec<_> =
        account.journal().turns.iter().map(|(version, turn)| (command.customer, *version, *turn)).collect();
    store::insert_turns(tx, &turns).await?;
    if let Some(referrer) = referrer {
        store::insert_referral(tx, command.customer, referrer, now).await?;
    }
    append(tx, call, &events).await?;
    Ok(convert::member(&account, now))
}

/// The customer is a member already; members are not deleted. Whoever is said to have brought them in is refused, but
/// for whoever has.
async fn as_they_are(
    app: &App,
    tx: &mut Conn,
    customer: Uuid,
    referrer: Option<Uuid>,
    now: DateTime<Utc>,
) -> Result<proto::Member, Error> {
    if let Some(referrer) = referrer {
        let known = store::find_above(tx, customer).await?.first().copied();
        let above = store::find_above(tx, referrer).await?;
        referral::judge(customer, referrer, known, &above)?;
    }
    let posting = &app.posting;
    let account = store::find_account(tx, customer, &posting.policy, &posting.tiers, now).await?;
    account.map(|account| convert::member(&account, now)).ok_or_else(|| Error::internal("a member vanished"))
}

pub(super) async fn get_member(
    app: &App,
    call: &Call,
    message: &proto::GetMemberRequest,
) -> Result<proto::Member, Error> {
    let customer = named(MEMBERS, &message.name)?;
    let now = app.posting.clock.now();
    let account = app
        .db
        .read(call, "get_member", async |conn| super::find_account(app, conn, customer, now).await)
        .await?;
    Ok(convert::member(&account, now))
}

pub(super) async fn list_members(
    app: &App,
    call: &Call,
    message: &proto::ListMembersRequest,
) -> Result<proto::ListMembersResponse, Error> {
    let query = List::parse(message)?;
    let (posting, now) = (&app.posting, app.posting.clock.now());
    let members = app
        .db
        .read(call, "list_members", async |conn| {
            let members =
                store::list_members(conn, query.state, query.page.after, query.page.limit()).await?;
            store::settled(conn, members, &posting.policy, &posting.tiers, now).await
        })
        .await?;
    Ok(query.answer(members, now))
}

pub(super) async fn freeze_member(
    app: &App,
    call: &Call,
    message: &proto::FreezeMemberRequest,
) -> Result<proto::Member, Error> {
    let which = versioned(MEMBERS, &message.name, &message.etag, &message.request_id)?;
    app.db
        .mutate(call, "freeze_member", message, async |tx| turn(app, call, tx, which, Member::freeze).await)
        .await
}

pub(super) async fn unfreeze_member(
    app: &App,
    call: &Call,
    message: &proto::UnfreezeMemberRequest,
) -> Result<proto::Member, Error> {
    let which = versioned(MEMBERS, &message.name, &message.etag, &message.request_id)?;
    app.db
        .mutate(call, "unfreeze_member", message, async |tx| {
            turn(app, call, tx, which, Member::unfreeze).await
        })
        .await
}

/// Locks a member, writes down what time has changed, and turns them to another state.
async fn turn(
    app: &App,
    call: &Call,
    tx: &mut Conn,
    (customer, etag): (Uuid, Option<Etag>),
    decide: fn(&mut Member, DateTime<Utc>) -> Result<Event, Refusal>,
) -> Result<proto::Member, Error> {
    let posting = &app.posting;
    let wants = Wants { customers: [customer].into(), ..Wants::default() };
    let clock = || posting.clock.now();
    let mut loaded = store::load(tx, &wants, Patience::Wait, &posting.policy, &posting.tiers, clock).await?;
    loaded.check(customer)?;
    let name = convert::name(customer);
    let account = loaded.accounts.get_mut(&customer).ok_or_else(|| member_not_found(name))?;
    check_etag(etag, account)?;
    let now = posting.clock.now();
    loaded.events.push(account.turn(|member| decide(member, now))?);
    store::save(tx, &[account]).await.inspect_err(|_| posting.tiers.forget())?;
    let answer = convert::member(account, now);
    append(tx, call, &loaded.events).await?;
    Ok(answer)
}
