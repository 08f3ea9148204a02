//! Reads the whole ledger as an auditor would, past the service, and adds it up again.

use std::collections::BTreeMap;
use std::time::Duration;

use cqm_db::{Conn, Db};
use cqm_loyalty::domain::book::Book;
use cqm_loyalty::domain::entry::Entry;
use cqm_loyalty::domain::lot::Lot;
use cqm_loyalty::domain::verify::Audit;
use cqm_loyalty::store;
use cqm_rpc::{Call, Error};
use diesel_async::SimpleAsyncConnection;
use uuid::Uuid;

/// What one member's ledger came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audited {
    pub version: i64,
    /// What each entry changed of the available points, in order.
    pub entries: Vec<i64>,
    /// What stands on the accounts that something stands on.
    pub balances: BTreeMap<Book, i64>,
    pub lots: Vec<Lot>,
}

impl Audited {
    pub fn available(&self) -> i64 {
        self.balance(Book::Available)
    }

    pub fn balance(&self, book: Book) -> i64 {
        self.balances.get(&book).copied().unwrap_or(0)
    }
}

/// Adds everything up. `Err` names what is wrong; `Ok` is what each member has.
pub async fn audit(db: &Db) -> Result<BTreeMap<Uuid, Audited>, String> {
    let call = Call::internal("audit", Duration::from_secs(30));
    // One transaction that sees one moment.
    db.tx(&call, "audit", async |tx| {
        tx.batch_execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
        read(tx).await
    })
    .await
    .map_err(|error| format!("{error}: {:?}", std::error::Error::source(&error)))?
}

async fn read(tx: &mut Conn) -> Result<Result<BTreeMap<Uuid, Audited>, String>, Error> {
    let mut audited = BTreeMap::new();
    for customer in store::members_after(tx, None, i64::MAX).await? {
        let member = store::find_member(tx, customer).await?.expect("listed in this transaction");
        let entries = store::read_entries(tx, customer, 0, i64::MAX).await?;
        let lots = store::all_lots(tx, customer).await?;
        let mut audit = Audit::new(customer);
        let sourced = store::find_sourced(tx, customer, &entries).await?;
        audit.read(&entries, &sourced);
        let holds = store::open_holds(tx, customer).await?;
        let faults = audit.close(&member, &lots, &holds, store::count_sources(tx, customer).await?);
        if let Some(fault) = faults.first() {
            return Ok(Err(format!("{} at {}: {}", fault.check.name(), fault.sequence, fault.detail)));
        }
        let stands = |book: &Book| Some((*book, member.books.of(*book))).filter(|(_, points)| *points != 0);
        audited.insert(
            customer,
            Audited {
                version: member.version,
                entries: entries.iter().map(Entry::change).collect(),
                balances: Book::ALL.iter().filter_map(stands).collect(),
                lots,
            },
        );
    }
    Ok(Ok(audited))
}

/// Runs statements past the service.
pub async fn execute(db: &Db, statements: &str) -> Result<(), String> {
    let call = Call::internal("execute", Duration::from_secs(30));
    db.read(&call, "execute", async |conn| Ok::<_, Error>(conn.batch_execute(statements).await?))
        .await
        .map_err(|error| std::error::Error::source(&error).map_or(error.to_string(), ToString::to_string))
}
