//! Statements, the books of past days, and the sums that they are read from.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Datelike, Days, NaiveDate, NaiveTime};
use cqm_loyalty::domain::book::Book;
use cqm_loyalty::domain::entry::{Entry, Kind};
use cqm_loyalty::domain::lot::Lot;
use cqm_loyalty::{store, worker};
use cqm_proto::google::r#type::Date;
use cqm_proto::loyalty::v1::get_statement_request::Period;
use cqm_proto::loyalty::v1::report_service_client::ReportServiceClient;
use cqm_proto::loyalty::v1::reverse_transaction_request::Extent;
use cqm_rpc::{Call, Error};
use cqm_runtime::process::{Base, Service, Shared};
use cqm_testkit::request_id;
use futures::TryStreamExt;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use tonic::Code;

use super::*;
use crate::audit::{audit, execute};
use crate::holds::{committing, holding};
use crate::reversals::reversing;

/// Purchases are pending for two days, points end thirty days later.
const RULES: Config = Config {
    purchase_delay: Duration::from_secs(2 * DAY),
    lifetime: Duration::from_secs(30 * DAY),
    ..crate::RULES
};
const HOUR: Duration = Duration::from_secs(3600);

impl Loyalty {
    pub fn reports(&self) -> ReportServiceClient<Line> {
        ReportServiceClient::new(self.kit.channel.clone())
    }

    pub fn today(&self) -> NaiveDate {
        self.kit.clock.now().date_naive()
    }

    /// The service as another replica would run it.
    pub fn replica(&self) -> App {
        let base = Base {
            db: self.kit.db.clone(),
            cache: cqm_runtime::cache::Cache::new(&Default::default(), "loyalty")
                .expect("a cache without a server"),
            clock: self.kit.clock.clone(),
            shared: Shared::default(),
        };
        App::new(base, RULES).expect("a service")
    }

    /// Sums up all days that are over, and tells which.
    pub async fn close_days(&self) -> Vec<NaiveDate> {
        let (replica, mut closed) = (self.replica(), Vec::new());
        while let Some(day) = worker::days::close_next(&replica).await.expect("a turn") {
            closed.push(day);
        }
        closed
    }

    async fn balance(
        &self,
        first: Option<NaiveDate>,
        last: NaiveDate,
    ) -> proto::GetPeriodTrialBalanceResponse {
        let message =
            proto::GetPeriodTrialBalanceRequest { last_date: Some(date(last)), first_date: first.map(date) };
        let request = request(Role::Supervisor, message);
        let answer = self.reports().get_period_trial_balance(request).await.expect("an answer").into_inner();
        assert_eq!(answer.difference, 0);
        answer
    }

    /// What stands on the accounts now, by the members' own balances.
    async fn live(&self) -> BTreeMap<String, i64> {
        let message = request(Role::Supervisor, proto::GetTrialBalanceRequest {});
        let balance = self.ledger.clone().get_trial_balance(message).await.expect("an answer").into_inner();
        balance
            .accounts
            .into_iter()
            .map(|account| (account.account, account.debit + account.credit))
            .collect()
    }

    pub async fn statement(
        &self,
        customer: Uuid,
        period: Period,
    ) -> Result<(proto::Statement, Vec<proto::Entry>), Status> {
        let message = proto::GetStatementRequest { customer: name(customer), period: Some(period) };
        let stream = self.reports().get_statement(request(Role::ServiceRepresentative, message)).await?;
        let mut parts: Vec<_> = stream.into_inner().try_collect().await?;
        let head = parts.remove(0);
        assert!(head.entries.is_empty() && parts.iter().all(|part| part.statement.is_none()));
        Ok((
            head.statement.expect("the figures come first"),
            parts.into_iter().flat_map(|part| part.entries).collect(),
        ))
    }
}

pub fn date(day: NaiveDate) -> Date {
    Date { year: day.year(), month: day.month().cast_signed(), day: day.day().cast_signed() }
}

pub fn month(day: NaiveDate) -> NaiveDate {
    day.with_day(1).expect("every month has a first day")
}

fn month_of(day: NaiveDate) -> Period {
    Period::Month(Date { day: 0, ..date(day) })
}

/// What a ledger of all kinds of entries has been through.
pub struct Past {
    pub loyalty: Loyalty,
    customers: Vec<Uuid>,
    /// The transactions that gave points, and those that spent them.
    earned: Vec<String>,
    spent: Vec<String>,
    holds: Vec<String>,
    /// What stood on the accounts at the end of each day, read on that day.
    pub stood: BTreeMap<NaiveDate, BTreeMap<String, i64>>,
}

impl Past {
    /// A few months of a few members: at first one thing of every kind, then what chance brings.
    pub async fn live(days: usize) -> Self {
        let loyalty = Loyalty::start_by(RULES).await;
        let customers = (0..4).map(|_| Uuid::now_v7()).collect();
        let mut past = Self {
            loyalty,
            customers,
            earned: Vec::new(),
            spent: Vec::new(),
            holds: Vec::new(),
            stood: BTreeMap::new(),
        };
        past.of_every_kind().await;
        let step = (0..10_u8, 0..4_usize, 1..200_i64, any::<prop::sample::Index>());
        let day = prop::collection::vec(step, 0..4);
        let strategy = prop::collection::vec(day, days);
        let plan = strategy.new_tree(&mut TestRunner::default()).expect("a plan").current();
        // Shown when the test fails: shrinking would run against other times of day.
        eprintln!("{plan:?}");
        for (number, steps) in plan.iter().enumerate() {
            for (what, who, points, which) in steps {
                past.step(*what, past.customers[*who], *points, which).await;
                past.loyalty.kit.clock.advance(HOUR);
            }
            past.night().await;
            // Now and then, so that reports meet days that are summed up and days that are not.
            if number % 17 == 0 {
                past.loyalty.close_days().await;
            }
        }
        past.loyalty.kit.events.next().await;
        past
    }

    async fn of_every_kind(&mut self) {
        let customer = self.customers[0];
        self.earn(customer, 100, true).await;
        self.earn(customer, 40, false).await;
        self.nights(3).await;
        let spent = self.redeem(customer, 120).await.expect("so many are available");
        // The purchase is returned: what was spent of it is owed, and paid off by what comes next.
        let earned = self.earned[0].clone();
        self.reverse(&earned, None).await;
        self.earn(customer, 150, false).await;
        self.reverse(&spent, Some(Extent::Points(30))).await;
        self.nights(1).await;
        self.correct(customer, 25).await;
        self.correct(customer, -10).await;
        let hold = self.hold(customer, 30, 20).await.expect("so many are available");
        self.commit(&hold, 10, true).await;
        let hold = self.hold(customer, 20, 20).await.expect("so many are available");
        self.loyalty.release(&hold).await.expect("an answer");
        // Some run out, and in time all points end.
        self.hold(customer, 15, 1).await;
        // And somebody turns out to be another one: points of last month and of today, some of them spent and owed.
        let duplicate = Uuid::now_v7();
        self.earn(duplicate, 90, false).await;
        self.redeem(duplicate, 50).await;
        let returned = self.earned.last().cloned().expect("it was just earned");
        self.nights(20).await;
        self.reverse(&returned, Some(Extent::Points(60))).await;
        self.earn(duplicate, 35, true).await;
        self.loyalty.merge(duplicate, customer).await.expect("an answer");
        self.earned.retain(|transaction| !transaction.contains(&duplicate.to_string()));
        self.spent.retain(|transaction| !transaction.contains(&duplicate.to_string()));
        self.nights(20).await;
        self.reverse(&spent, None).await;
    }

    async fn step(&mut self, what: u8, customer: Uuid, points: i64, which: &prop::sample::Index) {
        let choice = |of: &[String]| (!of.is_empty()).then(|| which.get(of).clone());
        match what {
            0 | 1 => self.earn(customer, points, true).await,
            2 => self.earn(customer, points, false).await,
            3 => self.correct(customer, points - 60).await,
            4 => drop(self.redeem(customer, points).await),
            5 => drop(self.hold(customer, points, which.index(9) as i64 + 1).await),
            6 | 7 => {
                if let Some(hold) = choice(&self.holds) {
                    if what == 6 {
                        self.commit(&hold, points / 2, points % 2 == 0).await;
                    } else {
                        drop(self.loyalty.release(&hold).await);
                    }
                }
            }
            _ => {
                let of = if what == 8 { &self.earned } else { &self.spent };
                if let Some(transaction) = choice(of) {
                    self.reverse(&transaction, (points % 3 > 0).then_some(Extent::Points(points))).await;
                }
            }
        }
    }

    async fn earn(&mut self, customer: Uuid, points: i64, bought: bool) {
        // A purchase is reported a day late: it counts from when it was made.
        let made = self.loyalty.kit.clock.now() - chrono::TimeDelta::days(1);
        let basis = if bought { purchase(points, 0, made) } else { compensation(points) };
        let message = proto::EarnPointsRequest { request_id: request_id(), ..earning(customer, basis) };
        let entry = self.loyalty.earn(message).await.expect("an answer").entry.expect("points were given");
        self.earned.push(entry.transaction);
    }

    async fn correct(&mut self, customer: Uuid, points: i64) {
        let message =
            proto::EarnPointsRequest { request_id: request_id(), ..earning(customer, adjustment(points)) };
        if points != 0 {
            allowed(self.loyalty.earn(message).await);
        }
    }

    async fn redeem(&mut self, customer: Uuid, points: i64) -> Option<String> {
        let message = proto::RedeemPointsRequest { request_id: request_id(), ..spending(customer, points) };
        let spent = allowed(self.loyalty.redeem(message).await)?.entries[0].transaction.clone();
        self.spent.push(spent.clone());
        Some(spent)
    }

    async fn hold(&mut self, customer: Uuid, points: i64, days: i64) -> Option<String> {
        let ttl = Some(prost_types::Duration { seconds: days * DAY as i64, nanos: 0 });
        let message = proto::HoldPointsRequest { request_id: request_id(), ttl, ..holding(customer, points) };
        let hold = allowed(self.loyalty.hold(message).await)?.hold?.name;
        self.holds.push(hold.clone());
        Some(hold)
    }

    async fn commit(&mut self, hold: &str, points: i64, last: bool) {
        let message = proto::CommitHoldRequest { request_id: request_id(), ..committing(hold, points, last) };
        if let Some(answer) = allowed(self.loyalty.commit(message).await) {
            self.spent.extend(answer.entries.first().map(|entry| entry.transaction.clone()));
        }
    }

    async fn reverse(&mut self, transaction: &str, extent: Option<Extent>) {
        let message =
            proto::ReverseTransactionRequest { request_id: request_id(), ..reversing(transaction, extent) };
        allowed(self.loyalty.reverse(message).await);
    }

    /// The day ends: what time has changed is written down, and what stands on the accounts is remembered.
    async fn night(&mut self) {
        let replica = self.loyalty.replica();
        while worker::let_time_pass(&replica).await.expect("a turn") > 0 {}
        self.stood.insert(self.loyalty.today(), self.loyalty.live().await);
        let now = self.loyalty.kit.clock.now();
        let morning = (now.date_naive() + Days::new(1)).and_time(NaiveTime::MIN).and_utc() + HOUR / 2;
        self.loyalty.kit.clock.advance((morning - now).to_std().expect("the morning is to come"));
    }

    async fn nights(&mut self, count: usize) {
        for _ in 0..count {
            self.night().await;
        }
    }

    /// All entries, past the service, with the lots that they are of.
    pub async fn entries(&self) -> (Vec<Entry>, BTreeMap<(Uuid, Uuid), Lot>) {
        let call = Call::internal("entries", Duration::from_secs(30));
        let read = self.loyalty.kit.db.read(&call, "entries", async |conn| {
            let (mut entries, mut lots) = (Vec::new(), BTreeMap::new());
            for customer in store::members_after(conn, None, i64::MAX).await? {
                entries.extend(store::read_entries(conn, customer, 0, i64::MAX).await?);
                for lot in store::all_lots(conn, customer).await? {
                    lots.insert((customer, lot.id), lot);
                }
            }
            Ok::<_, Error>((entries, lots))
        });
        read.await.expect("rows")
    }

    /// What the sums of days must be, added up entry by entry.
    async fn brute_force(&self) -> BTreeMap<Key, (i64, i64)> {
        let (entries, lots) = self.entries().await;
        let mut sums: BTreeMap<Key, (i64, i64)> = BTreeMap::new();
        for entry in entries {
            let earned = lots[&(entry.customer, entry.lot)].earned_at.date_naive();
            let words = [entry.kind.name(), entry.debit.name(), entry.credit.name()].map(str::to_owned);
            let sum = sums.entry((entry.create_time.date_naive(), month(earned), words)).or_default();
            *sum = (sum.0 + entry.points, sum.1 + 1);
        }
        sums
    }

    async fn stored(&self) -> BTreeMap<Key, (i64, i64)> {
        let rows = self.loyalty.kit.table("ledger_day").await;
        let stored = rows.iter().map(|row| {
            let number = |field: &str| row[field].as_i64().expect("a whole number");
            let text = |field: &str| row[field].as_str().expect("a text").to_owned();
            let key = (
                text("day").parse().expect("a day"),
                text("cohort").parse().expect("a day"),
                ["kind", "debit", "credit"].map(text),
            );
            (key, (number("points"), number("entries")))
        });
        stored.collect()
    }
}

/// A day, a month of earning, and kind, debit and credit.
type Key = (NaiveDate, NaiveDate, [String; 3]);

/// An answer, or `None` when the ledger's rules said no, or the customer has not earned anything yet.
#[track_caller]
fn allowed<A>(outcome: Result<A, Status>) -> Option<A> {
    match outcome {
        Ok(answer) => Some(answer),
        Err(status) => {
            let no = status.code() == Code::FailedPrecondition
                || Failure::of(&status).reason == "MEMBER_NOT_FOUND";
            assert!(no, "{status:?}");
            None
        }
    }
}

fn closing(balance: &proto::GetPeriodTrialBalanceResponse) -> BTreeMap<String, i64> {
    balance.accounts.iter().map(|account| (account.account.clone(), account.closing)).collect()
}

#[tokio::test]
async fn the_books_of_a_past_day_are_what_they_were_on_that_day() {
    let past = Past::live(70).await;
    let loyalty = &past.loyalty;
    let check = async || {
        for (day, stood) in &past.stood {
            assert_eq!(closing(&loyalty.balance(None, *day).await), *stood, "{day}");
        }
    };
    // The last days are not summed up yet, and read as entries; then they are.
    let open = loyalty.balance(None, loyalty.today()).await;
    assert!(loyalty.kit.count("ledger_day").await > 0);
    check().await;
    assert!(!loyalty.close_days().await.is_empty());
    check().await;

    let today = loyalty.balance(None, loyalty.today()).await;
    assert_eq!((closing(&today), closing(&open)), (loyalty.live().await, loyalty.live().await));
    // Of the day that is not over, less than an hour has passed: the day before is not settled yet.
    let closed = today.closed_through_date.unwrap();
    assert_eq!(closed, date(loyalty.today() - Days::new(2)));
    audit(&loyalty.kit.db).await.unwrap();
}

#[tokio::test]
async fn the_sums_of_days_are_the_sums_of_their_entries() {
    let past = Past::live(40).await;
    past.loyalty.kit.clock.advance(2 * HOUR);
    past.loyalty.close_days().await;
    let expected = past.brute_force().await;
    assert_eq!(past.stored().await, expected);
    // Everything that an entry can be was among it.
    let kinds: BTreeSet<&str> = expected.keys().map(|(_, _, [kind, _, _])| kind.as_str()).collect();
    assert_eq!(kinds, Kind::ALL.iter().map(|kind| kind.name()).collect());

    let loyalty = &past.loyalty;
    let (first, last) = (*past.stood.keys().next().unwrap(), loyalty.today());
    let whole = loyalty.balance(Some(first), last).await;
    assert_eq!(whole.entries, loyalty.kit.count("entry").await);
    for account in &whole.accounts {
        let side = |place: usize| -> i64 {
            // What went from one name to another is neither.
            let of = |(key, _): &(&Key, &(i64, i64))| key.2[place] == account.account && key.2[0] != "MERGE";
            expected.iter().filter(of).map(|(_, (points, _))| points).sum()
        };
        assert_eq!((account.opening, account.debits, account.credits), (0, side(1), side(2)));
    }
    // Parts of the period follow each other and come to the whole.
    let cut = first + Days::new(30);
    let parts =
        [loyalty.balance(Some(first), cut).await, loyalty.balance(Some(cut + Days::new(1)), last).await];
    for (place, account) in whole.accounts.iter().enumerate() {
        let [one, two] = [&parts[0].accounts[place], &parts[1].accounts[place]];
        assert_eq!((one.closing, two.closing), (two.opening, account.closing));
        assert_eq!((one.debits + two.debits, one.credits + two.credits), (account.debits, account.credits));
    }
    assert_eq!(parts[0].entries + parts[1].entries, whole.entries);
}

#[tokio::test]
async fn a_statement_closes_for_every_month_of_a_history_with_everything_in_it() {
    let past = Past::live(50).await;
    let loyalty = &past.loyalty;
    let (entries, _) = past.entries().await;
    let months: BTreeSet<NaiveDate> = past.stood.keys().map(|day| month(*day)).collect();
    assert!(months.len() > 3);
    let mut told = 0;
    for customer in &past.customers {
        if loyalty.account(*customer).await.is_err() {
            continue;
        }
        let mut before = proto::StatementBalance::default();
        for month in &months {
            let (statement, listed) = loyalty.statement(*customer, month_of(*month)).await.unwrap();
            assert_eq!((statement.difference, &statement.opening), (0, &Some(before)), "{month}");
            let closing = statement.closing.unwrap();
            assert_eq!(
                closing.points,
                before.points + statement.earned + statement.adjusted + statement.restored
                    - statement.redeemed
                    - statement.expired
                    - statement.reversed
                    - statement.repaid
                    + statement.merged,
            );
            assert_eq!(closing.points, closing.available + closing.pending + closing.held);
            let debt = statement.debt_incurred - statement.debt_repaid + statement.debt_merged;
            assert_eq!(closing.debt, before.debt + debt);
            let mine: Vec<i64> = entries
                .iter()
                .filter(|entry| entry.customer == *customer)
                .filter(|entry| self::month(entry.create_time.date_naive()) == *month)
                .map(|entry| entry.sequence)
                .collect();
            assert_eq!(listed.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), mine);
            assert_eq!(statement.entry_count, mine.len() as i64);
            if let Some(last) = listed.last() {
                assert_eq!(last.balance_after, closing.available);
            }
            told += mine.len();
            before = closing;
        }
        let audited = audit(&loyalty.kit.db).await.unwrap().remove(customer).unwrap();
        let of = |book| audited.balance(book);
        assert_eq!(
            (before.available, before.pending, before.held, before.debt),
            (of(Book::Available), of(Book::Pending), of(Book::Held), of(Book::ClawbackDebt))
        );
    }
    assert_eq!(told, entries.iter().filter(|entry| past.customers.contains(&entry.customer)).count());
}

#[tokio::test]
async fn a_statement_tells_what_happened_line_by_line_and_what_ends_next() {
    let mut loyalty = Loyalty::start_by(RULES).await;
    let customer = Uuid::now_v7();
    loyalty.given(customer, 100).await;
    loyalty.kit.clock.advance(HOUR);
    let start = loyalty.kit.clock.now();
    let later = loyalty.given(customer, 40).await.entry.unwrap();
    loyalty.redeem(spending(customer, 30)).await.unwrap();
    let hold = loyalty.hold(holding(customer, 50)).await.unwrap().hold.unwrap().name;
    loyalty.commit(committing(&hold, 20, true)).await.unwrap();
    loyalty.reverse(reversing(&later.transaction, None)).await.unwrap();
    loyalty.kit.clock.advance(HOUR);
    let range = |start: DateTime<Utc>, end: Option<DateTime<Utc>>| {
        let wire = |time: DateTime<Utc>| Timestamp { seconds: time.timestamp(), nanos: 0 };
        Period::Range(proto::TimeRange { start_time: Some(wire(start)), end_time: end.map(wire) })
    };
    let (statement, entries) = loyalty.statement(customer, range(start, None)).await.unwrap();
    let balance = |points, available| proto::StatementBalance { points, available, ..Default::default() };
    assert_eq!((statement.opening, statement.closing), (Some(balance(100, 100)), Some(balance(50, 50))));
    assert_eq!((statement.earned, statement.redeemed, statement.reversed), (40, 50, 40));
    assert_eq!((statement.held, statement.released, statement.entry_count), (50, 30, 6));
    assert_eq!(entries.len(), 6);
    let ends = start - HOUR + Duration::from_secs(30 * DAY);
    let next: Vec<_> =
        statement.expiring_next.iter().map(|next| (next.points, next.expire_time.unwrap().seconds)).collect();
    assert_eq!(next, [(50, ends.timestamp())]);

    // The moment of the beginning belongs to a period, that of the end does not.
    let (before, _) = loyalty.statement(customer, range(start - HOUR, Some(start))).await.unwrap();
    assert_eq!((before.earned, before.closing), (100, statement.opening));
    let (after, listed) = loyalty.statement(customer, range(start + HOUR, None)).await.unwrap();
    assert_eq!((after.opening, after.entry_count, listed.len()), (statement.closing, 0, 0));

    ours(loyalty.statement(Uuid::now_v7(), range(start, None)).await, Code::NotFound, "MEMBER_NOT_FOUND");
    loyalty.kit.events.next().await;
}

#[tokio::test]
async fn a_long_statement_comes_in_parts_and_a_wrong_balance_shows() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    for _ in 0..9 {
        let messages = (0..50).map(|_| earning(customer, compensation(2)));
        let loyal = &loyalty;
        futures::future::join_all(messages.map(|message| loyal.earn(message))).await;
    }
    let today = loyalty.today();
    let (statement, entries) = loyalty.statement(customer, month_of(today)).await.unwrap();
    assert_eq!((statement.earned, statement.entry_count, statement.difference), (900, 450, 0));
    let places: Vec<i64> = entries.iter().map(|entry| entry.sequence).collect();
    assert_eq!(places, (1..=450).collect::<Vec<i64>>());

    execute(&loyalty.kit.db, "UPDATE member SET available = available + 5, issued = issued + 5")
        .await
        .unwrap();
    let (statement, _) = loyalty.statement(customer, month_of(today)).await.unwrap();
    assert_eq!(statement.difference, 15, "on two accounts, and in what the lines come to");
    loyalty.kit.events.next().await;
}

#[tokio::test]
async fn three_replicas_at_once_sum_up_every_day_once() {
    let past = Past::live(12).await;
    let loyalty = &past.loyalty;
    loyalty.kit.clock.advance(2 * HOUR);
    let already = loyalty.balance(None, loyalty.today()).await.closed_through_date;
    let replicas = [loyalty.replica(), loyalty.replica(), loyalty.replica()];
    let turns = async |replica: &App| {
        let mut days = Vec::new();
        // Those who find the lock taken come again.
        for _ in 0..40 {
            days.extend(worker::days::close_next(replica).await.unwrap());
        }
        days
    };
    let (one, two, three) = tokio::join!(turns(&replicas[0]), turns(&replicas[1]), turns(&replicas[2]));
    let mut days: Vec<NaiveDate> = [one, two, three].concat();
    days.extend(loyalty.close_days().await);
    days.sort();
    let from = already.map(|day| {
        NaiveDate::from_ymd_opt(day.year, day.month as u32, day.day as u32).unwrap() + Days::new(1)
    });
    let expected: Vec<NaiveDate> =
        from.unwrap().iter_days().take_while(|day| *day < loyalty.today()).collect();
    assert_eq!(days, expected);
    assert_eq!(past.stored().await, past.brute_force().await);
}

#[tokio::test]
async fn a_crash_in_the_middle_of_a_day_or_between_two_leaves_nothing_half_done() {
    let past = Past::live(1).await;
    let loyalty = &past.loyalty;
    loyalty.kit.clock.advance(2 * HOUR);
    let closed = loyalty.close_days().await;
    let last = *closed.last().unwrap();
    assert_eq!(last, loyalty.today() - Days::new(1));

    let mut past = past;
    let customer = past.customers[0];
    past.earn(customer, 70, false).await;
    past.night().await;
    past.earn(customer, 30, false).await;
    past.night().await;
    past.loyalty.kit.clock.advance(2 * HOUR);
    past.loyalty.kit.events.next().await;
    let loyalty = &past.loyalty;
    // The sums of a day are written, and then the process is gone.
    let call = Call::internal("crash", Duration::from_secs(30));
    let crash = loyalty.kit.db.tx_without_events(&call, "crash", async |tx| {
        let held = store::lock_closed(tx).await?.expect("nobody else has it");
        assert_eq!(held.through, Some(last));
        // While one replica is at it, the others leave it to that one.
        assert_eq!(worker::days::close_next(&loyalty.replica()).await?, None);
        assert!(store::close_day(tx, last + Days::new(1)).await? > 0);
        Err::<(), _>(Error::internal("gone"))
    });
    crash.await.unwrap_err();
    assert_eq!(loyalty.kit.count(&format!("ledger_day WHERE day > '{last}'")).await, 0);
    // Another one goes on, one day; it is gone too; and another one.
    let next = worker::days::close_next(&loyalty.replica()).await.unwrap();
    assert_eq!(next, Some(last + Days::new(1)));
    assert_eq!(loyalty.close_days().await, [last + Days::new(2)]);
    assert_eq!(past.stored().await, past.brute_force().await);
}

#[tokio::test]
async fn a_day_is_summed_up_when_it_has_been_over_for_an_hour() {
    let mut loyalty = Loyalty::start().await;
    assert_eq!(loyalty.close_days().await, [], "there is nobody yet");
    loyalty.given(Uuid::now_v7(), 10).await;
    let day = loyalty.today();
    // Of two clocks that differ at midnight, one may have written on the day before.
    assert_eq!(loyalty.close_days().await, [day - Days::new(1)]);
    let midnight = (day + Days::new(1)).and_time(NaiveTime::MIN).and_utc();
    let wait = (midnight - loyalty.kit.clock.now()).to_std().unwrap() + HOUR;
    loyalty.kit.clock.advance(wait - Duration::from_micros(1));
    assert_eq!(loyalty.close_days().await, []);
    loyalty.kit.clock.advance(Duration::from_micros(1));
    assert_eq!(loyalty.close_days().await, [day]);
    assert_eq!(loyalty.close_days().await, []);
    // What was summed up is not changed by anybody.
    for statement in ["UPDATE ledger_day SET points = 1", "DELETE FROM ledger_day", "TRUNCATE ledger_day"] {
        let refused = execute(&loyalty.kit.db, statement).await.unwrap_err();
        assert!(refused.contains("the ledger is append-only"), "{statement}: {refused}");
    }
}

#[tokio::test]
async fn the_worker_of_the_process_sums_up_days_by_itself() {
    let mut loyalty = Loyalty::start_by(Config { poll: Duration::from_millis(20), ..crate::RULES }).await;
    loyalty.given(Uuid::now_v7(), 10).await;
    let day = loyalty.today();
    loyalty.kit.clock.advance(Duration::from_secs(3 * DAY));
    let kit = &loyalty.kit;
    let query = format!("ledger_close WHERE closed_through = '{}'", day + Days::new(2));
    cqm_testkit::until("the days are summed up", async || (kit.count(&query).await == 1).then_some(())).await;
    assert_eq!(kit.count(&format!("ledger_day WHERE day = '{day}' AND points = 10")).await, 1);
}

#[tokio::test]
async fn periods_that_make_no_sense_are_told_what_is_wrong_with_them() {
    let loyalty = Loyalty::start().await;
    let now = loyalty.kit.clock.now();
    let wire = |days: i64| {
        let time = now + chrono::TimeDelta::days(days);
        Some(Timestamp { seconds: time.timestamp(), nanos: 0 })
    };
    let range = |start_time, end_time| Some(Period::Range(proto::TimeRange { start_time, end_time }));
    let on = |year, month, day| Date { year, month, day };
    let in_month = |date| Some(Period::Month(date));
    for (period, wrong) in [
        (None, vec!["period FIELD_REQUIRED"]),
        (in_month(Date::default()), vec!["month FIELD_FORMAT"]),
        (in_month(on(2026, 13, 0)), vec!["month FIELD_FORMAT"]),
        (in_month(on(2026, 1, 15)), vec!["month FIELD_FORMAT"]),
        (in_month(on(2026, 2, 0)), vec!["month FIELD_RANGE"]),
        (in_month(on(10_000, 1, 0)), vec!["month FIELD_FORMAT"]),
        (range(None, None), vec!["range.start_time FIELD_REQUIRED"]),
        (range(wire(1), None), vec!["range.start_time FIELD_RANGE"]),
        (range(wire(-1), wire(1)), vec!["range.end_time FIELD_RANGE"]),
        (range(wire(-1), wire(-1)), vec!["range.end_time FIELD_ORDER"]),
        (range(wire(-1), wire(-2)), vec!["range.end_time FIELD_ORDER"]),
        (range(wire(-367), wire(0)), vec!["range FIELD_RANGE"]),
    ] {
        let message = proto::GetStatementRequest { customer: "customers/1".into(), period };
        let outcome = loyalty.reports().get_statement(request(Role::Supervisor, message)).await;
        let expected: Vec<&str> = ["customer FIELD_FORMAT"].into_iter().chain(wrong).collect();
        assert_eq!(violations(outcome.map(|_| ())), expected, "{period:?}");
    }
    let in_range = Period::Range(proto::TimeRange { start_time: wire(-366), end_time: None });
    let stranger = loyalty.statement(Uuid::now_v7(), in_range).await;
    ours(stranger, Code::NotFound, "MEMBER_NOT_FOUND");

    let today = loyalty.today();
    let ago = |days: u64| Some(date(today - Days::new(days)));
    let tomorrow = Some(date(today + Days::new(1)));
    for (first_date, last_date, wrong) in [
        (None, None, vec!["last_date FIELD_REQUIRED"]),
        (None, tomorrow, vec!["last_date FIELD_RANGE"]),
        (None, Some(on(2026, 2, 30)), vec!["last_date FIELD_FORMAT"]),
        (
            Some(on(2026, 0, 1)),
            Some(on(2026, 1, 0)),
            vec!["last_date FIELD_FORMAT", "first_date FIELD_FORMAT"],
        ),
        (ago(0), ago(1), vec!["first_date FIELD_ORDER"]),
        (ago(3661), ago(0), vec!["first_date FIELD_RANGE"]),
    ] {
        let message = proto::GetPeriodTrialBalanceRequest { first_date, last_date };
        let request = request(Role::Supervisor, message);
        assert_eq!(
            violations(loyalty.reports().get_period_trial_balance(request).await),
            wrong,
            "{message:?}"
        );
    }
    // Before everything, there was nothing.
    let empty = loyalty.balance(Some(today - Days::new(3660)), today).await;
    assert!(empty.accounts.iter().all(|account| account.closing == 0) && empty.closed_through_date.is_none());

    for (message, wrong) in [
        (proto::GetLiabilityRequest { date: tomorrow, ..Default::default() }, "date FIELD_RANGE"),
        (
            proto::GetLiabilityRequest { date: ago(5), since_date: ago(5), ..Default::default() },
            "since_date FIELD_ORDER",
        ),
        (proto::GetLiabilityRequest { since_date: ago(0), ..Default::default() }, "since_date FIELD_ORDER"),
        (proto::GetLiabilityRequest { known_time: wire(1), ..Default::default() }, "known_time FIELD_RANGE"),
        (proto::GetLiabilityRequest { date: Some(on(0, 1, 1)), ..Default::default() }, "date FIELD_FORMAT"),
    ] {
        let request = request(Role::Supervisor, message);
        assert_eq!(violations(loyalty.reports().get_liability(request).await), [wrong], "{message:?}");
    }
    let denied = request(Role::AfterSales, proto::GetLiabilityRequest::default());
    refused(loyalty.reports().get_liability(denied).await, Code::PermissionDenied, "ROLE_MISSING");
}
