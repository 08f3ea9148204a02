//! How customers are reached.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use cqm_db::Conn;
use cqm_rpc::{Error, Personal};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::domain::contact::Contact;
use crate::schema::contacts;

#[derive(Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = contacts, check_for_backend(diesel::pg::Pg), treat_none_as_null = true)]
struct ContactRow {
    customer_id: Uuid,
    customer_version: i64,
    deleted: bool,
    display_name: String,
    email: Option<String>,
    phone: Option<String>,
    locale: String,
    update_time: DateTime<Utc>,
}

impl ContactRow {
    /// `None` for the row that only keeps a customer's place.
    fn read(self) -> Option<Contact> {
        (self.customer_version > 0).then(|| Contact {
            customer_id: self.customer_id,
            customer_version: self.customer_version,
            deleted: self.deleted,
            display_name: self.display_name.into(),
            email: self.email.map(Personal::new),
            phone: self.phone.map(Personal::new),
            locale: self.locale,
            update_time: self.update_time,
        })
    }
}

/// How much of a contact a transaction keeps from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// Against changes. Other messages may be accepted meanwhile.
    Read,
    /// Against everything.
    Change,
}

/// Locks a customer's contact and returns it; when there is none, locks its place, so that nobody brings it before
/// this transaction ends.
pub async fn lock(
    tx: &mut Conn,
    customer_id: Uuid,
    lock: Lock,
    now: DateTime<Utc>,
) -> Result<Option<Contact>, Error> {
    if let Some(row) = lock_row(tx, customer_id, lock).await? {
        return Ok(row.read());
    }
    diesel::insert_into(contacts::table)
        .values(ContactRow {
            customer_id,
            customer_version: 0,
            deleted: false,
            display_name: String::new(),
            email: None,
            phone: None,
            locale: String::new(),
            update_time: now,
        })
        .on_conflict_do_nothing()
        .execute(tx)
        .await?;
    let row = lock_row(tx, customer_id, lock).await?;
    Ok(row.ok_or_else(|| Error::internal("a contact's row is not there after its insert"))?.read())
}

async fn lock_row(tx: &mut Conn, customer_id: Uuid, lock: Lock) -> Result<Option<ContactRow>, Error> {
    let row = contacts::table.find(customer_id).select(ContactRow::as_select());
    Ok(match lock {
        Lock::Read => row.for_share().first(tx).await.optional()?,
        Lock::Change => row.for_update().first(tx).await.optional()?,
    })
}

/// Writes a contact whose row is locked.
pub async fn update(tx: &mut Conn, contact: &Contact) -> Result<(), Error> {
    diesel::update(contacts::table.find(contact.customer_id))
        .set(ContactRow {
            customer_id: contact.customer_id,
            customer_version: contact.customer_version,
            deleted: contact.deleted,
            display_name: contact.display_name.expose().clone(),
            email: contact.email.clone().map(Personal::into_inner),
            phone: contact.phone.clone().map(Personal::into_inner),
            locale: contact.locale.clone(),
            update_time: contact.update_time,
        })
        .execute(tx)
        .await?;
    Ok(())
}

pub async fn find(conn: &mut Conn, customer_id: Uuid) -> Result<Option<Contact>, Error> {
    Ok(find_all(conn, &[customer_id]).await?.remove(&customer_id))
}

/// Those of the customers that are known.
pub async fn find_all(conn: &mut Conn, customer_ids: &[Uuid]) -> Result<HashMap<Uuid, Contact>, Error> {
    let rows: Vec<ContactRow> = contacts::table
        .filter(contacts::customer_id.eq_any(customer_ids))
        .select(ContactRow::as_select())
        .load(conn)
        .await?;
    Ok(rows.into_iter().filter_map(ContactRow::read).map(|contact| (contact.customer_id, contact)).collect())
}
