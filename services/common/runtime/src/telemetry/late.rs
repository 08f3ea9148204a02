//! Spans that are made after their end: of calls that were not sampled and failed, and of work whose trace is only known from
//! what it works on.
//!
//! Whether a call is traced is decided before its span is made, because a span that nobody wants costs an eighth of an
//! echo. An error is wanted always, and is known at the end: its span is made then, with the time at which it began,
//! under the id that its call has had from the beginning, so that what failed behind it hangs below it.

use std::cell::Cell;
use std::time::{Duration, SystemTime};

use cqm_rpc::{Clock, TraceContext};
use opentelemetry::trace::{
    Span, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer,
};
use opentelemetry::{Context, KeyValue, global};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};

thread_local! {
    /// The ids of the span that is being made; the SDK's builder takes none.
    static OWN: Cell<Option<(TraceId, SpanId)>> = const { Cell::new(None) };
}

/// Random ids, and those of late spans.
#[derive(Debug, Default)]
pub(super) struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        OWN.get().map_or_else(|| self.0.new_trace_id(), |(trace, _)| trace)
    }

    fn new_span_id(&self) -> SpanId {
        OWN.get().map_or_else(|| self.0.new_span_id(), |(_, span)| span)
    }
}

/// A span that is made after its end.
#[derive(Debug)]
pub struct LateSpan {
    pub name: String,
    pub kind: SpanKind,
    pub parent: Option<TraceContext>,
    pub own: TraceContext,
    pub took: Duration,
    pub failed: bool,
    pub attributes: Vec<KeyValue>,
}

impl LateSpan {
    /// Hands it to the exporter, which has a queue with an end: a storm of errors loses spans, not memory. Nothing happens
    /// where there is no collector.
    pub fn export(self) {
        let context = match self.parent {
            // Sampled from here on, whatever the parent's flag says: the SDK asks nothing else.
            Some(parent) => Context::new().with_remote_span_context(SpanContext::new(
                TraceId::from_bytes(parent.trace_id),
                SpanId::from_bytes(parent.span_id),
                TraceFlags::SAMPLED,
                true,
                TraceState::default(),
            )),
            None => Context::new(),
        };
        let tracer = global::tracer("cqm");
        let began: SystemTime = (Clock::system().now() - self.took).into();
        let builder = tracer
            .span_builder(self.name)
            .with_kind(self.kind)
            .with_start_time(began)
            .with_attributes(self.attributes);
        OWN.set(Some((TraceId::from_bytes(self.own.trace_id), SpanId::from_bytes(self.own.span_id))));
        let mut span = tracer.build_with_context(builder, &context);
        OWN.set(None);
        if self.failed {
            span.set_status(Status::error(""));
        }
        span.end();
    }
}
