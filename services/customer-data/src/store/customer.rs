//! Customers, one at a time, and their lists.

use chrono::{DateTime, Utc};
use cqm_db::subjects::{self, Closed};
use cqm_db::{Conn, OnConflict, known};
use cqm_rpc::{Error, PageRequest, Personal, reason};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;

use super::columns::{read_addresses, read_emails, read_phones, write_addresses, write_emails, write_phones};
use crate::domain::birthday::Birthday;
use crate::domain::customer::Customer;
use crate::domain::profile::{Gender, Locale, Profile, SourceChannel};
use crate::error::{EXTERNAL_REFERENCE_KEY, customer_not_found, external_reference_taken};
use crate::schema::{customer_tags, customers};

/// How much of a row a transaction keeps from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// Against other changes. Purchases and contacts may be recorded meanwhile.
    Change,
    /// Against everything: nothing may be recorded for a customer who is being deleted.
    Delete,
}

/// Which customers a list shows. What is set must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub tag: Option<String>,
    pub source_channel: Option<SourceChannel>,
    pub external_reference: Option<String>,
    /// Who an external reference has led to that is not theirs; no caller's wish.
    pub id: Option<Uuid>,
}

#[derive(Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = customers, check_for_backend(diesel::pg::Pg), treat_none_as_null = true)]
pub(super) struct CustomerRow {
    id: Uuid,
    version: i64,
    display_name: String,
    phones: Value,
    emails: Value,
    addresses: Value,
    birth_year: Option<i16>,
    birth_month: Option<i16>,
    birth_day: Option<i16>,
    gender: Option<String>,
    locale: String,
    source_channel: Option<String>,
    tags: Vec<String>,
    external_reference: Option<String>,
    create_time: DateTime<Utc>,
    update_time: DateTime<Utc>,
    delete_time: Option<DateTime<Utc>>,
}

impl CustomerRow {
    pub(super) fn of(customer: &Customer) -> Result<Self, Error> {
        let profile = &customer.profile;
        let birthday = profile.birthday.as_ref().map(Personal::expose);
        Ok(Self {
            id: customer.id,
            version: customer.version,
            display_name: profile.display_name.expose().clone(),
            phones: write_phones(&profile.phones)?,
            emails: write_emails(&profile.emails)?,
            addresses: write_addresses(&profile.addresses)?,
            birth_year: birthday.and_then(|birthday| birthday.year()).map(small),
            birth_month: birthday.map(|birthday| small(birthday.month())),
            birth_day: birthday.map(|birthday| small(birthday.day())),
            gender: profile.gender.as_ref().map(|gender| gender.expose().name().to_owned()),
            locale: profile.locale.name().to_owned(),
            source_channel: profile.source_channel.map(|channel| channel.name().to_owned()),
            tags: profile.tags.clone(),
            external_reference: profile.external_reference.clone(),
            create_time: customer.create_time,
            update_time: customer.update_time,
            delete_time: customer.delete_time,
        })
    }

    fn into_customer(self) -> Result<Customer, Error> {
        let birthday = match (self.birth_month, self.birth_day) {
            (Some(month), Some(day)) => Birthday::new(
                self.birth_year.map(i32::from),
                month.unsigned_abs().into(),
                day.unsigned_abs().into(),
            ),
            _ => None,
        };
        let gender =
            self.gender.map(|gender| known("customers.gender", &gender, Gender::find)).transpose()?;
        let source_channel = self
            .source_channel
            .map(|channel| known("customers.source_channel", &channel, SourceChannel::find))
            .transpose()?;
        Ok(Customer {
            id: self.id,
            version: self.version,
            profile: Profile {
                display_name: self.display_name.into(),
                phones: read_phones(self.phones)?,
                emails: read_emails(self.emails)?,
                addresses: read_addresses(self.addresses)?,
                birthday: birthday.map(Personal::new),
                gender: gender.map(Personal::new),
                locale: known("customers.locale", &self.locale, Locale::find)?,
                source_channel,
                tags: self.tags,
                external_reference: self.external_reference,
            },
            create_time: self.create_time,
            update_time: self.update_time,
            delete_time: self.delete_time,
        })
    }
}

/// A part of a date, which is within 1 to 9999.
fn small<N: TryInto<i16>>(part: N) -> i16 {
    part.try_into().ok().expect("a part of a real date is at most 9999")
}

/// Returns the customer; a tombstone is as absent.
pub async fn find_customer(conn: &mut Conn, id: Uuid) -> Result<Option<Customer>, Error> {
    let row: Option<CustomerRow> = customers::table
        .find(id)
        .filter(customers::delete_time.is_null())
        .select(CustomerRow::as_select())
        .first(conn)
        .await
        .optional()?;
    row.map(CustomerRow::into_customer).transpose()
}

/// What is answered about a customer who is not there: one who is known under another name is told from one who is not.
/// Nobody who is there pays for it.
pub async fn missing(conn: &mut Conn, id: Uuid) -> Error {
    match subjects::find(conn, id).await.map(|subject| subject.and_then(|subject| subject.closed())) {
        Ok(Some(merged @ Closed::Merged { .. })) => merged.refuse(id),
        Ok(_) => customer_not_found(id),
        Err(error) => error,
    }
}

/// Takes the row's lock and returns the customer.
pub async fn lock_customer(tx: &mut Conn, id: Uuid, lock: Lock) -> Result<Customer, Error> {
    let alive =
        customers::table.find(id).filter(customers::delete_time.is_null()).select(CustomerRow::as_select());
    let row: Option<CustomerRow> = match lock {
        Lock::Change => alive.for_no_key_update().first(tx).await.optional()?,
        Lock::Delete => alive.for_update().first(tx).await.optional()?,
    };
    match row {
        Some(row) => row.into_customer(),
        None => Err(missing(tx, id).await),
    }
}

/// Takes the locks of two customers against everything, in one order, so that two who lock the same two never wait for
/// each other.
pub async fn lock_two(tx: &mut Conn, one: Uuid, other: Uuid) -> Result<(Customer, Customer), Error> {
    let first = lock_customer(tx, one.min(other), Lock::Delete).await?;
    let second = lock_customer(tx, one.max(other), Lock::Delete).await?;
    Ok(if first.id == one { (first, second) } else { (second, first) })
}

/// Takes the lock against everything and returns the customer, unless it is a tombstone.
pub async fn find_to_delete(tx: &mut Conn, id: Uuid) -> Result<Option<Customer>, Error> {
    let alive =
        customers::table.find(id).filter(customers::delete_time.is_null()).select(CustomerRow::as_select());
    let row: Option<CustomerRow> = alive.for_update().first(tx).await.optional()?;
    row.map(CustomerRow::into_customer).transpose()
}

/// Takes the row's lock, be it a tombstone; refuses when there never was such a customer, and when they are known under
/// another name.
pub async fn lock_record(tx: &mut Conn, id: Uuid) -> Result<(), Error> {
    let deleted: Option<bool> = customers::table
        .find(id)
        .select(customers::delete_time.is_not_null())
        .for_no_key_update()
        .first(tx)
        .await
        .optional()?;
    match deleted {
        Some(false) => Ok(()),
        Some(true) => match missing(tx, id).await {
            Error::NotFound { .. } => Ok(()),
            merged => Err(merged),
        },
        None => Err(customer_not_found(id)),
    }
}

/// Refuses when there is no such customer.
pub async fn check_customer(conn: &mut Conn, id: Uuid) -> Result<(), Error> {
    let found: Option<Uuid> = customers::table
        .find(id)
        .filter(customers::delete_time.is_null())
        .select(customers::id)
        .first(conn)
        .await
        .optional()?;
    match found {
        Some(_) => Ok(()),
        None => Err(missing(conn, id).await),
    }
}

/// Keeps a customer from being deleted until the transaction ends. Changes go on.
pub async fn hold_customer(tx: &mut Conn, id: Uuid) -> Result<(), Error> {
    let found: Option<Uuid> = customers::table
        .find(id)
        .filter(customers::delete_time.is_null())
        .select(customers::id)
        .for_key_share()
        .first(tx)
        .await
        .optional()?;
    match found {
        Some(_) => Ok(()),
        None => Err(missing(tx, id).await),
    }
}

/// Refuses with `EXTERNAL_REFERENCE_TAKEN` when another customer has the reference.
pub async fn insert_customer(tx: &mut Conn, customer: &Customer) -> Result<(), Error> {
    let inserted = diesel::insert_into(customers::table)
        .values(CustomerRow::of(customer)?)
        .on_conflict(customers::external_reference)
        .do_nothing()
        .execute(tx)
        .await?;
    if inserted == 0 {
        check_reference(tx, customer).await?;
        // Whoever had the reference gave it up between the two statements.
        return Err(try_again());
    }
    insert_tags(tx, customer.profile.tags.iter().map(|tag| (tag.as_str(), customer.id)).collect()).await
}

/// Writes what a change made of the customer; `before` is the profile as it was locked.
pub async fn update_customer(tx: &mut Conn, before: &Profile, customer: &Customer) -> Result<(), Error> {
    let after = &customer.profile;
    if after.external_reference != before.external_reference {
        check_reference(tx, customer).await?;
    }
    diesel::update(customers::table.find(customer.id))
        .set(CustomerRow::of(customer)?)
        .execute(tx)
        .await
        // Somebody took the reference after it was checked: the next try finds who.
        .on_conflict(EXTERNAL_REFERENCE_KEY, try_again)?;
    let gone: Vec<&str> =
        before.tags.iter().filter(|tag| !after.tags.contains(tag)).map(String::as_str).collect();
    if !gone.is_empty() {
        diesel::delete(customer_tags::table)
            .filter(customer_tags::customer_id.eq(customer.id))
            .filter(customer_tags::tag.eq_any(gone))
            .execute(tx)
            .await?;
    }
    let come = after.tags.iter().filter(|tag| !before.tags.contains(tag));
    insert_tags(tx, come.map(|tag| (tag.as_str(), customer.id)).collect()).await
}

pub(super) async fn insert_tags(tx: &mut Conn, tags: Vec<(&str, Uuid)>) -> Result<(), Error> {
    let rows: Vec<_> = tags
        .into_iter()
        .map(|(tag, id)| (customer_tags::tag.eq(tag), customer_tags::customer_id.eq(id)))
        .collect();
    // Two parameters a row, of 65,535 that a statement may have; a batch with many tags goes beyond.
    for chunk in rows.chunks(10_000) {
        diesel::insert_into(customer_tags::table).values(chunk).execute(tx).await?;
    }
    Ok(())
}

/// A page of customers, newest first.
pub async fn list_customers(
    conn: &mut Conn,
    filter: &Filter,
    page: &PageRequest<Uuid>,
) -> Result<Vec<Customer>, Error> {
    let before = page.after.unwrap_or(Uuid::max());
    let channel = filter.source_channel.map(SourceChannel::name);
    let rows: Vec<CustomerRow> = if let Some(tag) = &filter.tag {
        let mut query = customer_tags::table
            .inner_join(customers::table)
            .filter(customer_tags::tag.eq(tag))
            .filter(customer_tags::customer_id.lt(before))
            .filter(customers::delete_time.is_null())
            .order(customer_tags::customer_id.desc())
            .limit(page.limit())
            .select(CustomerRow::as_select())
            .into_boxed();
        if let Some(channel) = channel {
            query = query.filter(customers::source_channel.eq(channel));
        }
        if let Some(reference) = &filter.external_reference {
            query = query.filter(customers::external_reference.eq(reference));
        }
        if let Some(id) = filter.id {
            query = query.filter(customers::id.eq(id));
        }
        query.load(conn).await?
    } else {
        let mut query = customers::table
            .filter(customers::id.lt(before))
            .filter(customers::delete_time.is_null())
            .order(customers::id.desc())
            .limit(page.limit())
            .select(CustomerRow::as_select())
            .into_boxed();
        if let Some(channel) = channel {
            query = query.filter(customers::source_channel.eq(channel));
        }
        if let Some(reference) = &filter.external_reference {
            query = query.filter(customers::external_reference.eq(reference));
        }
        if let Some(id) = filter.id {
            query = query.filter(customers::id.eq(id));
        }
        query.load(conn).await?
    };
    rows.into_iter().map(CustomerRow::into_customer).collect()
}

/// Refuses when somebody else has the customer's external reference.
async fn check_reference(tx: &mut Conn, customer: &Customer) -> Result<(), Error> {
    let Some(reference) = &customer.profile.external_reference else {
        return Ok(());
    };
    let holder: Option<Uuid> = customers::table
        .filter(customers::external_reference.eq(reference))
        .filter(customers::id.ne(customer.id))
        .select(customers::id)
        .first(tx)
        .await
        .optional()?;
    holder.map_or(Ok(()), |holder| Err(external_reference_taken(holder)))
}

/// The transaction met another one and must be run again.
pub fn try_again() -> Error {
    Error::Conflict { reason: reason::TRANSACTION_CONFLICT, source: None }
}
