//! When a pod gets no more calls because too many of them failed, and for how long.

use std::time::{Duration, Instant};

use crate::config::TrafficConfig;

/// Outlier ejection of one pod: failures in a row put it out for a time, which doubles while it goes on failing. When
/// the time is over calls go to it again, and the first one decides.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    ejections: u32,
    until: Option<Instant>,
}

impl Breaker {
    pub fn is_open(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// A call that was under way when the pod was put out says nothing new, neither that it is well nor that it is not.
    pub fn succeeded(&mut self, now: Instant) {
        if !self.is_open(now) {
            *self = Self::default();
        }
    }

    /// `true` when this one puts it out.
    pub fn failed(&mut self, now: Instant, config: &TrafficConfig) -> bool {
        if self.is_open(now) {
            return false;
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures < config.eject_after {
            return false;
        }
        self.eject(now, config)
    }

    /// Puts the pod out whatever was before: it says itself that it leaves, or nobody is there.
    pub fn eject(&mut self, now: Instant, config: &TrafficConfig) -> bool {
        if self.is_open(now) {
            return false;
        }
        let time = config.ejection.saturating_mul(1 << self.ejections.min(16)).min(config.ejection_cap);
        self.ejections += 1;
        // One more failure after the time is over is enough.
        self.failures = config.eject_after;
        self.until = Some(now + jittered(time));
        true
    }
}

/// Pods that were put out together do not come back together.
fn jittered(time: Duration) -> Duration {
    time.mul_f64(rand::Rng::random_range(&mut rand::rng(), 0.8..=1.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> TrafficConfig {
        TrafficConfig {
            eject_after: 3,
            ejection: Duration::from_secs(1),
            ejection_cap: Duration::from_secs(8),
            ..TrafficConfig::default()
        }
    }

    #[test]
    fn failures_in_a_row_put_a_pod_out_and_a_success_in_between_does_not_count() {
        let (mut breaker, now, config) = (Breaker::default(), Instant::now(), config());
        assert!(!breaker.failed(now, &config) && !breaker.failed(now, &config));
        breaker.succeeded(now);
        assert!(!breaker.failed(now, &config) && !breaker.failed(now, &config));
        assert!(!breaker.is_open(now));
        assert!(breaker.failed(now, &config));
        assert!(breaker.is_open(now));
        // Calls that were under way.
        assert!(!breaker.failed(now, &config));
        breaker.succeeded(now);
        assert!(breaker.is_open(now));
        assert!(!breaker.is_open(now + Duration::from_millis(1_300)));
    }

    #[test]
    fn a_pod_that_goes_on_failing_stays_out_longer_and_a_good_call_forgives_all() {
        let (mut breaker, mut now, config) = (Breaker::default(), Instant::now(), config());
        let mut times = Vec::new();
        for _ in 0..6 {
            while !breaker.failed(now, &config) {}
            let until = breaker.until.unwrap();
            times.push(until - now);
            now = until;
        }
        assert!(times[1] > times[0] && times[2] > times[1], "{times:?}");
        assert!(times[5] <= Duration::from_millis(9_600), "{times:?}");
        breaker.succeeded(now);
        assert!(!breaker.failed(now, &config));
    }
}
