//! The catalogue of rewards.

use chrono::{DateTime, TimeDelta, Utc};
use cqm_db::{Conn, known, statement};
use cqm_rpc::Error;
use diesel::prelude::*;
use diesel::sql_types::Uuid as SqlUuid;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::domain::reward::{Coupon, Discount, Kind, Money, Offer, Reward, State};
use crate::domain::text::Text;
use crate::schema::{reward, reward_stock};

#[derive(Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = reward, treat_none_as_null = true)]
struct RewardRow {
    id: Uuid,
    kind: String,
    state: String,
    name_zh: String,
    name_en: String,
    description_zh: String,
    description_en: String,
    price: i64,
    start_time: Option<DateTime<Utc>>,
    end_time: Option<DateTime<Utc>>,
    most_per_member: Option<i32>,
    voucher_seconds: Option<i64>,
    discount_basis_points: Option<i32>,
    amount_off_currency: Option<String>,
    amount_off_units: Option<i64>,
    amount_off_nanos: Option<i32>,
    minimum_currency: Option<String>,
    minimum_units: Option<i64>,
    minimum_nanos: Option<i32>,
    version: i64,
    create_time: DateTime<Utc>,
    update_time: DateTime<Utc>,
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = reward_stock)]
struct StockRow {
    reward_id: Uuid,
    stock: Option<i64>,
    taken: i64,
}

/// Writes a new reward.
pub async fn insert_reward(tx: &mut Conn, reward: &Reward) -> Result<(), Error> {
    diesel::insert_into(reward::table).values(RewardRow::of(reward)).execute(tx).await?;
    let stock = StockRow { reward_id: reward.id, stock: reward.offer.stock, taken: reward.taken };
    diesel::insert_into(reward_stock::table).values(stock).execute(tx).await?;
    Ok(())
}

/// Writes what has changed of a locked reward; what is taken of its stock is not among it.
pub async fn update_reward(tx: &mut Conn, reward: &Reward) -> Result<(), Error> {
    diesel::update(reward::table.find(reward.id)).set(RewardRow::of(reward)).execute(tx).await?;
    diesel::update(reward_stock::table.find(reward.id))
        .set(reward_stock::stock.eq(reward.offer.stock))
        .execute(tx)
        .await?;
    Ok(())
}

/// Reads a reward.
pub async fn find_reward(conn: &mut Conn, id: Uuid) -> Result<Option<Reward>, Error> {
    let row: Option<(RewardRow, StockRow)> = reward::table
        .inner_join(reward_stock::table.on(reward_stock::reward_id.eq(reward::id)))
        .filter(reward::id.eq(id))
        .select((RewardRow::as_select(), StockRow::as_select()))
        .first(conn)
        .await
        .optional()?;
    row.map(into_domain).transpose()
}

/// Reads a reward and takes its lock and that of its stock, in this order.
pub async fn lock_reward(tx: &mut Conn, id: Uuid) -> Result<Option<Reward>, Error> {
    let row: Option<RewardRow> =
        reward::table.find(id).select(RewardRow::as_select()).for_update().first(tx).await.optional()?;
    let Some(row) = row else { return Ok(None) };
    let stock: StockRow =
        reward_stock::table.find(id).select(StockRow::as_select()).for_update().first(tx).await?;
    into_domain((row, stock)).map(Some)
}

/// Pages through rewards, the newest first, `after` the last of the page before.
pub async fn list_rewards(
    conn: &mut Conn,
    state: Option<State>,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Reward>, Error> {
    let mut query = reward::table
        .inner_join(reward_stock::table.on(reward_stock::reward_id.eq(reward::id)))
        .select((RewardRow::as_select(), StockRow::as_select()))
        .order(reward::id.desc())
        .limit(limit)
        .into_boxed();
    if let Some(state) = state {
        query = query.filter(reward::state.eq(state.name()));
    }
    if let Some(id) = after {
        query = query.filter(reward::id.lt(id));
    }
    query.load::<(RewardRow, StockRow)>(conn).await?.into_iter().map(into_domain).collect()
}

/// Takes a piece of the stock, or tells that there is none. Whoever takes the next one waits for this transaction, so it
/// is the last that it does.
pub async fn take_from_stock(mut conn: &Conn, reward: Uuid) -> Result<bool, Error> {
    let taken = statement(
        "UPDATE reward_stock SET taken = taken + 1 WHERE reward_id = $1 AND (stock IS NULL OR taken < stock)",
    )
    .bind::<SqlUuid, _>(reward)
    .execute(&mut conn)
    .await?;
    Ok(taken == 1)
}

/// Puts a piece back that was taken.
pub async fn return_to_stock(mut conn: &Conn, reward: Uuid) -> Result<(), Error> {
    statement("UPDATE reward_stock SET taken = taken - 1 WHERE reward_id = $1")
        .bind::<SqlUuid, _>(reward)
        .execute(&mut conn)
        .await?;
    Ok(())
}

impl RewardRow {
    fn of(reward: &Reward) -> Self {
        let offer = &reward.offer;
        let discount = offer.coupon.as_ref().map(|coupon| &coupon.discount);
        let basis_points = match discount {
            Some(Discount::BasisPoints(points)) => Some(*points),
            _ => None,
        };
        let amount_off = match discount {
            Some(Discount::Amount(money)) => Some(money),
            _ => None,
        };
        let minimum = offer.coupon.as_ref().and_then(|coupon| coupon.minimum.as_ref());
        let currency = |money: Option<&Money>| money.map(|money| money.currency.clone());
        Self {
            id: reward.id,
            kind: reward.kind.name().to_owned(),
            state: reward.state.name().to_owned(),
            name_zh: offer.display_name.zh.clone(),
            name_en: offer.display_name.en.clone(),
            description_zh: offer.description.zh.clone(),
            description_en: offer.description.en.clone(),
            price: offer.price,
            start_time: offer.start,
            end_time: offer.end,
            most_per_member: offer.most_per_member,
            voucher_seconds: offer.voucher_lifetime.map(|lifetime| lifetime.num_seconds()),
            discount_basis_points: basis_points,
            amount_off_currency: currency(amount_off),
            amount_off_units: amount_off.map(|money| money.units),
            amount_off_nanos: amount_off.map(|money| money.nanos),
            minimum_currency: currency(minimum),
            minimum_units: minimum.map(|money| money.units),
            minimum_nanos: minimum.map(|money| money.nanos),
            version: reward.version,
            create_time: reward.create_time,
            update_time: reward.update_time,
        }
    }
}

fn into_domain((row, stock): (RewardRow, StockRow)) -> Result<Reward, Error> {
    let amount_off = money(row.amount_off_currency, row.amount_off_units, row.amount_off_nanos);
    let discount = match (row.discount_basis_points, amount_off) {
        (Some(points), None) => Some(Discount::BasisPoints(points)),
        (None, amount) => amount.map(Discount::Amount),
        (Some(_), Some(_)) => return Err(Error::internal("a coupon of two discounts")),
    };
    let minimum = money(row.minimum_currency, row.minimum_units, row.minimum_nanos);
    Ok(Reward {
        id: row.id,
        kind: known("reward.kind", &row.kind, Kind::find)?,
        offer: Offer {
            display_name: Text { zh: row.name_zh, en: row.name_en },
            description: Text { zh: row.description_zh, en: row.description_en },
            price: row.price,
            stock: stock.stock,
            start: row.start_time,
            end: row.end_time,
            most_per_member: row.most_per_member,
            voucher_lifetime: row.voucher_seconds.map(TimeDelta::seconds),
            coupon: discount.map(|discount| Coupon { discount, minimum }),
        },
        state: known("reward.state", &row.state, State::find)?,
        taken: stock.taken,
        version: row.version,
        create_time: row.create_time,
        update_time: row.update_time,
    })
}

fn money(currency: Option<String>, units: Option<i64>, nanos: Option<i32>) -> Option<Money> {
    Some(Money { currency: currency?, units: units?, nanos: nanos? })
}
