//! The handlers of `ResponseService`.

use cqm_db::{Conn, subjects};
use cqm_proto::surveys::v1 as proto;
use cqm_rpc::{Call, Error};
use uuid::Uuid;

use super::convert::response::{self as convert, Submission};
use super::convert::version_name;
use super::events;
use crate::App;
use crate::domain::answer;
use crate::domain::invitation::{Closed, Invitation, State};
use crate::domain::questionnaire::Kind;
use crate::domain::response::Response;
use crate::domain::summary::summarize as sum_up;
use crate::domain::token::Claim;
use crate::error::{self, INVITATION_NOT_FOUND, QUESTIONNAIRE_VERSION_NOT_FOUND, RESPONSE_NOT_FOUND};
use crate::store::{invitations, questionnaires, responses, summary};

pub(super) async fn submit(
    app: &App,
    call: Call,
    message: proto::SubmitResponseRequest,
) -> Result<proto::SubmitResponseResponse, Error> {
    let (token, submission) = convert::submission(&message)?;
    let claim = Claim::read(token);
    app.db
        .mutate(&call, "submit_response", &message, async |tx| {
            let claim = claim.ok_or_else(error::token_opens_nothing)?;
            let invitation = invitations::lock(tx, claim.id)
                .await?
                .filter(|invitation| app.tokens.verify(&claim, invitation))
                .ok_or_else(error::token_opens_nothing)?;
            let response = take(app, tx, &call, invitation, &submission).await?;
            Ok(convert::confirmation(&response))
        })
        .await
}

pub(super) async fn record(
    app: &App,
    call: Call,
    message: proto::RecordResponseRequest,
) -> Result<proto::Response, Error> {
    let (name, submission) = convert::recording(&message)?;
    app.db
        .mutate(&call, "record_response", &message, async |tx| {
            let invitation = invitations::lock(tx, name.id())
                .await?
                .ok_or_else(|| Error::not_found(INVITATION_NOT_FOUND, name))?;
            let response = take(app, tx, &call, invitation, &submission).await?;
            Ok(convert::answer(&response))
        })
        .await
}

/// Takes the answers to an invitation whose row is locked. The same answers once more are a repeat and get the first
/// response; other answers are refused.
async fn take(
    app: &App,
    tx: &mut Conn,
    call: &Call,
    mut invitation: Invitation,
    submission: &Submission,
) -> Result<Response, Error> {
    let version =
        questionnaires::get_asked_version(tx, invitation.questionnaire_id, invitation.number).await?;
    let questions = &version.content.questions;
    let checked = answer::check(questions, submission.answers.clone());
    if invitation.state == State::Answered {
        return repeat(tx, &invitation, checked.ok()).await;
    }
    // Behind the row's lock, which the erasure waits for. Who is to be forgotten is asked nothing any more.
    if !subjects::among(tx, &[invitation.customer_id]).await?.is_empty() {
        return Err(Closed::Expired.into());
    }
    // Read behind the row's lock: the expiry takes the same one, and the loser must see the winner's state.
    let now = app.clock.now();
    invitation.check_open(now)?;
    let answers = checked.map_err(|faults| convert::faults(&submission.answers, faults))?;
    let response = Response::new(Uuid::now_v7(), &invitation, questions, answers, submission.mode, now);
    invitation.answer(response.id, now)?;
    responses::insert(tx, &response).await?;
    invitations::update(tx, &invitation).await?;
    let event = events::response_accepted(&response, version.content.incentive);
    cqm_db::log::append(tx, &call.trace, &[event]).await?;
    Ok(response)
}

async fn repeat(
    tx: &mut Conn,
    invitation: &Invitation,
    answers: Option<Vec<answer::Answer>>,
) -> Result<Response, Error> {
    let first = match invitation.response_id {
        Some(id) => responses::find(tx, id).await?,
        None => None,
    };
    let first = first.ok_or_else(|| Error::internal("an invitation was answered without a response"))?;
    if answers.as_ref() == Some(&first.answers) { Ok(first) } else { Err(Closed::Answered.into()) }
}

pub(super) async fn get(
    app: &App,
    call: Call,
    message: proto::GetResponseRequest,
) -> Result<proto::Response, Error> {
    let name = convert::name(&message.name)?;
    let found =
        app.db.read(&call, "get_response", async |conn| responses::find(conn, name.id()).await).await?;
    Ok(convert::answer(&found.ok_or_else(|| Error::not_found(RESPONSE_NOT_FOUND, name))?))
}

pub(super) async fn list(
    app: &App,
    call: Call,
    message: proto::ListResponsesRequest,
) -> Result<proto::ListResponsesResponse, Error> {
    let (mut page, filter) = convert::list(&message)?;
    let found = app
        .db
        .read(&call, "list_responses", async |conn| {
            responses::list(conn, &filter, page.after, page.limit()).await
        })
        .await?;
    let keys: Vec<_> = found.iter().map(|response| response.id).collect();
    let items: Vec<_> = found.iter().map(convert::answer).collect();
    page.shorten(&items);
    let page = page.page(items.into_iter().zip(keys).collect(), |(_, key)| *key);
    Ok(proto::ListResponsesResponse {
        responses: page.items.into_iter().map(|(item, _)| item).collect(),
        next_page_token: page.next_page_token,
    })
}

pub(super) async fn summarize(
    app: &App,
    call: Call,
    message: proto::SummarizeResponsesRequest,
) -> Result<proto::SummarizeResponsesResponse, Error> {
    let query = convert::summary(&message)?;
    let (version, tally) = app
        .db
        .read(&call, "summarize_responses", async |conn| {
            let latest = questionnaires::get(conn, query.questionnaire_id).await?.latest_version;
            let number = query.number.unwrap_or(latest);
            let version = questionnaires::find_version(conn, query.questionnaire_id, number).await?;
            let version = version.ok_or_else(|| {
                Error::not_found(
                    QUESTIONNAIRE_VERSION_NOT_FOUND,
                    version_name(query.questionnaire_id, number),
                )
            })?;
            let questions = &version.content.questions;
            let by_choice =
                |kind: &Kind| matches!(kind, Kind::SingleChoice { .. } | Kind::MultipleChoice { .. });
            let scope = summary::Scope {
                questionnaire_id: query.questionnaire_id,
                number,
                start: query.start,
                end: query.end,
                questions: questions.iter().map(|question| question.id.as_str()).collect(),
                choice_questions: questions
                    .iter()
                    .filter(|question| by_choice(&question.kind))
                    .map(|question| question.id.as_str())
                    .collect(),
            };
            let tally = summary::count(conn, &scope).await?;
            Ok::<_, Error>((version, tally))
        })
        .await?;
    let questions = sum_up(&version.content.questions, &tally);
    Ok(proto::SummarizeResponsesResponse {
        questionnaire_version: version_name(version.questionnaire_id, version.number),
        responses: tally.responses,
        dissatisfied: tally.dissatisfied,
        questions: questions.into_iter().map(convert::question_summary).collect(),
    })
}
