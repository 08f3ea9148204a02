//! Templates, and the texts that messages were accepted with.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use cqm_db::{Conn, OnConflict, known};
use cqm_rpc::Error;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::unreadable;
use crate::domain::message::Channel;
use crate::domain::template::{Content, Contents, Template, TemplateKey};
use crate::error::{TEMPLATE_EXISTS, TEMPLATE_NOT_FOUND, TEMPLATES_KEY};
use crate::schema::{template_texts, templates};

#[derive(Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = templates, check_for_backend(diesel::pg::Pg))]
struct TemplateRow {
    key: String,
    variables: Vec<String>,
    channels: Vec<String>,
    contents: Value,
    version: i64,
    create_time: DateTime<Utc>,
    update_time: DateTime<Utc>,
}

#[derive(Serialize, Deserialize)]
struct ContentColumn {
    subject: String,
    body: String,
}

impl TemplateRow {
    fn of(it: &Template) -> Result<Self, Error> {
        Ok(Self {
            key: it.key.as_str().to_owned(),
            variables: it.variables.clone(),
            channels: it.channels.iter().map(|channel| channel.name().to_owned()).collect(),
            contents: write_contents(&it.contents)?,
            version: it.version,
            create_time: it.create_time,
            update_time: it.update_time,
        })
    }

    fn read(self) -> Result<Template, Error> {
        let channels = self.channels.iter().map(|name| known("templates.channels", name, Channel::find));
        Ok(Template {
            key: read_key(&self.key)?,
            contents: read_contents(self.contents)?,
            variables: self.variables,
            channels: channels.collect::<Result<_, _>>()?,
            version: self.version,
            create_time: self.create_time,
            update_time: self.update_time,
        })
    }
}

pub(super) fn read_key(key: &str) -> Result<TemplateKey, Error> {
    TemplateKey::find(key).ok_or_else(|| Error::internal("the database holds a template's key that is none"))
}

fn write_contents(contents: &Contents) -> Result<Value, Error> {
    let columns = contents.iter().map(|(locale, content)| {
        let column = ContentColumn { subject: content.subject.clone(), body: content.body.clone() };
        Ok((locale.clone(), serde_json::to_value(column)?))
    });
    columns
        .collect::<Result<_, _>>()
        .map(Value::Object)
        .map_err(|error| unreadable("templates.contents", &error))
}

fn read_contents(column: Value) -> Result<Contents, Error> {
    let columns: HashMap<String, ContentColumn> =
        serde_json::from_value(column).map_err(|error| unreadable("templates.contents", &error))?;
    let contents = columns
        .into_iter()
        .map(|(locale, column)| (locale, Content { subject: column.subject, body: column.body }));
    Ok(contents.collect())
}

/// Refuses with `TEMPLATE_EXISTS` when the key is taken.
pub async fn insert(tx: &mut Conn, template: &Template) -> Result<(), Error> {
    diesel::insert_into(templates::table).values(TemplateRow::of(template)?).execute(tx).await.on_conflict(
        TEMPLATES_KEY,
        || Error::AlreadyExists { reason: TEMPLATE_EXISTS, name: template.key.to_string() },
    )?;
    keep_text(tx, template).await
}

/// Writes a changed template, whose row is locked, under its new version.
pub async fn update(tx: &mut Conn, template: &Template) -> Result<(), Error> {
    diesel::update(templates::table.find(template.key.as_str()))
        .set(TemplateRow::of(template)?)
        .execute(tx)
        .await?;
    keep_text(tx, template).await
}

async fn keep_text(tx: &mut Conn, template: &Template) -> Result<(), Error> {
    diesel::insert_into(template_texts::table)
        .values((
            template_texts::template_key.eq(template.key.as_str()),
            template_texts::version.eq(template.version),
            template_texts::contents.eq(write_contents(&template.contents)?),
            template_texts::create_time.eq(template.update_time),
        ))
        .execute(tx)
        .await?;
    Ok(())
}

pub async fn get(conn: &mut Conn, key: &TemplateKey) -> Result<Template, Error> {
    let row: Option<TemplateRow> =
        templates::table.find(key.as_str()).select(TemplateRow::as_select()).first(conn).await.optional()?;
    row.ok_or_else(|| Error::not_found(TEMPLATE_NOT_FOUND, key))?.read()
}

/// As [`get`], with the row locked.
pub async fn lock(tx: &mut Conn, key: &TemplateKey) -> Result<Template, Error> {
    let row: Option<TemplateRow> = templates::table
        .find(key.as_str())
        .select(TemplateRow::as_select())
        .for_update()
        .first(tx)
        .await
        .optional()?;
    row.ok_or_else(|| Error::not_found(TEMPLATE_NOT_FOUND, key))?.read()
}

/// By key, those after the given one only.
pub async fn list(conn: &mut Conn, after: &str, limit: i64) -> Result<Vec<Template>, Error> {
    let rows: Vec<TemplateRow> = templates::table
        .filter(templates::key.gt(after))
        .order(templates::key)
        .limit(limit)
        .select(TemplateRow::as_select())
        .load(conn)
        .await?;
    rows.into_iter().map(TemplateRow::read).collect()
}

/// The texts of these versions.
pub async fn texts(
    conn: &mut Conn,
    versions: &[(&TemplateKey, i64)],
) -> Result<HashMap<(TemplateKey, i64), Contents>, Error> {
    let keys: Vec<&str> = versions.iter().map(|(key, _)| key.as_str()).collect();
    let numbers: Vec<i64> = versions.iter().map(|(_, version)| *version).collect();
    // Every key with every number: a few more than asked for, in one statement that stays prepared.
    let rows: Vec<(String, i64, Value)> = template_texts::table
        .filter(template_texts::template_key.eq_any(keys))
        .filter(template_texts::version.eq_any(numbers))
        .select((template_texts::template_key, template_texts::version, template_texts::contents))
        .load(conn)
        .await?;
    let texts = rows
        .into_iter()
        .map(|(key, version, contents)| Ok(((read_key(&key)?, version), read_contents(contents)?)));
    texts.collect()
}
