//! The inbox.

use chrono::{DateTime, Utc};
use cqm_db::Conn;
use cqm_rpc::Error;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::domain::inbox::InboxItem;
use crate::schema::inbox_items;

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = inbox_items, check_for_backend(diesel::pg::Pg), treat_none_as_default_value = false)]
struct InboxRow {
    id: Uuid,
    customer_id: Uuid,
    subject: String,
    body: String,
    locale: String,
    about: String,
    read_time: Option<DateTime<Utc>>,
    version: i64,
    create_time: DateTime<Utc>,
    update_time: DateTime<Utc>,
}

impl InboxRow {
    fn of(it: &InboxItem) -> Self {
        Self {
            id: it.id,
            customer_id: it.customer_id,
            subject: it.subject.expose().clone(),
            body: it.body.expose().clone(),
            locale: it.locale.clone(),
            about: it.about.clone(),
            read_time: it.read_time,
            version: it.version,
            create_time: it.create_time,
            update_time: it.update_time,
        }
    }

    fn read(self) -> InboxItem {
        InboxItem {
            id: self.id,
            customer_id: self.customer_id,
            subject: self.subject.into(),
            body: self.body.into(),
            locale: self.locale,
            about: self.about,
            read_time: self.read_time,
            version: self.version,
            create_time: self.create_time,
            update_time: self.update_time,
        }
    }
}

pub async fn insert(tx: &mut Conn, items: &[InboxItem]) -> Result<(), Error> {
    if items.is_empty() {
        return Ok(());
    }
    diesel::insert_into(inbox_items::table)
        .values(items.iter().map(InboxRow::of).collect::<Vec<_>>())
        .execute(tx)
        .await?;
    Ok(())
}

pub async fn lock(tx: &mut Conn, id: Uuid) -> Result<Option<InboxItem>, Error> {
    let row: Option<InboxRow> =
        inbox_items::table.find(id).select(InboxRow::as_select()).for_update().first(tx).await.optional()?;
    Ok(row.map(InboxRow::read))
}

/// Writes down what [`InboxItem::read`] changed of an item whose row is locked.
pub async fn update(tx: &mut Conn, item: &InboxItem) -> Result<(), Error> {
    diesel::update(inbox_items::table.find(item.id))
        .set((
            inbox_items::read_time.eq(item.read_time),
            inbox_items::version.eq(item.version),
            inbox_items::update_time.eq(item.update_time),
        ))
        .execute(tx)
        .await?;
    Ok(())
}

/// A customer's items, the newest first, those after the key only.
pub async fn list(
    conn: &mut Conn,
    customer_id: Uuid,
    unread_only: bool,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<InboxItem>, Error> {
    let mut query = inbox_items::table
        .filter(inbox_items::customer_id.eq(customer_id))
        .select(InboxRow::as_select())
        .into_boxed();
    if unread_only {
        query = query.filter(inbox_items::read_time.is_null());
    }
    if let Some(after) = after {
        query = query.filter(inbox_items::id.lt(after));
    }
    let rows: Vec<InboxRow> = query.order(inbox_items::id.desc()).limit(limit).load(conn).await?;
    Ok(rows.into_iter().map(InboxRow::read).collect())
}

/// Makes everything in a customer's inbox another customer's, and returns how much that was.
pub async fn give_all(tx: &mut Conn, from: Uuid, to: Uuid, now: DateTime<Utc>) -> Result<usize, Error> {
    Ok(diesel::update(inbox_items::table.filter(inbox_items::customer_id.eq(from)))
        .set((
            inbox_items::customer_id.eq(to),
            inbox_items::version.eq(inbox_items::version + 1),
            inbox_items::update_time.eq(now),
        ))
        .execute(tx)
        .await?)
}

/// Removes what a deleted customer was told.
pub async fn erase(tx: &mut Conn, customer_id: Uuid) -> Result<usize, Error> {
    Ok(diesel::delete(inbox_items::table.filter(inbox_items::customer_id.eq(customer_id)))
        .execute(tx)
        .await?)
}
