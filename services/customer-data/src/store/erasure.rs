//! Erasures, their steps, and legal holds.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use cqm_db::{Conn, known, statement, subjects};
use cqm_rpc::Error;
use diesel::dsl::exists;
use diesel::prelude::*;
use diesel::sql_types::{Array, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;

use crate::domain::erasure::{Erasure, Ground, State, Step};
use crate::domain::receipt::Holder;
use crate::schema::{erasure_steps, erasures, legal_holds};

#[derive(Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = erasures, check_for_backend(diesel::pg::Pg), treat_none_as_null = true)]
struct ErasureRow {
    customer_id: Uuid,
    state: String,
    ground: String,
    forfeit_points: bool,
    requester: String,
    version: i64,
    create_time: DateTime<Utc>,
    update_time: DateTime<Utc>,
    finish_time: Option<DateTime<Utc>>,
    round: i64,
}

#[derive(Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = erasure_steps, check_for_backend(diesel::pg::Pg))]
struct StepRow {
    customer_id: Uuid,
    service: String,
    version: i64,
    erased: bool,
    blockers: Vec<String>,
    receipt: Value,
    step_time: DateTime<Utc>,
}

/// A reason to keep a customer's data.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = legal_holds, check_for_backend(diesel::pg::Pg))]
pub struct LegalHold {
    pub customer_id: Uuid,
    pub reference: String,
    pub actor: String,
    pub create_time: DateTime<Utc>,
}

/// Returns an erasure and takes its row's lock.
pub async fn lock_erasure(tx: &mut Conn, customer: Uuid) -> Result<Option<Erasure>, Error> {
    let row: Option<ErasureRow> = erasures::table
        .find(customer)
        .select(ErasureRow::as_select())
        .for_update()
        .first(tx)
        .await
        .optional()?;
    with_steps(tx, row).await
}

pub async fn find_erasure(conn: &mut Conn, customer: Uuid) -> Result<Option<Erasure>, Error> {
    let row: Option<ErasureRow> =
        erasures::table.find(customer).select(ErasureRow::as_select()).first(conn).await.optional()?;
    with_steps(conn, row).await
}

async fn with_steps(conn: &mut Conn, row: Option<ErasureRow>) -> Result<Option<Erasure>, Error> {
    let Some(row) = row else {
        return Ok(None);
    };
    let steps: Vec<StepRow> = erasure_steps::table
        .filter(erasure_steps::customer_id.eq(row.customer_id))
        .select(StepRow::as_select())
        .load(conn)
        .await?;
    let steps = steps.into_iter().map(read_step).collect::<Result<BTreeMap<_, _>, Error>>()?;
    Ok(Some(Erasure {
        customer: row.customer_id,
        state: known("erasures.state", &row.state, State::find)?,
        ground: known("erasures.ground", &row.ground, Ground::find)?,
        forfeit_points: row.forfeit_points,
        requester: row.requester,
        version: row.version,
        round: row.round,
        steps,
        create_time: row.create_time,
        update_time: row.update_time,
        finish_time: row.finish_time,
    }))
}

fn read_step(row: StepRow) -> Result<(Holder, Step), Error> {
    let holder = known("erasure_steps.service", &row.service, Holder::find)?;
    let receipt = serde_json::from_value(row.receipt).map_err(Error::internal)?;
    let step = Step {
        version: row.version,
        erased: row.erased,
        blockers: row.blockers,
        receipt,
        time: row.step_time,
    };
    Ok((holder, step))
}

/// Writes a new erasure, or what a step has made of it.
pub async fn save_erasure(tx: &mut Conn, erasure: &Erasure) -> Result<(), Error> {
    let row = ErasureRow {
        customer_id: erasure.customer,
        state: erasure.state.name().to_owned(),
        ground: erasure.ground.name().to_owned(),
        forfeit_points: erasure.forfeit_points,
        requester: erasure.requester.clone(),
        version: erasure.version,
        create_time: erasure.create_time,
        update_time: erasure.update_time,
        finish_time: erasure.finish_time,
        round: erasure.round,
    };
    diesel::insert_into(erasures::table)
        .values(&row)
        .on_conflict(erasures::customer_id)
        .do_update()
        .set(&row)
        .execute(tx)
        .await?;
    Ok(())
}

pub async fn save_step(tx: &mut Conn, customer: Uuid, holder: Holder, step: &Step) -> Result<(), Error> {
    let row = StepRow {
        customer_id: customer,
        service: holder.name().to_owned(),
        version: step.version,
        erased: step.erased,
        blockers: step.blockers.clone(),
        receipt: serde_json::to_value(&step.receipt).map_err(Error::internal)?,
        step_time: step.time,
    };
    diesel::insert_into(erasure_steps::table)
        .values(&row)
        .on_conflict((erasure_steps::customer_id, erasure_steps::service))
        .do_update()
        .set(&row)
        .execute(tx)
        .await?;
    Ok(())
}

/// Forgets the steps of an erasure that was called off.
pub async fn delete_steps(tx: &mut Conn, customer: Uuid) -> Result<(), Error> {
    diesel::delete(erasure_steps::table.filter(erasure_steps::customer_id.eq(customer))).execute(tx).await?;
    Ok(())
}

/// Whether somebody has asked for the customer's erasure and has not called it off.
pub async fn is_asked_for(conn: &mut Conn, customer: Uuid) -> Result<bool, Error> {
    let asked = erasures::table.find(customer).filter(erasures::state.ne(State::Cancelled.name()));
    Ok(diesel::select(exists(asked)).get_result(conn).await?)
}

/// Whether the customer's data must be kept.
pub async fn is_held(conn: &mut Conn, customer: Uuid) -> Result<bool, Error> {
    Ok(!held_among(conn, &[customer]).await?.is_empty())
}

/// Those of the customers whose data must be kept, for a hold that was placed on them under whatever name.
pub async fn held_among(conn: &mut Conn, customers: &[Uuid]) -> Result<Vec<Uuid>, Error> {
    let held: Vec<Named> = statement(
        "SELECT customer_id FROM legal_holds WHERE customer_id = ANY($1)
         UNION
         SELECT survivor_id FROM subject JOIN legal_holds USING (customer_id) WHERE survivor_id = ANY($1)",
    )
    .bind::<Array<SqlUuid>, _>(customers)
    .load(conn)
    .await?;
    Ok(held.into_iter().map(|row| row.customer_id).collect())
}

/// A customer whom a statement has found.
#[derive(QueryableByName)]
struct Named {
    #[diesel(sql_type = SqlUuid)]
    customer_id: Uuid,
}

/// The customer and those who were merged into them: a hold stays where it was placed, so that each is lifted by itself.
async fn names_of(conn: &mut Conn, customer: Uuid) -> Result<Vec<Uuid>, Error> {
    let mut names = vec![customer];
    names.extend(subjects::merged_into(conn, customer).await?);
    Ok(names)
}

/// Places a hold, or changes the one that is there.
pub async fn place_hold(tx: &mut Conn, hold: &LegalHold) -> Result<(), Error> {
    diesel::insert_into(legal_holds::table)
        .values(hold)
        .on_conflict(legal_holds::customer_id)
        .do_update()
        .set(hold)
        .execute(tx)
        .await?;
    Ok(())
}

/// Lifts a hold and returns it: the customer's own, or else one that came with a merge.
pub async fn lift_hold(tx: &mut Conn, customer: Uuid) -> Result<Option<LegalHold>, Error> {
    for name in names_of(tx, customer).await? {
        let lifted = diesel::delete(legal_holds::table.find(name))
            .returning(LegalHold::as_returning())
            .get_result(tx)
            .await
            .optional()?;
        if lifted.is_some() {
            return Ok(lifted);
        }
    }
    Ok(None)
}
