//! Long random histories, over two replicas that lose their connections between any two steps, beside a model: every
//! answer, every balance and every lot is what the model says.

mod model;

use std::sync::Arc;

use cqm_proto::loyalty::v1::ledger_service_client::LedgerServiceClient;
use cqm_proto::loyalty::v1::reverse_transaction_request::Extent;
use cqm_runtime::process::{self, Running};
use cqm_testkit::{TestDatabase, settings};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::audit::{audit, execute};
use model::{Member, No};

const RULES: Config = Config {
    purchase_delay: Duration::from_secs(2 * DAY),
    lifetime: Duration::from_secs(10 * DAY),
    ..crate::RULES
};
const CUSTOMERS: usize = 3;
/// Steps of one history; the command line may ask for more.
const STEPS: &str = "CQM_TEST_HISTORY_STEPS";

/// What is done to one customer. Numbers choose among what there is, whatever there is.
#[derive(Clone, Debug)]
enum Step {
    Buy(i64),
    Give(i64),
    /// The customer brought in one of a few others, perhaps told before.
    Refer(usize),
    Redeem(i64),
    Deduct(i64),
    Hold {
        points: i64,
        hours: i64,
    },
    Commit {
        which: usize,
        points: i64,
        last: bool,
    },
    Release(usize),
    Reverse {
        which: usize,
        points: Option<i64>,
    },
    UpTo {
        which: usize,
        part: i64,
    },
    /// Turns out to be one of the others; somebody new comes in their place.
    Merge(usize),
    /// The last request, again, perhaps by another replica.
    Again,
    Wait {
        hours: u64,
    },
    Worker,
    /// Every connection to the database is lost, in the middle of whatever comes next.
    Lose,
}

fn step() -> impl Strategy<Value = (usize, Step)> {
    let points = || 1..120_i64;
    let some = || 0..6_usize;
    let step = prop_oneof![
        6 => points().prop_map(Step::Buy),
        5 => points().prop_map(Step::Give),
        2 => (0..12_usize).prop_map(Step::Refer),
        5 => points().prop_map(Step::Redeem),
        1 => points().prop_map(Step::Deduct),
        5 => (points(), 1..400_i64).prop_map(|(points, hours)| Step::Hold { points, hours }),
        4 => (some(), 0..60_i64, any::<bool>())
            .prop_map(|(which, points, last)| Step::Commit { which, points, last }),
        2 => some().prop_map(Step::Release),
        5 => (some(), prop::option::of(1..60_i64)).prop_map(|(which, points)| Step::Reverse { which, points }),
        2 => (some(), 0..=4_i64).prop_map(|(which, part)| Step::UpTo { which, part }),
        1 => (1..CUSTOMERS).prop_map(Step::Merge),
        2 => Just(Step::Again),
        5 => (1..80_u64).prop_map(|hours| Step::Wait { hours }),
        2 => Just(Step::Worker),
        2 => Just(Step::Lose),
    ];
    (0..CUSTOMERS, step)
}

/// Two replicas whose connections can be cut, and the model beside them.
struct History {
    loyalty: Loyalty,
    replicas: Vec<LedgerServiceClient<Line>>,
    running: Vec<Running>,
    stop: CancellationToken,
    /// The name that the replicas' connections go by.
    label: String,
    customers: Vec<Uuid>,
    /// Whom the customers bring in.
    referred: Vec<Uuid>,
    members: Vec<Member>,
    begin: i64,
    turn: usize,
    last: Option<Sent>,
}

/// A request and what it was answered.
#[derive(Clone)]
struct Sent {
    request: Asked,
    answer: Result<Told, String>,
}

#[derive(Clone, Debug)]
enum Asked {
    Earn(proto::EarnPointsRequest),
    Redeem(proto::RedeemPointsRequest),
    Hold(proto::HoldPointsRequest),
    Commit(proto::CommitHoldRequest),
    Release(proto::ReleaseHoldRequest),
    Reverse(proto::ReverseTransactionRequest),
}

impl Asked {
    fn rename(&mut self, request_id: String) {
        *match self {
            Self::Earn(message) => &mut message.request_id,
            Self::Redeem(message) => &mut message.request_id,
            Self::Hold(message) => &mut message.request_id,
            Self::Commit(message) => &mut message.request_id,
            Self::Release(message) => &mut message.request_id,
            Self::Reverse(message) => &mut message.request_id,
        } = request_id;
    }
}

/// What an answer tells.
#[derive(Clone, Debug, Default, PartialEq)]
struct Told {
    account: proto::Account,
    transaction: String,
    lot: String,
    hold: String,
    points: i64,
}

impl Told {
    fn of(account: Option<proto::Account>, entries: &[proto::Entry]) -> Self {
        let first = entries.first().cloned().unwrap_or_default();
        let account = account.expect("an answer with an account");
        Self { account, transaction: first.transaction, lot: first.lot, ..Self::default() }
    }
}

impl History {
    async fn begin() -> Self {
        let loyalty = Loyalty::start_by(RULES).await;
        let label = format!("history_{}", Uuid::now_v7().simple());
        let stop = CancellationToken::new();
        let (mut replicas, mut running) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            let url = format!("{} application_name={label}", {
                use secrecy::ExposeSecret;
                loyalty.kit.database().url.expose_secret()
            });
            let database = TestDatabase { url: url.into() };
            let settings = settings::<App>(&database, RULES);
            let mut replica =
                process::start::<App>(settings, loyalty.kit.clock.clone(), stop.clone()).await.unwrap();
            replica.ready().await;
            replicas.push(LedgerServiceClient::new(loyalty.kit.line(replica.address()).await));
            running.push(replica);
        }
        let customers: Vec<Uuid> = (0..CUSTOMERS).map(|_| Uuid::now_v7()).collect();
        for customer in &customers {
            loyalty.create(*customer).await.unwrap();
        }
        let begin = loyalty.kit.clock.now().timestamp();
        Self {
            loyalty,
            replicas,
            running,
            stop,
            label,
            customers,
            referred: (0..12).map(|_| Uuid::now_v7()).collect(),
            members: vec![Member::default(); CUSTOMERS],
            begin,
            turn: 0,
            last: None,
        }
    }

    fn now(&self) -> i64 {
        self.loyalty.kit.clock.now().timestamp() - self.begin
    }

    /// Sends a request until it is answered or refused, each time to the other replica, as its caller would.
    async fn send(&mut self, request: &Asked) -> Result<Told, String> {
        let give_up = std::time::Instant::now() + Duration::from_secs(30);
        loop {
            self.turn += 1;
            let at = self.turn % self.replicas.len();
            let outcome = ask(&mut self.replicas[at], request).await;
            match outcome {
                Ok(told) => return Ok(told),
                Err(status) => {
                    let failure = Failure::of(&status);
                    if !failure.is_transient() {
                        return Err(failure.reason);
                    }
                    assert!(std::time::Instant::now() < give_up, "{failure}");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
    }

    async fn ask(&mut self, mut request: Asked) -> Result<Told, String> {
        // An id that tells no time: this clock runs ahead of the one that ids are made by.
        request.rename(Uuid::new_v4().to_string());
        let answer = self.send(&request).await;
        self.last = Some(Sent { request, answer: answer.clone() });
        answer
    }

    /// Compares what an answer tells of the account with the model.
    fn compare(&self, who: usize, account: &proto::Account) {
        let member = &self.members[who];
        let told = (
            account.available,
            account.pending,
            account.held,
            account.debt,
            account.lifetime_earned,
            account.lifetime_redeemed,
            account.lifetime_expired,
        );
        let expected = (
            member.available(),
            member.pending(),
            member.held(),
            member.debt,
            member.issued,
            member.redeemed,
            member.expired(),
        );
        assert_eq!(told, expected, "customer {who} at hour {}", self.now() / 3600);
    }

    async fn take(&mut self, who: usize, step: &Step) {
        let customer = self.customers[who];
        let now = self.now();
        self.members[who].pass(now);
        match step.clone() {
            Step::Buy(points) | Step::Give(points) => {
                let bought = matches!(step, Step::Buy(_));
                let time = self.loyalty.kit.clock.now();
                let basis = if bought { purchase(points, 0, time) } else { compensation(points) };
                let told = self.ask(Asked::Earn(earning(customer, basis))).await.unwrap();
                self.members[who].earn(&told.lot, &told.transaction, points, bought, now);
                self.compare(who, &told.account);
            }
            Step::Refer(which) => {
                let basis = Basis::Referral(proto::ReferralBasis { referred: name(self.referred[which]) });
                let told = self.ask(Asked::Earn(earning(customer, basis))).await.unwrap();
                // For each of them once; told again, it is answered with what was given then.
                if self.members[who].referred.insert(which) {
                    let points = RULES.referral_points;
                    self.members[who].earn(&told.lot, &told.transaction, points, false, now);
                }
                self.compare(who, &told.account);
            }
            Step::Redeem(points) => {
                let expected = self.members[who].can_spend(points);
                let told = self.ask(Asked::Redeem(spending(customer, points))).await;
                if let Some(told) = agree(told, expected) {
                    self.members[who].redeem(&told.transaction, points);
                    self.compare(who, &told.account);
                }
            }
            Step::Deduct(points) => {
                let expected = self.members[who].can_spend(points);
                let told = self.ask(Asked::Earn(earning(customer, adjustment(-points)))).await;
                if let Some(told) = agree(told, expected) {
                    self.members[who].deduct(points);
                    self.compare(who, &told.account);
                }
            }
            Step::Hold { points, hours } => {
                let expected = self.members[who].can_spend(points);
                let ttl = Some(prost_types::Duration { seconds: hours * 3600, nanos: 0 });
                let message = proto::HoldPointsRequest { ttl, ..holds::holding(customer, points) };
                let told = self.ask(Asked::Hold(message)).await;
                if let Some(told) = agree(told, expected) {
                    self.members[who].hold(&told.hold, points, now + hours * 3600);
                    self.compare(who, &told.account);
                }
            }
            Step::Commit { which, points, last } => {
                let Some(name) = nth(self.members[who].holds.keys(), which) else { return };
                let expected = self.members[who].can_commit(&name, points);
                let told = self.ask(Asked::Commit(holds::committing(&name, points, last))).await;
                if let Some(told) = agree(told, expected) {
                    self.members[who].commit(&name, &told.transaction, points, last, now);
                    self.compare(who, &told.account);
                }
            }
            Step::Release(which) => {
                let Some(name) = nth(self.members[who].holds.keys(), which) else { return };
                let expected = self.members[who].can_commit(&name, 0);
                let request_id = Uuid::now_v7().to_string();
                let message = proto::ReleaseHoldRequest { name: name.clone(), request_id };
                if let Some(told) = agree(self.ask(Asked::Release(message)).await, expected) {
                    self.members[who].give_back(&name, now);
                    self.compare(who, &told.account);
                }
            }
            Step::Reverse { which, points } => {
                let Some(name) = nth(self.members[who].done.keys(), which) else { return };
                let expected = self.members[who].split(&name, points).map(|_| ());
                let message = reversals::reversing(&name, points.map(Extent::Points));
                if let Some(told) = agree(self.ask(Asked::Reverse(message)).await, expected) {
                    self.members[who].reverse(&name, points, now);
                    self.compare(who, &told.account);
                }
            }
            Step::UpTo { which, part } => {
                let Some(name) = nth(self.members[who].done.keys(), which) else { return };
                let all: i64 = self.members[who].done[&name].parts.iter().map(|part| part.1).sum();
                let left: i64 = self.members[who].left(&name).iter().sum();
                let wanted = (all * part / 4 - (all - left)).max(0);
                let expected = if left == 0 { Err(No::AlreadyReversed) } else { Ok(()) };
                let extent = Extent::UpTo(proto::Share { part, whole: 4 });
                let told = self.ask(Asked::Reverse(reversals::reversing(&name, Some(extent)))).await;
                if let Some(told) = agree(told, expected) {
                    assert_eq!(told.points, wanted);
                    self.members[who].reverse(&name, Some(wanted), now);
                    self.compare(who, &told.account);
                }
            }
            Step::Merge(behind) => {
                let other = (who + behind) % CUSTOMERS;
                let survivor = self.customers[other];
                self.loyalty.merge(customer, survivor).await.unwrap();
                self.customers[who] = Uuid::now_v7();
                self.loyalty.create(self.customers[who]).await.unwrap();
                self.members[other].pass(now);
                let gone = std::mem::take(&mut self.members[who]);
                self.members[other].merge(gone, &member_name(customer), &member_name(survivor));
                let account = self.loyalty.account(survivor).await.unwrap();
                self.compare(other, &account);
            }
            Step::Again => {
                if let Some(Sent { request, answer: Ok(first) }) = self.last.clone() {
                    assert_eq!(self.send(&request).await.as_ref(), Ok(&first), "the first answer, again");
                }
            }
            Step::Wait { hours } => {
                self.loyalty.kit.clock.advance(Duration::from_secs(hours * 3600));
                let now = self.now();
                self.members[who].pass(now);
                let account = self.loyalty.account(customer).await.unwrap();
                self.compare(who, &account);
            }
            Step::Worker => while self.loyalty.worker_turn_by(RULES).await > 0 {},
            Step::Lose => self.lose().await,
        }
    }

    /// Ends the replicas' connections now and once more a moment later, when something is on its way.
    async fn lose(&mut self) {
        let (db, label) = (self.loyalty.kit.db.clone(), Arc::<str>::from(self.label.as_str()));
        let cut = async move || {
            let statement = format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{label}'"
            );
            execute(&db, &statement).await.unwrap();
        };
        cut().await;
        let who = self.turn % CUSTOMERS;
        let customer = self.customers[who];
        let now = self.now();
        self.members[who].pass(now);
        let earn = Asked::Earn(earning(customer, compensation(7)));
        let later = async {
            tokio::time::sleep(Duration::from_micros(300)).await;
            cut().await;
        };
        let (told, ()) = tokio::join!(self.ask(earn), later);
        let told = told.unwrap();
        self.members[who].earn(&told.lot, &told.transaction, 7, false, now);
        self.compare(who, &told.account);
    }

    /// Compares every balance and every lot, and has the whole ledger checked.
    async fn end(mut self) {
        let now = self.now();
        for (who, customer) in self.customers.clone().into_iter().enumerate() {
            self.members[who].pass(now);
            let account = self.loyalty.account(customer).await.unwrap();
            self.compare(who, &account);
        }
        while self.loyalty.worker_turn_by(RULES).await > 0 {}
        let ledger = audit(&self.loyalty.kit.db).await.unwrap();
        for (who, customer) in self.customers.iter().enumerate() {
            let mut found: Vec<_> = ledger[customer]
                .lots
                .iter()
                .map(|lot| {
                    let parts = [lot.remaining, lot.held, lot.spent, lot.expired, lot.reversed];
                    (lot.id.to_string(), lot.amount, parts)
                })
                .collect();
            let mut expected: Vec<_> = self.members[who]
                .lots
                .iter()
                // Those of which everything was taken back before a merge have stayed behind.
                .filter(|lot| lot.amount > 0)
                .map(|lot| {
                    let parts = [lot.remaining, lot.held, lot.spent, lot.expired, lot.reversed];
                    (lot.id.clone(), lot.amount, parts)
                })
                .collect();
            found.sort();
            expected.sort();
            assert_eq!(found, expected, "the lots of customer {who}");
        }
        self.loyalty.kit.events.next().await;
        self.stop.cancel();
        for replica in self.running {
            replica.join().await;
        }
    }
}

fn nth<'a>(names: impl ExactSizeIterator<Item = &'a String>, which: usize) -> Option<String> {
    let count = names.len();
    // The newest ones mostly: what was done long ago has long been taken back.
    names.skip(count.saturating_sub(6)).nth(which % count.clamp(1, 6)).cloned()
}

/// Whether the service says what the model says; what it told when both agree that it may be done.
fn agree(told: Result<Told, String>, expected: Result<(), No>) -> Option<Told> {
    let reason = |no: No| match no {
        No::Insufficient(_) => "INSUFFICIENT_POINTS",
        No::HoldState => "HOLD_STATE",
        No::HoldExceeded(_) => "HOLD_EXCEEDED",
        No::AlreadyReversed => "ALREADY_REVERSED",
        No::ReversalExceeded(_) => "REVERSAL_EXCEEDED",
    };
    match (told, expected) {
        (Ok(told), Ok(())) => Some(told),
        (Err(found), Err(no)) if found == reason(no) => None,
        (told, expected) => panic!("the service says {told:?}, the model {expected:?}"),
    }
}

async fn ask(ledger: &mut LedgerServiceClient<Line>, asked: &Asked) -> Result<Told, Status> {
    let role = Role::InternalService;
    Ok(match asked.clone() {
        Asked::Earn(message) => {
            let answer = ledger.earn_points(request(role, message)).await?.into_inner();
            Told { points: answer.points, ..Told::of(answer.account, answer.entry.as_slice()) }
        }
        Asked::Redeem(message) => {
            let answer = ledger.redeem_points(request(role, message)).await?.into_inner();
            Told::of(answer.account, &answer.entries)
        }
        Asked::Hold(message) => {
            let answer = ledger.hold_points(request(role, message)).await?.into_inner();
            let hold = answer.hold.map(|hold| hold.name).unwrap_or_default();
            Told { hold, ..Told::of(answer.account, &[]) }
        }
        Asked::Commit(message) => {
            let answer = ledger.commit_hold(request(role, message)).await?.into_inner();
            Told::of(answer.account, &answer.entries)
        }
        Asked::Release(message) => {
            let answer = ledger.release_hold(request(role, message)).await?.into_inner();
            Told::of(answer.account, &answer.entries)
        }
        Asked::Reverse(message) => {
            let answer = ledger.reverse_transaction(request(role, message)).await?.into_inner();
            Told { points: answer.points, ..Told::of(answer.account, &answer.entries) }
        }
    })
}

#[tokio::test]
async fn any_history_is_what_the_model_says() {
    let steps = std::env::var(STEPS).ok().and_then(|steps| steps.parse().ok()).unwrap_or(250);
    // Shrinking would run against other interleavings than the one that failed; the steps are printed instead.
    let mut runner = TestRunner::default();
    for _ in 0..4 {
        let taken = prop::collection::vec(step(), steps..=steps).new_tree(&mut runner).unwrap().current();
        let mut history = History::begin().await;
        for (number, (who, step)) in taken.iter().enumerate() {
            // Captured unless the test fails: the history up to there.
            println!("{number}: customer {who}, hour {}: {step:?}", history.now() / 3600);
            history.take(*who, step).await;
        }
        history.end().await;
    }
}
