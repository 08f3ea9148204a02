//! The loyalty service over a real Postgres and a real server: answers, rows, events, error details.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod append_only;
mod audit;
mod bad_input;
mod budgets;
mod concurrency;
mod earning;
mod earning_rules;
mod forgetting;
mod history;
mod holds;
mod idempotency;
mod liability;
mod members;
mod merging;
mod process;
mod programmes;
mod reading;
mod referrals;
mod reports;
mod reversals;
mod rewards;
mod spending;
mod tiers;
mod time;
mod verifying;
mod voucher_codes;
mod vouchers;
mod writers;

use std::time::Duration;

use chrono::{DateTime, Utc};
use cqm_loyalty::config::{TiersConfig, WindowKind};
use cqm_loyalty::domain::code::Keys;
use cqm_loyalty::domain::entry::Reason;
use cqm_loyalty::domain::tier::Reasons;
use cqm_loyalty::{App, Config};
use cqm_proto::google::r#type::Money;
use cqm_proto::loyalty::v1 as proto;
use cqm_proto::loyalty::v1::earn_points_request::Basis;
use cqm_proto::loyalty::v1::ledger_service_client::LedgerServiceClient;
use cqm_proto::loyalty::v1::member_service_client::MemberServiceClient;
use cqm_rpc::{Failure, Role};
use cqm_testkit::{Kit, Line, persistent, refused, request, violations};
use prost_types::Timestamp;
use tonic::{Code, Response, Status};
use uuid::Uuid;

/// Points for ever, at once; time is written down by whoever meets it, never by the worker.
const RULES: Config = Config {
    points_per_unit: 1,
    survey_points: 50,
    referral_points: 100,
    purchase_delay: Duration::ZERO,
    lifetime: Duration::ZERO,
    expiry_notice: Duration::from_secs(3 * DAY),
    refund_grace: Duration::from_secs(5 * DAY),
    repay_debt: true,
    poll: Duration::from_secs(DAY),
    tiers: TiersConfig {
        window: WindowKind::Rolling,
        months: 12,
        qualifying: Reasons::of(&[Reason::Purchase]),
        notice: Duration::from_secs(30 * DAY),
    },
    voucher_keys: Keys::new(&["a-key-of-the-tests-and-of-nobody-else"]),
};
const DAY: u64 = 24 * 60 * 60;

/// A loyalty service of the test's own, and what a caller does with it.
struct Loyalty {
    kit: Kit,
    members: MemberServiceClient<Line>,
    ledger: LedgerServiceClient<Line>,
}

impl Loyalty {
    async fn start() -> Self {
        Self::start_by(RULES).await
    }

    async fn start_by(rules: Config) -> Self {
        let kit = Kit::start::<App>(rules).await;
        let members = MemberServiceClient::new(kit.channel.clone());
        let ledger = LedgerServiceClient::new(kit.channel.clone());
        Self { kit, members, ledger }
    }

    async fn earn(&self, message: proto::EarnPointsRequest) -> Result<proto::EarnPointsResponse, Status> {
        earn(&self.ledger, message).await
    }

    async fn redeem(
        &self,
        message: proto::RedeemPointsRequest,
    ) -> Result<proto::RedeemPointsResponse, Status> {
        redeem(&self.ledger, message).await
    }

    async fn account(&self, customer: Uuid) -> Result<proto::Account, Status> {
        let message = proto::GetAccountRequest { customer: name(customer) };
        self.ledger.clone().get_account(request(Role::Supervisor, message)).await.map(Response::into_inner)
    }

    async fn create(&self, customer: Uuid) -> Result<proto::Member, Status> {
        let message = proto::CreateMemberRequest { customer: name(customer), ..Default::default() };
        self.members
            .clone()
            .create_member(request(Role::CrmSpecialist, message))
            .await
            .map(Response::into_inner)
    }

    /// Gives points and looks at the events of it, for tests that are about something else.
    async fn given(&mut self, customer: Uuid, points: i64) -> proto::EarnPointsResponse {
        let answer = self.earn(earning(customer, compensation(points))).await.expect("points are given");
        assert_eq!(self.kit.events.next_types().await.last().map(String::as_str), Some("PointsEarned"));
        answer
    }
}

async fn earn(
    ledger: &LedgerServiceClient<Line>,
    message: proto::EarnPointsRequest,
) -> Result<proto::EarnPointsResponse, Status> {
    ledger.clone().earn_points(request(Role::Coordinator, message)).await.map(Response::into_inner)
}

async fn redeem(
    ledger: &LedgerServiceClient<Line>,
    message: proto::RedeemPointsRequest,
) -> Result<proto::RedeemPointsResponse, Status> {
    ledger
        .clone()
        .redeem_points(request(Role::ServiceRepresentative, message))
        .await
        .map(Response::into_inner)
}

/// A text in Chinese, and in English unless that is empty.
fn text(zh: &str, en: &str) -> Option<proto::LocalizedText> {
    let english = Some(("en".to_owned(), en.to_owned())).filter(|_| !en.is_empty());
    let texts = [("zh-CN".to_owned(), zh.to_owned())].into_iter().chain(english).collect();
    Some(proto::LocalizedText { texts })
}

fn name(customer: Uuid) -> String {
    format!("customers/{customer}")
}

fn member_name(customer: Uuid) -> String {
    format!("members/{customer}")
}

/// A new request to give points, without a source.
fn earning(customer: Uuid, basis: Basis) -> proto::EarnPointsRequest {
    proto::EarnPointsRequest {
        customer: name(customer),
        basis: Some(basis),
        request_id: Uuid::now_v7().to_string(),
        ..Default::default()
    }
}

/// A new request to spend points.
fn spending(customer: Uuid, points: i64) -> proto::RedeemPointsRequest {
    proto::RedeemPointsRequest {
        customer: name(customer),
        points,
        source: "orders/42".into(),
        request_id: Uuid::now_v7().to_string(),
        etag: String::new(),
    }
}

fn purchase(units: i64, nanos: i32, time: DateTime<Utc>) -> Basis {
    Basis::Purchase(proto::PurchaseBasis {
        amount: Some(Money { currency_code: "USD".into(), units, nanos }),
        purchase_time: Some(Timestamp { seconds: time.timestamp(), nanos: 0 }),
    })
}

fn compensation(points: i64) -> Basis {
    Basis::Compensation(proto::CompensationBasis { points })
}

fn adjustment(points: i64) -> Basis {
    Basis::Adjustment(proto::AdjustmentBasis { points })
}

/// What a refused call said; fails when it was answered, or refused by others than this service's rules.
#[track_caller]
fn ours<A: std::fmt::Debug>(outcome: Result<A, Status>, code: Code, reason: &str) -> Failure {
    let failure = refused(outcome, code, reason);
    assert_eq!(failure.domain, "cqm.loyalty.v1");
    failure
}
