//! The handlers of `InvitationService`.

use cqm_db::{Conn, subjects};
use cqm_proto::surveys::v1 as proto;
use cqm_rpc::{Call, Error, Refusal, ResourceName, time};
use uuid::Uuid;

use super::convert::invitation::{self as convert, Invite, Target};
use super::convert::questionnaire;
use super::events;
use crate::domain::invitation::{self as domain, Invitation, Merged};
use crate::domain::questionnaire::Questionnaire;
use crate::domain::token::Claim;
use crate::error::{self, INVITATION_NOT_FOUND, NO_PUBLISHED_QUESTIONNAIRE};
use crate::store::{invitations, questionnaires, responses};
use crate::{App, INVITATIONS};

pub(super) async fn create(
    app: &App,
    call: Call,
    message: proto::CreateInvitationRequest,
) -> Result<proto::Invitation, Error> {
    let command = convert::invite(&message)?;
    app.db
        .mutate(&call, "create_invitation", &message, async |tx| {
            subjects::check_open(tx, command.customer_id).await?;
            let (invitation, is_new) = invite(app, tx, &command).await?;
            if is_new {
                cqm_db::log::append(tx, &call.trace, &[events::invitation_created(&invitation)]).await?;
            }
            Ok(convert::answer(&invitation))
        })
        .await
}

/// Makes what a customer was asked and has answered the survivor's. An invitation that asks what the survivor's own does
/// stays under the old name, because `invitations_once` lets nobody have both; nobody answers it there.
pub(crate) async fn merge(
    app: &App,
    tx: &mut Conn,
    call: &Call,
    customer_id: Uuid,
    survivor_id: Uuid,
) -> Result<Vec<(&'static str, i64)>, Error> {
    // The invitations first: who answers one has its lock, and their response is there when the responses move.
    let all = invitations::lock_all_of(tx, [customer_id, survivor_id]).await?;
    let now = app.clock.now();
    let (asked, kept) = all.into_iter().partition(|invitation| invitation.customer_id == customer_id);
    let Merged { moved, ended } = domain::merge(asked, kept, now);
    invitations::give(tx, &moved, survivor_id, now).await?;
    let ids: Vec<Uuid> = ended.iter().map(|invitation| invitation.id).collect();
    invitations::mark_expired(tx, &ids, now).await?;
    let answered = responses::give_all(tx, customer_id, survivor_id).await?;
    let events: Vec<_> = ended.iter().map(events::invitation_expired).collect();
    cqm_db::log::append(tx, &call.trace, &events).await?;
    Ok(vec![("invitations", moved.len() as i64), ("responses", answered as i64)])
}

/// The invitation that asks what the command says, and whether it is a new one.
async fn invite(app: &App, tx: &mut Conn, command: &Invite) -> Result<(Invitation, bool), Error> {
    let questionnaire = target(tx, command.target).await?;
    let asked = invitations::find_asked(tx, command.customer_id, &command.subject, questionnaire.id).await?;
    if let Some(asked) = asked {
        return Ok((asked, false));
    }
    questionnaire.check_invitable()?;
    let invitation = Invitation::new(
        Uuid::now_v7(),
        command.customer_id,
        (questionnaire.id, questionnaire.latest_version),
        command.subject.clone(),
        command.ttl,
        app.clock.now(),
    );
    if invitations::insert_once(tx, &invitation).await? {
        return Ok((invitation, true));
    }
    // Another call asked the same in the meantime; the insert waited for its commit.
    let asked = invitations::find_asked(tx, command.customer_id, &command.subject, questionnaire.id).await?;
    asked
        .map(|asked| (asked, false))
        .ok_or_else(|| Error::internal("an invitation is in the way and not there"))
}

async fn target(tx: &mut Conn, target: Target) -> Result<Questionnaire, Error> {
    match target {
        Target::Questionnaire(id) => questionnaires::get(tx, id).await,
        Target::Purpose(purpose) => {
            let newest = questionnaires::find_newest_published(tx, purpose).await?;
            newest.ok_or_else(|| {
                Refusal::new(NO_PUBLISHED_QUESTIONNAIRE).fact("purpose", purpose.name()).into()
            })
        }
    }
}

pub(super) async fn get(
    app: &App,
    call: Call,
    message: proto::GetInvitationRequest,
) -> Result<proto::Invitation, Error> {
    let name = convert::name(&message.name)?;
    Ok(convert::answer(&find(app, &call, name).await?))
}

pub(super) async fn list(
    app: &App,
    call: Call,
    message: proto::ListInvitationsRequest,
) -> Result<proto::ListInvitationsResponse, Error> {
    let (page, filter) = convert::list(&message)?;
    let found = app
        .db
        .read(&call, "list_invitations", async |conn| {
            invitations::list(conn, &filter, page.after, page.limit()).await
        })
        .await?;
    let page = page.page(found, |invitation| invitation.id);
    Ok(proto::ListInvitationsResponse {
        invitations: page.items.iter().map(convert::answer).collect(),
        next_page_token: page.next_page_token,
    })
}

/// The same link for ever, so that a message which is made again is the same message.
pub(super) async fn get_link(
    app: &App,
    call: Call,
    message: proto::GetInvitationLinkRequest,
) -> Result<proto::GetInvitationLinkResponse, Error> {
    let name = convert::name(&message.name)?;
    let invitation = find(app, &call, name).await?;
    let token = app.tokens.sign(&invitation);
    Ok(proto::GetInvitationLinkResponse {
        url: format!("{}{token}", app.public_url),
        token,
        expire_time: Some(time::wire(invitation.expire_time)),
    })
}

pub(super) async fn open(
    app: &App,
    call: Call,
    message: proto::OpenInvitationRequest,
) -> Result<proto::OpenInvitationResponse, Error> {
    let token = convert::token(&message.token)?;
    let claim = Claim::read(token).ok_or_else(error::token_opens_nothing)?;
    let (invitation, version) = app
        .db
        .read(&call, "open_invitation", async |conn| {
            let invitation = invitations::find(conn, claim.id).await?;
            let invitation = invitation
                .filter(|invitation| app.tokens.verify(&claim, invitation))
                .ok_or_else(error::token_opens_nothing)?;
            invitation.check_open(app.clock.now())?;
            let version =
                questionnaires::get_asked_version(conn, invitation.questionnaire_id, invitation.number)
                    .await?;
            Ok::<_, Error>((invitation, version))
        })
        .await?;
    Ok(proto::OpenInvitationResponse {
        questionnaire_version: Some(questionnaire::version(&version)),
        expire_time: Some(time::wire(invitation.expire_time)),
    })
}

async fn find(app: &App, call: &Call, name: ResourceName) -> Result<Invitation, Error> {
    let found =
        app.db.read(call, "get_invitation", async |conn| invitations::find(conn, name.id()).await).await?;
    found.ok_or_else(|| Error::not_found(INVITATION_NOT_FOUND, ResourceName::new(INVITATIONS, name.id())))
}
