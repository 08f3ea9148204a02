//! Persons whose data is to go or has gone, or is somebody's under another name, as every service's database knows them.
//!
//! Whoever takes something new about a customer asks [`check_open`] first; it keeps the answer true until the
//! transaction ends. The row outlives the person: what comes late finds it, and brings nothing back.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use cqm_rpc::{Error, Refusal, ResourceName, reason};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::coalesce::Patience;
use crate::expect::known;
use crate::pool::Conn;
use crate::schema::subject;

cqm_rpc::words! {
    /// How much of a person a service still works with.
    pub enum State {
        /// Anything is taken: the erasure was called off.
        Open = "OPEN",
        /// Nothing new is taken.
        Restricted = "RESTRICTED",
        /// Nothing is there any more.
        Erased = "ERASED",
        /// Everything is somebody's under another name.
        Merged = "MERGED",
    }
}

/// Why nothing new is taken about a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    Restricted,
    Erased,
    /// Known under the survivor's name now.
    Merged {
        survivor: Uuid,
    },
}

impl Closed {
    /// What is answered to who brings something about the customer.
    pub fn refuse(self, customer: Uuid) -> Error {
        let name = |id| ResourceName::new("customers", id);
        match self {
            Self::Restricted => Error::refused(reason::CUSTOMER_RESTRICTED),
            Self::Erased => Error::refused(reason::CUSTOMER_ERASED),
            Self::Merged { survivor } => Refusal::new(reason::CUSTOMER_MERGED)
                .fact("customer", name(customer))
                .fact("survivor", name(survivor))
                .into(),
        }
    }
}

/// How the service stands with one person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub customer: Uuid,
    pub state: State,
    /// Points and vouchers do not stand in the way.
    pub forfeit_points: bool,
    /// What stands in the way of the erasure, as words.
    pub blockers: Vec<String>,
    pub version: i64,
    pub update_time: DateTime<Utc>,
    /// Whose everything is; of a merged one alone.
    pub survivor: Option<Uuid>,
    /// Which request of the erasure it is; 0: nobody has said, or none goes on.
    pub round: i64,
}

impl Subject {
    /// Why nothing new is taken; `None` when anything is.
    pub fn closed(&self) -> Option<Closed> {
        match (self.state, self.survivor) {
            (State::Open, _) => None,
            (State::Restricted, _) => Some(Closed::Restricted),
            (State::Merged, Some(survivor)) => Some(Closed::Merged { survivor }),
            // A constraint of the table keeps a merged one from having no survivor.
            (State::Erased | State::Merged, _) => Some(Closed::Erased),
        }
    }
}

#[derive(Queryable, QueryableByName, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = subject, check_for_backend(diesel::pg::Pg))]
struct Row {
    customer_id: Uuid,
    state: String,
    forfeit_points: bool,
    blockers: Vec<String>,
    version: i64,
    update_time: DateTime<Utc>,
    survivor_id: Option<Uuid>,
    round: i64,
}

impl Row {
    fn read(self) -> Result<Subject, Error> {
        Ok(Subject {
            customer: self.customer_id,
            state: known("subject.state", &self.state, State::find)?,
            forfeit_points: self.forfeit_points,
            blockers: self.blockers,
            version: self.version,
            update_time: self.update_time,
            survivor: self.survivor_id,
            round: self.round,
        })
    }
}

/// Refuses what is new about a person who is to be forgotten, or who is known under another name: `CUSTOMER_RESTRICTED`,
/// `CUSTOMER_ERASED` or `CUSTOMER_MERGED`. Who restricts, erases or merges waits for the end of the transaction.
pub async fn check_open(tx: &mut Conn, customer: Uuid) -> Result<(), Error> {
    share(tx, customer).await?;
    check_row(tx, customer, true).await
}

/// As [`check_open`], for what goes on while an erasure waits: refuses only when it does not any more.
pub async fn check_not_erased(tx: &mut Conn, customer: Uuid) -> Result<(), Error> {
    share(tx, customer).await?;
    check_row(tx, customer, false).await
}

/// For who holds the lock of a row that the erasure and the merge change too, and so wait for: refuses what is about a
/// person who is erased or merged, and when it is `new`, also about one who is to be erased.
pub async fn check_row(tx: &mut Conn, customer: Uuid, new: bool) -> Result<(), Error> {
    match find(tx, customer).await?.and_then(|subject| subject.closed()) {
        None => Ok(()),
        Some(Closed::Restricted) if !new => Ok(()),
        Some(closed) => Err(closed.refuse(customer)),
    }
}

/// Which of the customers nothing new is taken about, and why. One look for a whole batch, which can travel with its
/// others.
pub async fn among(mut conn: &Conn, customers: &[Uuid]) -> Result<HashMap<Uuid, Closed>, Error> {
    let rows: Vec<Row> = subject::table
        .filter(subject::customer_id.eq_any(customers))
        .filter(subject::state.ne(State::Open.name()))
        .select(Row::as_select())
        .load(&mut conn)
        .await?;
    let mut closed = HashMap::with_capacity(rows.len());
    for row in rows {
        let subject = row.read()?;
        closed.extend(subject.closed().map(|why| (subject.customer, why)));
    }
    Ok(closed)
}

/// Keeps everybody else from taking anything about the person until the transaction ends, and returns how the service
/// stands with them.
pub async fn lock(tx: &mut Conn, customer: Uuid) -> Result<Option<Subject>, Error> {
    exclude(tx, customer).await?;
    find(tx, customer).await
}

/// [`lock`] for two at once, in one order, so that two who lock the same two never wait for each other.
pub async fn lock_two(
    tx: &mut Conn,
    one: Uuid,
    other: Uuid,
) -> Result<(Option<Subject>, Option<Subject>), Error> {
    exclude(tx, one.min(other)).await?;
    exclude(tx, one.max(other)).await?;
    Ok((find(tx, one).await?, find(tx, other).await?))
}

pub async fn find(conn: &mut Conn, customer: Uuid) -> Result<Option<Subject>, Error> {
    let row: Option<Row> =
        subject::table.find(customer).select(Row::as_select()).first(conn).await.optional()?;
    row.map(Row::read).transpose()
}

/// Writes how the service stands with a person who is locked.
pub async fn save(tx: &mut Conn, subject: &Subject) -> Result<(), Error> {
    let row = Row {
        customer_id: subject.customer,
        state: subject.state.name().to_owned(),
        forfeit_points: subject.forfeit_points,
        blockers: subject.blockers.clone(),
        version: subject.version,
        update_time: subject.update_time,
        survivor_id: subject.survivor,
        round: subject.round,
    };
    diesel::insert_into(subject::table)
        .values(&row)
        .on_conflict(subject::customer_id)
        .do_update()
        .set(&row)
        .execute(tx)
        .await?;
    Ok(())
}

/// The names that were merged into this one.
pub async fn merged_into(conn: &mut Conn, survivor: Uuid) -> Result<Vec<Uuid>, Error> {
    Ok(subject::table
        .filter(subject::survivor_id.eq(survivor))
        .select(subject::customer_id)
        .load(conn)
        .await?)
}

/// Sends those on who were merged into a name that is merged itself now, so that no name is ever two steps from the one
/// that stays.
pub async fn send_on(tx: &mut Conn, from: Uuid, to: Uuid, now: DateTime<Utc>) -> Result<(), Error> {
    diesel::update(subject::table.filter(subject::survivor_id.eq(from)))
        .set((
            subject::survivor_id.eq(to),
            subject::version.eq(subject::version + 1),
            subject::update_time.eq(now),
        ))
        .execute(tx)
        .await?;
    Ok(())
}

/// Those who are to be erased, by id, behind `after`: also those in whose way nothing stood when somebody looked last.
pub async fn restricted(conn: &mut Conn, after: Uuid, limit: i64) -> Result<Vec<Subject>, Error> {
    // The state is part of the text, as it is part of the index.
    let rows: Vec<Row> = crate::statement::statement(
        "SELECT * FROM subject WHERE state = 'RESTRICTED' AND customer_id > $1 ORDER BY customer_id LIMIT $2",
    )
    .bind::<SqlUuid, _>(after)
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await?;
    rows.into_iter().map(Row::read).collect()
}

/// Forgets the remembered answers that name one of the customers, and returns how many. A repeat of such a request is
/// refused from then on, like that of any whose answer is forgotten. It looks once at every answer that is kept, which is
/// what a day brings; there is no way from a customer to the answers about them.
pub async fn forget_answers(tx: &mut Conn, customers: &[Uuid]) -> Result<i64, Error> {
    let names: Vec<Vec<u8>> = customers.iter().map(|customer| customer.to_string().into_bytes()).collect();
    let forgotten = crate::statement::statement(
        "UPDATE idempotency SET answer = NULL
         WHERE answer IS NOT NULL AND EXISTS (SELECT FROM unnest($1) AS name WHERE position(name IN answer) > 0)",
    )
    .bind::<Array<Binary>, _>(names)
    .execute(tx)
    .await?;
    Ok(forgotten as i64)
}

/// Keeps who restricts, erases or merges the person from doing so until the transaction ends.
async fn share(tx: &mut Conn, customer: Uuid) -> Result<(), Error> {
    lock_key(tx, "SELECT pg_advisory_xact_lock_shared($1, hashtext($2::text))", customer).await
}

/// Keeps who restricts, erases or merges the customers from doing so until the transaction ends, and returns those of whom
/// it does: in a hurry not those who are being restricted, erased or merged. For who has nothing of them to lock and holds
/// the locks of others: to wait for many would be to wait for each other.
pub async fn share_all(
    mut conn: &Conn,
    customers: &[Uuid],
    patience: Patience,
) -> Result<HashSet<Uuid>, Error> {
    #[derive(QueryableByName)]
    struct Shared {
        #[diesel(sql_type = SqlUuid)]
        customer_id: Uuid,
    }
    let sql = match patience {
        Patience::Skip => {
            "SELECT customer_id FROM unnest($2) AS asked (customer_id)
             WHERE pg_try_advisory_xact_lock_shared($1, hashtext(customer_id::text))"
        }
        Patience::Wait => {
            "SELECT customer_id, pg_advisory_xact_lock_shared($1, hashtext(customer_id::text))
             FROM unnest($2) AS asked (customer_id)"
        }
    };
    let shared: Vec<Shared> = crate::statement::statement(sql)
        .bind::<diesel::sql_types::Integer, _>(LOCK)
        .bind::<Array<SqlUuid>, _>(customers)
        .load(&mut conn)
        .await?;
    Ok(shared.into_iter().map(|row| row.customer_id).collect())
}

/// Keeps everybody else from the person until the transaction ends. There may be no row to lock.
async fn exclude(tx: &mut Conn, customer: Uuid) -> Result<(), Error> {
    lock_key(tx, "SELECT pg_advisory_xact_lock($1, hashtext($2::text))", customer).await
}

/// Any number will do, as long as it is ours alone within one database.
const LOCK: i32 = 7_166_513;

async fn lock_key(tx: &mut Conn, sql: &'static str, customer: Uuid) -> Result<(), Error> {
    crate::statement::statement(sql)
        .bind::<diesel::sql_types::Integer, _>(LOCK)
        .bind::<SqlUuid, _>(customer)
        .execute(tx)
        .await?;
    Ok(())
}
