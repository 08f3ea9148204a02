//! Ticks for loops.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backoff::jittered;
use super::metrics;

/// Ticks every interval ± 20 %, earlier when it is woken, never after the stop.
///
/// The first tick comes after a random part of the interval, so that the replicas of a deployment do not work
/// in step.
#[derive(Clone, Debug)]
pub struct Periodic {
    interval: Duration,
    stopping: CancellationToken,
    wake: Option<Arc<Notify>>,
    /// When the last tick came.
    ticked: Option<Instant>,
}

impl Periodic {
    pub fn new(interval: Duration, stopping: CancellationToken) -> Self {
        Self { interval, stopping, wake: None, ticked: None }
    }

    /// Ticks at once when `wake` is notified. Notify with `notify_one`: it keeps a wake-up that comes while
    /// the loop is at work.
    pub fn woken_by(mut self, wake: Arc<Notify>) -> Self {
        self.wake = Some(wake);
        self
    }

    /// Waits for the next tick; `false` when the loop is to end.
    pub async fn next(&mut self) -> bool {
        let delay = match self.ticked.take() {
            Some(ticked) => {
                metrics::ran(ticked.elapsed());
                jittered(self.interval)
            }
            None => self.interval.mul_f64(rand::rng().random_range(0.0..=1.0)),
        };
        let woken = async {
            match &self.wake {
                Some(wake) => wake.notified().await,
                None => std::future::pending().await,
            }
        };
        let ticks = tokio::select! {
            biased;
            () = self.stopping.cancelled() => false,
            () = woken => true,
            () = tokio::time::sleep(delay) => true,
        };
        self.ticked = Some(Instant::now());
        ticks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn ticks_are_an_interval_apart_give_or_take_a_fifth() {
        let mut ticks = Periodic::new(INTERVAL, CancellationToken::new());
        let start = Instant::now();
        assert!(ticks.next().await);
        assert!(start.elapsed() <= INTERVAL);
        for _ in 0..20 {
            let before = Instant::now();
            assert!(ticks.next().await);
            let apart = before.elapsed();
            assert!((Duration::from_secs(8)..=Duration::from_millis(12_010)).contains(&apart), "{apart:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wake_up_during_the_work_is_not_lost() {
        let wake = Arc::new(Notify::new());
        let mut ticks = Periodic::new(INTERVAL, CancellationToken::new()).woken_by(wake.clone());
        wake.notify_one();
        let before = Instant::now();
        assert!(ticks.next().await);
        assert_eq!(before.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_ticks_after_the_stop() {
        let stopping = CancellationToken::new();
        let wake = Arc::new(Notify::new());
        let mut ticks = Periodic::new(INTERVAL, stopping.clone()).woken_by(wake.clone());
        stopping.cancel();
        wake.notify_one();
        assert!(!ticks.next().await);
    }
}
