//! Services of the suite that write down what they are asked and answer as a test tells them to, behind the suite's own
//! server: identity, access, deadlines and limits are the real ones.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use cqm_gateway::backend::Backend;
use cqm_proto::policy::MethodPolicy;
use cqm_rpc::{BoxError, Call, Caller, Clock, Error};
use cqm_runtime::pass::{PassGate, PassesConfig};
use cqm_runtime::server::{self, DrainConfig, Gate, Health, Options, Running, ServerConfig, Shape};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body::Frame;
use http_body_util::BodyExt;
use prost::Message;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;

use crate::PATIENCE;

/// One call as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `EarnPoints`
    pub method: String,
    pub headers: HeaderMap,
    pub call: Call,
    pub message: Bytes,
}

impl Seen {
    pub fn read<M: Message + Default>(&self) -> M {
        M::decode(self.message.clone()).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

type Handler = Arc<dyn Fn(&Seen) -> Result<Vec<u8>, Error> + Send + Sync>;

/// What all services of a test share.
#[derive(Clone, Default)]
pub struct Desk(Arc<Inner>);

#[derive(Default)]
struct Inner {
    seen: Mutex<Vec<Seen>>,
    handlers: Mutex<HashMap<String, Handler>>,
    /// Methods that are not answered at all.
    stuck: Mutex<HashSet<String>>,
    /// Bytes that plentiful answers have produced.
    produced: AtomicU64,
    /// Stuck calls whose caller went away.
    abandoned: AtomicU64,
    /// What answers the next call of a method, message by message.
    pages: Mutex<HashMap<String, mpsc::Receiver<Vec<u8>>>>,
    /// Whether requests are read of which a caller says that they are not.
    listening: watch::Sender<bool>,
    /// Bytes that were read of them.
    heard: AtomicU64,
}

impl Desk {
    /// How a method is answered from now on. Without a word, with an empty message.
    pub fn on<M: Message>(
        &self,
        method: &str,
        handler: impl Fn(&Seen) -> Result<M, Error> + Send + Sync + 'static,
    ) {
        let handler: Handler = Arc::new(move |seen| handler(seen).map(|message| message.encode_to_vec()));
        self.0.handlers.lock().unwrap().insert(method.to_owned(), handler);
    }

    /// The method is not answered any more, or again.
    pub fn stuck(&self, method: &str, stuck: bool) {
        let mut methods = self.0.stuck.lock().unwrap();
        if stuck {
            methods.insert(method.to_owned());
        } else {
            methods.remove(method);
        }
    }

    /// The next call of the method is answered by the messages that are sent here, one by one, until this end is dropped.
    pub fn pages(&self, method: &str) -> mpsc::Sender<Vec<u8>> {
        let (pages, answers) = mpsc::channel(1);
        self.0.pages.lock().unwrap().insert(method.to_owned(), answers);
        pages
    }

    /// Reads what it has left unread.
    pub fn listen(&self) {
        self.0.listening.send_replace(true);
    }

    pub fn heard(&self) -> u64 {
        self.0.heard.load(Ordering::SeqCst)
    }

    /// The calls so far, of one method.
    pub fn seen(&self, method: &str) -> Vec<Seen> {
        self.0.seen.lock().unwrap().iter().filter(|seen| seen.method == method).cloned().collect()
    }

    /// All calls so far.
    pub fn all(&self) -> Vec<Seen> {
        self.0.seen.lock().unwrap().clone()
    }

    pub fn produced(&self) -> u64 {
        self.0.produced.load(Ordering::SeqCst)
    }

    pub fn abandoned(&self) -> u64 {
        self.0.abandoned.load(Ordering::SeqCst)
    }

    pub async fn answer(self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let method = parts.uri.path().rsplit('/').next().unwrap().to_owned();
        match method.as_str() {
            // Whatever comes goes back, frame by frame.
            "ImportCustomers" => return stream(Echo { body, done: false }),
            "RecordPurchases" if parts.headers.contains_key("x-plenty") => return stream(Plenty(self)),
            "RecordPurchases" if parts.headers.contains_key("x-unheard") => {
                let mut listening = self.0.listening.subscribe();
                let until = Box::pin(async move { drop(listening.wait_for(|listening| *listening).await) });
                return stream(Unheard { desk: self, until: Some(until), body, done: false });
            }
            _ => {}
        }
        let Ok(body) = body.collect().await else {
            return Status::from(Error::internal("the request broke off")).into_http();
        };
        let bytes = body.to_bytes();
        let message = if bytes.len() >= 5 { bytes.slice(5..) } else { Bytes::new() };
        let call = parts.extensions.get::<Call>().cloned().unwrap();
        let seen = Seen { method: method.clone(), headers: parts.headers, call, message };
        self.0.seen.lock().unwrap().push(seen.clone());
        if let Some(answers) = self.0.pages.lock().unwrap().remove(&method) {
            return stream(Pages { answers, done: false });
        }
        if self.0.stuck.lock().unwrap().contains(&method) {
            let _abandoned = Abandoned(self);
            return std::future::pending().await;
        }
        let handler = self.0.handlers.lock().unwrap().get(&method).cloned();
        match handler.map_or(Ok(Vec::new()), |handler| handler(&seen)) {
            Ok(message) => stream(Once(vec![frame(&message), ok()].into_iter())),
            Err(error) => Status::from(error).into_http(),
        }
    }
}

/// A gRPC message as it stands on the wire.
pub fn framed(message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.len()).unwrap());
    bytes.put_slice(message);
    bytes.freeze()
}

fn frame(message: &[u8]) -> Frame<Bytes> {
    Frame::data(framed(message))
}

fn ok() -> Frame<Bytes> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    trailers.insert("x-custom-trailer", HeaderValue::from_static("kept"));
    Frame::trailers(trailers)
}

fn stream(body: impl http_body::Body<Data = Bytes, Error = Status> + Send + 'static) -> Response<Body> {
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

type Polled = Poll<Option<Result<Frame<Bytes>, Status>>>;

struct Once(std::vec::IntoIter<Frame<Bytes>>);

impl http_body::Body for Once {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Polled {
        Poll::Ready(self.0.next().map(Ok))
    }
}

struct Echo {
    body: Body,
    done: bool,
}

impl http_body::Body for Echo {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        if self.done {
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(None) => {
                self.done = true;
                Poll::Ready(Some(Ok(ok())))
            }
            polled => polled,
        }
    }
}

struct Pages {
    answers: mpsc::Receiver<Vec<u8>>,
    done: bool,
}

impl http_body::Body for Pages {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        if self.done {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Ok(match ready!(self.answers.poll_recv(cx)) {
            Some(message) => frame(&message),
            None => {
                self.done = true;
                ok()
            }
        })))
    }
}

/// An answer without messages, whose request is not read before the desk listens.
struct Unheard {
    desk: Desk,
    until: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    body: Body,
    done: bool,
}

impl http_body::Body for Unheard {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        if self.done {
            return Poll::Ready(None);
        }
        if let Some(until) = &mut self.until {
            ready!(until.as_mut().poll(cx));
            self.until = None;
        }
        while let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)?) {
            let length = frame.data_ref().map_or(0, Bytes::len);
            self.desk.0.heard.fetch_add(length as u64, Ordering::SeqCst);
        }
        self.done = true;
        Poll::Ready(Some(Ok(ok())))
    }
}

/// What a plentiful answer or request comes to, bytes.
pub const PLENTY: u64 = 64 * 1024 * 1024;

/// Messages of 16 KiB, as fast as they are taken.
struct Plenty(Desk);

impl http_body::Body for Plenty {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Polled {
        let frame = framed(&[0; 16 * 1024 - 5]);
        let produced = self.0.0.produced.fetch_add(frame.len() as u64, Ordering::SeqCst);
        Poll::Ready((produced < PLENTY).then(|| Ok(Frame::data(frame))))
    }
}

struct Abandoned(Desk);

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.0.abandoned.fetch_add(1, Ordering::SeqCst);
    }
}

impl tower::Service<Request<Body>> for Desk {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let desk = self.clone();
        Box::pin(async move { Ok(desk.answer(request).await) })
    }
}

/// A desk, or an office, behind the suite's server.
pub struct Served {
    pub running: Running,
    pub shutdown: CancellationToken,
    /// Stands still at [`cqm_testkit::NOW`] until it is moved.
    pub clock: Clock,
}

impl Served {
    pub fn address(&self) -> SocketAddr {
        self.running.address()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.running.join()).await.expect("the drain ends");
    }
}

/// Short where the defaults are long.
pub fn config() -> ServerConfig {
    ServerConfig {
        shape: Shape::MultiThread,
        drain: DrainConfig { settle: Duration::ZERO, timeout: Duration::from_secs(5) },
        ..ServerConfig::on(SocketAddr::from(([127, 0, 0, 1], 0)))
    }
}

/// The gates of all services in one: a desk stands for each of them.
#[derive(Clone)]
struct Gates(Vec<PassGate>);

impl Gates {
    fn new(passes: &PassesConfig, clock: &Clock) -> Result<Self, BoxError> {
        let gate = |backend: Backend| PassGate::new(passes, backend.name(), clock.clone());
        Ok(Self(Backend::ALL.into_iter().map(gate).collect::<Result<_, _>>()?))
    }
}

impl Gate for Gates {
    async fn identify(&self, parts: &mut Parts, policy: &'static MethodPolicy) -> Result<Caller, Error> {
        let shown = parts.headers.clone();
        let package =
            policy.path.trim_start_matches('/').split('/').next().and_then(|name| name.rsplit_once('.'));
        let backend = package.and_then(|(package, _)| Backend::from_package(package));
        let mut outcome = Err(Error::internal("no gate"));
        // Every service has a feed under the same name.
        for gate in backend.map_or(&self.0[..], |backend| &self.0[backend as usize..=backend as usize]) {
            parts.headers = shown.clone();
            outcome = gate.identify(parts, policy).await;
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }
}

/// A clock that stands still.
pub fn clock() -> Clock {
    Clock::fixed(cqm_testkit::NOW.parse().unwrap())
}

/// Serves everything of the contract by one service.
pub async fn serve<S: server::Served>(config: ServerConfig, service: S) -> Served {
    serve_with(config, service, &cqm_testkit::passes(), clock()).await
}

/// The same with keys and a clock of the test's own.
pub async fn serve_with<S: server::Served>(
    config: ServerConfig,
    service: S,
    passes: &PassesConfig,
    clock: Clock,
) -> Served {
    let gate = Gates::new(passes, &clock).expect("the keys of the passes");
    let health = Health::new(&server::all_services());
    let options = Options::new(health.clone());
    let shutdown = options.shutdown.clone();
    let bound = server::bind(&config).expect("a free port");
    let running = bound.serve(options, gate, move |_| Ok(service.clone())).await.expect("the server starts");
    health.ready().await;
    Served { running, shutdown, clock }
}
