//! What a measurement comes to.

use std::collections::BTreeMap;
use std::time::Duration;

use tonic::Code;

/// What one worker saw within the window.
#[derive(Default)]
pub struct Tally {
    /// Of the calls that went well, each in microseconds.
    pub latencies: Vec<u32>,
    pub failed: BTreeMap<String, u64>,
}

impl Tally {
    pub fn good(&mut self, elapsed: Duration) {
        self.latencies.push(u32::try_from(elapsed.as_micros()).unwrap_or(u32::MAX));
    }

    pub fn bad(&mut self, code: Code) {
        *self.failed.entry(format!("{code:?}")).or_default() += 1;
    }

    pub fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        for (code, count) in other.failed {
            *self.failed.entry(code).or_default() += count;
        }
    }

    /// As the script reads it.
    pub fn into_json(
        mut self,
        window: Duration,
        watched: Duration,
        generator: Duration,
    ) -> serde_json::Value {
        self.latencies.sort_unstable();
        serde_json::json!({
            "calls": self.latencies.len(),
            "failed": self.failed,
            "seconds": window.as_secs_f64(),
            "p50_us": percentile(&self.latencies, 50),
            "p99_us": percentile(&self.latencies, 99),
            "server_cpu_us": u64::try_from(watched.as_micros()).unwrap_or(u64::MAX),
            "generator_cpu_us": u64::try_from(generator.as_micros()).unwrap_or(u64::MAX),
        })
    }
}

/// The smallest value that at least `share` percent of all do not exceed (nearest rank); `None` of nothing.
fn percentile(sorted: &[u32], share: usize) -> Option<u32> {
    let rank = (sorted.len() * share).div_ceil(100);
    sorted.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let hundred: Vec<u32> = (1..=100).collect();
        assert_eq!(percentile(&hundred, 50), Some(50));
        assert_eq!(percentile(&hundred, 99), Some(99));
        assert_eq!(percentile(&[7], 50), Some(7));
        assert_eq!(percentile(&[7, 8, 9], 99), Some(9));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn tallies_of_workers_add_up() {
        let mut sum = Tally::default();
        for (micros, code) in [(10, Code::Unavailable), (30, Code::Unavailable), (20, Code::Aborted)] {
            let mut one = Tally::default();
            one.good(Duration::from_micros(micros));
            one.bad(code);
            sum.add(one);
        }
        let json = sum.into_json(Duration::from_secs(2), Duration::from_micros(5), Duration::ZERO);
        assert_eq!(json["calls"], 3);
        assert_eq!(json["p50_us"], 20);
        assert_eq!(json["failed"], serde_json::json!({ "Aborted": 1, "Unavailable": 2 }));
    }
}
