//! Reads the whole ledger as an auditor would, past the service, and adds it up again.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use cqm_db::Db;
use cqm_loyalty::domain::book::Book;
use cqm_loyalty::domain::chain;

use cqm_loyalty::domain::ledger::{Entry, Kind, Posting, Reason};
use cqm_rpc::{Call, Error};
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Binary, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use uuid::Uuid;

#[derive(QueryableByName)]
struct EntryRow {
    #[diesel(sql_type = SqlUuid)]
    customer_id: Uuid,
    #[diesel(sql_type = BigInt)]
    sequence: i64,
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    transaction_id: Uuid,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    reason: String,
    #[diesel(sql_type = Text)]
    source: String,
    #[diesel(sql_type = SqlUuid)]
    lot_id: Uuid,
    #[diesel(sql_type = BigInt)]
    points: i64,
    #[diesel(sql_type = BigInt)]
    balance_after: i64,
    #[diesel(sql_type = Text)]
    actor: String,
    #[diesel(sql_type = SqlUuid)]
    request_id: Uuid,
    #[diesel(sql_type = Timestamptz)]
    create_time: DateTime<Utc>,
}

#[derive(QueryableByName)]
struct PostingRow {
    #[diesel(sql_type = SqlUuid)]
    customer_id: Uuid,
    #[diesel(sql_type = Text)]
    account: String,
    #[diesel(sql_type = BigInt)]
    sequence: i64,
    #[diesel(sql_type = SqlUuid)]
    transaction_id: Uuid,
    #[diesel(sql_type = BigInt)]
    entry_sequence: i64,
    #[diesel(sql_type = BigInt)]
    amount: i64,
    #[diesel(sql_type = BigInt)]
    balance_after: i64,
    #[diesel(sql_type = Binary)]
    hash: Vec<u8>,
}

#[derive(QueryableByName)]
struct HeadRow {
    #[diesel(sql_type = SqlUuid)]
    customer_id: Uuid,
    #[diesel(sql_type = Text)]
    account: String,
    #[diesel(sql_type = BigInt)]
    balance: i64,
    #[diesel(sql_type = BigInt)]
    postings: i64,
    #[diesel(sql_type = Binary)]
    hash: Vec<u8>,
}

#[derive(QueryableByName)]
struct MemberRow {
    #[diesel(sql_type = SqlUuid)]
    customer_id: Uuid,
    #[diesel(sql_type = BigInt)]
    version: i64,
    #[diesel(sql_type = BigInt)]
    entry_count: i64,
    #[diesel(sql_type = BigInt)]
    lots: i64,
}

/// What one member's ledger came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audited {
    pub version: i64,
    /// Points of each entry, in order.
    pub entries: Vec<i64>,
    pub balances: BTreeMap<Book, i64>,
}

impl Audited {
    pub fn available(&self) -> i64 {
        self.balances.get(&Book::Available).copied().unwrap_or(0)
    }
}

/// Adds everything up. `Err` names what is wrong; `Ok` is what each member has.
pub async fn audit(db: &Db) -> Result<BTreeMap<Uuid, Audited>, String> {
    let call = Call::internal("audit", Duration::from_secs(30));
    // One transaction that sees one moment.
    let (members, heads, entries, postings) = db
        .tx(&call, "audit", async |tx| {
            tx.batch_execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
            let members: Vec<MemberRow> = diesel::sql_query(
                "SELECT customer_id, version, entry_count,
                        (SELECT coalesce(sum(remaining), 0)::bigint FROM lot
                         WHERE lot.customer_id = member.customer_id) AS lots
                 FROM member",
            )
            .load(tx)
            .await?;
            let heads: Vec<HeadRow> = diesel::sql_query("SELECT * FROM ledger_account").load(tx).await?;
            let entries: Vec<EntryRow> =
                diesel::sql_query("SELECT * FROM entry ORDER BY customer_id, sequence").load(tx).await?;
            let postings: Vec<PostingRow> =
                diesel::sql_query("SELECT * FROM posting ORDER BY customer_id, account, sequence")
                    .load(tx)
                    .await?;
            Ok::<_, Error>((members, heads, entries, postings))
        })
        .await
        .map_err(|error| format!("{error}: {:?}", std::error::Error::source(&error)))?;

    let mut entries_of: BTreeMap<(Uuid, i64), Entry> = BTreeMap::new();
    for row in entries {
        entries_of.insert((row.customer_id, row.sequence), row.read());
    }
    let mut chains: BTreeMap<(Uuid, Book), Vec<Posting>> = BTreeMap::new();
    for row in postings {
        let posting = row.read();
        chains.entry((posting.customer, posting.book)).or_default().push(posting);
    }

    let mut audited = BTreeMap::new();
    for member in members {
        let customer = member.customer_id;
        let mine: Vec<&Entry> =
            entries_of.range((customer, 0)..=(customer, i64::MAX)).map(|(_, e)| e).collect();
        let sequences: Vec<i64> = mine.iter().map(|entry| entry.sequence).collect();
        same("entry sequences", &sequences, &(1..=member.entry_count).collect())?;

        let mut balances = BTreeMap::new();
        for head in heads.iter().filter(|head| head.customer_id == customer) {
            let book = Book::find(&head.account).expect("an account of the ledger");
            let chain = chains.remove(&(customer, book)).unwrap_or_default();
            let linked = chain::verify(chain.iter().map(|posting| {
                let entry = &entries_of[&(customer, posting.entry_sequence)];
                (posting, entry)
            }));
            let last = linked.map_err(|sequence| format!("chain of {} broken at {sequence}", book.name()))?;
            same("hash", &head.hash, &last.to_vec())?;
            same("postings", &head.postings, &(chain.len() as i64))?;
            same("balance", &head.balance, &chain.iter().map(|posting| posting.amount).sum())?;
            if head.account.starts_with("member:") {
                same("lowest balance", &true, &chain.iter().all(|posting| posting.balance_after >= 0))?;
            }
            balances.insert(book, head.balance);
        }
        let result = Audited {
            version: member.version,
            entries: mine.iter().map(|entry| entry.points).collect(),
            balances,
        };
        same("sum over all accounts", &result.balances.values().sum(), &0)?;
        same("sum of lots", &member.lots, &result.available())?;
        same("sum of entries", &result.entries.iter().sum(), &result.available())?;
        audited.insert(customer, result);
    }
    same("postings without an account", &chains.len(), &0)?;
    Ok(audited)
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:?} instead of {expected:?}")) }
}

/// Runs statements past the service.
pub async fn execute(db: &Db, statements: &str) -> Result<(), String> {
    let call = Call::internal("execute", Duration::from_secs(30));
    db.read(&call, "execute", async |conn| Ok::<_, Error>(conn.batch_execute(statements).await?))
        .await
        .map_err(|error| std::error::Error::source(&error).map_or(error.to_string(), ToString::to_string))
}

impl EntryRow {
    fn read(self) -> Entry {
        Entry {
            customer: self.customer_id,
            sequence: self.sequence,
            id: self.id,
            transaction: self.transaction_id,
            kind: Kind::find(&self.kind).expect("a kind"),
            reason: Reason::find(&self.reason).expect("a reason"),
            source: self.source,
            lot: self.lot_id,
            points: self.points,
            balance_after: self.balance_after,
            actor: self.actor,
            request_id: self.request_id,
            create_time: self.create_time,
        }
    }
}

impl PostingRow {
    fn read(self) -> Posting {
        Posting {
            customer: self.customer_id,
            book: Book::find(&self.account).expect("an account of the ledger"),
            sequence: self.sequence,
            transaction: self.transaction_id,
            entry_sequence: self.entry_sequence,
            amount: self.amount,
            balance_after: self.balance_after,
            hash: self.hash.try_into().expect("32 bytes"),
        }
    }
}
