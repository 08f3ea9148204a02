//! Channels, from one service of the suite to another.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cqm_proto::gateway::v1::customer360_service_client::Customer360ServiceClient;
use cqm_proto::gateway::v1::customer360_service_server::{
    Customer360Service, Customer360ServiceServer, SERVICE_NAME,
};
use cqm_proto::gateway::v1::{
    GetCustomer360Request, GetCustomer360Response, ListCustomerTimelineRequest, ListCustomerTimelineResponse,
};
use cqm_rpc::{
    Call, Caller, Clock, Deadline, Error, Failure, Reason, Role, TraceContext, metadata, reason, serve,
};
use cqm_runtime::channel::{self, Channel, ChannelConfig};
use cqm_runtime::pass::Passes;
use cqm_runtime::server::{DrainConfig, Health, Options, Running, ServerConfig, Shape, bind};
use cqm_runtime::tasks::detached;
use cqm_testkit::{Door, eventually};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};

use crate::desk::{gate, refused};

/// Fails as often as it is told to, and remembers who called.
#[derive(Clone, Default)]
struct Answering {
    failures: Arc<AtomicUsize>,
    calls: Arc<Mutex<Vec<Call>>>,
    waiting: Arc<Notify>,
}

impl Answering {
    fn failing(times: usize) -> Self {
        Self { failures: Arc::new(AtomicUsize::new(times)), ..Self::default() }
    }

    fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }
}

#[tonic::async_trait]
impl Customer360Service for Answering {
    async fn get_customer360(
        &self,
        request: Request<GetCustomer360Request>,
    ) -> Result<Response<GetCustomer360Response>, Status> {
        serve(request, async |call, message: GetCustomer360Request| {
            self.calls.lock().unwrap().push(call);
            match message.customer.as_str() {
                "absent" => {
                    let reason = Reason::new("cqm.test", "CUSTOMER_NOT_FOUND");
                    return Err(Error::NotFound { reason, name: message.customer });
                }
                "slow" => {
                    self.waiting.notify_one();
                    std::future::pending::<()>().await;
                }
                _ => {}
            }
            let failing = self
                .failures
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                .is_ok();
            if failing {
                return Err(Error::Unavailable { reason: reason::STORAGE_UNAVAILABLE, source: None });
            }
            Ok(GetCustomer360Response { customer: message.customer, ..Default::default() })
        })
        .await
    }

    async fn list_customer_timeline(
        &self,
        _: Request<ListCustomerTimelineRequest>,
    ) -> Result<Response<ListCustomerTimelineResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

struct Server {
    running: Running,
    shutdown: CancellationToken,
}

async fn serve_at(listen: SocketAddr, service: Answering) -> Server {
    let config = ServerConfig {
        shape: Shape::MultiThread,
        drain: DrainConfig { settle: Duration::ZERO, timeout: Duration::from_millis(100) },
        ..ServerConfig::on(listen)
    };
    let health = Health::new(&[SERVICE_NAME]);
    let options = Options::new(health.clone());
    let shutdown = options.shutdown.clone();
    let make = move |_| Ok(Routes::new(Customer360ServiceServer::new(service.clone())));
    let running = bind(&config).unwrap().serve(options, gate("answering"), make).await.unwrap();
    health.ready().await;
    Server { running, shutdown }
}

async fn server(service: Answering) -> Server {
    serve_at(SocketAddr::from(([127, 0, 0, 1], 0)), service).await
}

fn client_of(address: SocketAddr) -> Customer360ServiceClient<Channel> {
    client_with(address, cqm_testkit::mint(Clock::system()).for_service("answering"))
}

fn client_with(address: SocketAddr, passes: Passes) -> Customer360ServiceClient<Channel> {
    let channel = channel::connect(&format!("http://{address}"), &ChannelConfig::default()).unwrap();
    Customer360ServiceClient::new(channel.with_passes(passes))
}

fn call(budget: Duration) -> Call {
    Call {
        caller: Caller { subject: "gateway".into(), roles: vec![Role::InternalService, Role::Supervisor] },
        deadline: Deadline::after(budget),
        trace: TraceContext::fresh(false),
        path: "/test".into(),
        purpose: None,
    }
}

fn asking(customer: &str) -> GetCustomer360Request {
    GetCustomer360Request { customer: customer.into(), ..Default::default() }
}

fn unreachable() -> (Code, String) {
    (Code::Unavailable, "UNREACHABLE".to_owned())
}

#[tokio::test]
async fn caller_trace_and_time_left_travel_with_the_call() {
    let service = Answering::default();
    let server = server(service.clone()).await;
    let mine = call(Duration::from_secs(10));
    let answer = client_of(server.running.address())
        .get_customer360(channel::request(&mine, asking("customers/1")))
        .await
        .unwrap();
    assert_eq!(answer.into_inner().customer, "customers/1");
    let seen = service.calls().remove(0);
    assert_eq!(&*seen.caller.subject, "gateway");
    assert_eq!(seen.caller.roles, mine.caller.roles);
    assert_eq!(seen.trace.trace_id, mine.trace.trace_id);
    // Each hop leaves the one before it time to hear the answer: 10 ms of the ten seconds are held back. Measured from
    // here, after the answer, so that a slow machine cannot make it fail.
    let whole = std::time::Instant::now() + Duration::from_secs(10);
    assert!(seen.deadline.instant() <= whole - Duration::from_millis(10));
    assert!(seen.deadline.remaining() > Duration::from_secs(5));
}

#[tokio::test]
async fn what_nobody_made_a_call_of_is_in_nobodys_name() {
    let service = Answering::default();
    let server = server(service.clone()).await;
    let request = Request::new(asking("customers/1"));
    let outcome = client_of(server.running.address()).get_customer360(request).await;
    assert_eq!(refused(outcome), unreachable());
    assert!(service.calls().is_empty());
}

#[tokio::test]
async fn a_service_that_does_not_take_the_pass_is_away() {
    let service = Answering::default();
    let server = server(service.clone()).await;
    // What the two do not agree on here is the service's name. Not the caller's fault, and it may pass.
    let mut client =
        client_with(server.running.address(), cqm_testkit::mint(Clock::system()).for_service("another"));
    let request = channel::streaming(&call(Duration::from_secs(5)), asking("customers/1"));
    assert_eq!(refused(client.get_customer360(request).await), unreachable());
    assert!(service.calls().is_empty());
}

#[tokio::test]
async fn the_edge_forwards_in_the_name_of_the_call_it_established() {
    let service = Answering::failing(1);
    let server = server(service.clone()).await;
    let forwarded = || {
        let mut request = Request::new(asking("customers/1"));
        request.metadata_mut().insert(metadata::PASS, "forged".parse().unwrap());
        request.extensions_mut().insert(call(Duration::from_secs(10)));
        request
    };
    let mut client = client_of(server.running.address());
    // Passing on is not repeating: that is the caller's business.
    assert_eq!(refused(client.get_customer360(forwarded()).await).0, Code::Unavailable);
    assert_eq!(service.calls().len(), 1);
    client.get_customer360(forwarded()).await.unwrap();
    assert_eq!(&*service.calls().remove(1).caller.subject, "gateway");
}

#[tokio::test]
async fn an_unavailable_service_is_asked_again() {
    let service = Answering::failing(2);
    let server = server(service.clone()).await;
    let mine = call(Duration::from_secs(20));
    let request = channel::request(&mine, asking("customers/1"));
    let answer = client_of(server.running.address()).get_customer360(request).await.unwrap();
    assert_eq!(answer.into_inner().customer, "customers/1");
    assert_eq!(service.calls().len(), 3);
}

#[tokio::test]
async fn asking_again_ends() {
    let service = Answering::failing(usize::MAX);
    let server = server(service.clone()).await;
    let mut client = client_of(server.running.address());
    let request = channel::request(&call(Duration::from_secs(20)), asking("customers/1"));
    let (code, reason) = refused(client.get_customer360(request).await);
    assert_eq!((code, reason.as_str()), (Code::Unavailable, "STORAGE_UNAVAILABLE"));
    assert_eq!(service.calls().len(), ChannelConfig::default().tries as usize);
    // The pause before the next try would outlast the deadline.
    let before = service.calls().len();
    let request = channel::request(&call(Duration::from_millis(150)), asking("customers/1"));
    assert_eq!(refused(client.get_customer360(request).await).0, Code::Unavailable);
    assert_eq!(service.calls().len(), before + 1);
}

#[tokio::test]
async fn refusals_and_streams_are_not_repeated() {
    let service = Answering::failing(usize::MAX);
    let server = server(service.clone()).await;
    let mut client = client_of(server.running.address());
    let mine = call(Duration::from_secs(10));
    let (code, reason) = refused(client.get_customer360(channel::request(&mine, asking("absent"))).await);
    assert_eq!((code, reason.as_str()), (Code::NotFound, "CUSTOMER_NOT_FOUND"));
    assert_eq!(service.calls().len(), 1);
    let streamed = channel::streaming(&mine, asking("customers/1"));
    assert_eq!(refused(client.get_customer360(streamed).await).0, Code::Unavailable);
    assert_eq!(service.calls().len(), 2);
}

#[tokio::test]
async fn the_deadline_is_kept_on_this_side_too() {
    let service = Answering::default();
    let server = server(service.clone()).await;
    // The frozen network keeps the server's own answer away.
    let door = Door::to_server(server.running.address()).await;
    let mut client = client_of(door.address());
    let request = channel::request(&call(Duration::from_secs(10)), asking("customers/1"));
    client.get_customer360(request).await.unwrap();
    door.freeze();
    let started = Instant::now();
    let request = channel::request(&call(Duration::from_millis(300)), asking("customers/1"));
    let (code, reason) = refused(client.get_customer360(request).await);
    assert_eq!((code, reason.as_str()), (Code::DeadlineExceeded, "DEADLINE_PASSED"));
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());

    let request = channel::request(&call(Duration::ZERO), asking("customers/1"));
    assert_eq!(refused(client.get_customer360(request).await).0, Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_connection_that_breaks_under_a_call_is_unavailable() {
    let service = Answering::default();
    let server = server(service.clone()).await;
    let door = Door::to_server(server.running.address()).await;
    let mut client = client_of(door.address());
    let waiting = service.waiting.clone();
    let asked = detached(async move {
        let mine = call(Duration::from_secs(20));
        let outcome = refused(client.get_customer360(channel::streaming(&mine, asking("slow"))).await);
        (client, outcome)
    });
    waiting.notified().await;
    door.close();
    let (mut client, outcome) = asked.await.unwrap();
    assert_eq!(outcome, unreachable());
    // And the channel finds its way back by itself.
    door.reopen();
    eventually("the channel comes back", async || {
        let request = channel::request(&call(Duration::from_secs(5)), asking("customers/1"));
        let answer = client.get_customer360(request).await;
        answer.inspect_err(|status| assert_eq!(Failure::of(status).code, Code::Unavailable)).is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_server_that_restarts_is_found_again() {
    let service = Answering::default();
    let first = server(service.clone()).await;
    let address = first.running.address();
    let mut client = client_of(address);
    let request = || channel::request(&call(Duration::from_secs(5)), asking("customers/1"));
    client.get_customer360(request()).await.unwrap();
    first.shutdown.cancel();
    first.running.join().await;
    assert_eq!(refused(client.get_customer360(request()).await), unreachable());
    let _second = serve_at(address, service).await;
    eventually("the channel comes back", async || client.get_customer360(request()).await.is_ok()).await;
}

#[tokio::test]
async fn a_peer_that_hangs_up_is_not_stormed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connects = Arc::new(AtomicUsize::new(0));
    let counted = connects.clone();
    detached(async move {
        while listener.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let mut client = client_of(address);
    let started = Instant::now();
    let mut calls = 0;
    while started.elapsed() < Duration::from_secs(1) {
        let request = channel::streaming(&call(Duration::from_secs(5)), asking("customers/1"));
        assert_eq!(refused(client.get_customer360(request).await), unreachable());
        calls += 1;
    }
    let connects = connects.load(Ordering::SeqCst);
    assert!(calls > 200, "calls fail at once: {calls}");
    // Pauses drawn up to 50, 100, 200, 400 ... ms leave room for about six in the first second.
    assert!((1..=20).contains(&connects), "{connects}");
}
