//! What is kept of a call: its span if it is sampled, its place in the metrics, and one line in the log if it
//! failed.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Instant;

use cqm_rpc::{Error, TraceContext, metadata};
use http::HeaderMap;
use opentelemetry::metrics::Histogram;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry::{Context, KeyValue};
use tonic::{Code, Status};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::method::Method;
use crate::telemetry::Sampling;
use crate::telemetry::late::LateSpan;

/// The source of a status that a panic left behind. The panic hook has logged it already.
#[derive(Debug, thiserror::Error)]
#[error("a handler panicked")]
pub(super) struct Panicked;

/// What all calls of a process share.
#[derive(Clone, Debug)]
pub(super) struct Observer {
    sampling: Sampling,
    duration: Arc<Histogram<f64>>,
}

impl Observer {
    pub fn new(sampling: Sampling) -> Self {
        let duration = opentelemetry::global::meter("cqm")
            .f64_histogram("rpc.server.call.duration")
            .with_unit("s")
            .with_description("duration of calls, by method and status")
            .with_boundaries(vec![
                0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
            ])
            .build();
        Self { sampling, duration: Arc::new(duration) }
    }

    /// Sampling is decided here, before a span exists: building spans that a sampler drops costs an eighth of
    /// an echo's throughput.
    pub fn begin(&self, method: Option<&Method>, headers: &HeaderMap) -> Observation {
        let parent = headers
            .get(metadata::TRACEPARENT)
            .and_then(|value| value.to_str().ok())
            .and_then(TraceContext::parse);
        let sampled = parent.map_or_else(|| self.sampling.root(), |parent| parent.sampled);
        // A name that the contract does not know is the caller's text: it would make a series per guess.
        let (service, name) = method.map_or(("_OTHER", "_OTHER"), |method| (method.service, method.name));
        let (span, trace) = if sampled && self.sampling.exported() {
            traced(service, name, parent)
        } else {
            (Span::none(), next(parent, sampled))
        };
        Observation {
            started: Instant::now(),
            service,
            name,
            parent,
            trace,
            span,
            observer: self.clone(),
            done: false,
        }
    }
}

fn traced(service: &'static str, name: &'static str, parent: Option<TraceContext>) -> (Span, TraceContext) {
    let span = tracing::info_span!(
        "call",
        otel.name = format!("{service}/{name}"),
        otel.kind = "server",
        otel.status_code = tracing::field::Empty,
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = name,
        rpc.response.status_code = tracing::field::Empty,
    );
    if let Some(parent) = parent {
        let remote = SpanContext::new(
            TraceId::from_bytes(parent.trace_id),
            SpanId::from_bytes(parent.span_id),
            TraceFlags::SAMPLED,
            true,
            TraceState::default(),
        );
        // Fails only where the exporter could not be set up; the header is passed on all the same.
        let _ = span.set_parent(Context::new().with_remote_span_context(remote));
    }
    let context = span.context();
    let own = context.span().span_context().clone();
    let trace = if own.is_valid() {
        TraceContext {
            trace_id: own.trace_id().to_bytes(),
            span_id: own.span_id().to_bytes(),
            sampled: own.is_sampled(),
        }
    } else {
        next(parent, true)
    };
    (span, trace)
}

/// Without a span of our own a call still has a place in its trace: for the log, the next hop and the events.
fn next(parent: Option<TraceContext>, sampled: bool) -> TraceContext {
    parent.map_or_else(|| TraceContext::fresh(sampled), |parent| parent.child())
}

/// One call, until it is [finished](Observation::finish). Dropped before, it counts as cancelled: nobody
/// waited for it any more.
#[derive(Debug)]
pub(super) struct Observation {
    pub started: Instant,
    service: &'static str,
    name: &'static str,
    parent: Option<TraceContext>,
    pub trace: TraceContext,
    pub span: Span,
    observer: Observer,
    done: bool,
}

impl Observation {
    pub fn succeed(mut self) {
        self.record(Code::Ok);
    }

    /// The status came from another process, which has logged it.
    pub fn pass(mut self, code: Code) {
        self.record(code);
    }

    /// The one place where a failed call is logged.
    pub fn fail(mut self, status: &Status) {
        let error = status.source().and_then(|source| source.downcast_ref::<Error>());
        let cause = error.and_then(StdError::source);
        if !cause.is_some_and(|cause| cause.is::<Panicked>()) {
            let reason = error.map_or("", |error| error.reason().name);
            let method = format_args!("{}/{}", self.service, self.name);
            let trace_id = self.trace.trace_id_hex();
            let elapsed_ms = self.started.elapsed().as_secs_f64() * 1e3;
            let code = status_code(status.code());
            let _entered = self.span.enter();
            match (status.code(), cause) {
                (Code::Internal, _) => {
                    tracing::error!(%method, code, reason, trace_id, elapsed_ms, cause = chain(cause), "call failed");
                }
                (Code::Unavailable | Code::DeadlineExceeded, Some(_)) => {
                    tracing::warn!(%method, code, reason, trace_id, elapsed_ms, cause = chain(cause), "call failed");
                }
                _ => {
                    tracing::debug!(%method, code, reason, trace_id, elapsed_ms, cause = chain(cause), "call refused");
                }
            }
        }
        self.record(status.code());
    }

    fn record(&mut self, code: Code) {
        self.done = true;
        let text = status_code(code);
        self.observer.duration.record(
            self.started.elapsed().as_secs_f64(),
            &[
                KeyValue::new("rpc.system", "grpc"),
                KeyValue::new("rpc.service", self.service),
                KeyValue::new("rpc.method", self.name),
                KeyValue::new("rpc.response.status_code", text),
            ],
        );
        let failed = matches!(
            code,
            Code::Internal | Code::Unknown | Code::DataLoss | Code::Unavailable | Code::DeadlineExceeded
        );
        if !self.span.is_disabled() {
            self.span.record("rpc.response.status_code", text);
            if failed {
                self.span.record("otel.status_code", "ERROR");
            }
        } else if failed && self.observer.sampling.exported() {
            // Errors are kept whatever the sampling said.
            let call = LateSpan {
                name: format!("{}/{}", self.service, self.name),
                kind: SpanKind::Server,
                parent: self.parent,
                own: self.trace,
                took: self.started.elapsed(),
                failed,
                attributes: vec![
                    KeyValue::new("rpc.system", "grpc"),
                    KeyValue::new("rpc.service", self.service),
                    KeyValue::new("rpc.method", self.name),
                    KeyValue::new("rpc.response.status_code", text),
                ],
            };
            call.export();
        }
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        if !self.done {
            self.record(Code::Cancelled);
        }
    }
}

/// Logs a failure that has no status of its own: a row of a stream, a mutation whose caller has gone.
pub fn report(what: &str, trace: &TraceContext, error: &Error) {
    let trace_id = trace.trace_id_hex();
    let code = status_code(error.code());
    let cause = error.source();
    let reason = error.reason().name;
    if cause.is_some_and(|cause| cause.is::<Panicked>()) {
        return;
    }
    match (error.code(), cause) {
        (Code::Internal, _) => {
            tracing::error!(what, code, reason, trace_id, cause = chain(cause), "work failed")
        }
        (Code::Unavailable | Code::DeadlineExceeded, Some(_)) => {
            tracing::warn!(what, code, reason, trace_id, cause = chain(cause), "work failed");
        }
        _ => tracing::debug!(what, code, reason, trace_id, cause = chain(cause), "work refused"),
    }
}

/// The whole chain of sources in one line.
fn chain(mut cause: Option<&(dyn StdError + 'static)>) -> String {
    let mut text = String::new();
    while let Some(error) = cause {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// As the semantic conventions spell it.
pub(crate) fn status_code(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
