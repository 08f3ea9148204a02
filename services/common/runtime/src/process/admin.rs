//! The admin port: `/metrics` for Prometheus, and `grpc.health.v1` for the probes of an orchestrator.
//!
//! Apart from the port for callers, so that a probe needs no certificate, a scrape takes no call's place, and a network
//! policy can let Prometheus in without letting it call anything. Nothing here can be changed and nobody is named; by TLS
//! where `telemetry.listen_tls` has a certificate.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use prometheus::{Encoder, TextEncoder};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;
use tonic::body::Body;
use tonic::service::Routes;
use tower::ServiceExt;

use crate::server::Health;
use crate::tasks::detached;
use crate::telemetry::TelemetryConfig;
use crate::tls::{Listener, Stream};

/// Probes and a Prometheus or two; whoever else comes waits.
const MOST_CONNECTIONS: usize = 32;
/// A connection that says nothing, and one that is kept for the next scrape, both end.
const LONGEST_CONNECTION: Duration = Duration::from_secs(5 * 60);
/// Too high: silent connections keep the places. Too low: a slow network is cut off.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// After a failed accept; without it, a process out of descriptors burns a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The admin port, open until this is dropped. A process opens it when it has bound its own address, and keeps it open
/// while it drains: how the drain goes can be read there.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    _task: AbortOnDropHandle<()>,
}

impl Admin {
    /// Opens it if the configuration says where.
    pub async fn open(config: &TelemetryConfig, health: &Health) -> io::Result<Option<Self>> {
        let Some(listen) = config.listen else {
            return Ok(None);
        };
        let security = Listener::open_admin(&config.listen_tls).map_err(io::Error::other)?;
        let listener = TcpListener::bind(listen).await.map_err(|error| {
            io::Error::new(error.kind(), format!("the admin port {listen} cannot be opened: {error}"))
        })?;
        let address = listener.local_addr()?;
        tracing::info!(%address, tls = security.is_secured(), "admin port open");
        let health = Routes::new(health.server()).prepare();
        let task = AbortOnDropHandle::new(detached(accept(listener, security, health)));
        Ok(Some(Self { address, _task: task }))
    }

    /// Where it listens, the chosen port included.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn accept(listener: TcpListener, security: Listener, health: Routes) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    // Dropped with this task, and the connections with it.
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((socket, _)) => {
                let (security, health) = (security.clone(), health.clone());
                connections.spawn(async move {
                    let _place = place;
                    match tokio::time::timeout(HANDSHAKE_LIMIT, security.accept(socket)).await {
                        Ok(Ok(stream)) => {
                            let _ = tokio::time::timeout(LONGEST_CONNECTION, serve(stream, health)).await;
                        }
                        Ok(Err(error)) => {
                            tracing::debug!(error = %error, "a handshake with the admin port failed");
                        }
                        Err(_elapsed) => {}
                    }
                });
            }
            Err(error) => {
                tracing::warn!(error = %error, "accept on the admin port failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// HTTP/1 or HTTP/2, as the peer begins: Prometheus speaks the one, gRPC the other.
async fn serve(stream: Stream, health: Routes) {
    let answer = hyper::service::service_fn(move |request| {
        let health = health.clone();
        async move { Ok::<_, Infallible>(answer(request, health).await) }
    });
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new());
    server.http2().timer(TokioTimer::new()).max_concurrent_streams(16).max_header_list_size(16 * 1024);
    if let Err(error) = server.serve_connection(TokioIo::new(stream), answer).await {
        tracing::debug!(error = %error, "a connection to the admin port ended badly");
    }
}

async fn answer(request: Request<Incoming>, health: Routes) -> Response<Body> {
    let path = request.uri().path();
    if path.starts_with("/grpc.health.v1.") {
        let Ok(response) = health.oneshot(request.map(Body::new)).await;
        return response;
    }
    match (request.method(), path) {
        (&Method::GET, "/metrics") => metrics(),
        _ => plain(StatusCode::NOT_FOUND, "text/plain", "GET /metrics, or grpc.health.v1".into()),
    }
}

fn metrics() -> Response<Body> {
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    match encoder.encode(&prometheus::gather(), &mut text) {
        Ok(()) => plain(StatusCode::OK, encoder.format_type(), text.into()),
        Err(error) => {
            tracing::error!(error = %error, "figures cannot be written as text");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", Bytes::new())
        }
    }
}

fn plain(status: StatusCode, kind: &str, content: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(content)));
    *response.status_mut() = status;
    if let Ok(kind) = HeaderValue::from_str(kind) {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}
