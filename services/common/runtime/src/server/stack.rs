//! What a call goes through before a handler sees it, in one function.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cqm_rpc::{BoxError, Call, Deadline, Error, Purpose, TraceContext, metadata, reason};
use futures::FutureExt;
use http::{HeaderValue, Request, Response, StatusCode, header};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::{Code, Status};
use tower::{Service, ServiceExt};
use tracing::Instrument;

use super::body::{Origin, Until, Watched};
use super::crowd::Lease;
use super::gate::{Gate, access};
use super::health::{Health, Phase};
use super::limit::{Place, Places, Priority};
use super::method::{Method, Methods};
use super::observe::{Observer, Panicked};
use super::remap::remap;
use super::web::is_grpc_web;
use super::{DeadlineConfig, ServerConfig, deadline, detach};
use crate::telemetry::Sampling;

const ENCODING: &str = "grpc-encoding";
const ACCEPT_ENCODING: &str = "grpc-accept-encoding";
/// The one encoding that is taken: a message as it is.
const IDENTITY: &str = "identity";
const REFLECTION: &str = "/grpc.reflection.";
const WATCH: &str = "/grpc.health.v1.Health/Watch";
/// Streams that watch health or ask for the shape of the API, of all callers together.
const WATCHES: usize = 4096;
/// How long somebody may ask for the shape of the API in one stream.
const REFLECTION_TIME: Duration = Duration::from_secs(60);

/// What stands at the end of the stack: tonic's routes in a service, the forwarder at the edge.
pub trait Served:
    Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Served for S where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// What the shards of a process share.
#[derive(Clone)]
pub(super) struct Shared(Arc<Parts>);

struct Parts {
    methods: Methods,
    health: Health,
    observer: Observer,
    places: Places,
    watches: Arc<Semaphore>,
    deadlines: DeadlineConfig,
    /// Cancelled when the drain's time is over.
    cut: CancellationToken,
    /// Cancelled when the door closes.
    stop: CancellationToken,
    reflection: bool,
    /// The edge forwards: it has no transaction to protect, and the status of even a unary call comes last.
    edge: bool,
}

impl Shared {
    pub fn new(
        config: &ServerConfig,
        health: Health,
        sampling: Sampling,
        edge: bool,
        stop: CancellationToken,
        cut: CancellationToken,
    ) -> Result<Self, BoxError> {
        Ok(Self(Arc::new(Parts {
            methods: Methods::of(health.services())?,
            health,
            observer: Observer::new(sampling),
            places: Places::new(config),
            watches: Arc::new(Semaphore::new(WATCHES)),
            deadlines: config.deadline.clone(),
            cut,
            stop,
            reflection: config.reflection,
            edge,
        })))
    }
}

/// The stack of one shard.
#[derive(Clone)]
pub(super) struct Stack<S, G> {
    shared: Shared,
    gate: G,
    served: S,
    /// Health and reflection.
    meta: Routes,
    /// The shard's detached work.
    tasks: TaskTracker,
}

/// An answer on its way out.
struct Answer {
    response: Response<Body>,
    deadline: Deadline,
    place: Place,
}

impl<S: Served, G: Gate> Stack<S, G> {
    pub fn new(shared: Shared, gate: G, served: S, tasks: TaskTracker) -> Result<Self, BoxError> {
        let mut meta = Routes::new(shared.0.health.server());
        if shared.0.reflection {
            let described = || {
                tonic_reflection::server::Builder::configure()
                    .register_encoded_file_descriptor_set(cqm_proto::FILE_DESCRIPTOR_SET)
                    .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            };
            meta = meta.add_service(described().build_v1()?).add_service(described().build_v1alpha()?);
        }
        Ok(Self { shared, gate, served, meta: meta.prepare(), tasks })
    }

    /// Answers one request. Every failure of the steps in [`Self::answer`] becomes a status here, once.
    pub async fn call(&self, request: Request<Body>, lease: &mut Lease) -> Response<Body> {
        let shared = &*self.shared.0;
        if !speaks_grpc(&request) {
            return no_grpc();
        }
        // Health and reflection stand outside everything: a probe has no identity, and a process under load or
        // on its way out still has to say so. Their streams end when the door closes, or no drain would end.
        if request.uri().path().starts_with("/grpc.") {
            let described = self.describe(request, lease).await;
            return described.unwrap_or_else(|error| Status::from(error).into_http());
        }
        let method = shared.methods.find(request.uri().path()).copied();

        // Trace, metrics, log: around all the rest, so that refusals and panics are seen like any other failure.
        let observation = shared.observer.begin(method.as_ref(), request.headers());
        let answer = self.answer(request, method, observation.trace, observation.started, lease);

        // Panics: inside the observation, outside the steps. The process lives, and the caller reads nothing
        // but INTERNAL.
        let answer = AssertUnwindSafe(answer).catch_unwind();
        let answer = if observation.span.is_disabled() {
            answer.await
        } else {
            answer.instrument(observation.span.clone()).await
        };
        let answer = answer.unwrap_or_else(|_| Err(Error::internal(Panicked)));

        let Answer { response, deadline, place } = match answer {
            Ok(answer) => answer,
            Err(error) => {
                let status = Status::from(error);
                observation.fail(&status);
                return refused(status);
            }
        };
        lease.due(deadline.instant());
        let (parts, body) = response.into_parts();
        if let Some(status) = parts.extensions.get::<Status>() {
            observation.fail(status);
            return Response::from_parts(parts, body);
        }
        if let Some(code) = parts.headers.get(Status::GRPC_STATUS) {
            observation.pass(Code::from_bytes(code.as_bytes()));
            return Response::from_parts(parts, body);
        }
        // A unary answer of tonic's is complete here; a stream's status, deadline and place are its body's.
        if shared.edge || method.is_some_and(|method| method.answers_in_stream) {
            let origin = if shared.edge { Origin::Forwarded } else { Origin::Handler };
            let watched = Watched::new(body, origin, deadline, shared.cut.clone(), observation, place);
            return Response::from_parts(parts, Body::new(watched));
        }
        observation.succeed();
        Response::from_parts(parts, body)
    }

    /// The stack. The order is the precedence of the contract: transport, identity, access, quota, deadline,
    /// capacity; what is wrong with the message is the handler's to say.
    async fn answer(
        &self,
        request: Request<Body>,
        method: Option<Method>,
        trace: TraceContext,
        began: Instant,
        lease: &Lease,
    ) -> Result<Answer, Error> {
        let shared = &*self.shared.0;

        // Transport: what the contract does not know has no policy, and without a policy nothing is open. A compressed
        // message is refused by its head: nobody reads, forwards or unpacks it to find out.
        let method = method.ok_or(Error::Unimplemented)?;
        if request.headers().get_all(ENCODING).iter().any(|encoding| encoding != IDENTITY) {
            return Err(Error::Unimplemented);
        }

        // Phase: before the first readiness nothing is there to answer with. After the door has closed, a call that found
        // its way in on an old connection is answered: it was sent before its caller could read the GOAWAY, and nobody may
        // be there to repeat it.
        if matches!(shared.health.phase(), Phase::Starting | Phase::Ended) {
            return Err(Error::Unavailable { reason: reason::STORAGE_UNAVAILABLE, source: None });
        }

        let (mut parts, body) = request.into_parts();

        // Identity: before anything that costs, so that strangers cost nothing.
        let caller = self.gate.identify(&mut parts, method.policy).await?;
        if !shared.edge {
            lease.is_of_the_suite();
        }

        // Access: the policy of the contract, checked again in every process; the edge's word is not enough.
        access(&caller, &method)?;

        // Quota: after access, or a stranger's calls would be charged to somebody.
        let account = self.gate.admit(&caller, &parts, method.policy).await?;

        // Deadline: read before work begins and kept around all of it. It goes into the call, so that the
        // database and the next hop know it too.
        let deadline = deadline::read(&parts.headers, &method, &shared.deadlines, began)?;

        // Capacity: the last question before work, so that only calls that may work take a place.
        let place = shared.places.take(Priority::of(method.policy, &caller), &caller, account)?;

        // Purpose: part of what is asked for, so that it is refused like a field.
        let purpose = parts.headers.get_all(metadata::PURPOSE).iter().map(HeaderValue::as_bytes);
        let purpose = Purpose::parse(purpose)?;

        let path = Arc::from(method.policy.path);
        parts.extensions.insert(Call { caller, deadline, trace, path, purpose });
        let request = Request::from_parts(parts, body);

        // Remap: next to the routes, where tonic's own words come from.
        let served = self.served.clone();
        let handler = async move {
            let Ok(response) = served.oneshot(request).await;
            in_our_words(response)
        };

        // Detach: a mutation goes on when its caller has gone, a read does not.
        let handler = async {
            if method.policy.read_only || shared.edge {
                return Ok(handler.await);
            }
            let permission = method.permission();
            let place = Arc::clone(&place);
            detach::run(&self.tasks, permission, trace, place, method.answers_in_stream, handler).await
        };

        let until = tokio::time::Instant::from_std(deadline.instant());
        let response =
            tokio::time::timeout_at(until, handler).await.map_err(|_elapsed| Error::DeadlinePassed)??;
        Ok(Answer { response, deadline, place })
    }

    async fn describe(&self, request: Request<Body>, lease: &mut Lease) -> Result<Response<Body>, Error> {
        let overloaded = || Error::Unavailable { reason: reason::OVERLOADED, source: None };
        let (mut parts, body) = request.into_parts();
        let reflects = parts.uri.path().starts_with(REFLECTION);
        // A probe that asks once is answered whatever the others do.
        let watches = reflects || parts.uri.path() == WATCH;
        if !lease.only_watches() && watches {
            return Err(overloaded());
        }
        if reflects {
            self.gate.describe(&mut parts).await?;
        }
        let place = match watches {
            true => {
                Some(Arc::clone(&self.shared.0.watches).try_acquire_owned().map_err(|_full| overloaded())?)
            }
            false => None,
        };
        let ends = reflects.then(|| Instant::now() + REFLECTION_TIME);
        if let Some(ends) = ends {
            lease.due(ends);
        }
        let Ok(response) = self.meta.clone().oneshot(Request::from_parts(parts, body)).await;
        let stop = self.shared.0.stop.clone();
        Ok(in_our_words(response).map(|body| Body::new(Until::new(body, stop, ends, place))))
    }

    /// Whether strangers come here.
    pub fn is_edge(&self) -> bool {
        self.shared.0.edge
    }
}

/// Replaces a status that tonic's machinery made by the contract's.
fn in_our_words(response: Response<Body>) -> Response<Body> {
    let error = response.extensions().get::<Status>().and_then(remap).or_else(|| {
        // tonic's generated code answers an unknown method without a status of its own.
        let code = response.headers().get(Status::GRPC_STATUS)?;
        (Code::from_bytes(code.as_bytes()) == Code::Unimplemented).then_some(Error::Unimplemented)
    });
    match error {
        Some(error) => refused(error.into()),
        None => response,
    }
}

fn refused(status: Status) -> Response<Body> {
    let unknown = status.code() == Code::Unimplemented;
    let mut response = status.into_http();
    if unknown {
        // Whose compression is not known reads here what is.
        response.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static(IDENTITY));
    }
    response
}

fn speaks_grpc(request: &Request<Body>) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    request.method() == http::Method::POST
        && content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
        // Another framing, which is translated before it comes here or not taken at all.
        && !is_grpc_web(content_type)
}

/// Not a gRPC answer: whoever asks would not read one.
fn no_grpc() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}
