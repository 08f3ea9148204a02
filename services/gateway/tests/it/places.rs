//! Calls at work: how many, whose, and who is refused first when there is room for no more.

use std::time::Duration;

use cqm_gateway::backend::Backends;
use cqm_rpc::{Failure, Role};
use cqm_runtime::tasks::detached;
use cqm_testkit::eventually;
use serde_json::json;
use tokio::task::JoinHandle;
use tonic::Code;

use crate::desk::{self, Desk, Served};
use crate::tokens;
use crate::wire::Edge;

const GET: &str = "/cqm.customers.v1.CustomerService/GetCustomer";
const LIST: &str = "/cqm.customers.v1.CustomerService/ListCustomers";
const IMPORT: &str = "/cqm.customers.v1.CustomerService/ImportCustomers";

/// An edge with twenty places, six of them for bulk at most and ten for one caller, before a service that does not
/// answer GetCustomer.
async fn edge() -> (Edge, Desk, Served) {
    let desk = Desk::default();
    desk.stuck("GetCustomer", true);
    let served = desk::serve(desk::config(), desk.clone()).await;
    let url = served.url();
    let edge = Edge::configured(Backends::at(|_| url.clone()), |config| {
        config.server.max_in_flight = 20;
        config.server.max_in_flight_per_caller = 10;
        config.server.bulk_share_percent = 30;
    })
    .await;
    (edge, desk, served)
}

fn token(edge: &Edge, subject: &str) -> String {
    let mut claims = tokens::claims(edge.clock.now(), &[Role::ServiceManager]);
    claims["sub"] = json!(subject);
    format!("Bearer {}", edge.issuer.sign(&claims))
}

/// Calls that stay at work until they are dropped.
async fn stay(edge: &Edge, desk: &Desk, subject: &str, calls: usize) -> Vec<JoinHandle<()>> {
    let before = desk.all().len();
    let mut staying = Vec::new();
    for _ in 0..calls {
        let (wire, token) = (edge.wire().await, token(edge, subject));
        staying.push(detached(async move {
            wire.call(GET, &[("authorization", &token)], b"").await;
        }));
    }
    eventually("the calls at work", || async { desk.all().len() == before + calls }).await;
    staying
}

async fn call(edge: &Edge, subject: &str, path: &str) -> Failure {
    let token = token(edge, subject);
    Failure::of(&edge.wire().await.call(path, &[("authorization", &token)], b"").await.status())
}

#[track_caller]
fn assert_shed(failure: &Failure) {
    assert_eq!((failure.code, failure.reason.as_str()), (Code::Unavailable, "OVERLOADED"));
    assert!(failure.retry_after.is_some_and(|wait| wait > Duration::ZERO), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_caller_cannot_take_the_places_of_all() {
    let (edge, desk, _served) = edge().await;
    let greedy = stay(&edge, &desk, "greedy", 10).await;
    assert_shed(&call(&edge, "greedy", LIST).await);
    assert_eq!(call(&edge, "modest", LIST).await.code, Code::Ok);
    greedy.iter().for_each(JoinHandle::abort);
    eventually("free places", || async { call(&edge, "greedy", LIST).await.code == Code::Ok }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_is_refused_first_and_health_never() {
    let (edge, desk, _served) = edge().await;
    let mut staying = stay(&edge, &desk, "first", 6).await;
    assert_shed(&call(&edge, "second", IMPORT).await);
    assert_eq!(call(&edge, "second", LIST).await.code, Code::Ok);
    staying.extend(stay(&edge, &desk, "first", 4).await);
    staying.extend(stay(&edge, &desk, "second", 8).await);
    // Two places are left, and they are the coordinator's.
    assert_shed(&call(&edge, "third", LIST).await);
    let sources = call(&edge, "third", "/cqm.gateway.v1.CoordinatorService/ListSources").await;
    assert_eq!(sources.code, Code::Ok);
    let health = edge.wire().await.call("/grpc.health.v1.Health/Check", &[], b"").await;
    assert!(health.body.ends_with(b"\x08\x01"));
    drop(staying);
}
