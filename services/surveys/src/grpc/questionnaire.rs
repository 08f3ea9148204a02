//! The handlers of `QuestionnaireService`.

use cqm_proto::surveys::v1 as proto;
use cqm_rpc::{Call, Error, Etag};
use uuid::Uuid;

use super::convert::questionnaire as convert;
use super::convert::version_name;
use super::events;
use crate::App;
use crate::domain::questionnaire::Questionnaire;
use crate::error::QUESTIONNAIRE_VERSION_NOT_FOUND;
use crate::store::questionnaires;

pub(super) async fn create(
    app: &App,
    call: Call,
    message: proto::CreateQuestionnaireRequest,
) -> Result<proto::Questionnaire, Error> {
    let (purpose, content) = convert::draft(&message)?;
    app.db
        .mutate(&call, "create_questionnaire", &message, async |tx| {
            let draft = Questionnaire::draft(Uuid::now_v7(), purpose, content.clone(), app.clock.now());
            questionnaires::insert(tx, &draft).await?;
            Ok(convert::answer(&draft))
        })
        .await
}

pub(super) async fn get(
    app: &App,
    call: Call,
    message: proto::GetQuestionnaireRequest,
) -> Result<proto::Questionnaire, Error> {
    let name = convert::name(&message.name)?;
    let found = app
        .db
        .read(&call, "get_questionnaire", async |conn| questionnaires::get(conn, name.id()).await)
        .await?;
    Ok(convert::answer(&found))
}

pub(super) async fn list(
    app: &App,
    call: Call,
    message: proto::ListQuestionnairesRequest,
) -> Result<proto::ListQuestionnairesResponse, Error> {
    let (mut page, filter) = convert::list(&message)?;
    let found = app
        .db
        .read(&call, "list_questionnaires", async |conn| {
            questionnaires::list(conn, filter, page.after, page.limit()).await
        })
        .await?;
    let keys: Vec<_> = found.iter().map(|questionnaire| questionnaire.id).collect();
    let items: Vec<_> = found.iter().map(convert::answer).collect();
    page.shorten(&items);
    let page = page.page(items.into_iter().zip(keys).collect(), |(_, key)| *key);
    Ok(proto::ListQuestionnairesResponse {
        questionnaires: page.items.into_iter().map(|(item, _)| item).collect(),
        next_page_token: page.next_page_token,
    })
}

pub(super) async fn update(
    app: &App,
    call: Call,
    message: proto::UpdateQuestionnaireRequest,
) -> Result<proto::Questionnaire, Error> {
    let (name, etag, changes) = convert::changes(&message)?;
    app.db
        .mutate(&call, "update_questionnaire", &message, async |tx| {
            let mut questionnaire = questionnaires::lock(tx, name.id()).await?;
            Etag::check(etag, questionnaire.version, &name.to_string())?;
            if questionnaire.update(&changes, app.clock.now())? {
                questionnaires::update(tx, &questionnaire).await?;
            }
            Ok(convert::answer(&questionnaire))
        })
        .await
}

pub(super) async fn publish(
    app: &App,
    call: Call,
    message: proto::PublishQuestionnaireRequest,
) -> Result<proto::Questionnaire, Error> {
    let (name, etag) = convert::existing(&message.name, &message.etag, &message.request_id)?;
    app.db
        .mutate(&call, "publish_questionnaire", &message, async |tx| {
            let mut questionnaire = questionnaires::lock(tx, name.id()).await?;
            Etag::check(etag, questionnaire.version, &name.to_string())?;
            let version = questionnaire.publish(app.clock.now())?;
            questionnaires::insert_version(tx, &version).await?;
            questionnaires::update(tx, &questionnaire).await?;
            let event = events::questionnaire_published(&questionnaire, &version);
            cqm_db::log::append(tx, &call.trace, &[event]).await?;
            Ok(convert::answer(&questionnaire))
        })
        .await
}

pub(super) async fn retire(
    app: &App,
    call: Call,
    message: proto::RetireQuestionnaireRequest,
) -> Result<proto::Questionnaire, Error> {
    let (name, etag) = convert::existing(&message.name, &message.etag, &message.request_id)?;
    app.db
        .mutate(&call, "retire_questionnaire", &message, async |tx| {
            let mut questionnaire = questionnaires::lock(tx, name.id()).await?;
            Etag::check(etag, questionnaire.version, &name.to_string())?;
            questionnaire.retire(app.clock.now())?;
            questionnaires::update(tx, &questionnaire).await?;
            Ok(convert::answer(&questionnaire))
        })
        .await
}

pub(super) async fn get_version(
    app: &App,
    call: Call,
    message: proto::GetQuestionnaireVersionRequest,
) -> Result<proto::QuestionnaireVersion, Error> {
    let (id, number) = convert::read_version_name(&message.name)?;
    let found = app
        .db
        .read(&call, "get_questionnaire_version", async |conn| {
            questionnaires::find_version(conn, id, number).await
        })
        .await?;
    let version =
        found.ok_or_else(|| Error::not_found(QUESTIONNAIRE_VERSION_NOT_FOUND, version_name(id, number)))?;
    Ok(convert::version(&version))
}
