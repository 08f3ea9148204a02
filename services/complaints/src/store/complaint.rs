//! The rows of complaints.

use chrono::{DateTime, Utc};
use cqm_db::{Conn, statement};
use cqm_rpc::{Error, Personal, ResourceName};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::clocks;
use crate::domain::{Complaint, Matter, Resolution, RootCause, UnknownCode};
use crate::error::not_found;
use crate::policies::Policies;
use crate::schema::complaints;

diesel::define_sql_function!(fn nextval(sequence: Text) -> diesel::sql_types::BigInt);

/// Personal text of a column that may be NULL.
pub(crate) struct OptionalText(Option<Personal<String>>);

impl From<Option<String>> for OptionalText {
    fn from(text: Option<String>) -> Self {
        Self(text.map(Personal::new))
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = complaints, check_for_backend(diesel::pg::Pg))]
pub(crate) struct ComplaintRow {
    id: Uuid,
    reference: String,
    customer_id: Uuid,
    channel: i16,
    category: i16,
    severity: i16,
    #[diesel(deserialize_as = String)]
    subject: Personal<String>,
    #[diesel(deserialize_as = String)]
    description: Personal<String>,
    remedy_sought: Option<i16>,
    #[diesel(deserialize_as = String)]
    remedy_note: Personal<String>,
    state: i16,
    assignee: Option<String>,
    responsible_department: Option<String>,
    cause: Option<i16>,
    #[diesel(deserialize_as = Option<String>)]
    cause_explanation: OptionalText,
    resolution_version: Option<i64>,
    #[diesel(deserialize_as = Option<String>)]
    resolution_summary: OptionalText,
    compensation_points: Option<i64>,
    resolution_time: Option<DateTime<Utc>>,
    reopen_count: i32,
    acknowledge_time: Option<DateTime<Utc>>,
    close_time: Option<DateTime<Utc>>,
    create_time: DateTime<Utc>,
    update_time: DateTime<Utc>,
    version: i64,
}

#[derive(Insertable)]
#[diesel(table_name = complaints)]
struct NewComplaint<'a> {
    id: Uuid,
    reference: &'a str,
    customer_id: Uuid,
    channel: i16,
    category: i16,
    severity: i16,
    subject: &'a str,
    description: &'a str,
    remedy_sought: Option<i16>,
    remedy_note: &'a str,
    #[diesel(embed)]
    handling: Handling<'a>,
    create_time: DateTime<Utc>,
}

/// What changes while a complaint is handled.
#[derive(Insertable, AsChangeset)]
#[diesel(table_name = complaints, treat_none_as_null = true)]
struct Handling<'a> {
    state: i16,
    assignee: Option<&'a str>,
    responsible_department: Option<&'a str>,
    cause: Option<i16>,
    cause_explanation: Option<&'a str>,
    resolution_version: Option<i64>,
    resolution_summary: Option<&'a str>,
    compensation_points: Option<i64>,
    resolution_time: Option<DateTime<Utc>>,
    reopen_count: i32,
    acknowledge_time: Option<DateTime<Utc>>,
    close_time: Option<DateTime<Utc>>,
    update_time: DateTime<Utc>,
    version: i64,
}

impl<'a> Handling<'a> {
    fn of(complaint: &'a Complaint) -> Self {
        let root_cause = complaint.root_cause.as_ref();
        let resolution = complaint.resolution.as_ref();
        Self {
            state: complaint.state.code(),
            assignee: complaint.assignee.as_deref(),
            responsible_department: root_cause.map(|cause| cause.responsible_department.as_str()),
            cause: root_cause.map(|cause| cause.category.code()),
            cause_explanation: root_cause.map(|cause| cause.explanation.expose().as_str()),
            resolution_version: resolution.map(|latest| latest.version),
            resolution_summary: resolution.map(|latest| latest.summary.expose().as_str()),
            compensation_points: resolution.map(|latest| latest.compensation_points),
            resolution_time: resolution.map(|latest| latest.resolve_time),
            reopen_count: complaint.reopen_count,
            acknowledge_time: complaint.acknowledge_time,
            close_time: complaint.close_time,
            update_time: complaint.update_time,
            version: complaint.version,
        }
    }
}

/// Draws the number of the next reference. It is drawn for good, whatever becomes of the transaction.
pub async fn next_reference_number(tx: &mut Conn) -> Result<i64, Error> {
    Ok(diesel::select(nextval("complaint_reference")).get_result(tx).await?)
}

pub async fn insert(tx: &mut Conn, complaint: &Complaint) -> Result<(), Error> {
    let matter = &complaint.matter;
    diesel::insert_into(complaints::table)
        .values(NewComplaint {
            id: complaint.id,
            reference: &complaint.reference,
            customer_id: matter.customer.id(),
            channel: matter.channel.code(),
            category: matter.category.code(),
            severity: matter.severity.code(),
            subject: matter.subject.expose(),
            description: matter.description.expose(),
            remedy_sought: matter.remedy_sought.map(|remedy| remedy.code()),
            remedy_note: matter.remedy_note.expose(),
            handling: Handling::of(complaint),
            create_time: complaint.create_time,
        })
        .execute(tx)
        .await?;
    clocks::save(tx, std::slice::from_ref(complaint)).await
}

/// Fails with COMPLAINT_NOT_FOUND.
pub async fn get(conn: &mut Conn, policies: &Policies, name: ResourceName) -> Result<Complaint, Error> {
    let row = complaints::table.find(name.id()).select(ComplaintRow::as_select()).first(conn).await;
    let row = row.optional()?.ok_or_else(|| not_found(name))?;
    one(conn, policies, row).await
}

/// Takes the row's lock; fails with COMPLAINT_NOT_FOUND.
pub async fn lock(tx: &mut Conn, policies: &Policies, name: ResourceName) -> Result<Complaint, Error> {
    let row =
        complaints::table.find(name.id()).select(ComplaintRow::as_select()).for_update().first(tx).await;
    let row = row.optional()?.ok_or_else(|| not_found(name))?;
    one(tx, policies, row).await
}

/// Takes the locks of those of the complaints that nobody else works on.
pub async fn lock_free(tx: &mut Conn, policies: &Policies, ids: &[Uuid]) -> Result<Vec<Complaint>, Error> {
    let rows = complaints::table
        .filter(complaints::id.eq_any(ids))
        .select(ComplaintRow::as_select())
        .for_update()
        .skip_locked()
        .load(tx)
        .await?;
    // Only now: what whoever had a lock before has done to the clocks is seen by a statement that begins under it.
    whole(tx, policies, rows).await
}

/// Makes complaints of rows that are read or locked, with their clocks. Without the lock, the clocks may be newer than the
/// row by a step that was committed between the two statements.
pub(super) async fn whole(
    conn: &mut Conn,
    policies: &Policies,
    rows: Vec<ComplaintRow>,
) -> Result<Vec<Complaint>, Error> {
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let mut clocks = clocks::find_all(conn, policies, &ids).await?;
    let complaint = |row: ComplaintRow| {
        let complaint = Complaint::try_from(row).map_err(Error::internal)?;
        Ok::<_, Error>(Complaint { clocks: clocks.remove(&complaint.id), ..complaint })
    };
    rows.into_iter().map(complaint).collect()
}

async fn one(conn: &mut Conn, policies: &Policies, row: ComplaintRow) -> Result<Complaint, Error> {
    let mut found = whole(conn, policies, vec![row]).await?;
    Ok(found.remove(0))
}

/// Writes what may have changed of a complaint that this transaction has locked, but for its clocks.
pub async fn update(tx: &mut Conn, complaint: &Complaint) -> Result<(), Error> {
    diesel::update(complaints::table.find(complaint.id)).set(Handling::of(complaint)).execute(tx).await?;
    Ok(())
}

/// Writes the versions of complaints that this transaction has locked and of which nothing else has changed, but for their
/// clocks, in one statement.
pub async fn update_versions(tx: &mut Conn, complaints: &[Complaint]) -> Result<(), Error> {
    statement(
        "UPDATE complaints SET version = has.version, update_time = has.update_time
         FROM unnest($1, $2, $3) AS has (id, version, update_time) WHERE complaints.id = has.id",
    )
    .bind::<Array<SqlUuid>, _>(complaints.iter().map(|complaint| complaint.id).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(complaints.iter().map(|complaint| complaint.version).collect::<Vec<_>>())
    .bind::<Array<Timestamptz>, _>(
        complaints.iter().map(|complaint| complaint.update_time).collect::<Vec<_>>(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Without the clocks. The table's checks hold what is read here; a row that breaks them is an internal error.
impl TryFrom<ComplaintRow> for Complaint {
    type Error = UnknownCode;

    fn try_from(row: ComplaintRow) -> Result<Self, UnknownCode> {
        let root_cause = match (row.cause, row.cause_explanation.0, row.responsible_department) {
            (Some(cause), Some(explanation), Some(responsible_department)) => Some(RootCause {
                category: i32::from(cause).try_into()?,
                explanation,
                responsible_department,
            }),
            _ => None,
        };
        let resolution = match (
            row.resolution_version,
            row.resolution_summary.0,
            row.compensation_points,
            row.resolution_time,
        ) {
            (Some(version), Some(summary), Some(compensation_points), Some(resolve_time)) => {
                Some(Resolution { summary, compensation_points, resolve_time, version })
            }
            _ => None,
        };
        Ok(Self {
            id: row.id,
            reference: row.reference,
            matter: Matter {
                customer: ResourceName::new("customers", row.customer_id),
                channel: i32::from(row.channel).try_into()?,
                category: i32::from(row.category).try_into()?,
                severity: i32::from(row.severity).try_into()?,
                subject: row.subject,
                description: row.description,
                remedy_sought: row.remedy_sought.map(|code| i32::from(code).try_into()).transpose()?,
                remedy_note: row.remedy_note,
            },
            state: i32::from(row.state).try_into()?,
            assignee: row.assignee,
            root_cause,
            resolution,
            reopen_count: row.reopen_count,
            acknowledge_time: row.acknowledge_time,
            close_time: row.close_time,
            clocks: None,
            create_time: row.create_time,
            update_time: row.update_time,
            version: row.version,
        })
    }
}
