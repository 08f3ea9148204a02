//! Time passes: points become available and end.

use cqm_loyalty::domain::book::Book;
use cqm_loyalty::worker;
use cqm_proto::events::v1 as events;
use cqm_runtime::process::{Base, Service, Shared};
use prost::Message;
use tonic::Code;

use super::*;
use crate::audit::{Audited, audit};

/// Purchases are pending for two days, points end ten days later, and it is announced three days before.
const RULES: Config = Config {
    purchase_delay: Duration::from_secs(2 * DAY),
    lifetime: Duration::from_secs(10 * DAY),
    ..crate::RULES
};

impl Loyalty {
    fn days(&self, days: u64) {
        self.kit.clock.advance(Duration::from_secs(days * DAY));
    }

    async fn bought(&self, customer: Uuid, points: i64) -> proto::Account {
        let now = self.kit.clock.now();
        self.earn(earning(customer, purchase(points, 0, now))).await.unwrap().account.unwrap()
    }

    async fn worker_turn(&self) -> usize {
        self.worker_turn_by(RULES).await
    }

    /// A worker's turn, as another replica would take it.
    pub async fn worker_turn_by(&self, rules: Config) -> usize {
        let base = Base {
            db: self.kit.db.clone(),
            cache: cqm_runtime::cache::Cache::new(&Default::default(), "loyalty").unwrap(),
            clock: self.kit.clock.clone(),
            shared: Shared::default(),
        };
        worker::let_time_pass(&App::new(base, rules).unwrap()).await.unwrap()
    }

    async fn audited(&self, customer: Uuid) -> Audited {
        audit(&self.kit.db).await.unwrap().remove(&customer).unwrap()
    }
}

#[tokio::test]
async fn points_of_a_purchase_are_pending_then_available_then_over() {
    let mut loyalty = Loyalty::start_by(RULES).await;
    let customer = Uuid::now_v7();
    let account = loyalty.bought(customer, 100).await;
    assert_eq!((account.available, account.pending), (0, 100));
    ours(loyalty.redeem(spending(customer, 1)).await, Code::FailedPrecondition, "INSUFFICIENT_POINTS");

    loyalty.days(2);
    let account = loyalty.account(customer).await.unwrap();
    assert_eq!((account.available, account.pending), (100, 0));
    loyalty.redeem(spending(customer, 30)).await.unwrap();

    loyalty.days(10);
    let account = loyalty.account(customer).await.unwrap();
    assert_eq!((account.available, account.lifetime_expired), (0, 70));
    ours(loyalty.redeem(spending(customer, 1)).await, Code::FailedPrecondition, "INSUFFICIENT_POINTS");
    assert_eq!(
        loyalty.kit.events.next_types().await,
        ["MemberEnrolled", "PointsEarned", "PointsMatured", "PointsRedeemed",]
    );
    // A refused request writes nothing down, not even the time; the worker does.
    assert_eq!(loyalty.worker_turn().await, 1);
    let mut events = loyalty.kit.events.next().await;
    let told = events::PointsExpired::decode(events.pop().unwrap().payload.as_slice()).unwrap();
    assert_eq!((told.points, told.balance, events.len()), (70, 0, 0));
    assert_eq!(loyalty.audited(customer).await.balance(Book::Expired), 70);
    assert_eq!(loyalty.worker_turn().await, 0, "nothing is left to do");
}

#[tokio::test]
async fn the_end_of_points_is_announced_before_it_comes() {
    let mut loyalty = Loyalty::start_by(RULES).await;
    let customer = Uuid::now_v7();
    loyalty.given(customer, 40).await;
    loyalty.days(1);
    loyalty.given(customer, 20).await;
    assert_eq!(loyalty.worker_turn().await, 0, "nine days are left");
    loyalty.days(7);
    assert_eq!(loyalty.worker_turn().await, 1);
    let (_, told) = loyalty.kit.events.only::<events::PointsExpiringSoon>().await;
    let now = loyalty.kit.clock.now().timestamp();
    assert_eq!((told.points, told.first_expire_time.unwrap().seconds), (60, now + 2 * DAY as i64));
    assert_eq!(told.last_expire_time.unwrap().seconds, now + 3 * DAY as i64);
    assert_eq!(loyalty.worker_turn().await, 0, "once");
    loyalty.days(2);
    assert_eq!(loyalty.worker_turn().await, 1);
    assert_eq!(loyalty.kit.events.next_types().await, ["PointsExpired"]);
}

#[tokio::test]
async fn what_expires_first_is_spent_first_and_what_has_ended_never() {
    let mut loyalty = Loyalty::start_by(RULES).await;
    let customer = Uuid::now_v7();
    let mut lots = Vec::new();
    for _ in 0..3 {
        lots.push(loyalty.given(customer, 10).await.entry.unwrap().lot);
        loyalty.days(1);
    }
    loyalty.days(7);
    // The first has ended just now.
    let failure =
        ours(loyalty.redeem(spending(customer, 21)).await, Code::FailedPrecondition, "INSUFFICIENT_POINTS");
    assert_eq!(failure.facts["available"], "20");
    let spent = loyalty.redeem(spending(customer, 15)).await.unwrap();
    let taken: Vec<_> = spent.entries.iter().map(|entry| (&entry.lot, entry.points)).collect();
    assert_eq!(taken, [(&lots[1], -10), (&lots[2], -5)]);
    let types = loyalty.kit.events.next_types().await;
    assert_eq!(types, ["PointsExpired", "PointsExpiringSoon", "PointsRedeemed"]);
}

#[tokio::test]
async fn whoever_read_the_account_before_its_time_was_written_down_may_write_with_what_they_read() {
    let mut loyalty = Loyalty::start_by(RULES).await;
    let customer = Uuid::now_v7();
    loyalty.bought(customer, 100).await;
    loyalty.days(3);
    let etag = loyalty.account(customer).await.unwrap().etag;
    let message = proto::RedeemPointsRequest { etag: etag.clone(), ..spending(customer, 10) };
    loyalty.redeem(message).await.unwrap();
    let message = proto::RedeemPointsRequest { etag, ..spending(customer, 10) };
    refused(loyalty.redeem(message).await, Code::Aborted, "ETAG_MISMATCH");
    loyalty.kit.events.next().await;
}

#[tokio::test]
async fn workers_of_many_replicas_write_everything_down_once() {
    let mut loyalty = Loyalty::start_by(RULES).await;
    let customers: Vec<Uuid> = (0..130).map(|_| Uuid::now_v7()).collect();
    let loyal = &loyalty;
    futures::future::join_all(customers.iter().map(|customer| loyal.bought(*customer, 5))).await;
    loyalty.days(20);
    let turns = async || {
        let mut written = 0;
        loop {
            match loyal.worker_turn().await {
                0 => return written,
                some => written += some,
            }
        }
    };
    let (one, other, third) = tokio::join!(turns(), turns(), turns());
    // Those whom another one has locked are skipped, so that each stops when nobody is left whom it can have.
    let rest = turns().await;
    assert_eq!(one + other + third + rest, 130);
    let ledger = audit(&loyalty.kit.db).await.unwrap();
    assert!(customers.iter().all(|customer| ledger[customer].balance(Book::Expired) == 5));
    let types = loyalty.kit.events.next_types().await;
    assert_eq!(types.iter().filter(|kind| *kind == "PointsExpired").count(), 130);
}

#[tokio::test]
async fn the_worker_of_the_process_runs_by_itself() {
    let rules = Config { poll: Duration::from_millis(20), ..RULES };
    let mut loyalty = Loyalty::start_by(rules).await;
    let customer = Uuid::now_v7();
    loyalty.given(customer, 5).await;
    loyalty.days(30);
    let kit = &mut loyalty.kit;
    let db = kit.db.clone();
    cqm_testkit::until("the points expire", async || {
        (audit(&db).await.unwrap()[&customer].balance(Book::Expired) == 5).then_some(())
    })
    .await;
    assert_eq!(kit.events.next_types().await, ["PointsExpired"]);
}
