//! Calling another service of the suite.
//!
//! ```ignore
//! let channel = channel::connect("http://customer-data:50051", &ChannelConfig::default())?
//!     .with_passes(mint.for_service("customer-data"));
//! let mut customers = CustomerServiceClient::new(channel.clone());
//! let answer = customers.get_customer(channel::request(&call, message)).await?;
//! ```
//!
//! A [`Channel`] adds what tonic's lacks: the caller, the trace and the deadline travel with every call, the
//! deadline is kept here too, broken transports are UNAVAILABLE whatever they look like, reconnects back off,
//! and what the contract calls safe to repeat is repeated. It is a tower service over HTTP requests as well, for
//! the edge that forwards bytes: there the [`Call`] in the request's extensions is used, and nothing is repeated.

mod connector;
mod dial;
mod measure;
mod retry;

use std::future::Future;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use cqm_proto::policy;
use cqm_rpc::{BoxError, Call, Error, metadata, reason};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use http_body_util::BodyExt;
use serde::Deserialize;
use tonic::body::Body;
use tonic::transport::Endpoint;
use tonic::{Status, TimeoutExpired};
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt};

use crate::config::{ConfigError, Validate, positive};
use crate::pass::Passes;
use crate::tls::ClientTls;
pub(crate) use connector::Connector;
pub use dial::{dial, dial_at};
use measure::Measure;
use retry::RetryBudget;

type Request = http::Request<Body>;
type Response = http::Response<Body>;

/// Every hop gives the next one a little less, so that the innermost deadline passes first and its answer
/// still finds somebody who waits.
const HOP: Duration = Duration::from_millis(10);

/// How services of the suite are called.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChannelConfig {
    /// Too high: calls hang on a host that is gone. Too low: a busy host is never reached.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// Between two pings. Too high: calls are sent into a dead connection. Too low: needless traffic.
    #[serde(with = "humantime_serde")]
    pub keepalive_interval: Duration,
    /// Until a ping must be answered. Too high: as above. Too low: a short stall cuts a good connection.
    #[serde(with = "humantime_serde")]
    pub keepalive_timeout: Duration,
    /// How often a call that is safe to repeat is sent at most, 1 to 5.
    pub tries: u32,
    /// How addresses that begin with `https` are secured. `http` is plaintext.
    pub tls: ClientTls,
}

impl Default for ChannelConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(1),
            keepalive_interval: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(5),
            tries: 3,
            tls: ClientTls::default(),
        }
    }
}

impl Validate for ChannelConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        positive("channel.connect_timeout", self.connect_timeout)?;
        positive("channel.keepalive_interval", self.keepalive_interval)?;
        positive("channel.keepalive_timeout", self.keepalive_timeout)?;
        if !(1..=5).contains(&self.tries) {
            return Err(ConfigError::refused("channel.tries", "must be 1 to 5"));
        }
        self.tls.validate()
    }
}

/// Makes a channel to `target`, `http://host:port` or, with TLS, `https://host:port`. It connects at the first call and again whenever the
/// connection is lost. Its connection lives on the current runtime.
pub fn connect(target: &str, config: &ChannelConfig) -> Result<Channel, ConfigError> {
    let refused = || ConfigError::refused("channel target", "must be http://host:port or https://host:port");
    let uri = Uri::from_str(target).map_err(|_| refused())?;
    if !matches!(uri.scheme_str(), Some("http" | "https"))
        || uri.port_u16().is_none()
        || uri.path() != "/"
        || uri.query().is_some()
    {
        return Err(refused());
    }
    let tls = (uri.scheme_str() == Some("https")).then(|| config.tls.clone());
    let endpoint = Endpoint::from(uri)
        .http2_keep_alive_interval(config.keepalive_interval)
        .keep_alive_timeout(config.keepalive_timeout)
        .keep_alive_while_idle(true)
        .http2_max_header_list_size(16 * 1024)
        .initial_stream_window_size(1024 * 1024)
        .initial_connection_window_size(2 * 1024 * 1024);
    let connector = Connector::new(config.connect_timeout, tls);
    let inner = endpoint.connect_with_connector_lazy(connector);
    Ok(Channel::over(inner.map_err(BoxError::from), config.tries))
}

/// A request that carries `call`'s caller, trace and remaining time. One message to one message: it may be
/// repeated when the method is safe to repeat, so a mutation must carry its `request_id`.
pub fn request<M>(call: &Call, message: M) -> tonic::Request<M> {
    outgoing(call, message, true)
}

/// The same for a stream of messages, which is never repeated.
pub fn streaming<S>(call: &Call, messages: S) -> tonic::Request<S> {
    outgoing(call, messages, false)
}

fn outgoing<T>(call: &Call, content: T, unary: bool) -> tonic::Request<T> {
    let mut request = tonic::Request::new(content);
    request.extensions_mut().insert(Outgoing { call: call.clone(), unary });
    request
}

/// Rides in the request's extensions from the caller to the channel.
#[derive(Clone, Debug)]
struct Outgoing {
    call: Call,
    unary: bool,
}

/// A connection to one service. Clones share it.
#[derive(Clone, Debug)]
pub struct Channel {
    inner: BoxCloneSyncService<Request, Response, BoxError>,
    budget: Arc<RetryBudget>,
    tries: u32,
    measure: Measure,
    passes: Option<Passes>,
}

impl Service<Request> for Channel {
    type Response = Response;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Status>> + Send>>;

    /// Always ready: waiting for the connection is part of the call and bounded by its deadline.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let channel = self.clone();
        Box::pin(async move { channel.send(request).await })
    }
}

impl Channel {
    /// Shows passes with its calls; without, it calls in nobody's name.
    #[must_use]
    pub fn with_passes(self, passes: Passes) -> Self {
        Self { passes: Some(passes), ..self }
    }

    /// Over connections of somebody else's making: the edge's, to all pods of a service.
    pub fn over<S>(inner: S, tries: u32) -> Self
    where
        S: Service<Request, Response = Response, Error = BoxError, Future: Send + 'static>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        let inner = BoxCloneSyncService::new(inner);
        let budget = Arc::new(RetryBudget::default());
        Self { inner, budget, tries, measure: Measure::default(), passes: None }
    }

    async fn send(&self, mut request: Request) -> Result<Response, Status> {
        let outgoing = request.extensions_mut().remove::<Outgoing>();
        let Some(Outgoing { call, unary }) = outgoing else {
            // The edge forwards, or somebody calls on nobody's behalf, such as a health check.
            let call = request.extensions_mut().remove::<Call>();
            return self.attempt(request, call.as_ref()).await;
        };
        let safe = policy::find(request.uri().path()).is_some_and(|policy| policy.retry_safe);
        if unary && safe && self.tries > 1 {
            retry::send(self, request, &call).await
        } else {
            self.attempt(request, Some(&call)).await
        }
    }

    async fn attempt(&self, mut request: Request, call: Option<&Call>) -> Result<Response, Status> {
        if let Some(call) = call {
            stamp(request.headers_mut(), call)?;
            if let Some(passes) = &self.passes {
                let path = request.uri().path().to_owned();
                passes.stamp(request.headers_mut(), &path, &call.caller).await?;
            }
        }
        let attempt = self.measure.begin(request.uri().path());
        let mut inner = self.inner.clone();
        let answer = async move { inner.ready().await?.call(request).await };
        let answer = match call {
            Some(call) => tokio::time::timeout_at(call.deadline.instant().into(), answer)
                .await
                .map_err(|_| Status::from(Error::DeadlinePassed)),
            None => Ok(answer.await),
        };
        let answer = answer.and_then(|answer| answer.map_err(broken));
        let answer = answer.and_then(|response| match &self.passes {
            Some(passes) => passes.taken(response.headers()).map(|()| response).map_err(Status::from),
            None => Ok(response),
        });
        let response = match answer {
            Ok(response) => response,
            Err(status) => {
                attempt.end(status.code());
                return Err(status);
            }
        };
        // Whatever breaks the answer off half way is the transport too: a status comes as trailers.
        let broken = |body: Body| body.map_err(|status| broken(status.into()));
        Ok(attempt.watch(response.map(broken)))
    }
}

/// Writes in which trace a call is and how long it waits. The trace is passed on as it is: the call's
/// span is the parent of the callee's.
fn stamp(headers: &mut HeaderMap, call: &Call) -> Result<(), Error> {
    let mut set = |name: &'static str, value: &str| {
        let value = HeaderValue::from_str(value).map_err(Error::internal)?;
        headers.insert(HeaderName::from_static(name), value);
        Ok::<_, Error>(())
    };
    set(metadata::TRACEPARENT, &call.trace.to_string())?;
    if let Some(purpose) = &call.purpose {
        set(metadata::PURPOSE, &purpose.to_string())?;
    }
    set(metadata::TIMEOUT, &timeout_value(call.deadline.remaining().saturating_sub(HOP))?)
}

/// `grpc-timeout`: at most eight digits and a unit.
fn timeout_value(left: Duration) -> Result<String, Error> {
    match left.as_millis() {
        0 => Err(Error::DeadlinePassed),
        millis @ 1..=99_999_999 => Ok(format!("{millis}m")),
        millis => Ok(format!("{}S", (millis / 1000).min(99_999_999))),
    }
}

/// What the transport made of a lost connection, a GOAWAY or a reset is UNAVAILABLE; only tonic's own timer,
/// which fires on the header that we have set, is the deadline.
fn broken(error: BoxError) -> Status {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error.as_ref());
    while let Some(error) = source {
        if error.is::<TimeoutExpired>() {
            return Error::DeadlinePassed.into();
        }
        source = error.source();
    }
    Error::unavailable(reason::UNREACHABLE, error).into()
}

#[cfg(test)]
mod tests {
    use cqm_proto::options::v1::Purpose as Code;
    use cqm_rpc::{Caller, Deadline, Purpose, Role, TraceContext};

    use super::*;

    #[test]
    fn only_addresses_of_services_are_targets() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        let config = ChannelConfig::default();
        assert!(connect("http://complaints:50051", &config).is_ok());
        assert!(connect("http://[::1]:50051", &config).is_ok());
        assert!(connect("https://complaints:50051", &config).is_ok());
        for target in
            ["", "complaints:50051", "ftp://complaints:50051", "https://complaints", "http://x:1/path"]
        {
            assert!(connect(target, &config).is_err(), "{target}");
        }
    }

    #[test]
    fn the_timeout_is_what_grpc_can_read() {
        assert_eq!(timeout_value(Duration::from_micros(1500)).unwrap(), "1m");
        assert_eq!(timeout_value(Duration::from_secs(30)).unwrap(), "30000m");
        assert_eq!(timeout_value(Duration::from_secs(200_000)).unwrap(), "200000S");
        assert!(matches!(timeout_value(Duration::from_micros(999)), Err(Error::DeadlinePassed)));
    }

    #[test]
    fn a_call_is_stamped_over_what_the_caller_sent() {
        let trace = TraceContext::fresh(true);
        let call = Call {
            caller: Caller {
                subject: "importer".into(),
                roles: vec![Role::InternalService, Role::Supervisor],
            },
            deadline: Deadline::after(Duration::from_secs(2)),
            trace,
            path: "/x".into(),
            purpose: Some(Purpose { code: Code::CustomerCare, reference: "visits/7".into() }),
        };
        let mut headers = HeaderMap::new();
        headers.insert(metadata::TRACEPARENT, HeaderValue::from_static("forged"));
        stamp(&mut headers, &call).unwrap();
        assert_eq!(headers[metadata::TRACEPARENT], trace.to_string());
        assert_eq!(headers[metadata::PURPOSE], "customer_care visits/7");
        let millis: u64 = headers[metadata::TIMEOUT].to_str().unwrap().trim_end_matches('m').parse().unwrap();
        assert!((1_000..=1_990).contains(&millis), "{millis}");
    }
}
