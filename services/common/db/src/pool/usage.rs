//! How a process uses its connections, as metrics by OpenTelemetry's conventions for pools.
//!
//! One set of numbers for all pools of a service: each runtime has a pool, and which of them a connection belongs to is
//! nobody's question.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use opentelemetry::KeyValue;

/// Shared by the pools of one service; counted without a lock, read when somebody asks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage(Arc<Numbers>);

#[derive(Debug, Default)]
struct Numbers {
    most: AtomicI64,
    open: AtomicI64,
    used: AtomicI64,
    waiting: AtomicI64,
    timeouts: AtomicU64,
}

impl Usage {
    /// Told to the process's meter under the database's name.
    pub fn told_as(database: &str) -> Self {
        let usage = Self::default();
        let meter = opentelemetry::global::meter("cqm-db");
        let name = KeyValue::new("db.client.connection.pool.name", database.to_owned());
        let state = |state| [name.clone(), KeyValue::new("db.client.connection.state", state)];

        let (numbers, used, idle) = (Arc::clone(&usage.0), state("used"), state("idle"));
        meter
            .i64_observable_up_down_counter("db.client.connection.count")
            .with_unit("{connection}")
            .with_description("open connections")
            .with_callback(move |observer| {
                let in_use = numbers.used.load(Ordering::Relaxed);
                observer.observe(in_use, &used);
                observer.observe((numbers.open.load(Ordering::Relaxed) - in_use).max(0), &idle);
            })
            .build();
        let (numbers, label) = (Arc::clone(&usage.0), [name.clone()]);
        meter
            .i64_observable_up_down_counter("db.client.connection.max")
            .with_unit("{connection}")
            .with_description("connections that may be open")
            .with_callback(move |observer| observer.observe(numbers.most.load(Ordering::Relaxed), &label))
            .build();
        let (numbers, label) = (Arc::clone(&usage.0), [name.clone()]);
        meter
            .i64_observable_up_down_counter("db.client.connection.pending_requests")
            .with_unit("{request}")
            .with_description("callers that wait for a connection")
            .with_callback(move |observer| observer.observe(numbers.waiting.load(Ordering::Relaxed), &label))
            .build();
        let (numbers, label) = (Arc::clone(&usage.0), [name]);
        meter
            .u64_observable_counter("db.client.connection.timeouts")
            .with_unit("{timeout}")
            .with_description("callers that waited for a connection and got none")
            .with_callback(move |observer| observer.observe(numbers.timeouts.load(Ordering::Relaxed), &label))
            .build();
        usage
    }

    pub fn allow(&self, connections: usize) -> Held {
        self.hold(|numbers| &numbers.most, i64::try_from(connections).unwrap_or(i64::MAX))
    }

    pub fn open(&self) -> Held {
        self.hold(|numbers| &numbers.open, 1)
    }

    pub fn wait(&self) -> Held {
        self.hold(|numbers| &numbers.waiting, 1)
    }

    pub fn lend(&self) -> Held {
        self.hold(|numbers| &numbers.used, 1)
    }

    pub fn timed_out(&self) {
        self.0.timeouts.fetch_add(1, Ordering::Relaxed);
    }

    fn hold(&self, which: fn(&Numbers) -> &AtomicI64, by: i64) -> Held {
        which(&self.0).fetch_add(by, Ordering::Relaxed);
        Held { numbers: Arc::clone(&self.0), which, by }
    }
}

/// Counted until it is dropped.
pub(crate) struct Held {
    numbers: Arc<Numbers>,
    which: fn(&Numbers) -> &AtomicI64,
    by: i64,
}

impl Drop for Held {
    fn drop(&mut self) {
        (self.which)(&self.numbers).fetch_sub(self.by, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_counted_until_it_is_let_go() {
        let usage = Usage::default();
        let (one, two) = (usage.lend(), usage.clone().lend());
        let most = [usage.allow(4), usage.allow(3)];
        assert_eq!(usage.0.used.load(Ordering::Relaxed), 2);
        assert_eq!(usage.0.most.load(Ordering::Relaxed), 7);
        drop(one);
        assert_eq!(usage.0.used.load(Ordering::Relaxed), 1);
        drop((two, most));
        assert_eq!(usage.0.used.load(Ordering::Relaxed), 0);
        assert_eq!(usage.0.most.load(Ordering::Relaxed), 0);
    }
}
