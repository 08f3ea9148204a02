//! Calls out of browsers, over both versions of HTTP, in both forms of gRPC-Web.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use cqm_gateway::backend::Backends;
use cqm_proto::customers::v1::customer_service_client::CustomerServiceClient;
use cqm_proto::customers::v1::{Customer, GetCustomerRequest, ImportCustomersRequest};
use cqm_proto::loyalty::v1::VerifyLedgerResponse;
use cqm_rpc::{Error, Role};
use cqm_runtime::server::WebConfig;
use cqm_runtime::tasks::detached;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::TcpStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::desk::{self, Desk, Served, framed};
use crate::wire::{Edge, refused};

const GET: &str = "/cqm.customers.v1.CustomerService/GetCustomer";
const VERIFY: &str = "/cqm.loyalty.v1.LedgerService/VerifyLedger";
const DESK: &str = "https://desk.example.com";

async fn edge(web: WebConfig) -> (Edge, Desk, Served) {
    let desk = Desk::default();
    desk.on("GetCustomer", |_| Ok(Customer { name: "customers/1".into(), ..Default::default() }));
    let served = desk::serve(desk::config(), desk.clone()).await;
    let url = served.url();
    let edge = Edge::configured(Backends::at(|_| url.clone()), |config| config.server.web = web).await;
    (edge, desk, served)
}

fn open() -> WebConfig {
    WebConfig { enabled: true, origins: vec![DESK.to_owned()] }
}

#[derive(Debug)]
struct Page {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

async fn ask(address: SocketAddr, version_2: bool, request: Request<Full<Bytes>>) -> Page {
    let (parts, body) = send(address, version_2, request).await.into_parts();
    Page { status: parts.status, headers: parts.headers, body: body.collect().await.unwrap().to_bytes() }
}

/// The answer as soon as its head is there.
async fn send(address: SocketAddr, version_2: bool, request: Request<Full<Bytes>>) -> Response<Incoming> {
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    if version_2 {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        detached(connection);
        sender.send_request(request).await.unwrap()
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        detached(connection);
        sender.send_request(request).await.unwrap()
    }
}

fn call(address: SocketAddr, version_2: bool, content_type: &str) -> http::request::Builder {
    call_of(GET, address, version_2, content_type)
}

fn call_of(path: &str, address: SocketAddr, version_2: bool, content_type: &str) -> http::request::Builder {
    let uri = if version_2 { format!("http://{address}{path}") } else { path.to_owned() };
    Request::post(uri)
        .header("host", address.to_string())
        .header("origin", DESK)
        .header("content-type", content_type)
}

/// Message and status of an answer in gRPC-Web, which has its trailers in the body.
fn read(body: &[u8]) -> (Bytes, String) {
    let mut message = Bytes::new();
    let mut rest = body;
    while let [flag, a, b, c, d, tail @ ..] = rest {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let (content, next) = tail.split_at(length);
        if flag & 0x80 == 0 {
            message = Bytes::copy_from_slice(content);
        } else {
            return (message, String::from_utf8(content.to_vec()).unwrap());
        }
        rest = next;
    }
    panic!("no trailers in {body:?}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_calls_in_both_forms_over_both_versions() {
    let (edge, desk, _served) = edge(open()).await;
    let address = edge.running.address();
    let token = format!("Bearer {}", edge.issuer.token(edge.clock.now(), &[Role::Supervisor]));
    let request = framed(b"\x0a\x0bcustomers/1");
    for version_2 in [false, true] {
        for text in [false, true] {
            let (content_type, body) = if text {
                ("application/grpc-web-text+proto", Bytes::from(STANDARD.encode(&request)))
            } else {
                ("application/grpc-web+proto", request.clone())
            };
            let asked = call(address, version_2, content_type)
                .header("accept", content_type)
                .header("authorization", &token)
                .header("x-grpc-web", "1");
            let page = ask(address, version_2, asked.body(Full::new(body)).unwrap()).await;
            assert_eq!(
                (page.status, page.headers["access-control-allow-origin"].as_bytes()),
                (StatusCode::OK, DESK.as_bytes())
            );
            assert_eq!(page.headers["content-type"], content_type);
            let body = if text { decoded(&page.body) } else { page.body.to_vec() };
            let (message, trailers) = read(&body);
            assert_eq!(Customer::decode(message).unwrap().name, "customers/1");
            assert!(trailers.contains("grpc-status:0"), "{trailers}");
        }
    }
    assert_eq!(desk.all().len(), 4);
    assert!(desk.all().iter().all(|seen| seen.message.ends_with(b"customers/1")));
}

/// Base64 in pieces, each padded for itself.
fn decoded(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for quantum in text.chunks(4) {
        bytes.extend(STANDARD.decode(quantum).unwrap());
    }
    bytes
}

/// An answer that is read while it comes.
struct Reading {
    body: Incoming,
    text: bool,
    /// What has come and is not decoded.
    raw: Vec<u8>,
    /// What is decoded and not looked at.
    bytes: Vec<u8>,
}

impl Reading {
    /// The next frame of gRPC-Web: its flag and its content.
    async fn next(&mut self) -> (u8, Vec<u8>) {
        loop {
            if let [flag, a, b, c, d, rest @ ..] = &self.bytes[..] {
                let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
                if rest.len() >= length {
                    let frame = (*flag, rest[..length].to_vec());
                    self.bytes.drain(..5 + length);
                    return frame;
                }
            }
            let more = tokio::time::timeout(crate::PATIENCE, self.body.frame()).await;
            let more = more.expect("what was sent arrives").expect("the answer goes on").unwrap();
            self.raw.extend(more.into_data().unwrap_or_default());
            let whole = if self.text { self.raw.len() / 4 * 4 } else { self.raw.len() };
            let ready: Vec<u8> = self.raw.drain(..whole).collect();
            self.bytes.extend(if self.text { decoded(&ready) } else { ready });
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_reads_a_stream_message_by_message() {
    let (edge, desk, _served) = edge(open()).await;
    let address = edge.running.address();
    let token = format!("Bearer {}", edge.issuer.token(edge.clock.now(), &[Role::Supervisor]));
    for version_2 in [false, true] {
        for text in [false, true] {
            let pages = desk.pages("VerifyLedger");
            let (content_type, body) = if text {
                ("application/grpc-web-text+proto", Bytes::from(STANDARD.encode(framed(b""))))
            } else {
                ("application/grpc-web+proto", framed(b""))
            };
            let asked = call_of(VERIFY, address, version_2, content_type)
                .header("accept", content_type)
                .header("authorization", &token);
            let answer = send(address, version_2, asked.body(Full::new(body)).unwrap()).await;
            assert_eq!(answer.status(), StatusCode::OK);
            assert_eq!(answer.headers()["content-type"], content_type);
            assert!(!answer.headers().contains_key("grpc-status"), "{answer:?}");
            let mut answer = Reading { body: answer.into_body(), text, raw: Vec::new(), bytes: Vec::new() };
            for members in 1..=3 {
                let said = VerifyLedgerResponse { members, ..Default::default() };
                pages.send(said.encode_to_vec()).await.unwrap();
                // The next one is sent only when this one was read: nothing on the way may wait for more.
                let (flag, message) = answer.next().await;
                assert_eq!((flag, VerifyLedgerResponse::decode(&message[..]).unwrap()), (0, said));
            }
            drop(pages);
            let (flag, trailers) = answer.next().await;
            let trailers = String::from_utf8(trailers).unwrap();
            assert_eq!(flag, 0x80);
            assert!(trailers.contains("grpc-status:0"), "{trailers}");
        }
    }
    assert_eq!(desk.seen("VerifyLedger").len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn native_callers_are_served_where_browsers_are() {
    let (edge, _desk, _served) = edge(open()).await;
    let mut customers = CustomerServiceClient::new(edge.channel().await);
    let get = || GetCustomerRequest { name: "customers/1".into(), ..Default::default() };
    let answer = customers.get_customer(edge.request(Role::Supervisor, get())).await.unwrap();
    assert_eq!(answer.into_inner().name, "customers/1");
    assert_eq!(
        refused(customers.get_customer(get()).await),
        (Code::Unauthenticated, "CREDENTIALS_MISSING".into())
    );

    // In both directions at once, which browsers cannot.
    let (rows, stream) = tokio::sync::mpsc::channel(1);
    let request = edge.request(Role::ServiceManager, ReceiverStream::new(stream));
    let mut answers = customers.import_customers(request).await.unwrap().into_inner();
    for row in 1..=3 {
        rows.send(ImportCustomersRequest { row, ..Default::default() }).await.unwrap();
        assert_eq!(answers.message().await.unwrap().unwrap().row, row);
    }
    drop(rows);
    assert!(answers.message().await.unwrap().is_none());
    assert_eq!(answers.trailers().await.unwrap().unwrap().get("x-custom-trailer").unwrap(), "kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_reads_why_it_is_refused() {
    let (edge, desk, _served) = edge(open()).await;
    desk.on::<Customer>("GetCustomer", |_| Err(Error::DeadlinePassed));
    let address = edge.running.address();
    for (token, status) in [
        (None, "16"),
        (Some(format!("Bearer {}", edge.issuer.token(edge.clock.now(), &[Role::Supervisor]))), "4"),
    ] {
        let mut asked = call(address, false, "application/grpc-web");
        if let Some(token) = token {
            asked = asked.header("authorization", token);
        }
        let page = ask(address, false, asked.body(Full::new(framed(b""))).unwrap()).await;
        assert_eq!(page.status, StatusCode::OK);
        assert_eq!(page.headers["grpc-status"], status);
        let readable = page.headers["access-control-expose-headers"].to_str().unwrap().to_owned();
        for name in ["grpc-status", "grpc-message", "grpc-status-details-bin"] {
            assert!(readable.contains(name), "{name} is not in {readable}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_learns_which_pages_may_call() {
    let (edge, desk, _served) = edge(open()).await;
    let address = edge.running.address();
    for (origin, may) in
        [(DESK, true), ("https://strangers.example.com", false), ("http://desk.example.com", false)]
    {
        let asked = Request::builder()
            .method(Method::OPTIONS)
            .uri(GET)
            .header("host", address.to_string())
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,content-type,x-grpc-web");
        let page = ask(address, false, asked.body(Full::default()).unwrap()).await;
        assert_eq!(page.headers.contains_key("access-control-allow-origin"), may, "{origin}");
        if may {
            let headers = page.headers["access-control-allow-headers"].to_str().unwrap().to_owned();
            assert!(headers.contains("authorization") && headers.contains("x-grpc-web"), "{headers}");
            assert!(!page.headers.contains_key("access-control-allow-credentials"));
        }
    }
    assert!(desk.all().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_word_in_the_configuration_no_browser_may_call() {
    let (edge, desk, _served) = edge(WebConfig::default()).await;
    let address = edge.running.address();
    let token = format!("Bearer {}", edge.issuer.token(edge.clock.now(), &[Role::Supervisor]));
    for (version_2, status) in
        [(false, StatusCode::HTTP_VERSION_NOT_SUPPORTED), (true, StatusCode::UNSUPPORTED_MEDIA_TYPE)]
    {
        let asked = call(address, version_2, "application/grpc-web").header("authorization", &token);
        let page = ask(address, version_2, asked.body(Full::new(framed(b""))).unwrap()).await;
        assert_eq!(page.status, status);
    }
    assert!(desk.all().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_grpc_web_is_answered_over_http_1() {
    let (edge, desk, _served) = edge(open()).await;
    let address = edge.running.address();
    let asked = call(address, false, "application/grpc");
    let page = ask(address, false, asked.body(Full::new(framed(b""))).unwrap()).await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    let asked = Request::get("/").header("host", address.to_string()).body(Full::default()).unwrap();
    assert!(ask(address, false, asked).await.status.is_client_error());
    assert!(desk.all().is_empty());
}
