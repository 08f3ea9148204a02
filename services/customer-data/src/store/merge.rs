//! Merges and their steps.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use cqm_db::{Conn, known, statement};
use cqm_rpc::Error;
use diesel::prelude::*;
use diesel::sql_types::{Array, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;

use crate::domain::merge::{Merge, State, Step};
use crate::domain::receipt::Holder;
use crate::schema::{merge_steps, merges};

#[derive(Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = merges, check_for_backend(diesel::pg::Pg), treat_none_as_null = true)]
struct MergeRow {
    customer_id: Uuid,
    survivor_id: Uuid,
    state: String,
    requester: String,
    version: i64,
    create_time: DateTime<Utc>,
    update_time: DateTime<Utc>,
    finish_time: Option<DateTime<Utc>>,
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = merge_steps, check_for_backend(diesel::pg::Pg))]
struct StepRow {
    customer_id: Uuid,
    service: String,
    receipt: Value,
    step_time: DateTime<Utc>,
}

/// Returns a merge and takes its row's lock.
pub async fn lock_merge(tx: &mut Conn, customer: Uuid) -> Result<Option<Merge>, Error> {
    let row: Option<MergeRow> =
        merges::table.find(customer).select(MergeRow::as_select()).for_update().first(tx).await.optional()?;
    with_steps(tx, row).await
}

pub async fn find_merge(conn: &mut Conn, customer: Uuid) -> Result<Option<Merge>, Error> {
    let row: Option<MergeRow> =
        merges::table.find(customer).select(MergeRow::as_select()).first(conn).await.optional()?;
    with_steps(conn, row).await
}

async fn with_steps(conn: &mut Conn, row: Option<MergeRow>) -> Result<Option<Merge>, Error> {
    let Some(row) = row else {
        return Ok(None);
    };
    let steps: Vec<StepRow> = merge_steps::table
        .filter(merge_steps::customer_id.eq(row.customer_id))
        .select(StepRow::as_select())
        .load(conn)
        .await?;
    let steps = steps.into_iter().map(read_step).collect::<Result<BTreeMap<_, _>, Error>>()?;
    Ok(Some(Merge {
        customer: row.customer_id,
        survivor: row.survivor_id,
        state: known("merges.state", &row.state, State::find)?,
        requester: row.requester,
        version: row.version,
        steps,
        create_time: row.create_time,
        update_time: row.update_time,
        finish_time: row.finish_time,
    }))
}

fn read_step(row: StepRow) -> Result<(Holder, Step), Error> {
    let holder = known("merge_steps.service", &row.service, Holder::find)?;
    let receipt = serde_json::from_value(row.receipt).map_err(Error::internal)?;
    Ok((holder, Step { receipt, time: row.step_time }))
}

/// Writes a new merge, or what a step has made of it.
pub async fn save_merge(tx: &mut Conn, merge: &Merge) -> Result<(), Error> {
    let row = MergeRow {
        customer_id: merge.customer,
        survivor_id: merge.survivor,
        state: merge.state.name().to_owned(),
        requester: merge.requester.clone(),
        version: merge.version,
        create_time: merge.create_time,
        update_time: merge.update_time,
        finish_time: merge.finish_time,
    };
    diesel::insert_into(merges::table)
        .values(&row)
        .on_conflict(merges::customer_id)
        .do_update()
        .set(&row)
        .execute(tx)
        .await?;
    Ok(())
}

pub async fn insert_step(tx: &mut Conn, customer: Uuid, holder: Holder, step: &Step) -> Result<(), Error> {
    let row = StepRow {
        customer_id: customer,
        service: holder.name().to_owned(),
        receipt: serde_json::to_value(&step.receipt).map_err(Error::internal)?,
        step_time: step.time,
    };
    diesel::insert_into(merge_steps::table).values(&row).execute(tx).await?;
    Ok(())
}

/// Those of the customers of whom a service may still have something under a name that was merged into theirs.
pub async fn unfinished_among(conn: &mut Conn, survivors: &[Uuid]) -> Result<Vec<Uuid>, Error> {
    #[derive(QueryableByName)]
    struct Survivor {
        #[diesel(sql_type = SqlUuid)]
        survivor_id: Uuid,
    }
    // The survivor of today: the merge knows the one that was asked for.
    let found: Vec<Survivor> = statement(
        "SELECT DISTINCT subject.survivor_id FROM subject JOIN merges USING (customer_id)
         WHERE subject.survivor_id = ANY($1) AND merges.state = 'MERGING'",
    )
    .bind::<Array<SqlUuid>, _>(survivors)
    .load(conn)
    .await?;
    Ok(found.into_iter().map(|row| row.survivor_id).collect())
}
