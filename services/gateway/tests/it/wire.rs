//! The edge, and callers of it who see every byte.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use cqm_gateway::backend::Backends;
use cqm_gateway::config::IdentityConfig;
use cqm_gateway::edge::{self, EdgeConfig, Running};
use cqm_rpc::{Clock, Failure, Role};
use cqm_runtime::server::{DrainConfig, ServerConfig, Shape};
use cqm_runtime::tasks::detached;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::desk::{self, framed};
use crate::tokens::Issuer;

/// An edge at work, with an issuer that it trusts.
pub struct Edge {
    pub clock: Clock,
    pub issuer: Issuer,
    pub running: Running,
    _shutdown: DropGuard,
}

impl Edge {
    /// An edge before these services, in the shape that processes have.
    pub async fn before(backends: Backends) -> Self {
        Self::at(&desk::clock(), backends).await
    }

    /// The same, which goes by this clock: for tests that move it.
    pub async fn at(clock: &Clock, backends: Backends) -> Self {
        let issuer = Issuer::new();
        Self::start(Self::config(backends, issuer.trusted()), clock, issuer).await
    }

    /// An edge whose configuration is the default but for what `change` does to it.
    pub async fn configured(backends: Backends, change: impl FnOnce(&mut EdgeConfig)) -> Self {
        let issuer = Issuer::new();
        let mut config = Self::config(backends, issuer.trusted());
        change(&mut config);
        Self::start(config, &desk::clock(), issuer).await
    }

    pub fn config(backends: Backends, identity: IdentityConfig) -> EdgeConfig {
        let server = ServerConfig {
            shape: Shape::PerCore,
            shards: 2,
            drain: DrainConfig { settle: Duration::ZERO, timeout: Duration::from_secs(5) },
            ..ServerConfig::on(SocketAddr::from(([127, 0, 0, 1], 0)))
        };
        EdgeConfig { passes: cqm_testkit::signing(), ..EdgeConfig::new(server, backends, identity) }
    }

    /// `issuer`: whom the configuration trusts, among others.
    pub async fn start(config: EdgeConfig, clock: &Clock, issuer: Issuer) -> Self {
        let shutdown = CancellationToken::new();
        let running = edge::start(config, clock.clone(), shutdown.clone()).await.expect("the edge starts");
        Self { clock: clock.clone(), issuer, running, _shutdown: shutdown.drop_guard() }
    }

    pub async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.running.address())).unwrap().connect().await.unwrap()
    }

    pub async fn wire(&self) -> Wire {
        Wire::to(self.running.address()).await
    }

    /// A request of a member of staff.
    pub fn request<M>(&self, role: Role, message: M) -> tonic::Request<M> {
        let token = self.issuer.token(self.clock.now(), &[role]);
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        request
    }
}

/// A connection of HTTP/2 without a library of gRPC over it.
pub struct Wire(hyper::client::conn::http2::SendRequest<Full<Bytes>>);

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: HeaderMap,
}

impl Wire {
    pub async fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        detached(connection);
        Self(sender)
    }

    /// Calls a method with an encoded message and these headers.
    pub async fn call(&self, path: &str, headers: &[(&str, &str)], message: &[u8]) -> Answer {
        let mut request = Request::post(format!("http://edge{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(framed(message))).unwrap();
        let response: Response<Incoming> = self.0.clone().send_request(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let collected = body.collect().await.unwrap();
        let trailers = collected.trailers().cloned().unwrap_or_default();
        Answer { headers: parts.headers, body: collected.to_bytes(), trailers }
    }

    pub async fn call_with_token<M: Message>(&self, path: &str, token: &str, message: &M) -> Answer {
        self.call(path, &[("authorization", &format!("Bearer {token}"))], &message.encode_to_vec()).await
    }
}

impl Answer {
    /// The status, wherever it stands.
    pub fn status(&self) -> Status {
        Status::from_header_map(&self.headers)
            .or_else(|| Status::from_header_map(&self.trailers))
            .expect("an answer has a status")
    }

    /// Code and reason, which is what callers decide by.
    pub fn failure(&self) -> (tonic::Code, String) {
        let failure = Failure::of(&self.status());
        (failure.code, failure.reason)
    }
}

/// Code and reason of a call that failed.
#[track_caller]
pub fn refused<T>(answer: Result<T, Status>) -> (tonic::Code, String) {
    let Err(status) = answer else { panic!("the call was answered") };
    let failure = Failure::of(&status);
    (failure.code, failure.reason)
}
