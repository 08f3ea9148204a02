//! Messages.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use cqm_db::{Conn, known};
use cqm_rpc::{Error, Personal, TraceContext};
use diesel::prelude::*;
use diesel::upsert::excluded;
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;

use super::{templates, unreadable};
use crate::domain::message::{Channel, FailureReason, Message, State};
use crate::domain::text::Variables;
use crate::schema::messages;

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = messages, check_for_backend(diesel::pg::Pg), treat_none_as_default_value = false)]
struct MessageRow {
    id: Uuid,
    customer_id: Uuid,
    template_key: String,
    template_version: i64,
    channel: String,
    locale: Option<String>,
    about: String,
    state: String,
    failure_reason: Option<String>,
    attempts: i32,
    in_flight: bool,
    variables: Option<Value>,
    due_time: Option<DateTime<Utc>>,
    finish_time: Option<DateTime<Utc>>,
    trace: String,
    version: i64,
    create_time: DateTime<Utc>,
    update_time: DateTime<Utc>,
}

impl MessageRow {
    fn of(it: &Message) -> Self {
        Self {
            id: it.id,
            customer_id: it.customer_id,
            template_key: it.template.as_str().to_owned(),
            template_version: it.template_version,
            channel: it.channel.name().to_owned(),
            locale: it.locale.clone(),
            about: it.about.clone(),
            state: it.state.name().to_owned(),
            failure_reason: it.failure.map(|reason| reason.name().to_owned()),
            attempts: it.attempts,
            in_flight: it.in_flight,
            variables: it.variables.as_ref().map(write_variables),
            due_time: it.due_time,
            finish_time: it.finish_time,
            trace: it.trace.to_string(),
            version: it.version,
            create_time: it.create_time,
            update_time: it.update_time,
        }
    }

    fn read(self) -> Result<Message, Error> {
        let failure = self.failure_reason.as_deref();
        let failure =
            failure.map(|name| known("messages.failure_reason", name, FailureReason::find)).transpose()?;
        Ok(Message {
            id: self.id,
            customer_id: self.customer_id,
            template: templates::read_key(&self.template_key)?,
            template_version: self.template_version,
            channel: known("messages.channel", &self.channel, Channel::find)?,
            locale: self.locale,
            about: self.about,
            state: known("messages.state", &self.state, State::find)?,
            failure,
            attempts: self.attempts,
            in_flight: self.in_flight,
            variables: self.variables.map(read_variables).transpose()?,
            due_time: self.due_time,
            finish_time: self.finish_time,
            trace: TraceContext::parse(&self.trace)
                .ok_or_else(|| Error::internal("the database holds a trace that is none"))?,
            version: self.version,
            create_time: self.create_time,
            update_time: self.update_time,
        })
    }
}

fn write_variables(variables: &Variables) -> Value {
    variables.iter().map(|(name, value)| (name.clone(), Value::from(value.expose().as_str()))).collect()
}

fn read_variables(column: Value) -> Result<Variables, Error> {
    let values: BTreeMap<String, String> =
        serde_json::from_value(column).map_err(|error| unreadable("messages.variables", &error))?;
    Ok(values.into_iter().map(|(name, value)| (name, Personal::new(value))).collect())
}

/// Writes messages, new ones and changed ones whose rows are locked, in one statement.
pub async fn save(tx: &mut Conn, all: &[Message]) -> Result<(), Error> {
    // 18 parameters a row, of 65,535 that a statement may have.
    for chunk in all.chunks(1000) {
        diesel::insert_into(messages::table)
            .values(chunk.iter().map(MessageRow::of).collect::<Vec<_>>())
            .on_conflict(messages::id)
            .do_update()
            .set((
                messages::customer_id.eq(excluded(messages::customer_id)),
                messages::locale.eq(excluded(messages::locale)),
                messages::state.eq(excluded(messages::state)),
                messages::failure_reason.eq(excluded(messages::failure_reason)),
                messages::attempts.eq(excluded(messages::attempts)),
                messages::in_flight.eq(excluded(messages::in_flight)),
                messages::variables.eq(excluded(messages::variables)),
                messages::due_time.eq(excluded(messages::due_time)),
                messages::finish_time.eq(excluded(messages::finish_time)),
                messages::version.eq(excluded(messages::version)),
                messages::update_time.eq(excluded(messages::update_time)),
            ))
            .execute(tx)
            .await?;
    }
    Ok(())
}

pub async fn find(conn: &mut Conn, id: Uuid) -> Result<Option<Message>, Error> {
    messages::table
        .find(id)
        .select(MessageRow::as_select())
        .first(conn)
        .await
        .optional()?
        .map(MessageRow::read)
        .transpose()
}

/// Which messages a list holds; `None` is all.
#[derive(Clone, Debug)]
pub struct Filter {
    pub customer_id: Option<Uuid>,
    pub about: Option<String>,
    pub state: Option<State>,
}

/// The newest first, those after the key only.
pub async fn list(
    conn: &mut Conn,
    filter: &Filter,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Message>, Error> {
    let mut query = messages::table.select(MessageRow::as_select()).into_boxed();
    if let Some(customer_id) = filter.customer_id {
        query = query.filter(messages::customer_id.eq(customer_id));
    }
    if let Some(about) = &filter.about {
        // The second condition is what the partial index asks for.
        query = query.filter(messages::about.eq(about)).filter(messages::about.ne(""));
    }
    if let Some(state) = filter.state {
        query = query.filter(messages::state.eq(state.name()));
    }
    if let Some(after) = after {
        query = query.filter(messages::id.lt(after));
    }
    let rows: Vec<MessageRow> = query.order(messages::id.desc()).limit(limit).load(conn).await?;
    rows.into_iter().map(MessageRow::read).collect()
}

/// Locks up to `limit` messages that are due and that nobody else works on, the longest due first.
pub async fn lock_due(tx: &mut Conn, now: DateTime<Utc>, limit: i64) -> Result<Vec<Message>, Error> {
    let rows: Vec<MessageRow> = messages::table
        .filter(messages::due_time.le(now))
        .order(messages::due_time)
        .limit(limit)
        .select(MessageRow::as_select())
        .for_update()
        .skip_locked()
        .load(tx)
        .await?;
    rows.into_iter().map(MessageRow::read).collect()
}

/// Locks the messages with these ids, in the order of their ids: everybody who locks several does.
pub async fn lock_all(tx: &mut Conn, ids: &[Uuid]) -> Result<Vec<Message>, Error> {
    let rows: Vec<MessageRow> = messages::table
        .filter(messages::id.eq_any(ids))
        .order(messages::id)
        .select(MessageRow::as_select())
        .for_update()
        .load(tx)
        .await?;
    rows.into_iter().map(MessageRow::read).collect()
}

/// Locks a customer's messages that are not finished, in the order of their ids.
pub async fn lock_open(tx: &mut Conn, customer_id: Uuid) -> Result<Vec<Message>, Error> {
    let rows: Vec<MessageRow> = messages::table
        .filter(messages::customer_id.eq(customer_id))
        .filter(messages::due_time.is_not_null())
        .order(messages::id)
        .select(MessageRow::as_select())
        .for_update()
        .load(tx)
        .await?;
    rows.into_iter().map(MessageRow::read).collect()
}

/// Makes all of a customer's messages another customer's, and returns how many. Whoever has read one has read whose it is:
/// it has another version then.
pub async fn give_all(tx: &mut Conn, from: Uuid, to: Uuid, now: DateTime<Utc>) -> Result<usize, Error> {
    Ok(diesel::update(messages::table.filter(messages::customer_id.eq(from)))
        .set((
            messages::customer_id.eq(to),
            messages::version.eq(messages::version + 1),
            messages::update_time.eq(now),
        ))
        .execute(tx)
        .await?)
}
