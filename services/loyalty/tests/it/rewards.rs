//! The catalogue, and what is taken from it.

use chrono::TimeDelta;
use cqm_loyalty::domain::book::Book;
use cqm_proto::events::v1 as events;
use cqm_proto::loyalty::v1::reward::{Kind, State};
use cqm_proto::loyalty::v1::reward_service_client::RewardServiceClient;
use cqm_proto::loyalty::v1::voucher;
use futures::future::join_all;
use prost::Message;
use prost_types::FieldMask;
use tonic::Code;

use super::*;
use crate::audit::{audit, execute};

/// A gift without limits.
pub fn gift(price: i64) -> proto::Reward {
    proto::Reward {
        kind: Kind::Gift.into(), display_name: text("马克杯", ""), price, ..Default::default()
    }
}

pub fn taking(customer: Uuid, reward: &proto::Reward) -> proto::RedeemRewardRequest {
    proto::RedeemRewardRequest {
        customer: name(customer),
        reward: reward.name.clone(),
        request_id: Uuid::now_v7().to_string(),
        etag: String::new(),
    }
}

impl Loyalty {
    pub fn rewards(&self) -> RewardServiceClient<Line> {
        RewardServiceClient::new(self.kit.channel.clone())
    }

    async fn draft_reward(&self, reward: proto::Reward) -> Result<proto::Reward, Status> {
        let message = proto::CreateRewardRequest { reward: Some(reward), request_id: String::new() };
        self.rewards().create_reward(request(Role::CrmSpecialist, message)).await.map(Response::into_inner)
    }

    /// A reward of the catalogue that members can take.
    pub async fn offer(&self, reward: proto::Reward) -> proto::Reward {
        let draft = self.draft_reward(reward).await.expect("a reward is added");
        self.activate_reward(&draft.name, &draft.etag).await.expect("a draft is opened")
    }

    async fn activate_reward(&self, reward: &str, etag: &str) -> Result<proto::Reward, Status> {
        let message = proto::ActivateRewardRequest {
            name: reward.into(),
            request_id: String::new(),
            etag: etag.into(),
        };
        let request = request(Role::ServiceManager, message);
        self.rewards().activate_reward(request).await.map(Response::into_inner)
    }

    async fn archive(&self, reward: &str, etag: &str) -> Result<proto::Reward, Status> {
        let message =
            proto::ArchiveRewardRequest { name: reward.into(), request_id: String::new(), etag: etag.into() };
        let request = request(Role::ServiceManager, message);
        self.rewards().archive_reward(request).await.map(Response::into_inner)
    }

    async fn update(
        &self,
        reward: proto::Reward,
        paths: &[&str],
        etag: &str,
    ) -> Result<proto::Reward, Status> {
        let message = proto::UpdateRewardRequest {
            reward: Some(reward),
            update_mask: Some(FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() }),
            request_id: String::new(),
            etag: etag.into(),
        };
        let request = request(Role::InternalService, message);
        self.rewards().update_reward(request).await.map(Response::into_inner)
    }

    pub async fn reward(&self, reward: &str) -> Result<proto::Reward, Status> {
        let request = request(Role::AfterSales, proto::GetRewardRequest { name: reward.into() });
        self.rewards().get_reward(request).await.map(Response::into_inner)
    }

    pub async fn send(
        &self,
        message: proto::RedeemRewardRequest,
    ) -> Result<proto::RedeemRewardResponse, Status> {
        let request = request(Role::ServiceRepresentative, message);
        self.rewards().redeem_reward(request).await.map(Response::into_inner)
    }

    pub async fn take(
        &self,
        customer: Uuid,
        reward: &proto::Reward,
    ) -> Result<proto::RedeemRewardResponse, Status> {
        self.send(taking(customer, reward)).await
    }
}

#[tokio::test]
async fn the_catalogue_is_written_opened_changed_and_closed() {
    let loyalty = Loyalty::start().await;
    let terms = |points| {
        let discount = Some(proto::coupon_terms::Discount::BasisPoints(points));
        let minimum_order = Some(Money { currency_code: "CNY".into(), units: 100, nanos: 500_000_000 });
        Some(proto::CouponTerms { discount, minimum_order })
    };
    let stated = proto::Reward {
        kind: Kind::Coupon.into(),
        description: text("满一百可用", ""),
        stock: Some(10),
        end_time: Some(Timestamp { seconds: 4_000_000_000, nanos: 0 }),
        most_per_member: 2,
        voucher_lifetime: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
        coupon: terms(1000),
        ..gift(300)
    };
    let draft = loyalty.draft_reward(stated.clone()).await.unwrap();
    assert_eq!((draft.state(), draft.etag.as_str(), draft.taken), (State::Draft, "v1", 0));
    assert_eq!(loyalty.reward(&draft.name).await.unwrap(), draft);

    loyalty.kit.clock.advance(Duration::from_secs(60));
    let named = proto::Reward { name: draft.name.clone(), price: 250, coupon: terms(1500), ..stated };
    let changed = loyalty.update(named.clone(), &["price", "coupon", "stock"], "v1").await.unwrap();
    assert_eq!((changed.price, changed.coupon, changed.etag.as_str()), (250, terms(1500), "v2"));
    assert_eq!(changed.update_time.unwrap().seconds - changed.create_time.unwrap().seconds, 60);
    let stale = loyalty.update(named.clone(), &["price"], "v1").await;
    refused(stale, Code::Aborted, "ETAG_MISMATCH");

    let active = loyalty.activate_reward(&draft.name, "v2").await.unwrap();
    assert_eq!((active.state(), active.etag.as_str()), (State::Active, "v3"));
    let again =
        ours(loyalty.activate_reward(&draft.name, "").await, Code::FailedPrecondition, "REWARD_STATE");
    assert_eq!((again.facts["state"].as_str(), again.facts["action"].as_str()), ("ACTIVE", "activate"));
    // Somebody may hold a coupon now.
    let other = proto::Reward { coupon: terms(9999), ..named };
    ours(loyalty.update(other, &["coupon"], "").await, Code::FailedPrecondition, "REWARD_STATE");

    let archived = loyalty.archive(&draft.name, "v3").await.unwrap();
    assert_eq!(archived.state(), State::Archived);
    ours(loyalty.archive(&draft.name, "").await, Code::FailedPrecondition, "REWARD_STATE");
    refused(loyalty.archive(&draft.name, "v3").await, Code::Aborted, "ETAG_MISMATCH");
    assert_eq!(loyalty.activate_reward(&draft.name, "").await.unwrap().etag, "v5");

    let stranger = format!("rewards/{}", Uuid::now_v7());
    for outcome in [
        loyalty.reward(&stranger).await,
        loyalty.activate_reward(&stranger, "").await,
        loyalty.archive(&stranger, "v1").await,
        loyalty.update(proto::Reward { name: stranger.clone(), ..gift(1) }, &["price"], "").await,
    ] {
        ours(outcome, Code::NotFound, "REWARD_NOT_FOUND");
    }
}

#[tokio::test]
async fn rewards_are_listed_in_pages_the_newest_first() {
    let loyalty = Loyalty::start().await;
    let list = async |state: Option<State>, page_size, page_token: &str| {
        let state = state.map_or(0, Into::into);
        let message = proto::ListRewardsRequest { page_size, page_token: page_token.into(), state };
        let page = loyalty.rewards().list_rewards(request(Role::Supervisor, message)).await;
        page.map(|page| {
            let page = page.into_inner();
            (page.rewards.into_iter().map(|reward| reward.name).collect::<Vec<_>>(), page.next_page_token)
        })
    };
    let mut names = Vec::new();
    for price in 1..=3 {
        names.insert(0, loyalty.draft_reward(gift(price)).await.unwrap().name);
    }
    loyalty.activate_reward(&names[1], "").await.unwrap();
    let (first, token) = list(None, 2, "").await.unwrap();
    let (second, end) = list(None, 2, &token).await.unwrap();
    assert_eq!(([first, second].concat(), end.as_str()), (names.clone(), ""));
    assert_eq!(list(Some(State::Active), 0, "").await.unwrap().0, [names[1].clone()]);
    assert_eq!(list(Some(State::Draft), 0, "").await.unwrap().0, [names[0].clone(), names[2].clone()]);
    refused(list(Some(State::Draft), 2, &token).await, Code::InvalidArgument, "PAGE_TOKEN_INVALID");

    // As many long descriptions as a page may have would not fit into a message.
    let long = proto::Reward { description: text(&"长".repeat(2000), ""), ..gift(1) };
    let drafts = join_all((0..8).map(|_| persistent(|| loyalty.draft_reward(long.clone())))).await;
    assert!(drafts.iter().all(Result::is_ok));
    assert_eq!(list(None, 8, "").await.unwrap().0.len(), 8);
}

#[tokio::test]
async fn a_reward_is_taken_for_points_and_the_answer_alone_carries_the_code() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    loyalty.given(customer, 100).await;
    loyalty.given(customer, 250).await;
    let lifetime = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let reward =
        loyalty.offer(proto::Reward { stock: Some(3), voucher_lifetime: lifetime, ..gift(300) }).await;

    let message = proto::RedeemRewardRequest { etag: reward.etag.clone(), ..taking(customer, &reward) };
    let taken = loyalty.send(message.clone()).await.unwrap();
    let held = taken.voucher.clone().unwrap();
    assert_eq!((held.state(), held.points, &held.reward), (voucher::State::Issued, 300, &reward.name));
    assert_eq!(held.expire_time.unwrap().seconds, loyalty.kit.clock.now().timestamp() + 60);
    assert_eq!(taken.entries.iter().map(|entry| entry.points).collect::<Vec<_>>(), [-100, -200]);
    for entry in &taken.entries {
        assert_eq!((&entry.source, &entry.transaction), (&held.name, &held.transaction));
        assert_eq!(entry.reason(), proto::entry::Reason::Reward);
    }
    let account = taken.account.clone().unwrap();
    assert_eq!((account.available, account.lifetime_redeemed), (50, 300));
    assert_eq!(taken.code.len(), 29);

    let log = loyalty.kit.events.next().await;
    let told: Vec<_> = log.iter().map(|event| (event.aggregate.as_str(), event.aggregate_version)).collect();
    assert_eq!(told, [(member_name(customer).as_str(), 4), (held.name.as_str(), 1)]);
    let spent = events::PointsRedeemed::decode(log[0].payload.as_slice()).unwrap();
    assert_eq!((spent.points, spent.source, spent.balance), (300, held.name.clone(), 50));
    let issued = events::VoucherIssued::decode(log[1].payload.as_slice()).unwrap();
    let expected = events::VoucherIssued {
        voucher: held.name.clone(),
        member: member_name(customer),
        customer: name(customer),
        reward: reward.name.clone(),
        points: 300,
        expire_time: held.expire_time,
    };
    assert_eq!(issued, expected);

    // A repeat is told the same, the code too, though only what it is made of is remembered.
    loyalty.kit.clock.advance(Duration::from_secs(5));
    let again = loyalty.send(message).await.unwrap();
    assert_eq!(again.encode_to_vec(), taken.encode_to_vec());
    let after = loyalty.reward(&reward.name).await.unwrap();
    assert_eq!((after.taken, &after.etag), (1, &reward.etag), "taking a piece is no change of the reward");

    // The points come back with the voucher only: otherwise it would stay good.
    let reversal = loyalty.reverse(reversals::reversing(&held.transaction, None)).await;
    ours(reversal, Code::FailedPrecondition, "NOT_REVERSIBLE");
    let ledger = audit(&loyalty.kit.db).await.unwrap();
    assert_eq!((ledger[&customer].available(), ledger[&customer].balance(Book::Redeemed)), (50, 300));
    assert_eq!(loyalty.kit.count("voucher").await, 1);
}

#[tokio::test]
async fn of_many_who_want_the_last_pieces_so_many_get_one_and_the_others_keep_their_points() {
    let mut loyalty = Loyalty::start().await;
    let reward = loyalty.offer(proto::Reward { stock: Some(7), ..gift(60) }).await;
    let mut customers = Vec::new();
    for _ in 0..20 {
        let customer = Uuid::now_v7();
        loyalty.given(customer, 100).await;
        customers.push(customer);
    }
    let loyal = &loyalty;
    let messages: Vec<_> = customers.iter().map(|customer| taking(*customer, &reward)).collect();
    let calls = messages.iter().map(|message| persistent(|| loyal.send(message.clone())));
    let outcomes = join_all(calls).await;
    let mut codes: Vec<_> = outcomes.iter().flatten().map(|taken| taken.code.clone()).collect();
    codes.sort();
    codes.dedup();
    assert_eq!(codes.len(), 7);
    for status in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        ours(Err::<(), _>(status.clone()), Code::FailedPrecondition, "OUT_OF_STOCK");
    }
    let ledger = audit(&loyalty.kit.db).await.unwrap();
    for (customer, outcome) in customers.iter().zip(&outcomes) {
        assert_eq!(ledger[customer].available(), if outcome.is_ok() { 40 } else { 100 });
    }
    assert_eq!(loyalty.reward(&reward.name).await.unwrap().taken, 7);
    let types = loyalty.kit.events.next_types().await;
    assert_eq!(types.iter().filter(|kind| *kind == "VoucherIssued").count(), 7);
    assert_eq!(types.len(), 14);
}

#[tokio::test]
async fn a_member_takes_no_more_of_a_reward_than_one_may_however_fast_they_ask() {
    let mut loyalty = Loyalty::start().await;
    let (customer, other) = (Uuid::now_v7(), Uuid::now_v7());
    loyalty.given(customer, 1000).await;
    loyalty.given(other, 1000).await;
    let reward = loyalty.offer(proto::Reward { most_per_member: 2, ..gift(10) }).await;
    let loyal = &loyalty;
    let messages: Vec<_> = (0..8).map(|_| taking(customer, &reward)).collect();
    let outcomes = join_all(messages.iter().map(|message| persistent(|| loyal.send(message.clone())))).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 2);
    for status in outcomes.into_iter().filter_map(Result::err) {
        let failure = ours(Err::<(), _>(status), Code::FailedPrecondition, "REWARD_LIMIT");
        assert_eq!(failure.facts["most"], "2");
    }
    loyalty.take(other, &reward).await.unwrap();
    assert_eq!(audit(&loyalty.kit.db).await.unwrap()[&customer].available(), 980);
    assert_eq!(loyalty.kit.events.next().await.len(), 6);
}

#[tokio::test]
async fn a_reward_is_taken_within_its_time_only() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    loyalty.given(customer, 100).await;
    let now = loyalty.kit.clock.now();
    let at = |minutes| Some(cqm_rpc::time::wire(now + TimeDelta::minutes(minutes)));
    let reward = loyalty.offer(proto::Reward { start_time: at(10), end_time: at(20), ..gift(10) }).await;
    let mut taken = 0;
    for (minutes, open) in [(9, false), (1, true), (9, true), (1, false)] {
        loyalty.kit.clock.advance(Duration::from_secs(minutes * 60));
        let outcome = loyalty.take(customer, &reward).await;
        if open {
            outcome.unwrap();
            taken += 1;
        } else {
            let failure = ours(outcome, Code::FailedPrecondition, "REWARD_NOT_OPEN");
            let expected = [("end_time", "2026-01-15T01:50:00Z"), ("start_time", "2026-01-15T01:40:00Z")];
            let facts: Vec<_> = failure.facts.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            assert_eq!(facts, expected);
        }
    }
    assert_eq!(taken, 2);
    assert_eq!(loyalty.kit.events.next().await.len(), 4);
}

#[tokio::test]
async fn a_present_costs_nothing_and_leaves_the_ledger_alone() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    loyalty.create(customer).await.unwrap();
    loyalty.kit.events.next().await;
    let reward = loyalty.offer(gift(0)).await;
    let taken = loyalty.take(customer, &reward).await.unwrap();
    let held = taken.voucher.unwrap();
    assert_eq!((held.points, held.transaction.as_str(), taken.entries.len()), (0, "", 0));
    assert_eq!(loyalty.kit.events.next_types().await, ["VoucherIssued"]);
    let cancelled = loyalty.cancel(&held.name).await.unwrap();
    assert_eq!((cancelled.voucher.unwrap().state(), cancelled.entries.len()), (voucher::State::Cancelled, 0));
    assert_eq!(loyalty.kit.events.next_types().await, ["VoucherCancelled"]);
    assert_eq!(loyalty.kit.count("entry").await, 0);
}

#[tokio::test]
async fn who_is_refused_a_reward_has_what_they_had() {
    let mut loyalty = Loyalty::start().await;
    let (customer, stranger) = (Uuid::now_v7(), Uuid::now_v7());
    loyalty.given(customer, 50).await;
    let dear = loyalty.offer(gift(51)).await;
    let gone = loyalty.offer(proto::Reward { stock: Some(0), ..gift(1) }).await;
    let free = loyalty.offer(gift(0)).await;
    let closed = loyalty.draft_reward(gift(1)).await.unwrap();
    let nothing = proto::Reward { name: format!("rewards/{}", Uuid::now_v7()), ..gift(1) };

    let failure = ours(loyalty.take(customer, &dear).await, Code::FailedPrecondition, "INSUFFICIENT_POINTS");
    assert_eq!(failure.facts["available"], "50");
    ours(loyalty.take(customer, &gone).await, Code::FailedPrecondition, "OUT_OF_STOCK");
    let failure = ours(loyalty.take(customer, &closed).await, Code::FailedPrecondition, "REWARD_STATE");
    assert_eq!((failure.facts["state"].as_str(), failure.facts["action"].as_str()), ("DRAFT", "redeem"));
    ours(loyalty.take(customer, &nothing).await, Code::NotFound, "REWARD_NOT_FOUND");
    ours(loyalty.take(stranger, &free).await, Code::NotFound, "MEMBER_NOT_FOUND");
    let stale = proto::RedeemRewardRequest { etag: "v1".into(), ..taking(customer, &free) };
    refused(loyalty.send(stale).await, Code::Aborted, "ETAG_MISMATCH");

    execute(&loyalty.kit.db, "UPDATE member SET state = 'FROZEN'").await.unwrap();
    for reward in [&dear, &free] {
        ours(loyalty.take(customer, reward).await, Code::FailedPrecondition, "ACCOUNT_FROZEN");
    }
    assert_eq!(audit(&loyalty.kit.db).await.unwrap()[&customer].entries, [50]);
    for table in ["voucher", "voucher_code", "reward_stock WHERE taken > 0"] {
        assert_eq!(loyalty.kit.count(table).await, 0, "{table}");
    }
    let caller = format!("idempotency WHERE method = '{}'", "/cqm.loyalty.v1.RewardService/RedeemReward");
    assert_eq!(loyalty.kit.count(&caller).await, 0, "a refusal is not remembered");
}

#[tokio::test]
async fn a_stock_may_grow_be_forgotten_and_never_be_less_than_what_is_taken() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    loyalty.given(customer, 100).await;
    let reward = loyalty.offer(proto::Reward { stock: Some(2), ..gift(10) }).await;
    let stock = async |stock| {
        loyalty.update(proto::Reward { name: reward.name.clone(), stock, ..gift(10) }, &["stock"], "").await
    };
    for _ in 0..2 {
        loyalty.take(customer, &reward).await.unwrap();
    }
    ours(loyalty.take(customer, &reward).await, Code::FailedPrecondition, "OUT_OF_STOCK");
    let failure = ours(stock(Some(1)).await, Code::FailedPrecondition, "STOCK_BELOW_TAKEN");
    assert_eq!(failure.facts["taken"], "2");
    let grown = stock(Some(3)).await.unwrap();
    assert_eq!((grown.stock, grown.taken), (Some(3), 2));
    loyalty.take(customer, &reward).await.unwrap();
    stock(None).await.unwrap();
    let uncounted = loyalty.take(customer, &reward).await.unwrap().voucher.unwrap();
    assert_eq!(loyalty.reward(&reward.name).await.unwrap().taken, 3, "without a stock nothing is counted");
    loyalty.cancel(&uncounted.name).await.unwrap();
    assert_eq!(loyalty.reward(&reward.name).await.unwrap().taken, 3);
    stock(Some(3)).await.unwrap();

    let refused = execute(&loyalty.kit.db, "UPDATE reward_stock SET taken = taken + 1").await.unwrap_err();
    assert!(refused.contains("reward_stock_suffices"), "{refused}");
    loyalty.kit.events.next().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_request_about_rewards_is_told_at_once() {
    let loyalty = Loyalty::start().await;
    let wrong = proto::RedeemRewardRequest {
        customer: "members/1".into(),
        reward: String::new(),
        request_id: String::new(),
        etag: "1".into(),
    };
    assert_eq!(
        violations(loyalty.send(wrong).await),
        [
            "customer FIELD_FORMAT",
            "reward FIELD_REQUIRED",
            "request_id REQUEST_ID_REQUIRED",
            "etag FIELD_FORMAT",
        ]
    );
    assert_eq!(violations(loyalty.reward("rewards/1").await), ["name FIELD_FORMAT"]);
    assert_eq!(
        violations(loyalty.activate_reward("", "1").await),
        ["name FIELD_REQUIRED", "etag FIELD_FORMAT"]
    );
    let bad = proto::Reward { price: -1, ..gift(1) };
    assert_eq!(violations(loyalty.draft_reward(bad).await), ["reward.price FIELD_RANGE"]);
    let keep = proto::CreateRewardRequest { reward: Some(gift(1)), request_id: String::new() };
    let outcome = loyalty.rewards().create_reward(request(Role::ServiceRepresentative, keep)).await;
    refused(outcome, Code::PermissionDenied, "ROLE_MISSING");
}
