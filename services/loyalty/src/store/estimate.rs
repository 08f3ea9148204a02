//! Versions of what is expected of the points: written and read, never changed.

use chrono::{DateTime, NaiveDate, Utc};
use cqm_db::{Conn, OnConflict};
use cqm_rpc::{Error, reason};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::domain::liability::Estimate;
use crate::error::constraint;
use crate::schema::breakage_estimate;

/// The most versions that a report looks through: one a day for more than ten years.
const MOST: i64 = 4000;

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = breakage_estimate)]
struct EstimateRow {
    id: Uuid,
    version: i64,
    effective_date: NaiveDate,
    redemption_rate: i32,
    currency: String,
    stand_alone_price: i64,
    sale_price: Option<i64>,
    reason: String,
    actor: String,
    create_time: DateTime<Utc>,
}

/// Writes a version. Somebody else may have written the same number meanwhile: the same again finds it.
pub async fn insert_estimate(tx: &mut Conn, estimate: Estimate) -> Result<(), Error> {
    diesel::insert_into(breakage_estimate::table)
        .values(EstimateRow::of(estimate))
        .execute(tx)
        .await
        .on_conflict(constraint::ESTIMATE_VERSION, || Error::Conflict {
            reason: reason::TRANSACTION_CONFLICT,
            source: None,
        })?;
    Ok(())
}

/// Reads a version by its id.
pub async fn find_estimate(conn: &mut Conn, id: Uuid) -> Result<Option<Estimate>, Error> {
    let row: Option<EstimateRow> =
        breakage_estimate::table.find(id).select(EstimateRow::as_select()).first(conn).await.optional()?;
    Ok(row.map(EstimateRow::into_domain))
}

/// Pages through the versions, the latest first, `before` the last of the page before.
pub async fn list_estimates(
    conn: &mut Conn,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<Estimate>, Error> {
    let rows: Vec<EstimateRow> = breakage_estimate::table
        .filter(breakage_estimate::version.lt(before.unwrap_or(i64::MAX)))
        .order(breakage_estimate::version.desc())
        .limit(limit)
        .select(EstimateRow::as_select())
        .load(conn)
        .await?;
    Ok(rows.into_iter().map(EstimateRow::into_domain).collect())
}

/// Reads the versions that were made up to a time, for reports.
pub async fn known_estimates(conn: &mut Conn, time: DateTime<Utc>) -> Result<Vec<Estimate>, Error> {
    let rows: Vec<EstimateRow> = breakage_estimate::table
        .filter(breakage_estimate::create_time.le(time))
        .order(breakage_estimate::version.desc())
        .limit(MOST)
        .select(EstimateRow::as_select())
        .load(conn)
        .await?;
    Ok(rows.into_iter().map(EstimateRow::into_domain).collect())
}

impl EstimateRow {
    fn of(estimate: Estimate) -> Self {
        Self {
            id: estimate.id,
            version: estimate.version,
            effective_date: estimate.effective,
            redemption_rate: estimate.redemption_rate,
            currency: estimate.currency,
            stand_alone_price: estimate.stand_alone_price,
            sale_price: estimate.sale_price,
            reason: estimate.reason,
            actor: estimate.actor,
            create_time: estimate.create_time,
        }
    }

    fn into_domain(self) -> Estimate {
        Estimate {
            id: self.id,
            version: self.version,
            effective: self.effective_date,
            redemption_rate: self.redemption_rate,
            currency: self.currency,
            stand_alone_price: self.stand_alone_price,
            sale_price: self.sale_price,
            reason: self.reason,
            actor: self.actor,
            create_time: self.create_time,
        }
    }
}
