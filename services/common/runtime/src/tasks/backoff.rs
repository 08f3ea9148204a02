//! Delays between tries.

use std::time::Duration;

use rand::Rng;

/// Full jitter: each delay is drawn between zero and a bound that doubles up to a cap, so that those who
/// failed together do not come back together.
#[derive(Clone, Debug)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    failures: u32,
}

impl Default for Backoff {
    /// 50 ms to 5 s: what every reconnect and restart of the suite uses.
    fn default() -> Self {
        Self::new(Duration::from_millis(50), Duration::from_secs(5))
    }
}

impl Backoff {
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, failures: 0 }
    }

    /// The delay before the next try; each call counts a failure.
    pub fn next_delay(&mut self) -> Duration {
        let bound = self.base.saturating_mul(2_u32.saturating_pow(self.failures)).min(self.cap);
        self.failures = self.failures.saturating_add(1);
        bound.mul_f64(rand::rng().random_range(0.0..=1.0))
    }

    /// A try succeeded: the next failure starts from the base again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// `value` ± 20 %: for everything that would otherwise happen to all replicas, or to all entries, at once.
pub(crate) fn jittered(value: Duration) -> Duration {
    value.mul_f64(rand::rng().random_range(0.8..=1.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_cap_and_start_again_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        for failures in 0..100_u32 {
            let bound = Duration::from_millis(50 * 2_u64.pow(failures.min(7))).min(Duration::from_secs(5));
            assert!(backoff.next_delay() <= bound, "after {failures} failures");
        }
        let long = (0..100).map(|_| backoff.next_delay()).max();
        assert!(long > Some(Duration::from_secs(1)), "a hundred draws up to 5 s stay under 1 s: {long:?}");
        backoff.reset();
        assert!(backoff.next_delay() <= Duration::from_millis(50));
    }

    #[test]
    fn jitter_stays_within_a_fifth() {
        for _ in 0..100 {
            let drawn = jittered(Duration::from_secs(10));
            assert!((Duration::from_secs(8)..=Duration::from_secs(12)).contains(&drawn), "{drawn:?}");
        }
    }
}
