//! Responses and their answers.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use cqm_db::{Conn, OnConflict, known};
use cqm_rpc::{Error, Personal};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::domain::answer::{Answer, Value};
use crate::domain::invitation::{Closed, Subject};
use crate::domain::questionnaire::{Kind, Question};
use crate::domain::response::{Mode, Response};
use crate::error::RESPONSES_ONCE;
use crate::schema::{answers, questionnaire_versions, responses};

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = responses)]
struct ResponseRow {
    id: Uuid,
    invitation_id: Uuid,
    questionnaire_id: Uuid,
    number: i32,
    customer_id: Uuid,
    subject: String,
    subject_version: i64,
    dissatisfied: bool,
    mode: String,
    create_time: DateTime<Utc>,
}

#[derive(Insertable)]
#[diesel(table_name = answers)]
struct NewAnswer<'a> {
    response_id: Uuid,
    place: i16,
    questionnaire_id: Uuid,
    number: i32,
    question_id: &'a str,
    create_time: DateTime<Utc>,
    score: Option<i16>,
    choices: Option<Vec<&'a str>>,
    words: Option<&'a str>,
}

impl<'a> NewAnswer<'a> {
    fn of(response: &'a Response, answer: &'a Answer, place: usize) -> Result<Self, Error> {
        let score = |value: i32| i16::try_from(value).map_err(Error::internal);
        let mut row = Self {
            response_id: response.id,
            place: i16::try_from(place).map_err(Error::internal)?,
            questionnaire_id: response.questionnaire_id,
            number: response.number,
            question_id: &answer.question_id,
            create_time: response.create_time,
            score: None,
            choices: None,
            words: None,
        };
        match &answer.value {
            Value::Choice(id) => row.choices = Some(vec![id]),
            Value::Choices(ids) => row.choices = Some(ids.iter().map(String::as_str).collect()),
            Value::Rating(value) | Value::Nps(value) => row.score = Some(score(*value)?),
            Value::Words(words) => row.words = Some(words.expose()),
        }
        Ok(row)
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = answers)]
struct AnswerRow {
    response_id: Uuid,
    question_id: String,
    score: Option<i16>,
    choices: Option<Vec<String>>,
    words: Option<String>,
}

impl AnswerRow {
    /// What the columns hold is told by the question that was asked.
    fn read(self, questions: &[Question]) -> Result<Answer, Error> {
        let kind =
            questions.iter().find(|question| question.id == self.question_id).map(|question| &question.kind);
        let value = match (kind, self.score, self.choices, self.words) {
            (Some(Kind::SingleChoice { .. }), None, Some(ids), None) => {
                ids.into_iter().next().map(Value::Choice)
            }
            (Some(Kind::MultipleChoice { .. }), None, Some(ids), None) => Some(Value::Choices(ids)),
            (Some(Kind::Rating { .. }), Some(score), None, None) => Some(Value::Rating(score.into())),
            (Some(Kind::Nps { .. }), Some(score), None, None) => Some(Value::Nps(score.into())),
            (Some(Kind::FreeText { .. }), None, None, Some(words)) => {
                Some(Value::Words(Personal::new(words)))
            }
            _ => None,
        };
        let value =
            value.ok_or_else(|| Error::internal("an answer does not fit the question that was asked"))?;
        Ok(Answer { question_id: self.question_id, value })
    }
}

/// `INVITATION_ANSWERED` when the invitation has a response already.
pub async fn insert(tx: &mut Conn, response: &Response) -> Result<(), Error> {
    let row = ResponseRow {
        id: response.id,
        invitation_id: response.invitation_id,
        questionnaire_id: response.questionnaire_id,
        number: response.number,
        customer_id: response.customer_id,
        subject: response.subject.name.clone(),
        subject_version: response.subject.version,
        dissatisfied: response.dissatisfied,
        mode: response.mode.name().to_owned(),
        create_time: response.create_time,
    };
    diesel::insert_into(responses::table)
        .values(row)
        .execute(tx)
        .await
        .on_conflict(RESPONSES_ONCE, || Closed::Answered.into())?;
    let rows =
        response.answers.iter().enumerate().map(|(place, answer)| NewAnswer::of(response, answer, place));
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    if !rows.is_empty() {
        diesel::insert_into(answers::table).values(&rows).execute(tx).await?;
    }
    Ok(())
}

/// Makes all responses of a customer another one's, and returns how many.
pub async fn give_all(tx: &mut Conn, from: Uuid, to: Uuid) -> Result<usize, Error> {
    Ok(diesel::update(responses::table.filter(responses::customer_id.eq(from)))
        .set(responses::customer_id.eq(to))
        .execute(tx)
        .await?)
}

pub async fn find(conn: &mut Conn, id: Uuid) -> Result<Option<Response>, Error> {
    let row = responses::table.find(id).select(ResponseRow::as_select()).first(conn).await.optional()?;
    let mut found = with_answers(conn, row.into_iter().collect()).await?;
    Ok(found.pop())
}

/// Which responses a list holds; `None` is all.
#[derive(Clone, Debug)]
pub struct Filter {
    pub customer_id: Option<Uuid>,
    pub questionnaire_id: Option<Uuid>,
    pub subject: Option<String>,
}

/// The newest first, those after the key only.
pub async fn list(
    conn: &mut Conn,
    filter: &Filter,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Response>, Error> {
    let mut query = responses::table.select(ResponseRow::as_select()).into_boxed();
    if let Some(customer_id) = filter.customer_id {
        query = query.filter(responses::customer_id.eq(customer_id));
    }
    if let Some(questionnaire_id) = filter.questionnaire_id {
        query = query.filter(responses::questionnaire_id.eq(questionnaire_id));
    }
    if let Some(subject) = &filter.subject {
        query = query.filter(responses::subject.eq(subject));
    }
    if let Some(after) = after {
        query = query.filter(responses::id.lt(after));
    }
    let rows = query.order(responses::id.desc()).limit(limit).load(conn).await?;
    with_answers(conn, rows).await
}

/// The answers of all responses at once, and the questions that were asked, for their kinds.
async fn with_answers(conn: &mut Conn, rows: Vec<ResponseRow>) -> Result<Vec<Response>, Error> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let given: Vec<AnswerRow> = answers::table
        .filter(answers::response_id.eq_any(ids))
        .order((answers::response_id, answers::place))
        .select(AnswerRow::as_select())
        .load(conn)
        .await?;
    let mut by_response: HashMap<Uuid, Vec<AnswerRow>> = HashMap::new();
    for row in given {
        by_response.entry(row.response_id).or_default().push(row);
    }
    let questions = asked(conn, &rows).await?;
    let response = |row: ResponseRow| {
        let questions = questions.get(&(row.questionnaire_id, row.number)).map_or(&[][..], Vec::as_slice);
        let answers = by_response.remove(&row.id).unwrap_or_default();
        Ok(Response {
            id: row.id,
            invitation_id: row.invitation_id,
            questionnaire_id: row.questionnaire_id,
            number: row.number,
            customer_id: row.customer_id,
            subject: Subject { name: row.subject, version: row.subject_version },
            answers: answers
                .into_iter()
                .map(|answer| answer.read(questions))
                .collect::<Result<_, Error>>()?,
            dissatisfied: row.dissatisfied,
            mode: known("responses.mode", &row.mode, Mode::find)?,
            create_time: row.create_time,
        })
    };
    rows.into_iter().map(response).collect()
}

async fn asked(conn: &mut Conn, rows: &[ResponseRow]) -> Result<HashMap<(Uuid, i32), Vec<Question>>, Error> {
    let mut keys: Vec<(Uuid, i32)> = rows.iter().map(|row| (row.questionnaire_id, row.number)).collect();
    keys.sort_unstable();
    keys.dedup();
    let (ids, numbers): (Vec<Uuid>, Vec<i32>) = keys.iter().copied().unzip();
    // Every id with every number: a few versions more than were asked for, in one statement that stays prepared.
    let versions: Vec<(Uuid, i32, serde_json::Value)> = questionnaire_versions::table
        .filter(questionnaire_versions::questionnaire_id.eq_any(ids))
        .filter(questionnaire_versions::number.eq_any(numbers))
        .select((
            questionnaire_versions::questionnaire_id,
            questionnaire_versions::number,
            questionnaire_versions::content,
        ))
        .load(conn)
        .await?;
    versions
        .into_iter()
        .map(|(id, number, content)| Ok(((id, number), super::questionnaires::read(content)?.questions)))
        .collect()
}
