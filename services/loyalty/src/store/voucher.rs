//! Vouchers, and what their codes are found by.

use chrono::{DateTime, Utc};
use cqm_db::{Conn, known, statement};
use cqm_rpc::Error;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::column;
use crate::domain::code::Digest;
use crate::domain::voucher::{State, Voucher};
use crate::schema::{voucher, voucher_code};

#[derive(Queryable, QueryableByName, Selectable, Insertable)]
#[diesel(table_name = voucher)]
struct VoucherRow {
    customer_id: Uuid,
    id: Uuid,
    reward_id: Uuid,
    state: String,
    points: i64,
    transaction_id: Option<Uuid>,
    from_stock: bool,
    order_name: String,
    expires_at: Option<DateTime<Utc>>,
    version: i64,
    create_time: DateTime<Utc>,
    update_time: DateTime<Utc>,
}

/// Writes a new voucher and what its code is found by.
pub async fn insert_voucher(tx: &mut Conn, new: &Voucher, digest: &Digest) -> Result<(), Error> {
    diesel::insert_into(voucher::table).values(VoucherRow::of(new)).execute(tx).await?;
    diesel::insert_into(voucher_code::table)
        .values((
            voucher_code::digest.eq(digest.as_slice()),
            voucher_code::customer_id.eq(new.customer),
            voucher_code::voucher_id.eq(new.id),
        ))
        .execute(tx)
        .await?;
    Ok(())
}

/// Writes what events have changed of locked vouchers.
pub async fn update_vouchers(mut conn: &Conn, vouchers: &[Voucher]) -> Result<(), Error> {
    if vouchers.is_empty() {
        return Ok(());
    }
    let updated = statement(
        "UPDATE voucher
         SET state = new.state, order_name = new.order_name, version = new.version, update_time = new.update_time
         FROM unnest($1, $2, $3, $4, $5, $6) AS new (customer_id, id, state, order_name, version, update_time)
         WHERE voucher.customer_id = new.customer_id AND voucher.id = new.id",
    )
    .bind::<Array<SqlUuid>, _>(column(vouchers, |voucher| voucher.customer))
    .bind::<Array<SqlUuid>, _>(column(vouchers, |voucher| voucher.id))
    .bind::<Array<Text>, _>(column(vouchers, |voucher| voucher.state.name()))
    .bind::<Array<Text>, _>(column(vouchers, |voucher| voucher.order.as_str()))
    .bind::<Array<BigInt>, _>(column(vouchers, |voucher| voucher.version))
    .bind::<Array<Timestamptz>, _>(column(vouchers, |voucher| voucher.update_time))
    .execute(&mut conn)
    .await?;
    if updated == vouchers.len() { Ok(()) } else { Err(Error::internal("a locked voucher is not there")) }
}

/// How many of a reward a member has taken, those that were cancelled aside; no more than `most` are counted. To be
/// relied on, the member is locked.
pub async fn count_vouchers(mut conn: &Conn, customer: Uuid, reward: Uuid, most: i32) -> Result<i64, Error> {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        count: i64,
    }
    let found: Count = statement(
        "SELECT count(*) FROM (SELECT FROM voucher
                               WHERE customer_id = $1 AND reward_id = $2 AND state <> 'CANCELLED' LIMIT $3) AS had",
    )
    .bind::<SqlUuid, _>(customer)
    .bind::<SqlUuid, _>(reward)
    .bind::<BigInt, _>(i64::from(most))
    .get_result(&mut conn)
    .await?;
    Ok(found.count)
}

/// Reads a voucher.
pub async fn find_voucher(conn: &mut Conn, customer: Uuid, id: Uuid) -> Result<Option<Voucher>, Error> {
    let row: Option<VoucherRow> =
        voucher::table.find((customer, id)).select(VoucherRow::as_select()).first(conn).await.optional()?;
    row.map(VoucherRow::into_domain).transpose()
}

/// Reads a voucher and takes its lock.
pub async fn lock_voucher(tx: &mut Conn, customer: Uuid, id: Uuid) -> Result<Option<Voucher>, Error> {
    let row: Option<VoucherRow> = voucher::table
        .find((customer, id))
        .select(VoucherRow::as_select())
        .for_update()
        .first(tx)
        .await
        .optional()?;
    row.map(VoucherRow::into_domain).transpose()
}

/// Reads and locks those of a customer's vouchers that nobody has written down the end of.
pub async fn lock_issued_vouchers(mut conn: &Conn, customer: Uuid) -> Result<Vec<Voucher>, Error> {
    let rows: Vec<VoucherRow> =
        statement("SELECT * FROM voucher WHERE customer_id = $1 AND state = 'ISSUED' ORDER BY id FOR UPDATE")
            .bind::<SqlUuid, _>(customer)
            .load(&mut conn)
            .await?;
    rows.into_iter().map(VoucherRow::into_domain).collect()
}

/// Reads the voucher that one of the digests is of. One probe of an index for each of them.
pub async fn find_voucher_by_code(conn: &Conn, digests: &[Digest]) -> Result<Option<Voucher>, Error> {
    by_code(
        conn,
        "SELECT voucher.* FROM voucher_code
         JOIN voucher ON voucher.customer_id = voucher_code.customer_id AND voucher.id = voucher_code.voucher_id
         WHERE digest = ANY($1)",
        digests,
    )
    .await
}

/// [`find_voucher_by_code`], and takes the voucher's lock.
pub async fn lock_voucher_by_code(conn: &Conn, digests: &[Digest]) -> Result<Option<Voucher>, Error> {
    const LOCK: &str = "SELECT voucher.* FROM voucher_code
         JOIN voucher ON voucher.customer_id = voucher_code.customer_id AND voucher.id = voucher_code.voucher_id
         WHERE digest = ANY($1) FOR UPDATE OF voucher";
    match by_code(conn, LOCK, digests).await? {
        // Whoever had the lock may have moved it to the name that stays: then the code that was read with it names nobody
        // any more, and the second look finds both.
        None => by_code(conn, LOCK, digests).await,
        found => Ok(found),
    }
}

async fn by_code(mut conn: &Conn, sql: &'static str, digests: &[Digest]) -> Result<Option<Voucher>, Error> {
    let row: Option<VoucherRow> = statement(sql)
        .bind::<Array<Binary>, _>(column(digests, |digest| digest.as_slice()))
        .get_result(&mut conn)
        .await
        .optional()?;
    row.map(VoucherRow::into_domain).transpose()
}

/// Pages through a customer's vouchers, the newest first, `after` the last of the page before.
pub async fn list_vouchers(
    conn: &mut Conn,
    customer: Uuid,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Voucher>, Error> {
    // Ids are in the order of time.
    let mut query = voucher::table
        .filter(voucher::customer_id.eq(customer))
        .select(VoucherRow::as_select())
        .order(voucher::id.desc())
        .limit(limit)
        .into_boxed();
    if let Some(id) = after {
        query = query.filter(voucher::id.lt(id));
    }
    query.load::<VoucherRow>(conn).await?.into_iter().map(VoucherRow::into_domain).collect()
}

/// Reads and locks vouchers whose time is over, those first who wait longest, without those that somebody else has
/// locked. Reads the index voucher_due.
pub async fn lock_due_vouchers(
    mut conn: &Conn,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Voucher>, Error> {
    let rows: Vec<VoucherRow> = statement(
        "SELECT * FROM voucher WHERE state = 'ISSUED' AND expires_at <= $1
         ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED",
    )
    .bind::<Timestamptz, _>(now)
    .bind::<BigInt, _>(limit)
    .load(&mut conn)
    .await?;
    rows.into_iter().map(VoucherRow::into_domain).collect()
}

impl VoucherRow {
    fn of(voucher: &Voucher) -> Self {
        Self {
            customer_id: voucher.customer,
            id: voucher.id,
            reward_id: voucher.reward,
            state: voucher.state.name().to_owned(),
            points: voucher.points,
            transaction_id: voucher.transaction,
            from_stock: voucher.from_stock,
            order_name: voucher.order.clone(),
            expires_at: voucher.expires_at,
            version: voucher.version,
            create_time: voucher.create_time,
            update_time: voucher.update_time,
        }
    }

    fn into_domain(self) -> Result<Voucher, Error> {
        Ok(Voucher {
            id: self.id,
            customer: self.customer_id,
            reward: self.reward_id,
            state: known("voucher.state", &self.state, State::find)?,
            points: self.points,
            transaction: self.transaction_id,
            from_stock: self.from_stock,
            order: self.order_name,
            expires_at: self.expires_at,
            version: self.version,
            create_time: self.create_time,
            update_time: self.update_time,
        })
    }
}
