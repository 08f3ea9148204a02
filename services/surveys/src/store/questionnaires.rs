//! Questionnaires and their published versions.

use chrono::{DateTime, Utc};
use cqm_db::{Conn, known};
use cqm_rpc::{Error, ResourceName};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde_json::Value as Json;
use uuid::Uuid;

use crate::QUESTIONNAIRES;
use crate::domain::questionnaire::{Content, Purpose, Questionnaire, State, Version};
use crate::error::QUESTIONNAIRE_NOT_FOUND;
use crate::schema::{questionnaire_versions, questionnaires};

#[derive(Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = questionnaires, treat_none_as_null = true)]
struct QuestionnaireRow {
    id: Uuid,
    purpose: String,
    state: String,
    content: Json,
    latest_version: i32,
    publish_time: Option<DateTime<Utc>>,
    version: i64,
    create_time: DateTime<Utc>,
    update_time: DateTime<Utc>,
}

impl QuestionnaireRow {
    fn of(it: &Questionnaire) -> Result<Self, Error> {
        Ok(Self {
            id: it.id,
            purpose: it.purpose.name().to_owned(),
            state: it.state.name().to_owned(),
            content: write(&it.content)?,
            latest_version: it.latest_version,
            publish_time: it.publish_time,
            version: it.version,
            create_time: it.create_time,
            update_time: it.update_time,
        })
    }

    fn read(self) -> Result<Questionnaire, Error> {
        Ok(Questionnaire {
            id: self.id,
            purpose: known("questionnaires.purpose", &self.purpose, Purpose::find)?,
            state: known("questionnaires.state", &self.state, State::find)?,
            content: read(self.content)?,
            latest_version: self.latest_version,
            publish_time: self.publish_time,
            version: self.version,
            create_time: self.create_time,
            update_time: self.update_time,
        })
    }
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = questionnaire_versions)]
struct VersionRow {
    questionnaire_id: Uuid,
    number: i32,
    purpose: String,
    content: Json,
    create_time: DateTime<Utc>,
}

impl VersionRow {
    fn read(self) -> Result<Version, Error> {
        Ok(Version {
            questionnaire_id: self.questionnaire_id,
            number: self.number,
            purpose: known("questionnaires.purpose", &self.purpose, Purpose::find)?,
            content: read(self.content)?,
            create_time: self.create_time,
        })
    }
}

pub(super) fn read(content: Json) -> Result<Content, Error> {
    serde_json::from_value(content).map_err(Error::internal)
}

fn write(content: &Content) -> Result<Json, Error> {
    serde_json::to_value(content).map_err(Error::internal)
}

pub async fn insert(tx: &mut Conn, questionnaire: &Questionnaire) -> Result<(), Error> {
    diesel::insert_into(questionnaires::table)
        .values(QuestionnaireRow::of(questionnaire)?)
        .execute(tx)
        .await?;
    Ok(())
}

pub async fn update(tx: &mut Conn, questionnaire: &Questionnaire) -> Result<(), Error> {
    diesel::update(questionnaires::table.find(questionnaire.id))
        .set(QuestionnaireRow::of(questionnaire)?)
        .execute(tx)
        .await?;
    Ok(())
}

/// `QUESTIONNAIRE_NOT_FOUND` when there is none.
pub async fn get(conn: &mut Conn, id: Uuid) -> Result<Questionnaire, Error> {
    let row =
        questionnaires::table.find(id).select(QuestionnaireRow::as_select()).first(conn).await.optional()?;
    row.ok_or_else(|| not_found(id))?.read()
}

/// As [`get`], with the row locked.
pub async fn lock(tx: &mut Conn, id: Uuid) -> Result<Questionnaire, Error> {
    let row = questionnaires::table
        .find(id)
        .select(QuestionnaireRow::as_select())
        .for_update()
        .first(tx)
        .await
        .optional()?;
    row.ok_or_else(|| not_found(id))?.read()
}

fn not_found(id: Uuid) -> Error {
    Error::not_found(QUESTIONNAIRE_NOT_FOUND, ResourceName::new(QUESTIONNAIRES, id))
}

/// The published questionnaire with the purpose whose latest version is the newest.
pub async fn find_newest_published(
    conn: &mut Conn,
    purpose: Purpose,
) -> Result<Option<Questionnaire>, Error> {
    questionnaires::table
        .filter(questionnaires::purpose.eq(purpose.name()))
        // Written out, so that the planner sees that the partial index serves.
        .filter(diesel::dsl::sql::<diesel::sql_types::Bool>("state = 'PUBLISHED'"))
        .order((questionnaires::publish_time.desc(), questionnaires::id.desc()))
        .select(QuestionnaireRow::as_select())
        .first(conn)
        .await
        .optional()?
        .map(QuestionnaireRow::read)
        .transpose()
}

/// Which questionnaires a list holds; `None` is all.
#[derive(Clone, Copy, Debug)]
pub struct Filter {
    pub purpose: Option<Purpose>,
    pub state: Option<State>,
}

/// The newest first, those after the key only.
pub async fn list(
    conn: &mut Conn,
    filter: Filter,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Questionnaire>, Error> {
    let mut query = questionnaires::table.select(QuestionnaireRow::as_select()).into_boxed();
    if let Some(purpose) = filter.purpose {
        query = query.filter(questionnaires::purpose.eq(purpose.name()));
    }
    if let Some(state) = filter.state {
        query = query.filter(questionnaires::state.eq(state.name()));
    }
    if let Some(after) = after {
        query = query.filter(questionnaires::id.lt(after));
    }
    let rows = query.order(questionnaires::id.desc()).limit(limit).load(conn).await?;
    rows.into_iter().map(QuestionnaireRow::read).collect()
}

pub async fn insert_version(tx: &mut Conn, version: &Version) -> Result<(), Error> {
    let row = VersionRow {
        questionnaire_id: version.questionnaire_id,
        number: version.number,
        purpose: version.purpose.name().to_owned(),
        content: write(&version.content)?,
        create_time: version.create_time,
    };
    diesel::insert_into(questionnaire_versions::table).values(row).execute(tx).await?;
    Ok(())
}

pub async fn find_version(conn: &mut Conn, id: Uuid, number: i32) -> Result<Option<Version>, Error> {
    questionnaire_versions::table
        .find((id, number))
        .select(VersionRow::as_select())
        .first(conn)
        .await
        .optional()?
        .map(VersionRow::read)
        .transpose()
}

/// The version of an invitation or a response. It is there: a foreign key says so.
pub async fn get_asked_version(conn: &mut Conn, id: Uuid, number: i32) -> Result<Version, Error> {
    let version = find_version(conn, id, number).await?;
    version.ok_or_else(|| Error::internal("a version that was asked is missing"))
}
