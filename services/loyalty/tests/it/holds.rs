//! Points that are set aside.

use cqm_loyalty::domain::book::Book;
use cqm_proto::events::v1 as events;
use cqm_proto::loyalty::v1::hold::State;
use futures::StreamExt;
use futures::stream;
use prost::Message;
use tonic::Code;

use super::*;
use crate::audit::audit;

pub fn holding(customer: Uuid, points: i64) -> proto::HoldPointsRequest {
    proto::HoldPointsRequest {
        customer: name(customer),
        points,
        ttl: Some(prost_types::Duration { seconds: 600, nanos: 0 }),
        source: "orders/7".into(),
        request_id: Uuid::now_v7().to_string(),
        etag: String::new(),
    }
}

pub fn committing(hold: &str, points: i64, last: bool) -> proto::CommitHoldRequest {
    proto::CommitHoldRequest {
        name: hold.into(),
        points,
        r#final: last,
        source: String::new(),
        request_id: Uuid::now_v7().to_string(),
    }
}

impl Loyalty {
    pub async fn hold(&self, message: proto::HoldPointsRequest) -> Result<proto::HoldPointsResponse, Status> {
        let request = request(Role::InternalService, message);
        self.ledger.clone().hold_points(request).await.map(Response::into_inner)
    }

    pub async fn commit(
        &self,
        message: proto::CommitHoldRequest,
    ) -> Result<proto::CommitHoldResponse, Status> {
        let request = request(Role::InternalService, message);
        self.ledger.clone().commit_hold(request).await.map(Response::into_inner)
    }

    pub async fn release(&self, hold: &str) -> Result<proto::ReleaseHoldResponse, Status> {
        let request_id = Uuid::now_v7().to_string();
        let message = proto::ReleaseHoldRequest { name: hold.into(), request_id };
        let request = request(Role::InternalService, message);
        self.ledger.clone().release_hold(request).await.map(Response::into_inner)
    }

    async fn read_hold(&self, hold: &str) -> Result<proto::Hold, Status> {
        let request = request(Role::Supervisor, proto::GetHoldRequest { name: hold.into() });
        self.ledger.clone().get_hold(request).await.map(Response::into_inner)
    }

    async fn list_holds(&self, customer: Uuid, size: i32, token: &str) -> proto::ListHoldsResponse {
        let message =
            proto::ListHoldsRequest { customer: name(customer), page_size: size, page_token: token.into() };
        let request = request(Role::Supervisor, message);
        self.ledger.clone().list_holds(request).await.unwrap().into_inner()
    }
}

#[tokio::test]
async fn points_are_set_aside_spent_in_parts_and_the_rest_given_back() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    loyalty.given(customer, 30).await;
    loyalty.given(customer, 70).await;

    let message = holding(customer, 80);
    let placed = loyalty.hold(message.clone()).await.unwrap();
    let hold = placed.hold.clone().unwrap();
    let account = placed.account.clone().unwrap();
    assert_eq!((hold.state(), hold.points, hold.source.as_str()), (State::Open, 80, "orders/7"));
    assert_eq!(hold.expire_time.unwrap().seconds, loyalty.kit.clock.now().timestamp() + 600);
    assert_eq!((account.available, account.held), (20, 80));
    assert_eq!(loyalty.read_hold(&hold.name).await.unwrap(), hold);
    let (_, told) = loyalty.kit.events.only::<events::PointsHeld>().await;
    assert_eq!((told.hold, told.points, told.balance), (hold.name.clone(), 80, 20));
    assert_eq!(loyalty.hold(message).await.unwrap().encode_to_vec(), placed.encode_to_vec());

    let first = loyalty.commit(committing(&hold.name, 40, false)).await.unwrap();
    assert_eq!(first.entries.iter().map(|entry| entry.moved).collect::<Vec<_>>(), [30, 10]);
    assert!(first.entries.iter().all(|entry| entry.hold == hold.name && entry.source == "orders/7"));
    let (_, told) = loyalty.kit.events.only::<events::PointsRedeemed>().await;
    assert_eq!((told.hold, told.points), (hold.name.clone(), 40));

    let exceeded = loyalty.commit(committing(&hold.name, 41, false)).await;
    assert_eq!(ours(exceeded, Code::FailedPrecondition, "HOLD_EXCEEDED").facts["held"], "40");

    let last = loyalty.commit(committing(&hold.name, 15, true)).await.unwrap();
    let done = last.hold.unwrap();
    assert_eq!((done.state(), done.committed, done.released), (State::Committed, 55, 25));
    let account = last.account.unwrap();
    assert_eq!((account.available, account.held, account.lifetime_redeemed), (45, 0, 55));
    assert_eq!(loyalty.kit.events.next_types().await, ["PointsRedeemed", "HoldReleased"]);

    for refused in [
        loyalty.commit(committing(&hold.name, 0, true)).await.map(|_| ()),
        loyalty.release(&hold.name).await.map(|_| ()),
    ] {
        let failure = ours(refused, Code::FailedPrecondition, "HOLD_STATE");
        assert_eq!(failure.facts["state"], "COMMITTED");
    }
    audit(&loyalty.kit.db).await.unwrap();
}

#[tokio::test]
async fn what_is_held_nobody_else_has() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    loyalty.given(customer, 100).await;
    // Thirty callers want ten each, held or spent.
    let held: Vec<_> = (0..15).map(|_| holding(customer, 10)).collect();
    let spent: Vec<_> = (0..15).map(|_| spending(customer, 10)).collect();
    let loyal = &loyalty;
    let holds = held.iter().map(|message| async { loyal.hold(message.clone()).await.is_ok() });
    let spends = spent.iter().map(|message| async { loyal.redeem(message.clone()).await.is_ok() });
    let (holds, spends): (Vec<bool>, Vec<bool>) = tokio::join!(
        stream::iter(holds).buffer_unordered(15).collect(),
        stream::iter(spends).buffer_unordered(15).collect(),
    );
    assert_eq!(holds.iter().chain(&spends).filter(|done| **done).count(), 10);
    assert_eq!(loyalty.kit.events.next().await.len(), 10);
    let ledger = audit(&loyalty.kit.db).await.unwrap();
    assert_eq!(ledger[&customer].available(), 0);
    assert_eq!(ledger[&customer].balance(Book::Held), 10 * holds.iter().filter(|done| **done).count() as i64);
}

#[tokio::test]
async fn a_hold_that_is_given_up_goes_back_to_its_lots() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    loyalty.given(customer, 50).await;
    let hold = loyalty.hold(holding(customer, 50)).await.unwrap().hold.unwrap().name;
    let released = loyalty.release(&hold).await.unwrap();
    assert_eq!(released.hold.unwrap().state(), State::Released);
    assert_eq!(released.account.unwrap().available, 50);
    let mut events = loyalty.kit.events.next().await;
    let told = events::HoldReleased::decode(events.pop().unwrap().payload.as_slice()).unwrap();
    assert_eq!((told.hold, told.points, told.ran_out, told.balance), (hold, 50, false, 50));
    assert_eq!(audit(&loyalty.kit.db).await.unwrap()[&customer].lots[0].remaining, 50);
}

#[tokio::test]
async fn a_hold_that_ran_out_is_over_whether_or_not_the_worker_has_run() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    loyalty.given(customer, 50).await;
    let hold = loyalty.hold(holding(customer, 50)).await.unwrap().hold.unwrap().name;
    loyalty.kit.clock.advance(Duration::from_secs(600));
    assert_eq!(loyalty.account(customer).await.unwrap().available, 50, "read as it is");
    let failure =
        ours(loyalty.commit(committing(&hold, 1, false)).await, Code::FailedPrecondition, "HOLD_STATE");
    assert_eq!((failure.facts["state"].as_str(), failure.facts["action"].as_str()), ("EXPIRED", "commit"));
    loyalty.redeem(spending(customer, 50)).await.unwrap();
    let types = loyalty.kit.events.next_types().await;
    assert_eq!(types, ["PointsHeld", "HoldReleased", "PointsRedeemed"]);
    assert_eq!(loyalty.read_hold(&hold).await.unwrap().state(), State::Expired);
    audit(&loyalty.kit.db).await.unwrap();
}

#[tokio::test]
async fn holds_are_listed_in_pages_the_newest_first() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    loyalty.given(customer, 50).await;
    let mut names = Vec::new();
    for points in 1..=3 {
        names.insert(0, loyalty.hold(holding(customer, points)).await.unwrap().hold.unwrap().name);
        loyalty.kit.clock.advance(Duration::from_secs(1));
    }
    loyalty.kit.events.next().await;
    let first = loyalty.list_holds(customer, 2, "").await;
    let second = loyalty.list_holds(customer, 2, &first.next_page_token).await;
    let found: Vec<_> = first.holds.iter().chain(&second.holds).map(|hold| hold.name.clone()).collect();
    assert_eq!((found, second.next_page_token.as_str()), (names, ""));
}

#[tokio::test]
async fn what_is_wrong_with_a_hold_is_told_at_once_and_a_strangers_is_not_there() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    let wrong = proto::HoldPointsRequest {
        customer: "customers/1".into(),
        points: 0,
        ttl: Some(prost_types::Duration { seconds: 0, nanos: 999_999_999 }),
        source: "a b".into(),
        request_id: String::new(),
        etag: "1".into(),
    };
    assert_eq!(
        violations(loyalty.hold(wrong).await),
        [
            "customer FIELD_FORMAT",
            "points FIELD_RANGE",
            "ttl FIELD_RANGE",
            "source FIELD_FORMAT",
            "request_id REQUEST_ID_REQUIRED",
            "etag FIELD_FORMAT",
        ]
    );
    assert_eq!(
        violations(loyalty.commit(committing("holds/1", -1, false)).await),
        ["name FIELD_FORMAT", "points FIELD_RANGE",]
    );
    ours(loyalty.hold(holding(customer, 1)).await, Code::NotFound, "MEMBER_NOT_FOUND");
    let stranger = format!("members/{customer}/holds/{}", Uuid::now_v7());
    for _ in 0..2 {
        ours(loyalty.commit(committing(&stranger, 0, false)).await, Code::NotFound, "HOLD_NOT_FOUND");
        ours(loyalty.release(&stranger).await, Code::NotFound, "HOLD_NOT_FOUND");
        ours(loyalty.read_hold(&stranger).await, Code::NotFound, "HOLD_NOT_FOUND");
        // Once without a member, and once with one who has no such hold.
        if loyalty.member_exists(customer).await {
            break;
        }
        loyalty.given(customer, 5).await;
    }
    let stale = proto::HoldPointsRequest { etag: "v99".into(), ..holding(customer, 1) };
    refused(loyalty.hold(stale).await, Code::Aborted, "ETAG_MISMATCH");
}

impl Loyalty {
    async fn member_exists(&self, customer: Uuid) -> bool {
        self.account(customer).await.is_ok()
    }
}
