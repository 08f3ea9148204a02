//! Who brought whom in.

use chrono::{DateTime, Utc};
use cqm_db::{Conn, statement};
use cqm_rpc::Error;
use diesel::prelude::*;
use diesel::sql_types::{Integer, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::domain::referral::ReferralCode;
use crate::schema::referral;

/// How far up is looked. Nobody was brought in by more than so many who brought each other in.
const HIGHEST: i32 = 100;

/// Finds the member who has a code. That of a name that was merged into another one is the other's.
pub async fn find_by_code(mut conn: &Conn, code: &ReferralCode) -> Result<Option<Uuid>, Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = SqlUuid)]
        customer_id: Uuid,
    }
    let row: Option<Row> = statement(
        "SELECT coalesce(subject.survivor_id, member.customer_id) AS customer_id
         FROM member LEFT JOIN subject USING (customer_id)
         WHERE referral_code = $1",
    )
    .bind::<Text, _>(code.as_str())
    .get_result(&mut conn)
    .await
    .optional()?;
    Ok(row.map(|row| row.customer_id))
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
