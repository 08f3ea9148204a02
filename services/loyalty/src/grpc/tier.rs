//! Tiers: kept, and how members went from one to another.

use cqm_proto::loyalty::v1 as proto;
use cqm_rpc::{Call, Error, Etag};
use uuid::Uuid;

use super::convert::tier::{self as convert, Create, ListTurns, Update};
use super::convert::{TIERS, named, versioned};
use crate::domain::tier::Tier;
use crate::error::tier_not_found;
use crate::{App, store};

pub(super) async fn create_tier(
    app: &App,
    call: &Call,
    message: &proto::CreateTierRequest,
) -> Result<proto::Tier, Error> {
    let command = Create::parse(message)?;
    let created = app
        .db
        .mutate(call, "create_tier", message, async |tx| {
            let all = store::lock_tiers(tx).await?;
            let tier = command.at(Uuid::now_v7(), app.posting.clock.now());
            tier.fit(&all)?;
            store::insert_tier(tx, &tier).await?;
            Ok(convert::tier(&tier))
        })
        .await;
    // Whatever became of it: a change whose outcome is unknown may be there.
    app.posting.tiers.forget();
    created
}

pub(super) async fn get_tier(
    app: &App,
    call: &Call,
    message: &proto::GetTierRequest,
) -> Result<proto::Tier, Error> {
    let id = named(TIERS, &message.name)?;
    let tier = app.db.read(call, "get_tier", async |conn| store::find_tier(conn, id).await).await?;
    tier.as_ref().map(convert::tier).ok_or_else(|| tier_not_found(id))
}

pub(super) async fn list_tiers(
    app: &App,
    call: &Call,
    message: &proto::ListTiersRequest,
) -> Result<proto::ListTiersResponse, Error> {
    let mut page = convert::list(message)?;
    let (after, limit) = (page.after, page.limit());
    let found =
        app.db.read(call, "list_tiers", async |conn| store::list_tiers(conn, after, limit).await).await?;
    let found: Vec<proto::Tier> = found.iter().map(convert::tier).collect();
    page.shorten(&found);
    let page = page.page(found, |tier| tier.rank.into());
    Ok(proto::ListTiersResponse { tiers: page.items, next_page_token: page.next_page_token })
}

pub(super) async fn update_tier(
    app: &App,
    call: &Call,
    message: &proto::UpdateTierRequest,
) -> Result<proto::Tier, Error> {
    let command = Update::parse(message)?;
    let updated = app
        .db
        .mutate(call, "update_tier", message, async |tx| {
            let all = store::lock_tiers(tx).await?;
            let before = one_of(&all, command.id, command.etag)?;
            let mut tier = command.apply(before);
            if tier != *before {
                tier.fit(&all)?;
                tier.version += 1;
                tier.update_time = app.posting.clock.now();
                store::update_tier(tx, &tier).await?;
            }
            Ok(convert::tier(&tier))
        })
        .await;
    app.posting.tiers.forget();
    updated
}

pub(super) async fn delete_tier(
    app: &App,
    call: &Call,
    message: &proto::DeleteTierRequest,
) -> Result<proto::Tier, Error> {
    let (id, etag) = versioned(TIERS, &message.name, &message.etag, &message.request_id)?;
    let deleted = app
        .db
        .mutate(call, "delete_tier", message, async |tx| {
            let all = store::lock_tiers(tx).await?;
            let tier = one_of(&all, id, etag)?;
            store::delete_tier(tx, tier.id).await?;
            Ok(convert::tier(tier))
        })
        .await;
    app.posting.tiers.forget();
    deleted
}

pub(super) async fn list_tier_changes(
    app: &App,
    call: &Call,
    message: &proto::ListTierChangesRequest,
) -> Result<proto::ListTierChangesResponse, Error> {
    let query = ListTurns::parse(message)?;
    let turns = app
        .db
        .read(call, "list_tier_changes", async |conn| {
            super::find_member(conn, query.customer).await?;
            store::list_turns(conn, query.customer, query.page.after, query.page.limit()).await
        })
        .await?;
    Ok(query.answer(turns))
}

fn one_of(all: &[Tier], id: Uuid, etag: Option<Etag>) -> Result<&Tier, Error> {
    let tier = all.iter().find(|tier| tier.id == id).ok_or_else(|| tier_not_found(id))?;
    Etag::check(etag, tier.version, &convert::name(Some(id)))?;
    Ok(tier)
}
