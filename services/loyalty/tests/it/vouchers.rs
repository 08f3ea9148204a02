//! Vouchers: used once, taken back, ended by time.

use cqm_loyalty::worker::vouchers;
use cqm_proto::events::v1 as events;
use cqm_proto::loyalty::v1::voucher::State;
use cqm_proto::loyalty::v1::voucher_service_client::VoucherServiceClient;
use cqm_runtime::process::{Base, Service, Shared};
use futures::future::join_all;
use prost::Message;
use tonic::Code;

use super::*;
use crate::audit::audit;
use crate::rewards::{gift, taking};

pub fn consuming(code: &str) -> proto::ConsumeVoucherRequest {
    proto::ConsumeVoucherRequest {
        code: code.into(),
        order: "orders/A-17".into(),
        request_id: Uuid::now_v7().to_string(),
        etag: String::new(),
    }
}

pub fn cancelling(voucher: &str) -> proto::CancelVoucherRequest {
    proto::CancelVoucherRequest {
        name: voucher.into(),
        request_id: Uuid::now_v7().to_string(),
        etag: String::new(),
    }
}

impl Loyalty {
    pub fn vouchers(&self) -> VoucherServiceClient<Line> {
        VoucherServiceClient::new(self.kit.channel.clone())
    }

    pub async fn validate(&self, code: &str) -> Result<proto::ValidateVoucherResponse, Status> {
        let request = request(Role::AfterSales, proto::ValidateVoucherRequest { code: code.into() });
        self.vouchers().validate_voucher(request).await.map(Response::into_inner)
    }

    pub async fn consume(&self, message: proto::ConsumeVoucherRequest) -> Result<proto::Voucher, Status> {
        let request = request(Role::InternalService, message);
        self.vouchers().consume_voucher(request).await.map(Response::into_inner)
    }

    async fn send_cancel(
        &self,
        message: proto::CancelVoucherRequest,
    ) -> Result<proto::CancelVoucherResponse, Status> {
        let request = request(Role::CrmSpecialist, message);
        self.vouchers().cancel_voucher(request).await.map(Response::into_inner)
    }

    pub async fn cancel(&self, voucher: &str) -> Result<proto::CancelVoucherResponse, Status> {
        self.send_cancel(cancelling(voucher)).await
    }

    pub async fn voucher(&self, voucher: &str) -> Result<proto::Voucher, Status> {
        let request = request(Role::Supervisor, proto::GetVoucherRequest { name: voucher.into() });
        self.vouchers().get_voucher(request).await.map(Response::into_inner)
    }

    async fn list_vouchers(
        &self,
        customer: Uuid,
        page_size: i32,
        page_token: &str,
    ) -> Result<proto::ListVouchersResponse, Status> {
        let message =
            proto::ListVouchersRequest { customer: name(customer), page_size, page_token: page_token.into() };
        let request = request(Role::TechnicalSupport, message);
        self.vouchers().list_vouchers(request).await.map(Response::into_inner)
    }

    /// A customer with points who has taken a reward.
    async fn holder(&mut self, reward: &proto::Reward) -> (Uuid, proto::RedeemRewardResponse) {
        let customer = Uuid::now_v7();
        self.given(customer, 100).await;
        let taken = self.send(taking(customer, reward)).await.expect("a reward is taken");
        self.kit.events.next().await;
        (customer, taken)
    }

    /// A worker's turn, as another replica would take it.
    async fn expiry_turn(&self) -> usize {
        let base = Base {
            db: self.kit.db.clone(),
            cache: cqm_runtime::cache::Cache::new(&Default::default(), "loyalty")
                .expect("a cache without Redis"),
            clock: self.kit.clock.clone(),
            shared: Shared::default(),
        };
        let app = App::new(base, RULES).expect("the rules make sense");
        vouchers::let_vouchers_expire(&app).await.expect("time is written down")
    }
}

/// A gift whose vouchers are good for ten minutes.
fn short(price: i64) -> proto::Reward {
    let voucher_lifetime = Some(prost_types::Duration { seconds: 600, nanos: 0 });
    proto::Reward { voucher_lifetime, ..gift(price) }
}

#[tokio::test]
async fn a_code_says_what_it_is_good_for_and_is_used_once() {
    let mut loyalty = Loyalty::start().await;
    let reward = loyalty.offer(short(60)).await;
    let (customer, taken) = loyalty.holder(&reward).await;
    let held = taken.voucher.unwrap();

    let found = loyalty.validate(&taken.code.to_lowercase().replace('-', " ")).await.unwrap();
    assert_eq!((found.voucher, found.reward), (Some(held.clone()), Some(reward.clone())));

    let message = proto::ConsumeVoucherRequest { etag: held.etag.clone(), ..consuming(&taken.code) };
    let used = loyalty.consume(message.clone()).await.unwrap();
    assert_eq!((used.name.as_str(), used.state()), (held.name.as_str(), State::Consumed));
    assert_eq!((used.order.as_str(), used.etag.as_str()), ("orders/A-17", "v2"));
    let (logged, told) = loyalty.kit.events.only::<events::VoucherConsumed>().await;
    assert_eq!((logged.aggregate.as_str(), logged.aggregate_version), (held.name.as_str(), 2));
    let expected = events::VoucherConsumed {
        voucher: held.name.clone(),
        member: member_name(customer),
        customer: name(customer),
        reward: reward.name,
        order: "orders/A-17".into(),
    };
    assert_eq!(told, expected);
    assert_eq!(loyalty.consume(message).await.unwrap().encode_to_vec(), used.encode_to_vec(), "a repeat");

    for refused in [
        loyalty.consume(consuming(&taken.code)).await.map(|_| "consume"),
        loyalty.cancel(&held.name).await.map(|_| "cancel"),
    ] {
        let failure = ours(refused, Code::FailedPrecondition, "VOUCHER_STATE");
        assert_eq!(failure.facts["state"], "CONSUMED");
    }
    assert_eq!(loyalty.validate(&taken.code).await.unwrap().voucher, Some(used.clone()));
    assert_eq!(loyalty.voucher(&held.name).await.unwrap(), used);
    assert_eq!(audit(&loyalty.kit.db).await.unwrap()[&customer].available(), 40);
}

#[tokio::test]
async fn of_many_who_use_one_code_at_the_same_time_one_does() {
    let mut loyalty = Loyalty::start().await;
    let reward = loyalty.offer(gift(10)).await;
    for _ in 0..4 {
        let (_, taken) = loyalty.holder(&reward).await;
        let loyal = &loyalty;
        let messages: Vec<_> = (0..12).map(|_| consuming(&taken.code)).collect();
        let outcomes =
            join_all(messages.iter().map(|message| persistent(|| loyal.consume(message.clone())))).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        for status in outcomes.into_iter().filter_map(Result::err) {
            ours(Err::<(), _>(status), Code::FailedPrecondition, "VOUCHER_STATE");
        }
        loyalty.kit.events.only::<events::VoucherConsumed>().await;
    }
}

#[tokio::test]
async fn a_voucher_that_is_taken_back_returns_points_to_their_lots_and_its_piece_to_the_stock() {
    let rules = Config { lifetime: Duration::from_secs(10 * DAY), ..RULES };
    let mut loyalty = Loyalty::start_by(rules).await;
    let customer = Uuid::now_v7();
    loyalty.given(customer, 40).await;
    loyalty.kit.clock.advance(Duration::from_secs(DAY));
    loyalty.given(customer, 80).await;
    let lots = audit(&loyalty.kit.db).await.unwrap()[&customer].lots.clone();
    let limits = proto::Reward { stock: Some(1), most_per_member: 1, ..gift(100) };
    let reward = loyalty.offer(limits).await;

    let taken = loyalty.take(customer, &reward).await.unwrap();
    let held = taken.voucher.unwrap();
    ours(loyalty.take(customer, &reward).await, Code::FailedPrecondition, "REWARD_LIMIT");
    loyalty.kit.events.next().await;
    loyalty.kit.clock.advance(Duration::from_secs(DAY));

    let stale = proto::CancelVoucherRequest { etag: "v9".into(), ..cancelling(&held.name) };
    refused(loyalty.send_cancel(stale).await, Code::Aborted, "ETAG_MISMATCH");
    let message = proto::CancelVoucherRequest { etag: held.etag.clone(), ..cancelling(&held.name) };
    let back = loyalty.send_cancel(message.clone()).await.unwrap();
    assert_eq!(back.voucher.clone().unwrap().state(), State::Cancelled);
    assert_eq!(back.entries.iter().map(|entry| entry.points).collect::<Vec<_>>(), [40, 60]);
    assert!(back.entries.iter().all(|entry| entry.source == held.name));
    assert_eq!(back.account.clone().unwrap().available, 120);
    let log = loyalty.kit.events.next().await;
    let told = events::SpendingReversed::decode(log[0].payload.as_slice()).unwrap();
    assert_eq!((told.transaction.as_str(), told.points), (held.transaction.as_str(), 100));
    let told = events::VoucherCancelled::decode(log[1].payload.as_slice()).unwrap();
    assert_eq!((told.voucher.as_str(), told.points, log.len()), (held.name.as_str(), 100, 2));
    assert_eq!(loyalty.send_cancel(message).await.unwrap().encode_to_vec(), back.encode_to_vec());

    // The lots are what they were, their ends too; the piece is there again, and the member may have it.
    assert_eq!(audit(&loyalty.kit.db).await.unwrap()[&customer].lots, lots);
    assert_eq!(loyalty.reward(&reward.name).await.unwrap().taken, 0);
    for refused in [
        loyalty.consume(consuming(&taken.code)).await.map(|_| "consume"),
        loyalty.cancel(&held.name).await.map(|_| "cancel"),
    ] {
        let failure = ours(refused, Code::FailedPrecondition, "VOUCHER_STATE");
        assert_eq!(failure.facts["state"], "CANCELLED");
    }
    let other = loyalty.take(customer, &reward).await.unwrap();
    assert_ne!(other.code, taken.code);
    assert_eq!(loyalty.kit.events.next_types().await, ["PointsRedeemed", "VoucherIssued"]);
    audit(&loyalty.kit.db).await.unwrap();
}

#[tokio::test]
async fn a_voucher_that_is_used_and_taken_back_at_the_same_time_is_one_of_both() {
    let mut loyalty = Loyalty::start().await;
    let reward = loyalty.offer(proto::Reward { stock: Some(100), ..gift(10) }).await;
    let mut used = 0;
    for _ in 0..6 {
        let (customer, taken) = loyalty.holder(&reward).await;
        let name = taken.voucher.unwrap().name;
        let (consume, cancels) = (consuming(&taken.code), [cancelling(&name), cancelling(&name)]);
        let (consumed, first, second) = tokio::join!(
            persistent(|| loyalty.consume(consume.clone())),
            persistent(|| loyalty.send_cancel(cancels[0].clone())),
            persistent(|| loyalty.send_cancel(cancels[1].clone())),
        );
        let done = [consumed.is_ok(), first.is_ok(), second.is_ok()];
        assert_eq!(done.iter().filter(|done| **done).count(), 1, "{done:?}");
        used += i64::from(done[0]);
        let available = audit(&loyalty.kit.db).await.unwrap()[&customer].available();
        assert_eq!(available, if done[0] { 90 } else { 100 });
        loyalty.kit.events.next().await;
    }
    assert_eq!(loyalty.reward(&reward.name).await.unwrap().taken, used);
}

#[tokio::test]
async fn a_voucher_ends_at_its_moment_whether_or_not_the_worker_has_run() {
    let mut loyalty = Loyalty::start().await;
    let reward = loyalty.offer(proto::Reward { stock: Some(2), ..short(10) }).await;
    let (customer, taken) = loyalty.holder(&reward).await;
    let held = taken.voucher.unwrap();
    loyalty.kit.clock.advance(Duration::from_secs(599));
    assert_eq!(loyalty.expiry_turn().await, 0, "a second is left");
    assert_eq!(loyalty.validate(&taken.code).await.unwrap().voucher.unwrap().state(), State::Issued);
    loyalty.kit.clock.advance(Duration::from_secs(1));

    assert_eq!(loyalty.validate(&taken.code).await.unwrap().voucher.unwrap().state(), State::Expired);
    assert_eq!(loyalty.voucher(&held.name).await.unwrap().state(), State::Expired);
    assert_eq!(loyalty.list_vouchers(customer, 0, "").await.unwrap().vouchers[0].state(), State::Expired);
    for (refused, action) in [
        (loyalty.consume(consuming(&taken.code)).await.map(|_| ()), "consume"),
        (loyalty.cancel(&held.name).await.map(|_| ()), "cancel"),
    ] {
        let failure = ours(refused, Code::FailedPrecondition, "VOUCHER_STATE");
        assert_eq!((failure.facts["state"].as_str(), failure.facts["action"].as_str()), ("EXPIRED", action));
    }
    assert_eq!(loyalty.kit.events.next().await, [], "nothing was written down");

    assert_eq!(loyalty.expiry_turn().await, 1);
    let (logged, told) = loyalty.kit.events.only::<events::VoucherExpired>().await;
    assert_eq!((logged.aggregate.as_str(), logged.aggregate_version), (held.name.as_str(), 2));
    assert_eq!((told.voucher, told.customer, told.reward), (held.name, name(customer), reward.name.clone()));
    assert_eq!(loyalty.expiry_turn().await, 0, "once");
    assert_eq!(loyalty.reward(&reward.name).await.unwrap().taken, 1, "what was taken stays taken");
    assert_eq!(audit(&loyalty.kit.db).await.unwrap()[&customer].available(), 90);
}

#[tokio::test]
async fn workers_of_many_replicas_write_the_end_of_vouchers_down_once_and_in_batches() {
    let mut loyalty = Loyalty::start().await;
    let reward = loyalty.offer(short(1)).await;
    let customer = Uuid::now_v7();
    loyalty.given(customer, 1000).await;
    let first = loyalty.take(customer, &reward).await.unwrap();
    loyalty.kit.events.next().await;
    let copies = "INSERT INTO voucher
                  SELECT customer_id, gen_random_uuid(), reward_id, state, points, transaction_id, from_stock,
                         order_name, expires_at, version, create_time, update_time
                  FROM voucher, generate_series(1, 249)";
    loyalty.kit.execute(copies).await;
    loyalty.kit.clock.advance(Duration::from_secs(600));
    let loyal = &loyalty;
    let turns = async || {
        let mut written = 0;
        loop {
            match loyal.expiry_turn().await {
                0 => return written,
                some => {
                    assert!(some <= 100);
                    written += some;
                }
            }
        }
    };
    let (one, other, third) = tokio::join!(turns(), turns(), turns());
    // Those whom another one has locked are skipped, so that each stops when nothing is left that it can have.
    assert_eq!(one + other + third + turns().await, 250);
    assert_eq!(loyalty.kit.events.next_types().await, ["VoucherExpired"; 250]);
    assert_eq!(loyalty.kit.count("voucher WHERE state = 'EXPIRED' AND version = 2").await, 250);
    assert_eq!(loyalty.validate(&first.code).await.unwrap().voucher.unwrap().etag, "v2");
}

#[tokio::test]
async fn the_process_itself_writes_down_that_vouchers_have_ended() {
    let mut loyalty = Loyalty::start_by(Config { poll: Duration::from_millis(20), ..RULES }).await;
    let reward = loyalty.offer(short(1)).await;
    loyalty.holder(&reward).await;
    loyalty.kit.clock.advance(Duration::from_secs(600));
    let kit = &loyalty.kit;
    cqm_testkit::eventually("the voucher ends", async || {
        kit.count("voucher WHERE state = 'EXPIRED'").await == 1
    })
    .await;
    assert_eq!(loyalty.kit.events.next_types().await, ["VoucherExpired"]);
}

#[tokio::test]
async fn vouchers_are_listed_in_pages_the_newest_first_and_a_strangers_is_not_there() {
    let mut loyalty = Loyalty::start().await;
    let (customer, other) = (Uuid::now_v7(), Uuid::now_v7());
    loyalty.given(customer, 100).await;
    loyalty.given(other, 100).await;
    let reward = loyalty.offer(gift(10)).await;
    let mut names = Vec::new();
    for _ in 0..3 {
        names.insert(0, loyalty.take(customer, &reward).await.unwrap().voucher.unwrap().name);
    }
    let theirs = loyalty.take(other, &reward).await.unwrap().voucher.unwrap().name;
    let first = loyalty.list_vouchers(customer, 2, "").await.unwrap();
    let second = loyalty.list_vouchers(customer, 2, &first.next_page_token).await.unwrap();
    let found: Vec<_> = first.vouchers.iter().chain(&second.vouchers).map(|held| held.name.clone()).collect();
    assert_eq!((found, second.next_page_token.as_str()), (names, ""));
    let forged = loyalty.list_vouchers(other, 2, &first.next_page_token).await;
    refused(forged, Code::InvalidArgument, "PAGE_TOKEN_INVALID");
    let nobody = loyalty.list_vouchers(Uuid::now_v7(), 2, "").await;
    ours(nobody, Code::NotFound, "MEMBER_NOT_FOUND");

    let id = theirs.rsplit('/').next().unwrap();
    for holder in [customer, Uuid::now_v7()] {
        let name = format!("members/{holder}/vouchers/{id}");
        ours(loyalty.voucher(&name).await, Code::NotFound, "VOUCHER_NOT_FOUND");
        ours(loyalty.cancel(&name).await, Code::NotFound, "VOUCHER_NOT_FOUND");
    }
    loyalty.kit.events.next().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_request_about_vouchers_is_told_at_once() {
    let mut loyalty = Loyalty::start().await;
    let reward = loyalty.offer(gift(10)).await;
    let (_, taken) = loyalty.holder(&reward).await;
    let mut mistyped = taken.code.into_bytes();
    mistyped[3] = if mistyped[3] == b'7' { b'8' } else { b'7' };
    let mistyped = String::from_utf8(mistyped).unwrap();
    for (code, reason) in [
        ("", "FIELD_REQUIRED"),
        ("1234", "FIELD_FORMAT"),
        (mistyped.as_str(), "FIELD_FORMAT"),
        ("'; DROP TABLE voucher;--", "FIELD_FORMAT"),
        (&"0".repeat(10_000), "FIELD_FORMAT"),
    ] {
        assert_eq!(violations(loyalty.validate(code).await), [format!("code {reason}")]);
        let wrong = proto::ConsumeVoucherRequest {
            code: code.into(),
            order: "for Li Lei".into(),
            request_id: String::new(),
            etag: "x".into(),
        };
        assert_eq!(
            violations(loyalty.consume(wrong).await),
            [
                format!("code {reason}").as_str(),
                "order FIELD_FORMAT",
                "request_id REQUEST_ID_REQUIRED",
                "etag FIELD_FORMAT",
            ]
        );
    }
    let wrong = proto::CancelVoucherRequest { name: "vouchers/1".into(), ..Default::default() };
    let told = violations(loyalty.send_cancel(wrong).await);
    assert_eq!(told, ["name FIELD_FORMAT", "request_id REQUEST_ID_REQUIRED"]);
    assert_eq!(violations(loyalty.voucher("").await), ["name FIELD_REQUIRED"]);
    let outcome = loyalty
        .vouchers()
        .validate_voucher(request(Role::Supervisor, proto::ValidateVoucherRequest { code: mistyped }))
        .await;
    refused(outcome, Code::PermissionDenied, "ROLE_MISSING");
}
