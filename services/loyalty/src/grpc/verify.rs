//! The check of the ledger: a walk through all members that tells how far it is.

use std::time::Duration;

use cqm_db::Conn;
use cqm_proto::loyalty::v1 as proto;
use cqm_rpc::{Call, Deadline, Error};
use diesel_async::SimpleAsyncConnection;
use futures::{Stream, stream};
use opentelemetry::metrics::Counter;
use tonic::Status;
use uuid::Uuid;

use super::convert::member::name;
use super::convert::verify as convert;
use crate::domain::verify::{Audit, Fault};
use crate::error::member_not_found;
use crate::{App, store};

/// Members that are checked between two answers.
const STEP: i64 = 200;
/// Entries that are in memory at a time.
const CHUNK: i64 = 2000;
/// What one step may take: its members are read in transactions of their own.
const BUDGET: Duration = Duration::from_secs(30);
/// The most faults of one member that are told: one altered row shows in many places.
const MOST_FAULTS: usize = 20;

/// Counts the faults that checks of the ledger find. Told as 0 from the start of the process: what begins with its first
/// fault is no rise that an alert could see.
pub(crate) fn faults() -> Counter<u64> {
    opentelemetry::global::meter("cqm-loyalty")
        .u64_counter("cqm.loyalty.ledger.faults")
        .with_unit("{fault}")
        .with_description("faults that checks of the ledger have found")
        .build()
}

/// How far a check is.
struct Walk {
    app: App,
    call: Call,
    only: Option<Uuid>,
    after: Option<Uuid>,
    progress: proto::VerifyLedgerResponse,
}

pub(super) async fn verify_ledger(
    app: &App,
    call: &Call,
    message: &proto::VerifyLedgerRequest,
) -> Result<impl Stream<Item = Result<proto::VerifyLedgerResponse, Status>> + Send + 'static, Error> {
    let only = convert::parse(message)?;
    let members_total = app
        .db
        .read(call, "count_members", async |conn| match only {
            None => store::count_members(conn).await,
            Some(customer) => match store::find_member(conn, customer).await? {
                Some(_) => Ok(1),
                None => Err(member_not_found(name(customer))),
            },
        })
        .await?;
    let progress = proto::VerifyLedgerResponse { members_total, ..Default::default() };
    let walk = Walk { app: app.clone(), call: call.clone(), only, after: None, progress };
    Ok(stream::try_unfold(Some(walk), async |walk| match walk {
        None => Ok::<_, Status>(None),
        Some(mut walk) => {
            walk.step().await?;
            let answer = walk.progress.clone();
            Ok(Some((answer.clone(), (!answer.done).then_some(walk))))
        }
    }))
}

impl Walk {
    async fn step(&mut self) -> Result<(), Error> {
        // The stream lives as long as its caller listens; each step has a budget of its own.
        let call = Call { deadline: Deadline::after(BUDGET), ..self.call.clone() };
        let (only, after) = (self.only, self.after);
        let members = match only {
            Some(customer) => vec![customer],
            None => {
                self.app
                    .db
                    .read(&call, "members_after", async |conn| store::members_after(conn, after, STEP).await)
                    .await?
            }
        };
        self.progress.faults.clear();
        let faults_found = self::faults();
        for customer in &members {
            let (entries, faults) = self
                .app
                .db
                .tx_without_events(&call, "verify_member", async |tx| check(tx, *customer).await)
                .await?;
            self.progress.entries += entries;
            faults_found.add(faults.len() as u64, &[]);
            self.progress.faults_total += i64::try_from(faults.len()).unwrap_or(i64::MAX);
            self.progress.faults.extend(faults.iter().take(MOST_FAULTS).map(convert::fault));
        }
        self.progress.members += i64::try_from(members.len()).unwrap_or(i64::MAX);
        self.after = members.last().copied();
        self.progress.done = only.is_some() || members.len() < usize::try_from(STEP).unwrap_or(usize::MAX);
        Ok(())
    }
}

/// Checks one member, as they were at one moment.
async fn check(tx: &mut Conn, customer: Uuid) -> Result<(i64, Vec<Fault>), Error> {
    tx.batch_execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
    let Some(member) = store::find_member(tx, customer).await? else {
        return Ok((0, Vec::new()));
    };
    let mut audit = Audit::new(customer);
    let mut last = 0;
    loop {
        let entries = store::read_entries(tx, customer, last, CHUNK).await?;
        let Some(newest) = entries.last() else {
            break;
        };
        last = newest.sequence;
        let sourced = store::find_sourced(tx, customer, &entries).await?;
        audit.read(&entries, &sourced);
    }
    let lots = store::all_lots(tx, customer).await?;
    let holds = store::open_holds(tx, customer).await?;
    let sources = store::count_sources(tx, customer).await?;
    Ok((last, audit.close(&member, &lots, &holds, sources)))
}
