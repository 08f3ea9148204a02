//! The rows of timelines. They are only ever added.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use cqm_db::Conn;
use cqm_rpc::{Error, PageKey, Personal, ResourceName};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::domain::{COLLECTION, TimelineEntry, UnknownCode};
use crate::schema::{complaint_timeline, complaints};

#[derive(Queryable, Selectable)]
#[diesel(table_name = complaint_timeline, check_for_backend(diesel::pg::Pg))]
struct TimelineRow {
    version: i64,
    time: DateTime<Utc>,
    action: i16,
    from_state: Option<i16>,
    to_state: i16,
    actor: String,
    facts: serde_json::Value,
    #[diesel(deserialize_as = String)]
    note: Personal<String>,
}

#[derive(Insertable)]
#[diesel(table_name = complaint_timeline)]
struct NewTimelineEntry<'a> {
    complaint_id: Uuid,
    version: i64,
    time: DateTime<Utc>,
    action: i16,
    from_state: Option<i16>,
    to_state: i16,
    actor: &'a str,
    facts: serde_json::Value,
    note: &'a str,
}

impl<'a> NewTimelineEntry<'a> {
    fn of(complaint: ResourceName, entry: &'a TimelineEntry) -> Self {
        Self {
            complaint_id: complaint.id(),
            version: entry.version,
            time: entry.time,
            action: entry.action.code(),
            from_state: entry.from.map(|state| state.code()),
            to_state: entry.to.code(),
            actor: &entry.actor,
            facts: entry.facts.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            note: entry.note.expose(),
        }
    }
}

/// Adds one entry, in the transaction of what it tells.
pub async fn append(tx: &mut Conn, complaint: ResourceName, entry: &TimelineEntry) -> Result<(), Error> {
    let row = NewTimelineEntry::of(complaint, entry);
    diesel::insert_into(complaint_timeline::table).values(row).execute(tx).await?;
    Ok(())
}

/// Adds entries of many complaints, in the transaction of what they tell and in one statement.
pub async fn append_all(tx: &mut Conn, entries: &[(ResourceName, TimelineEntry)]) -> Result<(), Error> {
    let rows: Vec<_> =
        entries.iter().map(|(complaint, entry)| NewTimelineEntry::of(*complaint, entry)).collect();
    diesel::insert_into(complaint_timeline::table).values(rows).execute(tx).await?;
    Ok(())
}

/// The entries after a version, the oldest first.
pub async fn list(
    conn: &mut Conn,
    complaint: ResourceName,
    after: i64,
    limit: i64,
) -> Result<Vec<TimelineEntry>, Error> {
    let rows: Vec<TimelineRow> = complaint_timeline::table
        .filter(complaint_timeline::complaint_id.eq(complaint.id()))
        .filter(complaint_timeline::version.gt(after))
        .order(complaint_timeline::version)
        .limit(limit)
        .select(TimelineRow::as_select())
        .load(conn)
        .await?;
    rows.into_iter().map(entry).collect()
}

/// Where an entry stands among those of all complaints of a customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub time: DateTime<Utc>,
    pub complaint: Uuid,
    pub version: i64,
}

impl PageKey for Step {
    fn to_bytes(&self) -> Vec<u8> {
        [(self.time, self.complaint).to_bytes(), self.version.to_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (place, version) = bytes.split_last_chunk::<8>()?;
        let (time, complaint) = <(DateTime<Utc>, Uuid)>::from_bytes(place)?;
        Some(Self { time, complaint, version: i64::from_be_bytes(*version) })
    }
}

/// The entries of all complaints of a customer before a step, the latest first, each with its complaint. A customer has
/// few complaints, and a complaint few entries: they are read whole and put into order.
pub async fn list_of_customer(
    conn: &mut Conn,
    customer: ResourceName,
    before: Option<Step>,
    limit: i64,
) -> Result<Vec<(ResourceName, TimelineEntry)>, Error> {
    let mut entries = complaint_timeline::table
        .inner_join(complaints::table)
        .filter(complaints::customer_id.eq(customer.id()))
        .select((complaint_timeline::complaint_id, TimelineRow::as_select()))
        .into_boxed();
    if let Some(before) = before {
        let same_complaint = complaint_timeline::complaint_id
            .eq(before.complaint)
            .and(complaint_timeline::version.lt(before.version));
        let same_time = complaint_timeline::time
            .eq(before.time)
            .and(complaint_timeline::complaint_id.lt(before.complaint).or(same_complaint));
        entries = entries.filter(complaint_timeline::time.lt(before.time).or(same_time));
    }
    let rows: Vec<(Uuid, TimelineRow)> = entries
        .order((
            complaint_timeline::time.desc(),
            complaint_timeline::complaint_id.desc(),
            complaint_timeline::version.desc(),
        ))
        .limit(limit)
        .load(conn)
        .await?;
    rows.into_iter().map(|(id, row)| Ok((ResourceName::new(COLLECTION, id), entry(row)?))).collect()
}

fn entry(row: TimelineRow) -> Result<TimelineEntry, Error> {
    let facts: BTreeMap<String, String> = serde_json::from_value(row.facts).map_err(Error::internal)?;
    let unknown = |error: UnknownCode| Error::internal(error);
    Ok(TimelineEntry {
        version: row.version,
        time: row.time,
        action: i32::from(row.action).try_into().map_err(unknown)?,
        from: row.from_state.map(|code| i32::from(code).try_into()).transpose().map_err(unknown)?,
        to: i32::from(row.to_state).try_into().map_err(unknown)?,
        actor: row.actor,
        facts,
        note: row.note,
    })
}
