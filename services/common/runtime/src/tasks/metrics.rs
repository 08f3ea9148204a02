//! What workers count: their turns, how long those took, and how often they failed.

use std::future::Future;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::Histogram;

/// A worker as its metrics know it.
#[derive(Clone)]
struct Worker {
    label: KeyValue,
    turns: Histogram<f64>,
}

tokio::task_local! {
    /// Whose turn it is: the ticks that a worker waits for do not know its name.
    static WORKER: Worker;
}

/// Runs one life of a worker under its name.
pub(super) fn named<T>(name: &'static str, life: impl Future<Output = T>) -> impl Future<Output = T> {
    let turns = opentelemetry::global::meter("cqm-runtime")
        .f64_histogram("cqm.worker.turn.duration")
        .with_unit("s")
        .with_description("turns of workers, from a tick to the end of what it led to")
        .with_boundaries(vec![0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0])
        .build();
    WORKER.scope(Worker { label: KeyValue::new("cqm.worker", name), turns }, life)
}

/// The worker whose task this is has ended a turn. A loop that is nobody's task is not counted.
pub(super) fn ran(took: Duration) {
    let _ = WORKER.try_with(|worker| {
        worker.turns.record(took.as_secs_f64(), std::slice::from_ref(&worker.label));
    });
}

/// Told as 0 from the start: what begins with its first failure is no rise that an alert could see.
pub(super) fn announce(name: &'static str) {
    failures(name, 0);
}

/// A life ended by an error, a panic or the knife. The worker begins anew, unless the process ends.
pub(super) fn failed(name: &'static str) {
    failures(name, 1);
}

fn failures(name: &'static str, more: u64) {
    opentelemetry::global::meter("cqm-runtime")
        .u64_counter("cqm.worker.failures")
        .with_unit("{failure}")
        .with_description("lives of workers that ended badly")
        .build()
        .add(more, &[KeyValue::new("cqm.worker", name)]);
}
