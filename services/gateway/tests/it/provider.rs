//! An issuer that tells its keys over HTTP: a server of the test's own, which may go away and come back.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use cqm_gateway::config::IssuerConfig;
use cqm_runtime::tasks::detached;
use cqm_testkit::Identity;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

pub struct Provider {
    address: SocketAddr,
    scheme: &'static str,
    tls: Option<TlsAcceptor>,
    state: Arc<Mutex<State>>,
    listening: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    /// What stands under a path: a status and a body.
    pages: HashMap<String, (u16, String)>,
    /// Who asked for what, and with which credentials.
    asked: Vec<(String, Option<String>)>,
    /// Requests that are not answered.
    stuck: bool,
}

const KEYS: &str = "/keys";
const DISCOVERY: &str = "/.well-known/openid-configuration";

impl Provider {
    /// With a discovery document that leads to its keys, of which there are none yet.
    pub async fn open() -> Self {
        Self::with(None).await
    }

    /// The same over TLS.
    pub async fn secured(identity: &Identity) -> Self {
        Self::with(Some(identity.acceptor())).await
    }

    async fn with(tls: Option<TlsAcceptor>) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut provider = Self { address, scheme, tls, state: Arc::default(), listening: None };
        provider.discover(&provider.issuer(), &provider.url(KEYS));
        provider.listening = Some(provider.listen(listener));
        provider
    }

    fn listen(&self, listener: TcpListener) -> JoinHandle<()> {
        let (state, tls) = (Arc::clone(&self.state), self.tls.clone());
        detached(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (state, tls) = (Arc::clone(&state), tls.clone());
                let service = service_fn(move |request| answer(Arc::clone(&state), request));
                detached(async move {
                    let http = http1::Builder::new();
                    // A client that goes away is no failure here.
                    let _ = match tls {
                        None => http.serve_connection(TokioIo::new(stream), service).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => http.serve_connection(TokioIo::new(stream), service).await,
                            Err(_) => return,
                        },
                    };
                });
            }
        })
    }

    /// Shows this to whoever comes after it has come back.
    pub fn show(&mut self, identity: &Identity) {
        self.tls = Some(identity.acceptor());
    }

    /// What `iss` is.
    pub fn issuer(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.issuer())
    }

    /// Trusted by what its discovery says.
    pub fn trusted(&self) -> IssuerConfig {
        IssuerConfig { jwks: None, ..IssuerConfig::of_file(&self.issuer(), "cqm", "/none".into()) }
    }

    /// Its keys from now on.
    pub fn publish(&self, keys: &[Value]) {
        self.put(KEYS, 200, &json!({ "keys": keys }).to_string());
    }

    pub fn discover(&self, issuer: &str, keys: &str) {
        self.put(DISCOVERY, 200, &json!({ "issuer": issuer, "jwks_uri": keys }).to_string());
    }

    pub fn put(&self, path: &str, status: u16, body: &str) {
        self.state.lock().unwrap().pages.insert(path.to_owned(), (status, body.to_owned()));
    }

    /// What it answers under the path of its keys.
    pub fn answer_keys(&self, status: u16, body: &str) {
        self.put(KEYS, status, body);
    }

    /// How often its keys were asked for.
    pub fn asked(&self) -> usize {
        self.state.lock().unwrap().asked.iter().filter(|(path, _)| path == KEYS).count()
    }

    /// All requests so far.
    pub fn requests(&self) -> usize {
        self.state.lock().unwrap().asked.len()
    }

    /// The credentials of the last request.
    pub fn credentials(&self) -> Option<String> {
        self.state.lock().unwrap().asked.last().and_then(|(_, credentials)| credentials.clone())
    }

    pub fn stuck(&self, stuck: bool) {
        self.state.lock().unwrap().stuck = stuck;
    }

    /// Nobody listens any more.
    pub async fn go(&mut self) {
        let listening = self.listening.take().unwrap();
        listening.abort();
        let _ = listening.await;
    }

    pub async fn come_back(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.listening = Some(self.listen(listener));
    }
}

async fn answer(
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (page, stuck) = {
        let mut state = state.lock().unwrap();
        let path = request.uri().path().to_owned();
        let credentials = request.headers().get(header::AUTHORIZATION);
        let credentials = credentials.map(|value| value.to_str().unwrap().to_owned());
        state.asked.push((path.clone(), credentials));
        (state.pages.get(&path).cloned(), state.stuck)
    };
    if stuck {
        std::future::pending::<()>().await;
    }
    let (status, body) = page.unwrap_or((404, String::new()));
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    Ok(response)
}
