//! What the coordinator counts, by source.

use std::sync::Arc;

use chrono::DateTime;
use cqm_proto::events::v1::Event;
use cqm_rpc::Clock;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram};

/// The instruments of one source's reader.
#[derive(Clone)]
pub(super) struct Metrics(Arc<Instruments>);

struct Instruments {
    source: KeyValue,
    clock: Clock,
    delay: Histogram<f64>,
    lag: Gauge<i64>,
    parked: Gauge<u64>,
    diverged: Gauge<u64>,
    commands: Counter<u64>,
}

impl Metrics {
    pub fn new(source: &'static str, clock: Clock) -> Self {
        let meter = opentelemetry::global::meter("cqm-gateway");
        Self(Arc::new(Instruments {
            source: KeyValue::new("cqm.source", source),
            clock,
            delay: meter
                .f64_histogram("cqm.coordinator.delay")
                .with_unit("s")
                .with_description("from an event to the end of what follows from it")
                .with_boundaries(vec![0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 600.0, 3600.0])
                .build(),
            lag: meter
                .i64_gauge("cqm.coordinator.lag")
                .with_unit("{event}")
                .with_description("events of the source that are not acknowledged yet")
                .build(),
            parked: meter
                .u64_gauge("cqm.coordinator.parked")
                .with_unit("{aggregate}")
                .with_description("aggregates of the source that wait for somebody's decision")
                .build(),
            diverged: meter
                .u64_gauge("cqm.coordinator.diverged")
                .with_description("1 while the source's log is not the one that was read")
                .build(),
            commands: meter
                .u64_counter("cqm.coordinator.commands")
                .with_unit("{command}")
                .with_description("commands that were answered or given up, by reaction")
                .build(),
        }))
    }

    /// This process does not read the source, or not any more: what it would go on saying is another one's to say.
    pub fn stand_by(&self) {
        self.lag(0);
        self.parked(0);
    }

    pub fn lag(&self, events: i64) {
        self.0.lag.record(events, std::slice::from_ref(&self.0.source));
    }

    /// An event has been handled: how long after it happened?
    pub fn handled(&self, event: &Event) {
        let occurred = event.occur_time.as_ref();
        let occurred =
            occurred.and_then(|time| DateTime::from_timestamp(time.seconds, u32::try_from(time.nanos).ok()?));
        if let Some(delay) = occurred.and_then(|occurred| (self.0.clock.now() - occurred).to_std().ok()) {
            self.0.delay.record(delay.as_secs_f64(), std::slice::from_ref(&self.0.source));
        }
    }

    pub fn parked(&self, aggregates: usize) {
        self.0.parked.record(aggregates as u64, std::slice::from_ref(&self.0.source));
    }

    pub fn diverged(&self, diverged: bool) {
        self.0.diverged.record(u64::from(diverged), std::slice::from_ref(&self.0.source));
    }

    /// `outcome`: `done`, `repeated` (it had been answered before), `withheld` (its customer is to be forgotten) or
    /// `refused`.
    pub fn command(&self, reaction: &'static str, outcome: &'static str) {
        let attributes = [
            self.0.source.clone(),
            KeyValue::new("cqm.reaction", reaction),
            KeyValue::new("cqm.outcome", outcome),
        ];
        self.0.commands.add(1, &attributes);
    }
}
