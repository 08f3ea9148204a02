//! Programmes: prepared, turned on and off, ended.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use cqm_db::Conn;
use cqm_proto::Mutation;
use cqm_proto::loyalty::v1 as proto;
use cqm_rpc::{Call, Error, Etag, ResourceName};
use uuid::Uuid;

use super::convert::programme::{self as convert, Update};
use super::convert::{PROGRAMMES, named, versioned};
use crate::domain::programme::{MOST_RUNNING, Programme, Refusal};
use crate::domain::rules::Pot;
use crate::error::programme_not_found;
use crate::{App, store};

pub(super) async fn create(
    app: &App,
    call: &Call,
    message: &proto::CreateProgrammeRequest,
) -> Result<proto::Programme, Error> {
    let programme = convert::create(message, Uuid::now_v7(), app.posting.clock.now())?;
    app.db
        .mutate(call, "create_programme", message, async |tx| {
            store::insert_programme(tx, &programme).await?;
            store::change_budget(tx, programme.id, None, programme.budget).await?;
            Ok(convert::answer(&programme, programme.budget.unwrap_or(0)))
        })
        .await
}

pub(super) async fn get(
    app: &App,
    call: &Call,
    message: &proto::GetProgrammeRequest,
) -> Result<proto::Programme, Error> {
    let id = named(PROGRAMMES, &message.name)?;
    app.db
        .read(call, "get_programme", async |conn| {
            let found = store::find_programme(conn, id).await?;
            show(conn, &found.ok_or_else(|| programme_not_found(convert::name(id)))?).await
        })
        .await
}

pub(super) async fn list(
    app: &App,
    call: &Call,
    message: &proto::ListProgrammesRequest,
) -> Result<proto::ListProgrammesResponse, Error> {
    let (page, state) = convert::list(message)?;
    let (found, left) = app
        .db
        .read(call, "list_programmes", async |conn| {
            let found = store::list_programmes(conn, state, page.after, page.limit()).await?;
            let budgets: BTreeSet<Uuid> = found.iter().map(|programme| programme.id).collect();
            let left = store::find_budgets(conn, &budgets).await?;
            Ok::<_, Error>((found, left))
        })
        .await?;
    let page = page.page(found, |programme| programme.id);
    let answer = |it: &Programme| convert::answer(it, left.get(&it.id).map_or(0, Pot::left));
    Ok(proto::ListProgrammesResponse {
        programmes: page.items.iter().map(answer).collect(),
        next_page_token: page.next_page_token,
    })
}

pub(super) async fn update(
    app: &App,
    call: &Call,
    message: &proto::UpdateProgrammeRequest,
) -> Result<proto::Programme, Error> {
    let update = Update::parse(message)?;
    let answer = app
        .db
        .mutate(call, "update_programme", message, async |tx| {
            let before = lock(tx, update.name, update.etag).await?;
            before.may_change("update")?;
            let mut programme = update.apply(&before)?;
            if programme != before {
                programme.changed(app.posting.clock.now());
                store::change_budget(tx, programme.id, before.budget, programme.budget).await?;
                store::update_programme(tx, &programme).await?;
            }
            show(tx, &programme).await
        })
        .await;
    app.posting.book.forget();
    answer
}

pub(super) async fn activate(
    app: &App,
    call: &Call,
    message: &proto::ActivateProgrammeRequest,
) -> Result<proto::Programme, Error> {
    let which = versioned(PROGRAMMES, &message.name, &message.etag, &message.request_id)?;
    turn(app, call, "activate_programme", message, which, Programme::activate).await
}

pub(super) async fn pause(
    app: &App,
    call: &Call,
    message: &proto::PauseProgrammeRequest,
) -> Result<proto::Programme, Error> {
    let which = versioned(PROGRAMMES, &message.name, &message.etag, &message.request_id)?;
    turn(app, call, "pause_programme", message, which, Programme::pause).await
}

pub(super) async fn end(
    app: &App,
    call: &Call,
    message: &proto::EndProgrammeRequest,
) -> Result<proto::Programme, Error> {
    let which = versioned(PROGRAMMES, &message.name, &message.etag, &message.request_id)?;
    turn(app, call, "end_programme", message, which, Programme::end).await
}

async fn turn<M: Mutation + Sync>(
    app: &App,
    call: &Call,
    what: &'static str,
    message: &M,
    (id, etag): (Uuid, Option<Etag>),
    decide: fn(&mut Programme, DateTime<Utc>) -> Result<(), Refusal>,
) -> Result<proto::Programme, Error> {
    let answer = app
        .db
        .mutate(call, what, message, async |tx| {
            let mut programme = lock(tx, convert::name(id), etag).await?;
            let was_running = programme.is_running();
            decide(&mut programme, app.posting.clock.now())?;
            if programme.is_running() && !was_running && store::count_running(tx).await? >= MOST_RUNNING {
                return Err(Refusal::TooManyRunning.into());
            }
            store::update_programme(tx, &programme).await?;
            show(tx, &programme).await
        })
        .await;
    // Also when nobody knows the outcome.
    app.posting.book.forget();
    answer
}

/// The programme's lock: `ETAG_MISMATCH` when it has changed since it was read.
async fn lock(tx: &mut Conn, name: ResourceName, etag: Option<Etag>) -> Result<Programme, Error> {
    let programme = store::lock_programme(tx, name.id()).await?.ok_or_else(|| programme_not_found(name))?;
    Etag::check(etag, programme.version, &name.to_string())?;
    Ok(programme)
}

async fn show(conn: &mut Conn, programme: &Programme) -> Result<proto::Programme, Error> {
    let left = store::find_budgets(conn, &BTreeSet::from([programme.id])).await?;
    Ok(convert::answer(programme, left.get(&programme.id).map_or(0, Pot::left)))
}
