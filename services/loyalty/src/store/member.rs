//! Members with the heads of their accounts.

use chrono::{DateTime, Utc};
use cqm_db::{Conn, known};
use cqm_rpc::Error;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::domain::book::{Book, Books, Head};
use crate::domain::ledger::Account;
use crate::domain::member::{Member, State};
use crate::schema::{ledger_account, member};

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = member)]
struct MemberRow {
    customer_id: Uuid,
    state: String,
    version: i64,
    entry_count: i64,
    create_time: DateTime<Utc>,
    update_time: DateTime<Utc>,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = ledger_account)]
struct AccountRow {
    account: String,
    debit: i64,
    credit: i64,
    postings: i64,
    hash: Vec<u8>,
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
    diesel::update(member::table.find(member.customer))
        .set((
            member::state.eq(member.state.name()),
            member::version.eq(member.version),
            member::entry_count.eq(member.entry_count),
            member::update_time.eq(member.update_time),
        ))
        .execute(tx)
        .await?;
    Ok(())
}

/// Writes what a change did to a locked member and to the heads of their accounts.
pub async fn update_account(tx: &mut Conn, account: &Account) -> Result<(), Error> {
    update_member(tx, &account.member).await?;
    let used: Vec<(Book, &Head)> = account.books.used().collect();
    diesel::sql_query(
        "INSERT INTO ledger_account (customer_id, account, debit, credit, postings, hash)
         SELECT $1, * FROM unnest($2, $3, $4, $5, $6)
         ON CONFLICT (customer_id, account) DO UPDATE
         SET debit = excluded.debit, credit = excluded.credit, postings = excluded.postings, hash = excluded.hash
         WHERE ledger_account.postings < excluded.postings",
    )
    .bind::<SqlUuid, _>(account.member.customer)
    .bind::<Array<Text>, _>(used.iter().map(|(book, _)| book.name()).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(used.iter().map(|(_, head)| head.debit).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(used.iter().map(|(_, head)| head.credit).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(used.iter().map(|(_, head)| head.postings).collect::<Vec<_>>())
    .bind::<Array<Binary>, _>(used.iter().map(|(_, head)| head.hash.as_slice()).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    Ok(())
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

/// Reads a member with what they have and takes their lock.
pub async fn lock_account(tx: &mut Conn, customer: Uuid) -> Result<Option<Account>, Error> {
    // Two statements: the second must see what the transaction that was waited for has committed.
    let Some(member) = lock_member(tx, customer).await? else {
        return Ok(None);
    };
    let rows: Vec<AccountRow> = ledger_account::table
        .filter(ledger_account::customer_id.eq(customer))
        .select(AccountRow::as_select())
        .load(tx)
        .await?;
    Ok(Some(Account { member, books: books(rows)? }))
}

/// Reads a member with what they have, all at one moment.
pub async fn find_account(conn: &mut Conn, customer: Uuid) -> Result<Option<Account>, Error> {
    let rows: Vec<(MemberRow, Option<AccountRow>)> = member::table
        .left_join(ledger_account::table)
        .filter(member::customer_id.eq(customer))
        .select((MemberRow::as_select(), Option::<AccountRow>::as_select()))
        .load(conn)
        .await?;
    let (mut members, accounts): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    let Some(member) = members.pop() else {
        return Ok(None);
    };
    let books = books(accounts.into_iter().flatten().collect())?;
    Ok(Some(Account { member: member.into_domain()?, books }))
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

/// The sums over all accounts, read at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialBalance {
    /// Debits and credits of each account, in the order of [`Book::ALL`]. Wider than the sums of one member, because
    /// those of all members together need not fit into 64 bits.
    pub accounts: Vec<(Book, i128, i128)>,
    pub members: i64,
    pub entries: i128,
}

/// Adds up the heads of all accounts of all members. Reads every one of them: the cost grows with the number of
/// members, not with that of the postings.
pub async fn sum_accounts(conn: &mut Conn) -> Result<TrialBalance, Error> {
    #[derive(QueryableByName)]
    struct Sum {
        #[diesel(sql_type = Text)]
        account: String,
        // As text: diesel has no numeric without another crate, and 64 bits may not do.
        #[diesel(sql_type = Text)]
        debit: String,
        #[diesel(sql_type = Text)]
        credit: String,
        #[diesel(sql_type = BigInt)]
        members: i64,
        #[diesel(sql_type = Text)]
        entries: String,
    }
    let sums: Vec<Sum> = diesel::sql_query(
        "WITH programme AS (SELECT count(*) AS members, coalesce(sum(entry_count), 0)::text AS entries FROM member)
         SELECT known.account, coalesce(sum(debit), 0)::text AS debit, coalesce(sum(credit), 0)::text AS credit,
                members, entries
         FROM programme
         CROSS JOIN unnest($1) WITH ORDINALITY AS known (account, place)
         LEFT JOIN ledger_account USING (account)
         GROUP BY known.account, place, members, entries
         ORDER BY place",
    )
    .bind::<Array<Text>, _>(Book::ALL.iter().map(|book| book.name()).collect::<Vec<_>>())
    .load(conn)
    .await?;
    let mut balance = TrialBalance { accounts: Vec::new(), members: 0, entries: 0 };
    for sum in sums {
        let book = known("ledger_account.account", &sum.account, Book::find)?;
        balance.accounts.push((book, whole(&sum.debit)?, whole(&sum.credit)?));
        balance.members = sum.members;
        balance.entries = whole(&sum.entries)?;
    }
    Ok(balance)
}

fn whole(number: &str) -> Result<i128, Error> {
    number.parse().map_err(Error::internal)
}

fn books(rows: Vec<AccountRow>) -> Result<Books, Error> {
    let mut books = Books::default();
    for row in rows {
        let book = known("ledger_account.account", &row.account, Book::find)?;
        let hash =
            row.hash.try_into().map_err(|_| Error::internal("a hash of another length than 32 bytes"))?;
        *books.head_mut(book) = Head { debit: row.debit, credit: row.credit, postings: row.postings, hash };
    }
    Ok(books)
}

impl MemberRow {
    fn of(member: &Member) -> Self {
        Self {
            customer_id: member.customer,
            state: member.state.name().to_owned(),
            version: member.version,
            entry_count: member.entry_count,
            create_time: member.create_time,
            update_time: member.update_time,
        }
    }

    fn into_domain(self) -> Result<Member, Error> {
        Ok(Member {
            customer: self.customer_id,
            state: known("member.state", &self.state, State::find)?,
            version: self.version,
            entry_count: self.entry_count,
            create_time: self.create_time,
            update_time: self.update_time,
        })
    }
}
