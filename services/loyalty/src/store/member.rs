//! Members.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use cqm_db::{Conn, Patience, known, statement};
use cqm_rpc::Error;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Bool, Int4, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::column;
use super::save::expected;
use crate::domain::book::{Book, Books};
use crate::domain::member::{Member, State};
use crate::domain::referral::ReferralCode;
use crate::domain::standing::{Month, Months, Standing};
use crate::schema::member;

#[derive(Queryable, QueryableByName, Selectable, Insertable)]
#[diesel(table_name = member)]
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
    tier_id: Option<Uuid>,
    tier_since: Option<DateTime<Utc>>,
    tier_until: Option<DateTime<Utc>>,
    tier_announced: bool,
    tier_month: i32,
    tier_points: Vec<Option<i64>>,
    referral_code: String,
    reward_to: Option<Uuid>,
}

/// Writes a new member; `false` when the customer is one already. Waits for another transaction that writes the
/// same one.
pub async fn insert_member(tx: &mut Conn, member: &Member) -> Result<bool, Error> {
    let inserted = diesel::insert_into(member::table)
        .values(MemberRow::of(member))
        .on_conflict(member::customer_id)
        .do_nothing()
        .execute(tx)
        .await
        .map_err(expected)?;
    Ok(inserted == 1)
}

pub(super) const INSERT: &str = "
    INSERT INTO member (customer_id, state, version, entry_count, hash, available, pending, held, issued, debt, redeemed,
                        expired, next_due, notice_until, create_time, update_time, tier_id, tier_since, tier_until,
                        tier_announced, tier_month, tier_points, referral_code, reward_to)
    SELECT customer_id, state, version, entry_count, hash, available, pending, held, issued, debt, redeemed, expired,
           next_due, notice_until, create_time, update_time, tier_id, tier_since, tier_until, tier_announced,
           tier_month, tier_points::bigint[], referral_code, reward_to
    FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22,
                $23, $24)
         AS new (customer_id, state, version, entry_count, hash, available, pending, held, issued, debt, redeemed,
                 expired, next_due, notice_until, create_time, update_time, tier_id, tier_since, tier_until,
                 tier_announced, tier_month, tier_points, referral_code, reward_to)";

pub(super) const UPDATE: &str = "
    UPDATE member
    SET state = new.state, version = new.version, entry_count = new.entry_count, hash = new.hash,
        available = new.available, pending = new.pending, held = new.held, issued = new.issued, debt = new.debt,
        redeemed = new.redeemed, expired = new.expired, next_due = new.next_due, notice_until = new.notice_until,
        update_time = new.update_time, tier_id = new.tier_id, tier_since = new.tier_since,
        tier_until = new.tier_until, tier_announced = new.tier_announced, tier_month = new.tier_month,
        tier_points = new.tier_points::bigint[], reward_to = new.reward_to
    FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22,
                $23, $24)
         AS new (customer_id, state, version, entry_count, hash, available, pending, held, issued, debt, redeemed,
                 expired, next_due, notice_until, create_time, update_time, tier_id, tier_since, tier_until,
                 tier_announced, tier_month, tier_points, referral_code, reward_to)
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
        .bind::<Array<Nullable<SqlUuid>>, _>(column(&rows, |row| row.tier_id))
        .bind::<Array<Nullable<Timestamptz>>, _>(column(&rows, |row| row.tier_since))
        .bind::<Array<Nullable<Timestamptz>>, _>(column(&rows, |row| row.tier_until))
        .bind::<Array<Bool>, _>(column(&rows, |row| row.tier_announced))
        .bind::<Array<Int4>, _>(column(&rows, |row| row.tier_month))
        // As text: an array of arrays must have the same length in every row.
        .bind::<Array<Text>, _>(column(members, |member| array(member.standing.months.points())))
        .bind::<Array<Text>, _>(column(&rows, |row| row.referral_code.as_str()))
        .bind::<Array<Nullable<SqlUuid>>, _>(column(&rows, |row| row.reward_to))
        .execute(&mut conn)
        .await
}

/// As Postgres reads an array: `{1,2}`.
fn array(numbers: &[i64]) -> String {
    let numbers: Vec<String> = numbers.iter().map(i64::to_string).collect();
    format!("{{{}}}", numbers.join(","))
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
            tier_id: member.standing.tier,
            tier_since: member.standing.since,
            tier_until: member.standing.until,
            tier_announced: member.standing.announced,
            tier_month: member.standing.months.begin().0,
            tier_points: member.standing.months.points().iter().copied().map(Some).collect(),
            referral_code: member.referral_code.to_string(),
            reward_to: member.reward_to,
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
            standing: Standing {
                tier: self.tier_id,
                since: self.tier_since,
                until: self.tier_until,
                announced: self.tier_announced,
                months: Months::stored(
                    Month(self.tier_month),
                    self.tier_points.into_iter().flatten().collect(),
                ),
            },
            referral_code: known("member.referral_code", &self.referral_code, ReferralCode::find)?,
            reward_to: self.reward_to,
        })
    }
}
