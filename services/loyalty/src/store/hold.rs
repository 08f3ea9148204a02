//! Holds with the lots that they are pinned to.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use cqm_db::{Conn, known, statement};
use cqm_rpc::Error;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, SmallInt, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::column;
use crate::domain::hold::{Hold, Pin, State};
use crate::schema::{hold, hold_lot};

#[derive(Queryable, QueryableByName, Selectable)]
#[diesel(table_name = hold)]
pub(super) struct HoldRow {
    customer_id: Uuid,
    id: Uuid,
    state: String,
    points: i64,
    committed: i64,
    released: i64,
    source: String,
    expires_at: DateTime<Utc>,
    create_time: DateTime<Utc>,
    update_time: DateTime<Utc>,
}

#[derive(Queryable, QueryableByName, Selectable)]
#[diesel(table_name = hold_lot)]
pub(super) struct PinRow {
    customer_id: Uuid,
    hold_id: Uuid,
    place: i16,
    lot_id: Uuid,
    points: i64,
    committed: i64,
    released: i64,
}

/// Reads holds by their ids.
pub(super) async fn find_holds(mut conn: &Conn, holds: &[(Uuid, Uuid)]) -> Result<Vec<(Uuid, Hold)>, Error> {
    if holds.is_empty() {
        return Ok(Vec::new());
    }
    let mut second = conn;
    let rows = statement(
        "SELECT hold.* FROM unnest($1, $2) AS wanted (customer_id, id) JOIN hold USING (customer_id, id)",
    )
    .bind::<Array<SqlUuid>, _>(column(holds, |hold| hold.0))
    .bind::<Array<SqlUuid>, _>(column(holds, |hold| hold.1))
    .load::<HoldRow>(&mut conn);
    let pins = statement(
        "SELECT hold_lot.* FROM unnest($1, $2) AS wanted (customer_id, hold_id)
         JOIN hold_lot USING (customer_id, hold_id)",
    )
    .bind::<Array<SqlUuid>, _>(column(holds, |hold| hold.0))
    .bind::<Array<SqlUuid>, _>(column(holds, |hold| hold.1))
    .load::<PinRow>(&mut second);
    let (rows, pins) = futures::join!(rows, pins);
    assemble(rows?, pins?)
}

fn assemble(rows: Vec<HoldRow>, mut pins: Vec<PinRow>) -> Result<Vec<(Uuid, Hold)>, Error> {
    pins.sort_by_key(|pin| pin.place);
    let mut lots: HashMap<(Uuid, Uuid), Vec<Pin>> = HashMap::new();
    for row in pins {
        lots.entry((row.customer_id, row.hold_id)).or_default().push(Pin {
            lot: row.lot_id,
            points: row.points,
            committed: row.committed,
            released: row.released,
        });
    }
    rows.into_iter()
        .map(|row| {
            let lots = lots.remove(&(row.customer_id, row.id)).unwrap_or_default();
            Ok((row.customer_id, row.into_domain(lots)?))
        })
        .collect()
}

/// Reads a hold.
pub async fn find_hold(conn: &mut Conn, customer: Uuid, id: Uuid) -> Result<Option<Hold>, Error> {
    Ok(find_holds(conn, &[(customer, id)]).await?.pop().map(|(_, hold)| hold))
}

/// Pages through a customer's holds, the newest first, `after` the last of the page before.
pub async fn list_holds(
    conn: &mut Conn,
    customer: Uuid,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<Hold>, Error> {
    let mut query = hold::table
        .filter(hold::customer_id.eq(customer))
        .select(HoldRow::as_select())
        .order((hold::create_time.desc(), hold::id.desc()))
        .limit(limit)
        .into_boxed();
    if let Some((time, id)) = after {
        // The first condition alone is where the index starts to be read.
        query =
            query.filter(hold::create_time.le(time)).filter(hold::create_time.lt(time).or(hold::id.lt(id)));
    }
    // Without their lots: nothing that is told of a hold stands there.
    let rows: Vec<HoldRow> = query.load(conn).await?;
    rows.into_iter().map(|row| row.into_domain(Vec::new())).collect()
}

/// Reads the open holds of a customer.
pub async fn open_holds(conn: &mut Conn, customer: Uuid) -> Result<Vec<Hold>, Error> {
    let ids: Vec<Uuid> = hold::table
        .filter(hold::customer_id.eq(customer))
        .filter(hold::state.eq("OPEN"))
        .select(hold::id)
        .load(conn)
        .await?;
    let ids: Vec<(Uuid, Uuid)> = ids.into_iter().map(|id| (customer, id)).collect();
    Ok(find_holds(conn, &ids).await?.into_iter().map(|(_, hold)| hold).collect())
}

/// Writes new holds with their lots. Both statements are sent at once: what waits for an answer arrives after the COMMIT
/// that travels behind.
pub(super) async fn insert_holds(mut conn: &Conn, holds: &[(Uuid, &Hold)]) -> Result<(), Error> {
    if holds.is_empty() {
        return Ok(());
    }
    let mut second = conn;
    let inserted = statement(
        "INSERT INTO hold (customer_id, id, state, points, committed, released, source, expires_at, create_time,
                           update_time)
         SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind::<Array<SqlUuid>, _>(column(holds, |hold| hold.0))
    .bind::<Array<SqlUuid>, _>(column(holds, |hold| hold.1.id))
    .bind::<Array<Text>, _>(column(holds, |hold| hold.1.state.name()))
    .bind::<Array<BigInt>, _>(column(holds, |hold| hold.1.points))
    .bind::<Array<BigInt>, _>(column(holds, |hold| hold.1.committed))
    .bind::<Array<BigInt>, _>(column(holds, |hold| hold.1.released))
    .bind::<Array<Text>, _>(column(holds, |hold| hold.1.source.as_str()))
    .bind::<Array<Timestamptz>, _>(column(holds, |hold| hold.1.expires_at))
    .bind::<Array<Timestamptz>, _>(column(holds, |hold| hold.1.create_time))
    .bind::<Array<Timestamptz>, _>(column(holds, |hold| hold.1.update_time))
    .execute(&mut conn);
    let pins = pins(holds);
    let pinned = statement(
        "INSERT INTO hold_lot (customer_id, hold_id, place, committed, released, lot_id, points)
         SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind::<Array<SqlUuid>, _>(column(&pins, |pin| pin.customer_id))
    .bind::<Array<SqlUuid>, _>(column(&pins, |pin| pin.hold_id))
    .bind::<Array<SmallInt>, _>(column(&pins, |pin| pin.place))
    .bind::<Array<BigInt>, _>(column(&pins, |pin| pin.committed))
    .bind::<Array<BigInt>, _>(column(&pins, |pin| pin.released))
    .bind::<Array<SqlUuid>, _>(column(&pins, |pin| pin.lot_id))
    .bind::<Array<BigInt>, _>(column(&pins, |pin| pin.points))
    .execute(&mut second);
    let (inserted, pinned) = futures::join!(inserted, pinned);
    inserted.and(pinned)?;
    Ok(())
}

/// Writes what has changed of holds and of what they have of their lots, both at once as [`insert_holds`] does.
pub(super) async fn update_holds(mut conn: &Conn, holds: &[(Uuid, &Hold)]) -> Result<(), Error> {
    if holds.is_empty() {
        return Ok(());
    }
    let mut second = conn;
    let updated = statement(
        "UPDATE hold
         SET state = new.state, committed = new.committed, released = new.released, update_time = new.update_time
         FROM unnest($1, $2, $3, $4, $5, $6) AS new (customer_id, id, state, committed, released, update_time)
         WHERE hold.customer_id = new.customer_id AND hold.id = new.id",
    )
    .bind::<Array<SqlUuid>, _>(column(holds, |hold| hold.0))
    .bind::<Array<SqlUuid>, _>(column(holds, |hold| hold.1.id))
    .bind::<Array<Text>, _>(column(holds, |hold| hold.1.state.name()))
    .bind::<Array<BigInt>, _>(column(holds, |hold| hold.1.committed))
    .bind::<Array<BigInt>, _>(column(holds, |hold| hold.1.released))
    .bind::<Array<Timestamptz>, _>(column(holds, |hold| hold.1.update_time))
    .execute(&mut conn);
    let pins = pins(holds);
    let pinned = statement(
        "UPDATE hold_lot SET committed = new.committed, released = new.released
         FROM unnest($1, $2, $3, $4, $5) AS new (customer_id, hold_id, place, committed, released)
         WHERE hold_lot.customer_id = new.customer_id AND hold_lot.hold_id = new.hold_id
               AND hold_lot.place = new.place",
    )
    .bind::<Array<SqlUuid>, _>(column(&pins, |pin| pin.customer_id))
    .bind::<Array<SqlUuid>, _>(column(&pins, |pin| pin.hold_id))
    .bind::<Array<SmallInt>, _>(column(&pins, |pin| pin.place))
    .bind::<Array<BigInt>, _>(column(&pins, |pin| pin.committed))
    .bind::<Array<BigInt>, _>(column(&pins, |pin| pin.released))
    .execute(&mut second);
    let (updated, pinned) = futures::join!(updated, pinned);
    if updated? != holds.len() || pinned? != pins.len() {
        return Err(Error::internal("a hold that has changed is not there"));
    }
    Ok(())
}

fn pins(holds: &[(Uuid, &Hold)]) -> Vec<PinRow> {
    holds
        .iter()
        .flat_map(|(customer, hold)| {
            hold.lots.iter().zip(0_i16..).map(|(pin, place)| PinRow {
                customer_id: *customer,
                hold_id: hold.id,
                place,
                lot_id: pin.lot,
                points: pin.points,
                committed: pin.committed,
                released: pin.released,
            })
        })
        .collect()
}

impl HoldRow {
    fn into_domain(self, lots: Vec<Pin>) -> Result<Hold, Error> {
        Ok(Hold {
            id: self.id,
            state: known("hold.state", &self.state, State::find)?,
            points: self.points,
            committed: self.committed,
            released: self.released,
            source: self.source,
            expires_at: self.expires_at,
            create_time: self.create_time,
            update_time: self.update_time,
            lots,
        })
    }
}
