//! How much a caller may ask for, alone, over several gateways, and without Redis.

use std::time::Duration;

use cqm_gateway::backend::Backends;
use cqm_gateway::config::{CallerQuota, Rate};
use cqm_proto::google::rpc;
use cqm_rpc::{Failure, Role};
use cqm_runtime::redis_link::RedisTls;
use cqm_testkit::{Authority, Door, eventually};
use prost::Message;
use serde_json::json;
use tonic::Code;
use uuid::Uuid;

use crate::desk::{self, Desk, Served};
use crate::tokens;
use crate::wire::{Answer, Edge, Wire};

const GET: &str = "/cqm.customers.v1.CustomerService/GetCustomer";
const CREATE: &str = "/cqm.customers.v1.CustomerService/CreateCustomer";
const SLOW: Rate = Rate { per_second: 1, burst: 10 };

/// One caller, known by a name that no other test has: buckets in Redis outlive a test.
struct Caller {
    subject: String,
    wire: Wire,
    token: String,
}

impl Caller {
    async fn new(edge: &Edge, subject: &str) -> Self {
        let mut claims = tokens::claims(edge.clock.now(), &[Role::ServiceManager]);
        claims["sub"] = json!(subject);
        let token = format!("Bearer {}", edge.issuer.sign(&claims));
        Self { subject: subject.to_owned(), wire: edge.wire().await, token }
    }

    async fn call(&self, path: &str) -> Answer {
        self.wire.call(path, &[("authorization", &self.token)], b"").await
    }

    /// How many of so many calls are answered; the others are refused by quota.
    async fn answered(&self, path: &str, calls: usize) -> usize {
        let mut answered = 0;
        for _ in 0..calls {
            match self.call(path).await.failure() {
                (Code::Ok, _) => answered += 1,
                failure => assert_eq!(failure, (Code::ResourceExhausted, "QUOTA".to_owned())),
            }
        }
        answered
    }
}

fn anybody() -> String {
    format!("caller-{}", Uuid::new_v4())
}

async fn edge(redis_url: Option<String>) -> (Edge, Served) {
    edge_by(redis_url, RedisTls::default()).await
}

async fn edge_by(redis_url: Option<String>, redis_tls: RedisTls) -> (Edge, Served) {
    let served = desk::serve(desk::config(), Desk::default()).await;
    let url = served.url();
    let edge = Edge::configured(Backends::at(|_| url.clone()), |config| {
        config.quota.redis_url = redis_url.map(Into::into);
        config.quota.redis_tls = redis_tls;
        config.quota.read = SLOW;
        config.quota.budget = Duration::from_millis(250);
        let many = Rate { per_second: 1000, burst: 1000 };
        let own = CallerQuota { read: Some(many), ..CallerQuota::default() };
        config.quota.callers.insert("importer".to_owned(), own);
    })
    .await;
    (edge, served)
}

fn redis() -> String {
    cqm_testkit::environment("CQM_TEST_REDIS_URL")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_over_its_quota_is_told_when_to_come_back() {
    let (edge, _served) = edge(None).await;
    let caller = Caller::new(&edge, &anybody()).await;
    // Ten lie ready, and one comes back each second that this takes.
    let answered = caller.answered(GET, 40).await;
    assert!((10..=20).contains(&answered), "{answered}");

    let status = loop {
        let answer = caller.call(GET).await;
        if answer.failure().0 != Code::Ok {
            break answer.status();
        }
    };
    let failure = Failure::of(&status);
    assert_eq!((failure.code, failure.reason.as_str()), (Code::ResourceExhausted, "QUOTA"));
    assert_eq!(failure.facts["class"], "read");
    let wait = failure.retry_after.unwrap();
    assert!(!wait.is_zero() && wait <= Duration::from_secs(1), "{wait:?}");
    let details = rpc::Status::decode(status.details()).unwrap().details;
    let quota = details.iter().find(|any| any.type_url.ends_with("QuotaFailure")).unwrap();
    let quota = rpc::QuotaFailure::decode(quota.value.as_slice()).unwrap();
    assert_eq!(quota.violations[0].subject, caller.subject);

    // Another class, another caller, and a caller with a quota of its own.
    assert_eq!(caller.answered(CREATE, 20).await, 20);
    assert!(Caller::new(&edge, &anybody()).await.answered(GET, 5).await == 5);
    assert_eq!(Caller::new(&edge, "importer").await.answered(GET, 100).await, 100);
}

/// Whoever has no token is a customer with a signed link: one of them must not use up what all of them have.
#[tokio::test(flavor = "multi_thread")]
async fn callers_without_a_name_have_a_quota_for_each_address() {
    const OPEN: &str = "/cqm.surveys.v1.InvitationService/OpenInvitation";
    let served = desk::serve(desk::config(), Desk::default()).await;
    let url = served.url();
    let edge = Edge::configured(Backends::at(|_| url.clone()), |config| {
        config.quota.read = SLOW;
        config.quota.proxies = 1;
    })
    .await;
    let wire = edge.wire().await;
    let answered = async |from: &str| {
        let mut answered = 0;
        for number in 0..40 {
            // What stands before the proxy's word may be anything.
            let said = format!("198.51.100.{number}, {from}");
            match wire.call(OPEN, &[("x-forwarded-for", &said)], b"").await.failure() {
                (Code::Ok, _) => answered += 1,
                failure => assert_eq!(failure, (Code::ResourceExhausted, "QUOTA".to_owned())),
            }
        }
        answered
    };
    for from in ["203.0.113.7", "203.0.113.8", "2001:db8::1"] {
        let answered = answered(from).await;
        assert!((10..=20).contains(&answered), "{answered} for {from}");
    }
    // Another address, and the same network.
    let answered = answered("2001:db8::2").await;
    assert!(answered < 10, "{answered}");
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_share_a_quota_over_redis() {
    let (first, _served) = edge(Some(redis())).await;
    let (second, _other) = edge(Some(redis())).await;
    share(&first, &second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_reaches_redis_by_tls_shares_the_same_quota() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let ca = folder.path().join("ca.crt");
    std::fs::write(&ca, authority.pem()).unwrap();
    let door = Door::to_redis_by_tls(authority.vouch_for("127.0.0.1")).await;
    let tls = RedisTls { ca: Some(ca), ..RedisTls::default() };
    let (first, _served) = edge_by(Some(format!("rediss://{}", door.address())), tls).await;
    let (second, _other) = edge(Some(redis())).await;
    share(&first, &second).await;
}

async fn share(first: &Edge, second: &Edge) {
    // Whether it is shared shows in what both give together; a gateway that is not connected yet counts for itself.
    eventually("a quota that is shared", || async {
        let subject = anybody();
        let callers = [Caller::new(first, &subject).await, Caller::new(second, &subject).await];
        let started = std::time::Instant::now();
        let mut answered = 0;
        for _ in 0..15 {
            for caller in &callers {
                answered += caller.answered(GET, 1).await;
            }
        }
        let back = started.elapsed().as_secs() as usize + 1;
        assert!(answered >= 10, "{answered}");
        answered <= 10 + back
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_every_gateway_counts_for_itself_and_no_call_fails() {
    let door = Door::to_redis().await;
    let (edge, _served) = edge(Some(format!("redis://{}", door.address()))).await;
    let caller = Caller::new(&edge, "importer").await;
    assert_eq!(caller.answered(GET, 20).await, 20);
    for shut in [Door::close, Door::freeze] {
        shut(&door);
        assert_eq!(caller.answered(GET, 100).await, 100);
        let poor = Caller::new(&edge, &anybody()).await;
        let answered = poor.answered(GET, 40).await;
        assert!((10..=25).contains(&answered), "{answered}");
        door.reopen();
        assert_eq!(caller.answered(GET, 20).await, 20);
    }
}
