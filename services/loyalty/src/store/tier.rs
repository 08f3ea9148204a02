//! Tiers, and how members went from one to another.

use chrono::{DateTime, Utc};
use cqm_db::{Conn, OnConflict, known, statement};
use cqm_rpc::Error;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Nullable, Text as SqlText, Timestamptz, Uuid as SqlUuid};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::column;
use crate::domain::text::Text;
use crate::domain::tier::{Benefit, Tier, Turn, Why};
use crate::error::{TIER_HELD, constraint};
use crate::schema::{member_tier_history, tier};

#[derive(Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = tier)]
struct TierRow {
    id: Uuid,
    code: String,
    rank: i32,
    threshold: i64,
    name_zh: String,
    name_en: String,
    benefits: serde_json::Value,
    version: i64,
    create_time: DateTime<Utc>,
    update_time: DateTime<Utc>,
}

#[derive(Serialize, Deserialize)]
struct BenefitRow {
    code: String,
    zh: String,
    en: String,
    value: String,
}

/// Keeps others from changing tiers until the transaction ends, and returns all of them, by rank: whether one fits is a
/// matter of the others. Members may be given tiers meanwhile.
pub async fn lock_tiers(tx: &mut Conn) -> Result<Vec<Tier>, Error> {
    tx.batch_execute("LOCK TABLE tier IN SHARE ROW EXCLUSIVE MODE").await?;
    list_tiers(tx, None, i64::MAX).await
}

pub async fn find_tier(conn: &mut Conn, id: Uuid) -> Result<Option<Tier>, Error> {
    let row: Option<TierRow> =
        tier::table.find(id).select(TierRow::as_select()).first(conn).await.optional()?;
    row.map(TierRow::into_domain).transpose()
}

/// Pages through the tiers, the lowest rank first, `after` the rank of the last of the page before.
pub async fn list_tiers(conn: &mut Conn, after: Option<i64>, limit: i64) -> Result<Vec<Tier>, Error> {
    let after = after.map_or(Ok(0), i32::try_from).unwrap_or(i32::MAX);
    let rows: Vec<TierRow> = tier::table
        .filter(tier::rank.gt(after))
        .order(tier::rank)
        .limit(limit)
        .select(TierRow::as_select())
        .load(conn)
        .await?;
    rows.into_iter().map(TierRow::into_domain).collect()
}

/// Writes a new tier that fits among the others.
pub async fn insert_tier(tx: &mut Conn, new: &Tier) -> Result<(), Error> {
    diesel::insert_into(tier::table).values(TierRow::of(new)?).execute(tx).await?;
    Ok(())
}

/// Writes a tier that has changed and fits among the others.
pub async fn update_tier(tx: &mut Conn, changed: &Tier) -> Result<(), Error> {
    diesel::update(tier::table.find(changed.id)).set(TierRow::of(changed)?).execute(tx).await?;
    Ok(())
}

/// Deletes a tier; `TIER_HELD` when a member holds it. Waits for whoever is being given it.
pub async fn delete_tier(tx: &mut Conn, id: Uuid) -> Result<(), Error> {
    diesel::delete(tier::table.find(id))
        .execute(tx)
        .await
        .on_conflict(constraint::MEMBER_TIER, || Error::refused(TIER_HELD))?;
    Ok(())
}

/// Writes how members went from one tier to another: whose turn, at which version of theirs.
pub async fn insert_turns(mut conn: &Conn, turns: &[(Uuid, i64, Turn)]) -> Result<(), Error> {
    if turns.is_empty() {
        return Ok(());
    }
    statement(
        "INSERT INTO member_tier_history (customer_id, version, from_tier, to_tier, reason, points, change_time)
         SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind::<Array<SqlUuid>, _>(column(turns, |turn| turn.0))
    .bind::<Array<BigInt>, _>(column(turns, |turn| turn.1))
    .bind::<Array<Nullable<SqlUuid>>, _>(column(turns, |turn| turn.2.from))
    .bind::<Array<Nullable<SqlUuid>>, _>(column(turns, |turn| turn.2.to))
    .bind::<Array<SqlText>, _>(column(turns, |turn| turn.2.why.name()))
    .bind::<Array<BigInt>, _>(column(turns, |turn| turn.2.points))
    .bind::<Array<Timestamptz>, _>(column(turns, |turn| turn.2.at))
    .execute(&mut conn)
    .await?;
    Ok(())
}

/// Pages through a member's turns, the newest first, `before` the version of the last of the page before.
pub async fn list_turns(
    conn: &mut Conn,
    customer: Uuid,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<(i64, Turn)>, Error> {
    type Row = (i64, Option<Uuid>, Option<Uuid>, String, i64, DateTime<Utc>);
    let rows: Vec<Row> = member_tier_history::table
        .filter(member_tier_history::customer_id.eq(customer))
        .filter(member_tier_history::version.lt(before.unwrap_or(i64::MAX)))
        .order(member_tier_history::version.desc())
        .limit(limit)
        .select((
            member_tier_history::version,
            member_tier_history::from_tier,
            member_tier_history::to_tier,
            member_tier_history::reason,
            member_tier_history::points,
            member_tier_history::change_time,
        ))
        .load(conn)
        .await?;
    rows.into_iter()
        .map(|(version, from, to, why, points, at)| {
            let why = known("member_tier_history.reason", &why, Why::find)?;
            Ok((version, Turn { from, to, why, points, at }))
        })
        .collect()
}

impl TierRow {
    fn of(tier: &Tier) -> Result<Self, Error> {
        let benefits: Vec<BenefitRow> = tier
            .benefits
            .iter()
            .map(|benefit| BenefitRow {
                code: benefit.code.clone(),
                zh: benefit.text.zh.clone(),
                en: benefit.text.en.clone(),
                value: benefit.value.clone(),
            })
            .collect();
        Ok(Self {
            id: tier.id,
            code: tier.code.clone(),
            rank: tier.rank,
            threshold: tier.threshold,
            name_zh: tier.display_name.zh.clone(),
            name_en: tier.display_name.en.clone(),
            benefits: serde_json::to_value(benefits).map_err(Error::internal)?,
            version: tier.version,
            create_time: tier.create_time,
            update_time: tier.update_time,
        })
    }

    fn into_domain(self) -> Result<Tier, Error> {
        let benefits: Vec<BenefitRow> = serde_json::from_value(self.benefits).map_err(Error::internal)?;
        Ok(Tier {
            id: self.id,
            code: self.code,
            rank: self.rank,
            display_name: Text { zh: self.name_zh, en: self.name_en },
            threshold: self.threshold,
            benefits: benefits
                .into_iter()
                .map(|row| Benefit {
                    code: row.code,
                    text: Text { zh: row.zh, en: row.en },
                    value: row.value,
                })
                .collect(),
            version: self.version,
            create_time: self.create_time,
            update_time: self.update_time,
        })
    }
}
