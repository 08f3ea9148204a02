//! The edge: one address for every package of the contract.
//!
//! The suite's server stack does what it does in every process (access by the policy, deadlines, limits, one line in the
//! log for a failure); the edge brings its own gate and, in place of handlers, a forwarder.

mod forward;
mod gate;
mod identity;
mod link;
mod route;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use cqm_proto::gateway::v1::coordinator_service_server::CoordinatorServiceServer;
use cqm_proto::gateway::v1::customer360_service_server::Customer360ServiceServer;
use cqm_rpc::{BoxError, Clock, Error};
use cqm_runtime::config::Validate;
use cqm_runtime::server::{self, Health, Options, ServerConfig, UNARY_LIMIT};
use cqm_runtime::telemetry::Sampling;
use http::{Request, Response};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::{Service, ServiceExt};

use crate::backend::Backends;
use crate::config::{Customer360Config, IdentityConfig, Settings};
use crate::coordinator_service::Feeds;
use crate::customer360::{Customer360, Earlier};
use forward::Forwarder;
use gate::EdgeGate;
use route::{Route, route};

pub use cqm_runtime::server::Running;
pub use identity::Identity;

/// What an edge is made of.
#[derive(Clone, Debug)]
pub struct EdgeConfig {
    pub server: ServerConfig,
    pub sampling: Sampling,
    pub backends: Backends,
    pub identity: IdentityConfig,
    pub customer360: Customer360Config,
}

impl From<&Settings> for EdgeConfig {
    fn from(settings: &Settings) -> Self {
        Self {
            server: settings.server.clone(),
            sampling: Sampling::of(&settings.telemetry),
            backends: settings.service.backends.clone(),
            identity: settings.service.identity.clone(),
            customer360: settings.service.customer360.clone(),
        }
    }
}

/// Starts an edge on the current runtime. It serves at once: services that are not there yet are UNAVAILABLE until they
/// are. Cancel `shutdown` to drain and end it.
pub async fn start(
    config: EdgeConfig,
    clock: Clock,
    shutdown: CancellationToken,
) -> Result<Running, BoxError> {
    config.server.validate()?;
    config.backends.validate()?;
    config.identity.validate()?;
    config.customer360.validate()?;
    config.backends.open()?;

    let gate = EdgeGate::new(Identity::new(&config.identity, clock.clone())?);
    let earlier = Earlier::new(&config.customer360, clock);
    let health = Health::new(&server::all_services());
    let options = Options { health: health.clone(), shutdown, sampling: config.sampling };
    let (backends, customer360) = (config.backends, config.customer360);
    // Connections belong to the shard that opened them; what is remembered of customers is everybody's.
    let make = move |_shard| Edge::new(&backends, &customer360, earlier.clone());
    let running = server::bind(&config.server)?.serve_edge(options, gate, make).await?;
    health.ready().await;
    Ok(running)
}

/// What stands at the end of the stack on one shard.
#[derive(Clone)]
struct Edge {
    forwarder: Arc<Forwarder>,
    /// What the gateway answers itself.
    here: Routes,
}

impl Edge {
    fn new(backends: &Backends, customer360: &Customer360Config, earlier: Earlier) -> Result<Self, BoxError> {
        let customer360 = Customer360::new(backends, customer360.clone(), earlier)?;
        let feeds = Feeds::new(backends)?;
        let here =
            Routes::new(Customer360ServiceServer::new(customer360).max_decoding_message_size(UNARY_LIMIT))
                .add_service(CoordinatorServiceServer::new(feeds).max_decoding_message_size(UNARY_LIMIT))
                .prepare();
        Ok(Self { forwarder: Arc::new(Forwarder::new(backends)?), here })
    }

    async fn answer(self, request: Request<Body>) -> Result<Response<Body>, Error> {
        match route(request.uri().path(), request.headers())? {
            Route::Here => {
                let Ok(response) = self.here.oneshot(request).await;
                Ok(response)
            }
            Route::To(backend) => self.forwarder.forward(backend, request).await,
        }
    }
}

impl Service<Request<Body>> for Edge {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let edge = self.clone();
        Box::pin(async move {
            Ok(edge.answer(request).await.unwrap_or_else(|error| Status::from(error).into_http()))
        })
    }
}
