//! Calls out of browsers: gRPC-Web, binary and text, translated before the stack sees it, and the answers to what a
//! browser asks before a page may call another site (CORS).

use std::convert::Infallible;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, Request, Response, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tonic::body::Body;
use tonic_web::GrpcWebLayer;
use tower::{Layer, ServiceExt, service_fn};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::WebConfig;
use super::crowd::Lease;
use super::gate::Gate;
use super::stack::{Served, Stack};

/// How long a browser may remember that a page may call. Too high: a site that is closed out calls on. Too low: every
/// call is two.
const REMEMBER: Duration = Duration::from_secs(3600);
/// What a page may send. The suite's own metadata is stripped at the edge all the same.
const SENT: [HeaderName; 8] = [
    AUTHORIZATION,
    CONTENT_TYPE,
    HeaderName::from_static("grpc-timeout"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("x-cqm-purpose"),
    HeaderName::from_static("x-cqm-source"),
    HeaderName::from_static("x-grpc-web"),
    HeaderName::from_static("x-user-agent"),
];
/// What a page may read of an answer that consists of its status alone.
const READ: [&str; 3] = ["grpc-status", "grpc-message", "grpc-status-details-bin"];

/// Whether a connection may bring calls of browsers, and whose.
#[derive(Clone)]
pub(super) struct Web(Option<CorsLayer>);

impl Web {
    pub fn new(config: &WebConfig) -> Self {
        if !config.enabled {
            return Self(None);
        }
        let origins = if config.origins.iter().any(|origin| origin == "*") {
            AllowOrigin::any()
        } else {
            AllowOrigin::list(config.origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
        };
        // No cookies: callers prove themselves by a token that the page has to send itself.
        let cors = CorsLayer::new()
            .allow_origin(origins)
            .allow_methods([Method::POST])
            .allow_headers(SENT)
            .expose_headers(READ.map(HeaderName::from_static))
            .max_age(REMEMBER);
        Self(Some(cors))
    }

    pub fn is_open(&self) -> bool {
        self.0.is_some()
    }

    /// Answers a request, a browser's or not.
    pub async fn call<S: Served, G: Gate>(
        &self,
        stack: &Stack<S, G>,
        request: Request<Incoming>,
        lease: &mut Lease,
    ) -> Response<Body> {
        let request = request.map(Body::new);
        match &self.0 {
            Some(cors) if is_a_browsers(&request) => {
                let mut lease = Some(lease);
                let answer = service_fn(move |request: Request<Body>| {
                    // A call as text is shorter when it is decoded, and its body still states the text's length. Passed
                    // on as content-length that breaks the protocol, and the next hop refuses the call.
                    let request = request.map(|body| Body::new(body.map_frame(|frame| frame)));
                    let (stack, lease) = (stack.clone(), lease.take());
                    async move {
                        let lease = lease.expect("one request is one call");
                        Ok::<_, Infallible>(stack.call(request, lease).await)
                    }
                });
                let Ok(response) = cors.layer(GrpcWebLayer::new().layer(answer)).oneshot(request).await;
                response
            }
            _ => stack.call(request, lease).await,
        }
    }
}

/// A call in gRPC-Web, the question whether a page may call, or anything that is not HTTP/2.
fn is_a_browsers<B>(request: &Request<B>) -> bool {
    request.version() != http::Version::HTTP_2
        || request.method() == Method::OPTIONS
        || is_grpc_web(request.headers().get(header::CONTENT_TYPE))
}

pub(super) fn is_grpc_web(content_type: Option<&HeaderValue>) -> bool {
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc-web"))
}
