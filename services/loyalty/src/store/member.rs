//! Members.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use cqm_db::{Conn, Patience, known, statement};
use cqm_rpc::Error;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::column;
use crate::domain::book::{Book, Books};
use crate::domain::member::{Member, State};
use crate::schema::member;

#[derive(Queryable, QueryableByName, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = member, treat_none_as_null = true)]
pub(super) struct MemberRow {
    pub customer_id: Uuid,
    state: String,
    version: i64,
    entry_count: i64,
    hash: Vec<u8>,
    available: i64,
    pending: i64,
    held: i64,
    issued: i64,
    debt: i64,
    redeemed: i64,
    expired: i64,
    next_due: Option<DateTime<Utc>>,
    notice_until: DateTime<Utc>,
    create_time: DateTime<Utc>,
    update_time: DateTime<Utc>,
}

/// Writes a new member; `false` when the customer is one already. Waits for another transaction that writes the
/// same one.
pub async fn insert_member(tx: &mut Conn, member: &Member) -> Result<bool, Error> {
    let inserted = diesel::insert_into(member::table)
        .values(MemberRow::of(member))
        .on_conflict(member::customer_id)
        .do_nothing()
        .execute(tx)
        .await?;
    Ok(inserted == 1)
}

/// Writes what an event changed of a locked member.
pub async fn update_member(tx: &mut Conn, member: &Member) -> Result<(), Error> {
    diesel::update(member::table.find(member.customer)).set(MemberRow::of(member)).execute(tx).await?;
    Ok(())
}

pub(super) const INSERT: &str = "
    INSERT INTO member (customer_id, state, version, entry_count, hash, available, pending, held, issued, debt, redeemed,
                        expired, next_due, notice_until, create_time, update_time)
    SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";

pub(super) const UPDATE: &str = "
    UPDATE member
    SET state = new.state, version = new.version, entry_count = new.entry_count, hash = new.hash,
        available = new.available, pending = new.pending, held = new.held, issued = new.issued, debt = new.debt,
        redeemed = new.redeemed, expired = new.expired, next_due = new.next_due, notice_until = new.notice_until,
        update_time = new.update_time
    FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
         AS new (customer_id, state, version, entry_count, hash, available, pending, held, issued, debt, redeemed,
                 expired, next_due, notice_until, create_time, update_time)
    WHERE member.customer_id = new.customer_id";

/// Writes members by [`INSERT`] or [`UPDATE`], and returns how many it wrote.
pub(super) async fn write_members(
    mut conn: &Conn,
    sql: &'static str,
    members: &[&Member],
) -> diesel::QueryResult<usize> {
    if members.is_empty() {
        return Ok(0);
    }
    let rows: Vec<MemberRow> = members.iter().map(|member| MemberRow::of(member)).collect();
    statement(sql)
        .bind::<Array<SqlUuid>, _>(column(&rows, |row| row.customer_id))
        .bind::<Array<Text>, _>(column(&rows, |row| row.state.as_str()))
        .bind::<Array<BigInt>, _>(column(&rows, |row| row.version))
        .bind::<Array<BigInt>, _>(column(&rows, |row| row.entry_count))
        .bind::<Array<Binary>, _>(column(&rows, |row| row.hash.as_slice()))
        .bind::<Array<BigInt>, _>(column(&rows, |row| row.available))
        .bind::<Array<BigInt>, _>(column(&rows, |row| row.pending))
        .bind::<Array<BigInt>, _>(column(&rows, |row| row.held))
        .bind::<Array<BigInt>, _>(column(&rows, |row| row.issued))
        .bind::<Array<BigInt>, _>(column(&rows, |row| row.debt))
        .bind::<Array<BigInt>, _>(column(&rows, |row| row.redeemed))
        .bind::<Array<BigInt>, _>(column(&rows, |row| row.expired))
        .bind::<Array<Nullable<Timestamptz>>, _>(column(&rows, |row| row.next_due))
        .bind::<Array<Timestamptz>, _>(column(&rows, |row| row.notice_until))
        .bind::<Array<Timestamptz>, _>(column(&rows, |row| row.create_time))
        .bind::<Array<Timestamptz>, _>(column(&rows, |row| row.update_time))
        .execute(&mut conn)
        .await
}

/// Reads members and takes their locks, in the order of their ids; in a hurry without those that somebody else has
/// locked.
pub(super) async fn lock_members(
    mut conn: &Conn,
    customers: &[Uuid],
    patience: Patience,
) -> Result<Vec<Member>, Error> {
    // The order of the columns does not matter: rows are read by name.
    let sql = match patience {
        Patience::Skip => {
            "SELECT * FROM member WHERE customer_id = ANY($1) ORDER BY customer_id FOR UPDATE SKIP LOCKED"
        }
        Patience::Wait => "SELECT * FROM member WHERE customer_id = ANY($1) ORDER BY customer_id FOR UPDATE",
    };
    let rows: Vec<MemberRow> = statement(sql).bind::<Array<SqlUuid>, _>(customers).load(&mut conn).await?;
    rows.into_iter().map(MemberRow::into_domain).collect()
}

/// Which of the customers are members, locked or not.
pub(super) async fn known_members(mut conn: &Conn, customers: &[Uuid]) -> Result<HashSet<Uuid>, Error> {
    #[derive(QueryableByName)]
    struct Known {
        #[diesel(sql_type = SqlUuid)]
        customer_id: Uuid,
    }
    let rows: Vec<Known> = statement("SELECT customer_id FROM member WHERE customer_id = ANY($1)")
        .bind::<Array<SqlUuid>, _>(customers)
        .load(&mut conn)
        .await?;
    Ok(rows.into_iter().map(|row| row.customer_id).collect())
}

/// Reads a member and takes their lock.
pub async fn lock_member(tx: &mut Conn, customer: Uuid) -> Result<Option<Member>, Error> {
    let row: Option<MemberRow> = member::table
        .find(customer)
        .select(MemberRow::as_select())
        .for_update()
        .first(tx)
        .await
        .optional()?;
    row.map(MemberRow::into_domain).transpose()
}

/// Reads a member.
pub async fn find_member(conn: &mut Conn, customer: Uuid) -> Result<Option<Member>, Error> {
    let row: Option<MemberRow> =
        member::table.find(customer).select(MemberRow::as_select()).first(conn).await.optional()?;
    row.map(MemberRow::into_domain).transpose()
}

/// Pages through members, the newest first, `after` the last of the page before.
pub async fn list_members(
    conn: &mut Conn,
    state: Option<State>,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<Member>, Error> {
    let mut query = member::table
        .select(MemberRow::as_select())
        .order((member::create_time.desc(), member::customer_id.desc()))
        .limit(limit)
        .into_boxed();
    if let Some(state) = state {
        query = query.filter(member::state.eq(state.name()));
    }
    if let Some((time, customer)) = after {
        // The first condition alone is where the index starts to be read.
        query = query
            .filter(member::create_time.le(time))
            .filter(member::create_time.lt(time).or(member::customer_id.lt(customer)));
    }
    query.load::<MemberRow>(conn).await?.into_iter().map(MemberRow::into_domain).collect()
}

impl MemberRow {
    pub(super) fn of(member: &Member) -> Self {
        let books = &member.books;
        Self {
            customer_id: member.customer,
            state: member.state.name().to_owned(),
            version: member.version,
            entry_count: member.entry_count,
            hash: member.hash.to_vec(),
            available: books.of(Book::Available),
            pending: books.of(Book::Pending),
            held: books.of(Book::Held),
            issued: books.of(Book::Issued),
            debt: books.of(Book::ClawbackDebt),
            redeemed: books.of(Book::Redeemed),
            expired: books.of(Book::Expired),
            next_due: member.next_due,
            notice_until: member.notice_until,
            create_time: member.create_time,
            update_time: member.update_time,
        }
    }

    pub(super) fn into_domain(self) -> Result<Member, Error> {
        let mut books = Books::default();
        for (book, points) in [
            (Book::Available, self.available),
            (Book::Pending, self.pending),
            (Book::Held, self.held),
            (Book::Issued, self.issued),
            (Book::ClawbackDebt, self.debt),
            (Book::Redeemed, self.redeemed),
            (Book::Expired, self.expired),
        ] {
            books.set(book, points);
        }
        Ok(Member {
            customer: self.customer_id,
            state: known("member.state", &self.state, State::find)?,
            version: self.version,
            entry_count: self.entry_count,
            hash: super::hash(self.hash)?,
            books,
            next_due: self.next_due,
            notice_until: self.notice_until,
            create_time: self.create_time,
            update_time: self.update_time,
        })
    }
}
