//! Background work that somebody watches over: workers that are restarted, stopped in time and never die in
//! silence.
//!
//! ```ignore
//! let ticks = supervisor.every(Duration::from_secs(60)).woken_by(new_work.clone());
//! supervisor.spawn("expire invitations", move || {
//!     let (app, mut ticks) = (app.clone(), ticks.clone());
//!     async move {
//!         while ticks.next().await {
//!             app.expire().await?;
//!         }
//!         Ok(())
//!     }
//! });
//! ```

mod backoff;
mod metrics;
mod periodic;

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use cqm_rpc::BoxError;
use futures::FutureExt;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use backoff::Backoff;
pub(crate) use backoff::jittered;
pub use periodic::Periodic;

/// A worker that ran this long before it failed starts again at once: its failure is news, not a loop.
const HEALTHY_RUN: Duration = Duration::from_secs(60);

/// Runs a future on a task of its own that nobody supervises: for work that ends by itself and whose
/// outcome somebody awaits, such as a mutation that must outlive its caller. Anything that loops belongs to a
/// [`Supervisor`].
pub fn detached<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    #[expect(clippy::disallowed_methods, reason = "this is the one sanctioned spawn")]
    tokio::spawn(future)
}

/// Owns the background work of a process. Clones share it.
///
/// Stopping is polite first: [`Supervisor::stopping`] is cancelled, and a worker returns when it has finished
/// what it was doing, because a transaction that is cut off half way poisons its connection. What does not
/// return within the time given to [`Supervisor::shutdown`] is dropped.
#[derive(Clone, Debug, Default)]
pub struct Supervisor {
    stopping: CancellationToken,
    cut_off: CancellationToken,
    workers: TaskTracker,
}

impl Supervisor {
    /// A supervisor that stops when `parent` is cancelled, or by [`Supervisor::shutdown`].
    pub fn under(parent: &CancellationToken) -> Self {
        Self { stopping: parent.child_token(), ..Self::default() }
    }

    /// Cancelled when the workers are to stop. Every loop listens to it; [`Periodic`] does by itself.
    pub fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }

    /// Ticks for a loop of this supervisor: one every `interval`, none after the stop.
    pub fn every(&self, interval: Duration) -> Periodic {
        Periodic::new(interval, self.stopping.clone())
    }

    /// Keeps a worker running: `work` makes its future anew after every failure or panic, with a full-jitter
    /// backoff of 50 ms to 5 s, until it returns `Ok` or the supervisor stops.
    pub fn spawn<F, W>(&self, name: &'static str, mut work: F)
    where
        F: FnMut() -> W + Send + 'static,
        W: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        metrics::announce(name);
        let (stopping, cut_off) = (self.stopping.clone(), self.cut_off.clone());
        self.workers.spawn(async move {
            let mut backoff = Backoff::default();
            while !stopping.is_cancelled() {
                let started = Instant::now();
                match watch(name, &cut_off, &mut work).await {
                    Ended::Finished | Ended::CutOff => return,
                    Ended::Failed => {}
                }
                if started.elapsed() >= HEALTHY_RUN {
                    backoff.reset();
                }
                let pause = tokio::time::sleep(backoff.next_delay());
                if stopping.run_until_cancelled(pause).await.is_none() {
                    return;
                }
            }
        });
    }

    /// Runs a future once, watched and waited for like a worker, never restarted.
    pub fn spawn_once(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<(), BoxError>> + Send + 'static,
    ) {
        let cut_off = self.cut_off.clone();
        let mut work = Some(work);
        self.workers.spawn(async move {
            if let Some(work) = work.take() {
                watch(name, &cut_off, || work).await;
            }
        });
    }

    /// Asks the workers to stop, waits at most `limit`, then drops those that are left. `true` when all of
    /// them stopped by themselves.
    pub async fn shutdown(&self, limit: Duration) -> bool {
        self.stopping.cancel();
        self.workers.close();
        if tokio::time::timeout(limit, self.workers.wait()).await.is_ok() {
            return true;
        }
        self.cut_off.cancel();
        self.workers.wait().await;
        false
    }
}

enum Ended {
    Finished,
    Failed,
    CutOff,
}

/// Runs one life of a worker and says once how it ended badly.
async fn watch<W>(name: &'static str, cut_off: &CancellationToken, work: impl FnOnce() -> W) -> Ended
where
    W: Future<Output = Result<(), BoxError>>,
{
    // The factory runs inside the guard: it may panic as well as the future it makes.
    let life = metrics::named(name, AssertUnwindSafe(async move { work().await }).catch_unwind());
    let ended = match cut_off.run_until_cancelled(life).await {
        None => {
            tracing::warn!(worker = name, "worker did not stop in time and was cut off");
            Ended::CutOff
        }
        Some(Ok(Ok(()))) => Ended::Finished,
        Some(Ok(Err(error))) => {
            tracing::warn!(worker = name, error = %chain(error.as_ref()), "worker failed");
            Ended::Failed
        }
        Some(Err(panic)) => {
            tracing::error!(worker = name, panic = panic_text(panic.as_ref()), "worker panicked");
            Ended::Failed
        }
    };
    if !matches!(ended, Ended::Finished) {
        metrics::failed(name);
    }
    ended
}

/// An error with its sources, for the log and the terminal.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// What a panic says, if it is a literal of the source: a formatted text may quote somebody's data.
fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<&'static str>().copied().unwrap_or("withheld, it is not a literal")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::{Notify, oneshot};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_fails_and_panics_is_started_again_until_it_finishes() {
        let supervisor = Supervisor::default();
        let lives = Arc::new(AtomicU32::new(0));
        let done = Arc::new(Notify::new());
        let (seen, finished) = (lives.clone(), done.clone());
        supervisor.spawn("flaky", move || {
            let (life, finished) = (seen.fetch_add(1, Ordering::SeqCst), finished.clone());
            async move {
                match life {
                    0 => Err("the first life fails".into()),
                    1 => panic!("the second life panics"),
                    _ => {
                        finished.notify_one();
                        Ok(())
                    }
                }
            }
        });
        done.notified().await;
        assert!(supervisor.shutdown(Duration::from_secs(1)).await);
        assert_eq!(lives.load(Ordering::SeqCst), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_factory_that_panics_does_not_end_its_worker() {
        let supervisor = Supervisor::default();
        let (done, finished) = oneshot::channel();
        let mut done = Some(done);
        let mut first = true;
        supervisor.spawn("factory", move || {
            assert!(!std::mem::take(&mut first), "the factory panics");
            let done = done.take();
            async move {
                done.expect("the second life is the last").send(()).expect("the test waits");
                Ok(())
            }
        });
        finished.await.unwrap();
        assert!(supervisor.shutdown(Duration::from_secs(1)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_lets_a_worker_finish_what_it_is_doing() {
        let supervisor = Supervisor::default();
        let finished = Arc::new(AtomicU32::new(0));
        let (count, stopping) = (finished.clone(), supervisor.stopping());
        supervisor.spawn_once("slow", async move {
            stopping.cancelled().await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            count.fetch_add(1, Ordering::SeqCst);
            Ok(())
        });
        assert!(supervisor.shutdown(Duration::from_secs(1)).await);
        assert_eq!(finished.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_cuts_off_a_worker_that_does_not_listen() {
        let supervisor = Supervisor::default();
        let started = Arc::new(Notify::new());
        let begun = started.clone();
        supervisor.spawn("deaf", move || {
            begun.notify_one();
            std::future::pending()
        });
        started.notified().await;
        let before = tokio::time::Instant::now();
        assert!(!supervisor.shutdown(Duration::from_secs(1)).await);
        assert_eq!(before.elapsed(), Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_waiting_for_its_next_life_stops_at_once() {
        let parent = CancellationToken::new();
        let supervisor = Supervisor::under(&parent);
        supervisor.spawn("failing", || async { Err("always".into()) });
        parent.cancel();
        assert!(supervisor.shutdown(Duration::ZERO + Duration::from_millis(1)).await);
    }
}
