//! Bytes, trailers, deadlines and traces on their way through the edge, and what becomes of them when a service is away.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cqm_gateway::backend::Backends;
use cqm_proto::customers::v1::customer_service_client::CustomerServiceClient;
use cqm_proto::customers::v1::purchase_service_client::PurchaseServiceClient;
use cqm_proto::customers::v1::{
    Customer, GetCustomerRequest, ImportCustomersRequest, RecordPurchasesRequest,
};
use cqm_rpc::{Error, Failure, Refusal, Role, TraceContext, reason};
use cqm_runtime::server::ServerConfig;
use cqm_runtime::tasks::detached;
use cqm_testkit::eventually;
use prost::Message;
use tokio::net::TcpListener;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::desk::{self, Desk, PLENTY, Served};
use crate::wire::{Edge, refused};

const GET: &str = "/cqm.customers.v1.CustomerService/GetCustomer";

async fn edge() -> (Edge, Desk, Served) {
    let desk = Desk::default();
    let served = desk::serve(desk::config(), desk.clone()).await;
    let url = served.url();
    (Edge::before(Backends::at(|_| url.clone())).await, desk, served)
}

fn get() -> GetCustomerRequest {
    GetCustomerRequest { name: "customers/1".into(), ..Default::default() }
}

/// An address where nobody listens, as of now.
async fn vacant() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_to_the_service_of_its_package() {
    let edge;
    let mut services = Vec::new();
    let addresses: Vec<String> = {
        for _ in 0..5 {
            let desk = Desk::default();
            services.push((desk.clone(), desk::serve(desk::config(), desk).await));
        }
        services.iter().map(|(_, served)| served.url()).collect()
    };
    edge = Edge::before(Backends::at(|backend| addresses[backend as usize].clone())).await;
    let wire = edge.wire().await;
    let token = format!("Bearer {}", edge.issuer.token(edge.clock.now(), &[Role::InternalService]));
    for (index, path) in [
        "/cqm.complaints.v1.ComplaintService/GetComplaint",
        GET,
        "/cqm.loyalty.v1.LedgerService/GetAccount",
        "/cqm.notifications.v1.MessageService/GetMessage",
        "/cqm.surveys.v1.ResponseService/GetResponse",
    ]
    .into_iter()
    .enumerate()
    {
        let answer = wire.call(path, &[("authorization", &token)], b"").await;
        assert_eq!(answer.status().code(), Code::Ok, "{path}");
        let counts: Vec<usize> = services.iter().map(|(desk, _)| desk.all().len()).collect();
        let expected: Vec<usize> = (0..5).map(|other| usize::from(other <= index)).collect();
        assert_eq!(counts, expected, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_and_trailers_pass_as_they_are() {
    let (edge, desk, _served) = edge().await;
    // Not decoded on the way: field 4000 is no field of the message, and its order is not prost's.
    let odd = b"\x82\xfa\x01\x03abc\x0a\x0bcustomers/1";
    desk.on("GetCustomer", |_| {
        Ok(Customer { name: "customers/1".into(), etag: "v3".into(), ..Default::default() })
    });
    let token = format!("Bearer {}", edge.issuer.token(edge.clock.now(), &[Role::Supervisor]));
    let answer = edge.wire().await.call(GET, &[("authorization", &token)], odd).await;
    assert_eq!(desk.all()[0].message, odd.as_slice());
    assert_eq!(answer.trailers["grpc-status"], "0");
    assert_eq!(answer.trailers["x-custom-trailer"], "kept");
    assert!(answer.body.ends_with(b"v3"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_services_refusal_passes_with_its_details() {
    let (edge, desk, _served) = edge().await;
    const CLOSED: cqm_rpc::Reason = cqm_rpc::Reason::new("cqm.complaints.v1", "COMPLAINT_STATE");
    desk.on::<Customer>("GetCustomer", |_| Err(Refusal::new(CLOSED).fact("state", "closed").into()));
    let mut customers = CustomerServiceClient::new(edge.channel().await);
    let status = customers.get_customer(edge.request(Role::Supervisor, get())).await.unwrap_err();
    let failure = Failure::of(&status);
    assert_eq!((failure.code, failure.reason.as_str()), (Code::FailedPrecondition, "COMPLAINT_STATE"));
    assert_eq!(failure.facts["state"], "closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_shrinks_and_the_trace_goes_on() {
    let (edge, desk, _served) = edge().await;
    let wire = edge.wire().await;
    let token = format!("Bearer {}", edge.issuer.token(edge.clock.now(), &[Role::Supervisor]));
    let trace = TraceContext::fresh(true);
    let traceparent = trace.to_string();
    let headers =
        [("authorization", token.as_str()), ("grpc-timeout", "2000m"), ("traceparent", traceparent.as_str())];
    assert_eq!(wire.call(GET, &headers, b"").await.status().code(), Code::Ok);
    let seen = desk.all().pop().unwrap();
    let millis: u64 = seen.header("grpc-timeout").unwrap().trim_end_matches('m').parse().unwrap();
    assert!((500..=1_990).contains(&millis), "{millis}");
    let passed = TraceContext::parse(seen.header("traceparent").unwrap()).unwrap();
    assert_eq!((passed.trace_id, passed.sampled), (trace.trace_id, true));
    assert_ne!(passed.span_id, trace.span_id);

    for (timeout, expected) in [
        ("soon", (Code::InvalidArgument, "BAD_DEADLINE")),
        ("0m", (Code::DeadlineExceeded, "DEADLINE_PASSED")),
        // Less than a hop takes: not worth sending.
        ("9m", (Code::DeadlineExceeded, "DEADLINE_PASSED")),
    ] {
        let headers = [("authorization", token.as_str()), ("grpc-timeout", timeout)];
        let (code, reason) = wire.call(GET, &headers, b"").await.failure();
        assert_eq!((code, reason.as_str()), expected, "{timeout}");
    }
    assert_eq!(desk.all().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_pass_message_by_message_in_both_directions() {
    let (edge, _desk, _served) = edge().await;
    let mut customers = CustomerServiceClient::new(edge.channel().await);
    let (rows, stream) = tokio::sync::mpsc::channel(1);
    let request = edge.request(Role::ServiceManager, ReceiverStream::new(stream));
    let mut answers = customers.import_customers(request).await.unwrap().into_inner();
    for row in 0..200 {
        // The answer's name has the number of the request's default region.
        let default_region = "n".repeat(row as usize * 10);
        rows.send(ImportCustomersRequest {
            row,
            default_region: default_region.clone(),
            ..Default::default()
        })
        .await
        .unwrap();
        let answer = answers.next().await.unwrap().unwrap();
        assert_eq!((answer.row, answer.name), (row, default_region));
    }
    drop(rows);
    assert!(answers.next().await.is_none());
    let trailers = answers.trailers().await.unwrap().unwrap();
    assert_eq!(trailers.get("x-custom-trailer").unwrap(), "kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_does_not_read_stops_the_service_and_nobody_else() {
    let (edge, desk, _served) = edge().await;
    let channel = edge.channel().await;
    let mut purchases = PurchaseServiceClient::new(channel.clone());
    let mut request = edge.request(Role::ServiceManager, tokio_stream::empty::<RecordPurchasesRequest>());
    request.metadata_mut().insert("x-plenty", "1".parse().unwrap());
    let stalled = purchases.record_purchases(request).await.unwrap().into_inner();

    // Until nothing more is produced for a while.
    let mut last = (0, Instant::now());
    eventually("the end of the production", || {
        let produced = desk.produced();
        if produced != last.0 {
            last = (produced, Instant::now());
        }
        let quiet = produced > 0 && last.1.elapsed() > Duration::from_millis(200);
        async move { quiet }
    })
    .await;
    assert!(desk.produced() < PLENTY / 4, "{} bytes lie on the way", desk.produced());

    // Through the same links.
    let mut customers = CustomerServiceClient::new(edge.channel().await);
    for _ in 0..100 {
        customers.get_customer(edge.request(Role::Supervisor, get())).await.unwrap();
    }

    drop(stalled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_does_not_read_stops_its_caller_and_nobody_else() {
    let (edge, desk, _served) = edge().await;
    let row = RecordPurchasesRequest { purchase_reference: "x".repeat(16 * 1024), ..Default::default() };
    let framed = 5 + row.encoded_len() as u64;
    let rows = PLENTY / framed;
    let taken = Arc::<AtomicU64>::default();
    let counted = tokio_stream::iter(0..rows).map({
        let taken = Arc::clone(&taken);
        move |_| {
            taken.fetch_add(framed, Ordering::SeqCst);
            row.clone()
        }
    });
    let mut purchases = PurchaseServiceClient::new(edge.channel().await);
    let mut request = edge.request(Role::ServiceManager, counted);
    request.metadata_mut().insert("x-unheard", "1".parse().unwrap());
    request.set_timeout(crate::PATIENCE * 4);
    let mut answers = purchases.record_purchases(request).await.unwrap().into_inner();

    // Until nothing more is taken for a while.
    let mut last = (0, Instant::now());
    eventually("the end of the sending", || {
        let so_far = taken.load(Ordering::SeqCst);
        if so_far != last.0 {
            last = (so_far, Instant::now());
        }
        let quiet = so_far > 0 && last.1.elapsed() > Duration::from_millis(200);
        async move { quiet }
    })
    .await;
    assert_eq!(desk.heard(), 0);
    let lies = taken.load(Ordering::SeqCst);
    assert!(lies < PLENTY / 4, "{lies} bytes lie on the way");

    // Through the same links.
    let mut customers = CustomerServiceClient::new(edge.channel().await);
    for _ in 0..100 {
        customers.get_customer(edge.request(Role::Supervisor, get())).await.unwrap();
    }

    // Nothing was lost by waiting.
    desk.listen();
    assert!(answers.next().await.is_none());
    assert_eq!(desk.heard(), rows * framed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_hangs_up_ends_the_services_work() {
    let (edge, desk, _served) = edge().await;
    desk.stuck("GetCustomer", true);
    let mut customers = CustomerServiceClient::new(edge.channel().await);
    let call = detached({
        let request = edge.request(Role::Supervisor, get());
        async move { customers.get_customer(request).await }
    });
    eventually("the call", || async { desk.all().len() == 1 }).await;
    assert_eq!(desk.abandoned(), 0);
    call.abort();
    eventually("the end of the work", || async { desk.abandoned() == 1 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_down_is_unavailable_and_comes_back_without_a_restart() {
    let address = vacant().await;
    let edge = Edge::before(Backends::at(|_| format!("http://{address}"))).await;
    let mut customers = CustomerServiceClient::new(edge.channel().await);
    for _ in 0..20 {
        let started = Instant::now();
        let status = customers.get_customer(edge.request(Role::Supervisor, get())).await.unwrap_err();
        let failure = Failure::of(&status);
        assert_eq!((failure.code, failure.reason.as_str()), (Code::Unavailable, "UNREACHABLE"));
        assert!(failure.retry_after.is_some());
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    }

    let served = desk::serve(ServerConfig { listen: address, ..desk::config() }, Desk::default()).await;
    eventually("the service", || {
        let mut customers = customers.clone();
        let request = edge.request(Role::Supervisor, get());
        async move { customers.get_customer(request).await.is_ok() }
    })
    .await;

    // Down again, with connections that were good.
    served.stop().await;
    assert_eq!(
        refused(customers.get_customer(edge.request(Role::Supervisor, get())).await).0,
        Code::Unavailable
    );
    let _served = desk::serve(ServerConfig { listen: address, ..desk::config() }, Desk::default()).await;
    eventually("the service, again", || {
        let mut customers = customers.clone();
        let request = edge.request(Role::Supervisor, get());
        async move { customers.get_customer(request).await.is_ok() }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_hangs_up_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let rude = detached(async move {
        loop {
            drop(listener.accept().await);
        }
    });
    let edge = Edge::before(Backends::at(|_| format!("http://{address}"))).await;
    let mut customers = CustomerServiceClient::new(edge.channel().await);
    for _ in 0..10 {
        let answer = customers.get_customer(edge.request(Role::Supervisor, get())).await;
        assert_eq!(refused(answer), (Code::Unavailable, "UNREACHABLE".into()));
    }
    rude.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_off_ends_with_a_status() {
    let (edge, _desk, served) = edge().await;
    let mut customers = CustomerServiceClient::new(edge.channel().await);
    let (rows, stream) = tokio::sync::mpsc::channel(1);
    let request = edge.request(Role::ServiceManager, ReceiverStream::new(stream));
    let mut answers = customers.import_customers(request).await.unwrap().into_inner();
    rows.send(ImportCustomersRequest { row: 1, ..Default::default() }).await.unwrap();
    assert_eq!(answers.next().await.unwrap().unwrap().row, 1);
    // The service drains, waits for the stream, and cuts it.
    detached(served.stop());
    let (code, _) = refused(answers.next().await.unwrap());
    assert_eq!(code, Code::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn aged_connections_are_exchanged_without_a_failed_call() {
    let desk = Desk::default();
    let config = ServerConfig { connection_age: Duration::from_millis(150), ..desk::config() };
    let served = desk::serve(config, desk.clone()).await;
    let url = served.url();
    let edge = Edge::before(Backends::at(|_| url.clone())).await;
    let channel = edge.channel().await;
    let until = Instant::now() + Duration::from_secs(2);
    let mut calls = Vec::new();
    for _ in 0..8 {
        let mut customers = CustomerServiceClient::new(channel.clone());
        let requests = std::iter::repeat_with(|| edge.request(Role::Supervisor, get())).take(1);
        let token = requests.map(|request| request.metadata().clone()).next().unwrap();
        calls.push(detached(async move {
            let mut count = 0;
            while Instant::now() < until {
                let mut request = tonic::Request::new(get());
                *request.metadata_mut() = token.clone();
                customers.get_customer(request).await.unwrap();
                count += 1;
            }
            count
        }));
    }
    let mut count = 0;
    for call in calls {
        count += call.await.unwrap();
    }
    assert!(count > 100, "{count} calls over more than ten connections");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_its_limit_is_the_services_to_refuse() {
    let (edge, desk, _served) = edge().await;
    desk.on::<Customer>("GetCustomer", |seen| {
        assert!(seen.message.len() > 64 * 1024, "it came through whole");
        let refusal = Refusal::new(reason::MESSAGE_TOO_LARGE).fact("limit", 65_536);
        Err(Error::Exhausted { refusal, retry_after: None })
    });
    let mut customers = CustomerServiceClient::new(edge.channel().await);
    let large = GetCustomerRequest { name: "x".repeat(100_000), ..Default::default() };
    let answer = customers.get_customer(edge.request(Role::Supervisor, large)).await;
    assert_eq!(refused(answer), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE".into()));
}
