//! Members: enrolled, read, frozen.

use cqm_db::Conn;
use cqm_proto::loyalty::v1 as proto;
use cqm_rpc::{Call, Error, Etag};

use super::append;
use super::convert::member::{self as convert, Create, List, Turn};
use crate::domain::member::Member;
use crate::domain::{Event, Refusal};
use crate::error::member_not_found;
use crate::{App, store};

pub(super) async fn create_member(
    app: &App,
    call: &Call,
    message: &proto::CreateMemberRequest,
) -> Result<proto::Member, Error> {
    let command = Create::parse(message)?;
    app.db
        .mutate(call, "create_member", message, async |tx| {
            let (member, enrolled) = Member::enrol(command.customer, app.posting.clock.now());
            if store::insert_member(tx, &member).await? {
                append(tx, call, &[enrolled]).await?;
                return Ok(convert::member(&member));
            }
            // The customer is one already; members are not deleted.
            let member = store::lock_member(tx, command.customer).await?;
            member.as_ref().map(convert::member).ok_or_else(|| Error::internal("a member vanished"))
        })
        .await
}

pub(super) async fn get_member(
    app: &App,
    call: &Call,
    message: &proto::GetMemberRequest,
) -> Result<proto::Member, Error> {
    let customer = convert::get(message)?;
    let member =
        app.db.read(call, "get_member", async |conn| store::find_member(conn, customer).await).await?;
    member.as_ref().map(convert::member).ok_or_else(|| member_not_found(convert::name(customer)))
}

pub(super) async fn list_members(
    app: &App,
    call: &Call,
    message: &proto::ListMembersRequest,
) -> Result<proto::ListMembersResponse, Error> {
    let query = List::parse(message)?;
    let members = app
        .db
        .read(call, "list_members", async |conn| {
            store::list_members(conn, query.state, query.page.after, query.page.limit()).await
        })
        .await?;
    Ok(query.answer(members))
}

pub(super) async fn freeze_member(
    app: &App,
    call: &Call,
    message: &proto::FreezeMemberRequest,
) -> Result<proto::Member, Error> {
    let command = Turn::freeze(message)?;
    app.db
        .mutate(call, "freeze_member", message, async |tx| {
            turn(call, tx, &command, |member| member.freeze(app.posting.clock.now())).await
        })
        .await
}

pub(super) async fn unfreeze_member(
    app: &App,
    call: &Call,
    message: &proto::UnfreezeMemberRequest,
) -> Result<proto::Member, Error> {
    let command = Turn::unfreeze(message)?;
    app.db
        .mutate(call, "unfreeze_member", message, async |tx| {
            turn(call, tx, &command, |member| member.unfreeze(app.posting.clock.now())).await
        })
        .await
}

async fn turn(
    call: &Call,
    tx: &mut Conn,
    command: &Turn,
    decide: impl FnOnce(&mut Member) -> Result<Event, Refusal> + Send,
) -> Result<proto::Member, Error> {
    let name = convert::name(command.customer);
    let mut member = store::lock_member(tx, command.customer).await?.ok_or_else(|| member_not_found(name))?;
    Etag::check(command.etag, member.version, &name.to_string())?;
    let event = decide(&mut member)?;
    store::update_member(tx, &member).await?;
    append(tx, call, &[event]).await?;
    Ok(convert::member(&member))
}
