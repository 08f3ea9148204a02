//! What time has caught up with.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use cqm_db::{Conn, statement};
use cqm_rpc::Error;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Nullable, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::hold::find_holds;
use super::lot::{LotRow, find_lots};
use crate::domain::account::{Account, Due, Horizon};
use crate::domain::hold::Hold;
use crate::domain::lot::Lot;

/// The most lots and the most holds of one member that one transaction catches up with. Far more than anybody has
/// whom somebody has looked at within a day.
const MOST: i64 = 5000;

#[derive(QueryableByName)]
struct Id {
    #[diesel(sql_type = SqlUuid)]
    customer_id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
}

#[derive(QueryableByName)]
struct Next {
    #[diesel(sql_type = SqlUuid)]
    customer_id: Uuid,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    expiry: Option<DateTime<Utc>>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    unannounced: Option<DateTime<Utc>>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    maturity: Option<DateTime<Utc>>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    hold: Option<DateTime<Utc>>,
}

/// Finds members whom time has caught up with, those first who wait longest. Reads the index member_due.
pub async fn find_due_members(mut conn: &Conn, now: DateTime<Utc>, limit: i64) -> Result<Vec<Uuid>, Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = SqlUuid)]
        customer_id: Uuid,
    }
    let rows: Vec<Row> =
        statement("SELECT customer_id FROM member WHERE next_due <= $1 ORDER BY next_due LIMIT $2")
            .bind::<Timestamptz, _>(now)
            .bind::<BigInt, _>(limit)
            .load(&mut conn)
            .await?;
    Ok(rows.into_iter().map(|row| row.customer_id).collect())
}

/// Loads into accounts what time has caught up with, and tells what it is, for each of them.
pub async fn load_due(
    mut conn: &Conn,
    accounts: &mut [&mut Account],
    notice: TimeDelta,
    now: DateTime<Utc>,
) -> Result<HashMap<Uuid, Due>, Error> {
    if accounts.is_empty() {
        return Ok(HashMap::new());
    }
    let customers: Vec<Uuid> = accounts.iter().map(|account| account.member.customer).collect();
    let announced: Vec<DateTime<Utc>> = accounts.iter().map(|account| account.member.notice_until).collect();
    let (mut second, mut third) = (conn, conn);
    // Each by its index for each customer: lot_spendable, lot_pending, hold_open.
    let lots = statement(
        "SELECT lot.* FROM unnest($1, $2) AS due (customer_id, announced)
         CROSS JOIN LATERAL (
             (SELECT * FROM lot
              WHERE lot.customer_id = due.customer_id AND remaining > 0 AND expires_at <= $4
                    AND (expires_at <= $3 OR expires_at > due.announced)
              ORDER BY expires_at, earned_at, id LIMIT $5)
             UNION
             (SELECT * FROM lot
              WHERE lot.customer_id = due.customer_id AND remaining > 0 AND pending AND available_at <= $3
              ORDER BY available_at LIMIT $5)) AS lot",
    )
    .bind::<Array<SqlUuid>, _>(&customers)
    .bind::<Array<Timestamptz>, _>(announced)
    .bind::<Timestamptz, _>(now)
    .bind::<Timestamptz, _>(now + notice)
    .bind::<BigInt, _>(MOST)
    .load::<LotRow>(&mut conn);
    let holds = statement(
        "SELECT hold.* FROM unnest($1) AS due (customer_id)
         CROSS JOIN LATERAL (SELECT customer_id, id FROM hold
                             WHERE hold.customer_id = due.customer_id AND state = 'OPEN' AND expires_at <= $2
                             ORDER BY expires_at LIMIT $3) AS hold",
    )
    .bind::<Array<SqlUuid>, _>(&customers)
    .bind::<Timestamptz, _>(now)
    .bind::<BigInt, _>(MOST)
    .load::<Id>(&mut second);
    let next = statement(
        "SELECT customer_id,
                (SELECT min(expires_at) FROM lot
                 WHERE lot.customer_id = due.customer_id AND remaining > 0 AND expires_at > $2) AS expiry,
                (SELECT min(expires_at) FROM lot
                 WHERE lot.customer_id = due.customer_id AND remaining > 0 AND expires_at > $3) AS unannounced,
                (SELECT min(available_at) FROM lot
                 WHERE lot.customer_id = due.customer_id AND remaining > 0 AND pending AND available_at > $2)
                    AS maturity,
                (SELECT min(expires_at) FROM hold
                 WHERE hold.customer_id = due.customer_id AND state = 'OPEN' AND expires_at > $2) AS hold
         FROM unnest($1) AS due (customer_id)",
    )
    .bind::<Array<SqlUuid>, _>(&customers)
    .bind::<Timestamptz, _>(now)
    .bind::<Timestamptz, _>(now + notice)
    .load::<Next>(&mut third);
    let (lots, holds, next) = futures::join!(lots, holds, next);

    let mut found: HashMap<Uuid, Found> = HashMap::new();
    for row in lots? {
        found.entry(row.customer_id).or_default().lots.push(row.into_domain());
    }
    let ids: Vec<(Uuid, Uuid)> = holds?.into_iter().map(|row| (row.customer_id, row.id)).collect();
    let holds = find_holds(conn, &ids).await?;
    let pinned: Vec<(Uuid, Uuid)> =
        holds.iter().flat_map(|(customer, hold)| hold.lots.iter().map(|pin| (*customer, pin.lot))).collect();
    for (customer, hold) in holds {
        found.entry(customer).or_default().holds.push(hold);
    }
    for row in find_lots(conn, &pinned).await? {
        found.entry(row.customer_id).or_default().pinned.push(row.into_domain());
    }
    for row in next? {
        found.entry(row.customer_id).or_default().horizon = Horizon {
            expiry: row.expiry,
            unannounced: row.unannounced,
            maturity: row.maturity,
            hold: row.hold,
        };
    }
    Ok(accounts
        .iter_mut()
        .map(|account| {
            let found = found.remove(&account.member.customer).unwrap_or_default();
            (account.member.customer, found.into_account(account))
        })
        .collect())
}

/// What was read for one member.
#[derive(Default)]
struct Found {
    lots: Vec<Lot>,
    holds: Vec<Hold>,
    /// The lots of the holds.
    pinned: Vec<Lot>,
    horizon: Horizon,
}

impl Found {
    fn into_account(mut self, account: &mut Account) -> Due {
        let most = usize::try_from(MOST).unwrap_or(usize::MAX);
        // In an order of their own, so that the same state becomes the same entries.
        self.lots.sort_by_key(Lot::place);
        self.holds.sort_by_key(|hold| (hold.expires_at, hold.id));
        let due = Due {
            lots: self.lots.iter().map(|lot| lot.id).collect(),
            holds: self.holds.iter().map(|hold| hold.id).collect(),
            more: self.lots.len() >= most || self.holds.len() >= most,
            horizon: self.horizon,
        };
        self.lots.into_iter().chain(self.pinned).for_each(|lot| account.load_lot(lot));
        self.holds.into_iter().for_each(|hold| account.load_hold(hold));
        due
    }
}
