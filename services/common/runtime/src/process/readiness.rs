//! The way from "started" to "serving".

use std::time::Duration;

use cqm_db::{DatabaseConfig, Migrations, idempotency};
use cqm_rpc::{BoxError, Call};
use tokio::sync::watch;

use super::{Base, Service};
use crate::event_feed;
use crate::figures;
use crate::server::Health;
use crate::subjects;
use crate::tasks::{Backoff, Supervisor, chain};

/// How long the database may take to say what it has. Too high: a start hangs on a dead host. Too low: a loaded
/// database is never asked.
const ASK_LIMIT: Duration = Duration::from_secs(5);
/// Between two looks for answers to forget. Too high: the table is larger than it need be. Too low: an idle
/// database is asked for nothing.
const FORGET_EVERY: Duration = Duration::from_secs(60);
/// Answers forgotten by one transaction.
const FORGET_BATCH: i64 = 1000;
/// What one turn of forgetting may take.
const FORGET_BUDGET: Duration = Duration::from_secs(10);

/// What a service waits for, and what it starts then.
pub(super) struct Readiness<S> {
    pub database: DatabaseConfig,
    pub health: Health,
    pub service: S,
    pub background: Base,
    pub figures_interval: Duration,
    pub tell: watch::Sender<bool>,
}

impl<S: Service> Readiness<S> {
    /// Serves if the database has what this binary expects; otherwise says what is missing.
    pub async fn reach(&self, supervisor: &Supervisor) -> Result<(), String> {
        expected(&self.database, S::MIGRATIONS).await?;
        event_feed::sequencer(self.background.db.clone(), supervisor);
        forget(self.background.clone(), supervisor);
        subjects::look_again(self.service.clone(), &self.background, supervisor);
        let mut all = event_feed::figures(S::NAME);
        all.extend(S::figures());
        figures::look_up(&self.background, all, self.figures_interval, supervisor);
        self.service.workers(supervisor);
        self.health.ready().await;
        self.tell.send_replace(true);
        tracing::info!(service = S::NAME, "serving");
        Ok(())
    }

    /// Tries until it serves or is stopped.
    pub async fn wait(self, mut obstacle: String, supervisor: Supervisor) -> Result<(), BoxError> {
        tracing::warn!(service = S::NAME, obstacle, "not ready");
        let (stop, mut backoff) = (supervisor.stopping(), Backoff::default());
        loop {
            let pause = tokio::time::sleep(backoff.next_delay());
            if stop.run_until_cancelled(pause).await.is_none() {
                return Ok(());
            }
            match self.reach(&supervisor).await {
                Ok(()) => return Ok(()),
                // Said again only when it is something else.
                Err(other) if other != obstacle => {
                    tracing::warn!(service = S::NAME, obstacle = other, "not ready");
                    obstacle = other;
                }
                Err(_) => {}
            }
        }
    }
}

/// `Ok` when the database is as this binary expects it; otherwise what is in the way.
pub(super) async fn expected(database: &DatabaseConfig, migrations: Migrations) -> Result<(), String> {
    let asked = async { tokio::time::timeout(ASK_LIMIT, cqm_db::pending(database, migrations)).await? };
    let pending = asked.await.map_err(|error: BoxError| {
        // What Postgres' client says first is only that it failed.
        format!("the database cannot be used: {}", chain(error.as_ref()))
    })?;
    if pending.is_empty() {
        return Ok(());
    }
    Err(format!("migrations are pending, run `migrate`: {}", pending.join(", ")))
}

/// Forgets the answers of requests that nobody repeats any more.
fn forget(base: Base, supervisor: &Supervisor) {
    let ticks = supervisor.every(FORGET_EVERY);
    supervisor.spawn("forget answers", move || {
        let (base, mut ticks) = (base.clone(), ticks.clone());
        async move {
            while ticks.next().await {
                let before = base.clock.now() - base.db.events().remember;
                loop {
                    let call = Call::internal("forget_answers", FORGET_BUDGET);
                    let forgotten = base
                        .db
                        .tx_without_events(&call, "forget_answers", async |tx| {
                            idempotency::forget(tx, before, FORGET_BATCH).await
                        })
                        .await?;
                    if (forgotten as i64) < FORGET_BATCH {
                        break;
                    }
                }
            }
            Ok(())
        }
    });
}
