//! Persons whose data is to go or has gone, as every service's database knows them.
//!
//! Whoever takes something new about a customer asks [`check_open`] first; it keeps the answer true until the
//! transaction ends. The row outlives the person: what comes late finds it, and brings nothing back.

use chrono::{DateTime, Utc};
use cqm_rpc::{Error, reason};
use diesel::prelude::*;
use diesel::sql_types::{Bool, Nullable, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::expect::known;
use crate::pool::Conn;
use crate::schema::{idempotency, subject};

cqm_rpc::words! {
    /// How much of a person a service still works with.
    pub enum State {
        /// Anything is taken: the erasure was called off.
        Open = "OPEN",
        /// Nothing new is taken.
        Restricted = "RESTRICTED",
        /// Nothing is there any more.
        Erased = "ERASED",
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
}

#[derive(Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = subject, check_for_backend(diesel::pg::Pg))]
struct Row {
    customer_id: Uuid,
    state: String,
    forfeit_points: bool,
    blockers: Vec<String>,
    version: i64,
    update_time: DateTime<Utc>,
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
        })
    }
}

/// Refuses what is new about a person who is to be forgotten: `CUSTOMER_RESTRICTED` or `CUSTOMER_ERASED`. Who restricts
/// or erases waits for the end of the transaction.
pub async fn check_open(tx: &mut Conn, customer: Uuid) -> Result<(), Error> {
    match share(tx, customer).await? {
        None | Some(State::Open) => Ok(()),
        Some(State::Restricted) => Err(Error::refused(reason::CUSTOMER_RESTRICTED)),
        Some(State::Erased) => Err(Error::refused(reason::CUSTOMER_ERASED)),
    }
}

/// As [`check_open`], for what goes on while an erasure waits: `CUSTOMER_ERASED` when it does not any more.
pub async fn check_not_erased(tx: &mut Conn, customer: Uuid) -> Result<(), Error> {
    match share(tx, customer).await? {
        Some(State::Erased) => Err(Error::refused(reason::CUSTOMER_ERASED)),
        None | Some(State::Open | State::Restricted) => Ok(()),
    }
}

/// For who holds the lock of a row that the erasure changes too, and so waits for: refuses what is about a person who is
/// erased, and when it is `new`, also about one who is to be.
pub async fn check_row(tx: &mut Conn, customer: Uuid, new: bool) -> Result<(), Error> {
    match find(tx, customer).await?.map(|subject| subject.state) {
        Some(State::Erased) => Err(Error::refused(reason::CUSTOMER_ERASED)),
        Some(State::Restricted) if new => Err(Error::refused(reason::CUSTOMER_RESTRICTED)),
        None | Some(State::Open | State::Restricted) => Ok(()),
    }
}

/// Which of the customers nothing new is taken about, and how each stands.
pub async fn among(conn: &mut Conn, customers: &[Uuid]) -> Result<Vec<(Uuid, State)>, Error> {
    let rows: Vec<(Uuid, String)> = subject::table
        .filter(subject::customer_id.eq_any(customers))
        .filter(subject::state.ne(State::Open.name()))
        .select((subject::customer_id, subject::state))
        .load(conn)
        .await?;
    rows.into_iter().map(|(id, state)| Ok((id, known("subject.state", &state, State::find)?))).collect()
}

/// Keeps everybody else from taking anything about the person until the transaction ends, and returns how the service
/// stands with them.
pub async fn lock(tx: &mut Conn, customer: Uuid) -> Result<Option<Subject>, Error> {
    // There may be no row to lock.
    lock_key(tx, "SELECT pg_advisory_xact_lock($1, hashtext($2::text))", customer).await?;
    find(tx, customer).await
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

/// Those whose erasure waits for something, by id, behind `after`.
pub async fn blocked(conn: &mut Conn, after: Uuid, limit: i64) -> Result<Vec<Uuid>, Error> {
    Ok(subject::table
        .filter(subject::blockers.ne(Vec::<String>::new()))
        .filter(subject::customer_id.gt(after))
        .order(subject::customer_id)
        .limit(limit)
        .select(subject::customer_id)
        .load(conn)
        .await?)
}

/// Forgets the remembered answers that name the customer, and returns how many. A repeat of such a request is refused
/// from then on, like that of any whose answer is forgotten. It looks at every answer that is kept, which is what a day
/// brings; there is no way from a customer to the answers about them.
pub async fn forget_answers(tx: &mut Conn, customer: Uuid) -> Result<i64, Error> {
    let named = diesel::dsl::sql::<Nullable<Bool>>("position(convert_to(")
        .bind::<Text, _>(customer.to_string())
        .sql(", 'UTF8') IN answer) > 0");
    let forgotten =
        diesel::update(idempotency::table.filter(idempotency::answer.is_not_null()).filter(named))
            .set(idempotency::answer.eq(None::<Vec<u8>>))
            .execute(tx)
            .await?;
    Ok(forgotten as i64)
}

async fn share(tx: &mut Conn, customer: Uuid) -> Result<Option<State>, Error> {
    lock_key(tx, "SELECT pg_advisory_xact_lock_shared($1, hashtext($2::text))", customer).await?;
    Ok(find(tx, customer).await?.map(|subject| subject.state))
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
