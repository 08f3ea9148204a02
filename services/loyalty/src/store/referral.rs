//! Who brought whom in.

use chrono::{DateTime, Utc};
use cqm_db::{Conn, statement};
use cqm_rpc::Error;
use diesel::prelude::*;
use diesel::sql_types::{Integer, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::domain::referral::ReferralCode;
use crate::schema::{member, referral};

/// How far up is looked. Nobody was brought in by more than so many who brought each other in.
const HIGHEST: i32 = 100;

/// Finds the member who has a code.
pub async fn find_by_code(conn: &mut Conn, code: &ReferralCode) -> Result<Option<Uuid>, Error> {
    Ok(member::table
        .filter(member::referral_code.eq(code.as_str()))
        .select(member::customer_id)
        .first(conn)
        .await
        .optional()?)
}

/// Writes who brought a new member in.
pub async fn insert_referral(
    tx: &mut Conn,
    customer: Uuid,
    referrer: Uuid,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    diesel::insert_into(referral::table)
        .values((
            referral::customer_id.eq(customer),
            referral::referrer_id.eq(referrer),
            referral::create_time.eq(now),
        ))
        .execute(tx)
        .await?;
    Ok(())
}

/// Finds who brought a member in, and who them, and so on: the next first.
pub async fn find_above(mut conn: &Conn, customer: Uuid) -> Result<Vec<Uuid>, Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = SqlUuid)]
        referrer_id: Uuid,
    }
    let rows: Vec<Row> = statement(
        "WITH RECURSIVE above (referrer_id, height) AS (
             SELECT referrer_id, 1 FROM referral WHERE customer_id = $1
             UNION ALL
             SELECT referral.referrer_id, height + 1
             FROM above JOIN referral ON referral.customer_id = above.referrer_id
             WHERE height < $2)
         SELECT referrer_id FROM above ORDER BY height",
    )
    .bind::<SqlUuid, _>(customer)
    .bind::<Integer, _>(HIGHEST)
    .load(&mut conn)
    .await?;
    Ok(rows.into_iter().map(|row| row.referrer_id).collect())
}
