//! What the edge counts of its traffic, beside what every server counts.

use opentelemetry::KeyValue;
use opentelemetry::metrics::Counter;

#[derive(Clone, Debug)]
pub(super) struct Metrics {
    repeats: Counter<u64>,
    ejections: Counter<u64>,
    quota: Counter<u64>,
}

impl Metrics {
    pub fn new() -> Self {
        let meter = opentelemetry::global::meter("cqm-gateway");
        Self {
            repeats: meter
                .u64_counter("cqm.gateway.repeats")
                .with_unit("{call}")
                .with_description(
                    "Calls that a service did not answer, by service and whether they were sent again.",
                )
                .build(),
            ejections: meter
                .u64_counter("cqm.gateway.ejections")
                .with_unit("{event}")
                .with_description("How often a pod was put out because it failed or left, by service.")
                .build(),
            quota: meter
                .u64_counter("cqm.gateway.quota")
                .with_unit("{event}")
                .with_description("Refusals by quota and switches to counting without Redis, by event.")
                .build(),
        }
    }

    /// `outcome`: `again`, or why not.
    pub fn repeat(&self, backend: &'static str, outcome: &'static str) {
        let labels =
            [KeyValue::new("cqm.gateway.backend", backend), KeyValue::new("cqm.gateway.outcome", outcome)];
        self.repeats.add(1, &labels);
    }

    pub fn ejected(&self, backend: &'static str) {
        self.ejections.add(1, &[KeyValue::new("cqm.gateway.backend", backend)]);
    }

    pub fn quota(&self, event: &'static str) {
        self.quota.add(1, &[KeyValue::new("cqm.gateway.event", event)]);
    }
}
