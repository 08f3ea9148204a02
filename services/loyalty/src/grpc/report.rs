//! Reports: statements, the books of a period, the liability.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::NaiveDate;
use cqm_proto::loyalty::v1 as proto;
use cqm_rpc::{Call, Deadline, Error};
use diesel_async::SimpleAsyncConnection;
use futures::{Stream, StreamExt, stream};
use tonic::Status;

use super::convert::ledger::entries;
use super::convert::report::{self as convert, GetLiability, GetPeriodTrialBalance, GetStatement};
use crate::domain::liability::{AsOf, Knowledge, Liability};
use crate::domain::statement::Statement;
use crate::domain::turnover::{Balances, PeriodBalance};
use crate::store::CohortMoved;
use crate::{App, store};

/// One moment for all that a report reads.
const ONE_MOMENT: &str = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY";
/// Entries of one answer of a statement.
const CHUNK: i64 = 200;
/// How many times of coming ends a statement tells.
const MOST_EXPIRING: i64 = 10;
/// Cohorts that are told one by one: twenty years.
const MOST_COHORTS: usize = 240;
/// What reading the entries of one answer may take: the stream lives as long as its caller listens.
const BUDGET: Duration = Duration::from_secs(10);

pub(super) async fn get_statement(
    app: &App,
    call: &Call,
    message: &proto::GetStatementRequest,
) -> Result<impl Stream<Item = Result<proto::GetStatementResponse, Status>> + Send + 'static, Error> {
    let now = app.posting.clock.now();
    let query = GetStatement::parse(message, now)?;
    let (member, history, expiring) = app
        .db
        .tx_without_events(call, "get_statement", async |tx| {
            tx.batch_execute(ONE_MOMENT).await?;
            let member = super::find_member(tx, query.customer).await?;
            let history = store::sum_history(tx, query.customer, query.start, query.end).await?;
            let expiring = store::expiring_next(tx, query.customer, now, MOST_EXPIRING).await?;
            Ok::<_, Error>((member, history, expiring))
        })
        .await?;
    let statement = Statement::of(&history.before, &history.within, &history.after, &member.books);
    let statement = convert::statement(&query, &statement, &expiring, now)?;
    let head = proto::GetStatementResponse { statement: Some(statement), entries: Vec::new() };

    // The entries that the figures were made of and no others: those that come meanwhile have places behind them.
    let walk = history.sequences.map(|(first, last)| (first - 1, last));
    let (app, call) = (app.clone(), call.clone());
    let rest = stream::try_unfold(walk, move |walk| {
        let (app, call) = (app.clone(), call.clone());
        async move {
            let Some((after, last)) = walk else {
                return Ok::<_, Status>(None);
            };
            let call = Call { deadline: Deadline::after(BUDGET), ..call };
            let limit = CHUNK.min(last - after);
            let mut next = app
                .db
                .read(&call, "read_entries", async |conn| {
                    store::read_entries(conn, query.customer, after, limit).await
                })
                .await?;
            let after = next.last().map_or(last, |entry| entry.sequence);
            // Where a clock went back, an entry of the period stands between others.
            next.retain(|entry| (query.start..query.end).contains(&entry.create_time));
            let answer = proto::GetStatementResponse { statement: None, entries: entries(&next) };
            Ok(Some((answer, Some((after, last)).filter(|_| after < last))))
        }
    });
    Ok(stream::once(async { Ok(head) }).chain(rest))
}

pub(super) async fn get_period_trial_balance(
    app: &App,
    call: &Call,
    message: &proto::GetPeriodTrialBalanceRequest,
) -> Result<proto::GetPeriodTrialBalanceResponse, Error> {
    let now = app.posting.clock.now();
    let query = GetPeriodTrialBalance::parse(message, now)?;
    let (closed, (before, within)) = app
        .db
        .tx_without_events(call, "get_period_trial_balance", async |tx| {
            tx.batch_execute(ONE_MOMENT).await?;
            let closed = store::find_closed(tx).await?;
            Ok::<_, Error>((closed, store::sum_days(tx, &query.span(closed)).await?))
        })
        .await?;
    query.answer(&PeriodBalance::of(&before, &within), closed, now)
}

pub(super) async fn get_liability(
    app: &App,
    call: &Call,
    message: &proto::GetLiabilityRequest,
) -> Result<proto::Liability, Error> {
    let now = app.posting.clock.now();
    let query = GetLiability::parse(message, now)?;
    let known_then = query.since.map(convert::last_moment);
    let known = known_then.map_or(query.known, |then| then.max(query.known));
    let (sums, estimates) = app
        .db
        .tx_without_events(call, "get_liability", async |tx| {
            tx.batch_execute(ONE_MOMENT).await?;
            let closed = store::find_closed(tx).await?;
            let sums = store::sum_cohorts(tx, &query.span(closed)).await?;
            Ok::<_, Error>((sums, store::known_estimates(tx, known).await?))
        })
        .await?;
    let as_of = AsOf { day: query.day, knowledge: Knowledge::at(query.known, &estimates) };
    let since =
        query.since.map(|day| AsOf { day, knowledge: Knowledge::at(convert::last_moment(day), &estimates) });
    let liability = Liability::of(&by_cohort(&sums), since, as_of, MOST_COHORTS)?;
    let current = as_of.knowledge.in_force(query.day);
    let earlier = since.and_then(|since| since.knowledge.in_force(since.day));
    query.answer(&liability, current, earlier, now)
}

/// What stood on the accounts of each cohort before the second part of the span, and after it.
fn by_cohort(sums: &[CohortMoved]) -> BTreeMap<NaiveDate, (Balances, Balances)> {
    let mut cohorts: BTreeMap<NaiveDate, (Balances, Balances)> = BTreeMap::new();
    for sum in sums {
        let (before, after) = cohorts.entry(sum.month).or_default();
        if !sum.within {
            before.post(&sum.moved);
        }
        after.post(&sum.moved);
    }
    cohorts
}
