//! The edge: one address for every package of the contract.
//!
//! The suite's server stack does what it does in every process (access by the policy, deadlines, limits, one line in the
//! log for a failure); the edge brings its own gate and, in place of handlers, a forwarder.

mod attempt;
mod breaker;
mod discover;
mod forward;
mod gate;
mod identity;
mod link;
mod metrics;
mod pods;
mod quota;
mod repeat;
mod route;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use cqm_proto::gateway::v1::coordinator_service_server::CoordinatorServiceServer;
use cqm_proto::gateway::v1::customer360_service_server::Customer360ServiceServer;
use cqm_rpc::{BoxError, Clock, Error, Releases};
use cqm_runtime::audit::Releasing;
use cqm_runtime::config::Validate;
use cqm_runtime::pass::{Mint, SigningConfig};
use cqm_runtime::server::{self, Health, Options, ServerConfig, UNARY_LIMIT};
use cqm_runtime::tasks::Supervisor;
use cqm_runtime::telemetry::Sampling;
use http::{Request, Response};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::{Service, ServiceExt};

use crate::backend::Backends;
use crate::config::{
    Customer360Config, IdentityConfig, QuotaConfig, ReflectionConfig, Settings, TrafficConfig,
};
use crate::coordinator_service::Feeds;
use crate::customer360::{Customer360, Earlier};
use discover::Discovery;
use forward::{Forwarder, Routes as Ways};
use gate::EdgeGate;
use metrics::Metrics;
use quota::Quota;
use route::{Route, route};

pub use cqm_runtime::server::Running;
pub use discover::{Dns, Resolve};
pub use identity::Identity;

/// What an edge is made of.
#[derive(Clone, Debug)]
pub struct EdgeConfig {
    pub server: ServerConfig,
    pub sampling: Sampling,
    pub backends: Backends,
    pub identity: IdentityConfig,
    pub passes: SigningConfig,
    pub customer360: Customer360Config,
    pub traffic: TrafficConfig,
    pub quota: QuotaConfig,
    pub reflection: ReflectionConfig,
    /// How the names of services become addresses.
    pub resolver: Arc<dyn Resolve>,
}

impl EdgeConfig {
    /// The defaults before these services, for edges that are put together by hand.
    pub fn new(server: ServerConfig, backends: Backends, identity: IdentityConfig) -> Self {
        Self {
            server,
            sampling: Sampling::never(),
            backends,
            identity,
            passes: SigningConfig::default(),
            customer360: Customer360Config::default(),
            traffic: TrafficConfig::default(),
            quota: QuotaConfig::default(),
            reflection: ReflectionConfig::default(),
            resolver: Arc::new(Dns),
        }
    }
}

impl From<&Settings> for EdgeConfig {
    fn from(settings: &Settings) -> Self {
        Self {
            server: settings.server.clone(),
            sampling: Sampling::of(&settings.telemetry),
            backends: settings.service.backends.clone(),
            identity: settings.service.identity.clone(),
            passes: settings.service.passes.clone(),
            customer360: settings.service.customer360.clone(),
            traffic: settings.service.traffic.clone(),
            quota: settings.service.quota.clone(),
            reflection: settings.service.reflection.clone(),
            resolver: Arc::new(Dns),
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
    config.passes.validate()?;
    config.customer360.validate()?;
    config.backends.open()?;
    config.traffic.validate()?;
    config.quota.validate()?;
    config.reflection.validate()?;

    let metrics = Metrics::new();
    let supervisor = Supervisor::under(&shutdown);
    let quota = Quota::new(config.quota, metrics.clone())?;
    let identity = Identity::new(&config.identity, clock.clone())?;
    // An issuer that is away now is not away for ever: its failure is in the log, and its tokens ask again.
    identity.fetch().await;
    let gate = EdgeGate::new(identity, quota, &config.reflection.roles());
    let mint = Mint::new(&config.passes, clock.clone())?;
    let discovery = Discovery::new(&config.backends, config.resolver).await?;
    let resolve_every = config.traffic.resolve_every;
    let ways = Ways::new(discovery.whereabouts(), config.traffic, mint, metrics);
    let earlier = Earlier::new(&config.customer360, clock);
    let health = Health::new(&server::all_services());
    let options = Options { health: health.clone(), shutdown, sampling: config.sampling };
    let customer360 = config.customer360;
    // Connections belong to the shard that opened them; what is remembered of customers is everybody's.
    let make = move |_shard| Edge::new(&ways, &customer360, earlier.clone());
    let running = server::bind(&config.server)?.serve_edge(options, gate, make).await?;
    health.ready().await;
    discovery.keep_up(&supervisor, resolve_every, &health);
    Ok(running)
}

/// What stands at the end of the stack on one shard.
#[derive(Clone)]
struct Edge {
    forwarder: Arc<Forwarder>,
    /// What the gateway answers itself.
    here: Releasing<Routes>,
}

impl Edge {
    fn new(ways: &Ways, customer360: &Customer360Config, earlier: Earlier) -> Result<Self, BoxError> {
        let forwarder = Forwarder::new(ways)?;
        let channels = forwarder.channels();
        let customer360 = Customer360::new(&channels, customer360.clone(), earlier);
        let feeds = Feeds::new(&channels);
        let here =
            Routes::new(Customer360ServiceServer::new(customer360).max_decoding_message_size(UNARY_LIMIT))
                .add_service(CoordinatorServiceServer::new(feeds).max_decoding_message_size(UNARY_LIMIT))
                .prepare();
        let here = Releasing::new(here, Releases::PassedOn);
        Ok(Self { forwarder: Arc::new(forwarder), here })
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
