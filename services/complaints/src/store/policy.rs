//! The rows of policies. They are only ever added.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use cqm_db::Conn;
use cqm_rpc::Error;
use diesel::dsl::max;
use diesel::prelude::*;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::domain::sla::{Calendar, Hours, Policy, Rules, Targets};
use crate::schema::sla_policies;

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = sla_policies)]
struct PolicyRow {
    version: i64,
    content: Json,
    create_time: DateTime<Utc>,
}

/// A policy's content as it is kept.
#[derive(Serialize, Deserialize)]
struct ContentRow {
    zone: String,
    week: [Vec<HoursRow>; 7],
    holidays: BTreeMap<NaiveDate, Vec<HoursRow>>,
    working_days: BTreeMap<NaiveDate, Vec<HoursRow>>,
    /// Seconds of open time, in the order of the severities.
    targets: [TargetsRow; 4],
    warning_percent: i32,
}

/// Minutes from midnight.
#[derive(Serialize, Deserialize)]
struct HoursRow(u16, u16);

#[derive(Serialize, Deserialize)]
struct TargetsRow {
    first_response: i64,
    resolution: i64,
}

/// Keeps others from publishing until the transaction ends, and returns the version that is next.
pub async fn lock_next_version(tx: &mut Conn) -> Result<i64, Error> {
    tx.batch_execute("LOCK TABLE sla_policies IN SHARE ROW EXCLUSIVE MODE").await?;
    Ok(newest_version(tx).await?.unwrap_or(0) + 1)
}

pub async fn newest_version(conn: &mut Conn) -> Result<Option<i64>, Error> {
    Ok(sla_policies::table.select(max(sla_policies::version)).get_result(conn).await?)
}

pub async fn insert(tx: &mut Conn, policy: &Policy) -> Result<(), Error> {
    diesel::insert_into(sla_policies::table).values(PolicyRow::of(policy)?).execute(tx).await?;
    Ok(())
}

pub async fn find(conn: &mut Conn, version: i64) -> Result<Option<Policy>, Error> {
    let row: Option<PolicyRow> =
        sla_policies::table.find(version).select(PolicyRow::as_select()).first(conn).await.optional()?;
    row.map(PolicyRow::read).transpose()
}

/// The newest first, those before a version only.
pub async fn list(conn: &mut Conn, before: Option<i64>, limit: i64) -> Result<Vec<Policy>, Error> {
    let rows: Vec<PolicyRow> = sla_policies::table
        .filter(sla_policies::version.lt(before.unwrap_or(i64::MAX)))
        .order(sla_policies::version.desc())
        .limit(limit)
        .select(PolicyRow::as_select())
        .load(conn)
        .await?;
    rows.into_iter().map(PolicyRow::read).collect()
}

impl PolicyRow {
    fn of(policy: &Policy) -> Result<Self, Error> {
        let rules = policy.calendar.rules();
        let content = ContentRow {
            zone: rules.zone.name().to_owned(),
            week: rules.week.each_ref().map(|hours| write(hours)),
            holidays: rules.holidays.iter().map(|(date, hours)| (*date, write(hours))).collect(),
            working_days: rules.working_days.iter().map(|(date, hours)| (*date, write(hours))).collect(),
            targets: policy.targets.map(|targets| TargetsRow {
                first_response: targets.first_response.num_seconds(),
                resolution: targets.resolution.num_seconds(),
            }),
            warning_percent: policy.warning_percent,
        };
        Ok(Self {
            version: policy.version,
            content: serde_json::to_value(content).map_err(Error::internal)?,
            create_time: policy.create_time,
        })
    }

    fn read(self) -> Result<Policy, Error> {
        let content: ContentRow = serde_json::from_value(self.content).map_err(Error::internal)?;
        let [mo, tu, we, th, fr, sa, su] = content.week.map(read);
        let dated = |dates: BTreeMap<NaiveDate, Vec<HoursRow>>| {
            dates.into_iter().map(|(date, hours)| Ok((date, read(hours)?))).collect::<Result<_, Error>>()
        };
        let rules = Rules {
            zone: content.zone.parse().map_err(Error::internal)?,
            week: [mo?, tu?, we?, th?, fr?, sa?, su?],
            holidays: dated(content.holidays)?,
            working_days: dated(content.working_days)?,
        };
        let calendar = Calendar::new(rules).ok_or_else(|| unreadable("a calendar that is never open"))?;
        Ok(Policy {
            version: self.version,
            calendar,
            targets: content.targets.map(|targets| Targets {
                first_response: TimeDelta::seconds(targets.first_response),
                resolution: TimeDelta::seconds(targets.resolution),
            }),
            warning_percent: content.warning_percent,
            create_time: self.create_time,
        })
    }
}

fn write(hours: &[Hours]) -> Vec<HoursRow> {
    hours.iter().map(|hours| HoursRow(hours.start(), hours.end())).collect()
}

fn read(hours: Vec<HoursRow>) -> Result<Vec<Hours>, Error> {
    let read = |HoursRow(start, end)| Hours::new(start, end).ok_or_else(|| unreadable("hours that are none"));
    hours.into_iter().map(read).collect()
}

fn unreadable(what: &str) -> Error {
    Error::internal(format!("sla_policies.content holds {what}"))
}
