//! What the cache counts.

use opentelemetry::KeyValue;
use opentelemetry::metrics::Counter;

#[derive(Clone, Debug)]
pub(super) struct Metrics {
    lookups: Counter<u64>,
    switched_off: Counter<u64>,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let meter = opentelemetry::global::meter("cqm-runtime");
        let metrics = Self {
            lookups: meter
                .u64_counter("cqm.cache.lookups")
                .with_unit("{lookup}")
                .with_description("Reads of the cache by kind of row, level and outcome.")
                .build(),
            switched_off: meter
                .u64_counter("cqm.cache.redis.switched_off")
                .with_unit("{event}")
                .with_description("How often Redis was left alone after failures.")
                .build(),
        };
        // From the start, so that the first time is a rise.
        metrics.switched_off.add(0, &[]);
        metrics
    }

    pub(super) fn lookup(&self, kind: &'static str, level: &'static str, outcome: &'static str) {
        self.lookups.add(
            1,
            &[
                KeyValue::new("cqm.cache.kind", kind),
                KeyValue::new("cqm.cache.level", level),
                KeyValue::new("cqm.cache.outcome", outcome),
            ],
        );
    }

    pub(super) fn switched_off(&self) {
        self.switched_off.add(1, &[]);
    }
}
