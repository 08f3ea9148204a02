//! Reading one service's feed: claim, read, handle, acknowledge, again.

mod calls;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cqm_proto::events::v1::event_feed_client::EventFeedClient;
use cqm_rpc::{BoxError, Failure};
use cqm_runtime::channel::Channel;
use cqm_runtime::tasks::Backoff;
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::batch::{self, Item};
use super::executor::Executor;
use super::metrics::Metrics;
use super::starts::Starts;
use crate::backend::Backend;
use crate::config::ReadingConfig;

/// Between two looks at a log that is not the one that was read: somebody has to repair it first.
const DIVERGED_PAUSE: Duration = Duration::from_secs(10);
/// After an empty answer: a feed that does not wait must not be asked in a loop.
const EMPTY_PAUSE: Duration = Duration::from_millis(10);

/// Reads one source for as long as the process lives.
#[derive(Clone)]
pub(super) struct Reader {
    pub backend: Backend,
    pub feed: EventFeedClient<Channel>,
    pub executor: Executor,
    pub config: Arc<ReadingConfig>,
    /// The process's name towards the source.
    pub name: Arc<str>,
    pub metrics: Metrics,
    pub stopping: CancellationToken,
    /// The sources that have answered so far, whoever reads them.
    pub reached: watch::Sender<BTreeSet<Backend>>,
}

/// Why a session with a source ended.
#[derive(Debug)]
pub(super) enum End {
    /// Another reader has the claim.
    Claimed,
    /// The source's log is not the one that was read.
    Diverged(Failure),
    /// The feed refused something that it should not refuse.
    Refused(Failure),
    /// A newer version of the coordinator has read the source: this reaction took the place of one that is known here.
    Outdated(String),
}

/// How far this session has got.
#[derive(Clone, Debug)]
pub(super) struct Position {
    pub log_id: Uuid,
    pub position: i64,
    hash: bytes::Bytes,
    pub starts: Arc<Starts>,
}

impl Reader {
    /// Returns when the process stops.
    pub async fn run(self) -> Result<(), BoxError> {
        tokio::select! {
            () = self.sessions() => {}
            // A batch may end; what is left of it then was not acknowledged, and the next reader does it again.
            () = async {
                self.stopping.cancelled().await;
                tokio::time::sleep(self.config.drain).await;
            } => tracing::warn!(source = self.backend.name(), "stopped in the middle of a batch"),
        }
        self.release().await;
        Ok(())
    }

    fn reached(&self) {
        self.reached.send_if_modified(|reached| reached.insert(self.backend));
    }

    async fn sessions(&self) {
        let source = self.backend.name();
        let mut diverged = false;
        let mut refused = String::new();
        let mut backoff = Backoff::new(self.config.outage_pause, self.config.outage_pause_cap);
        loop {
            let started = Instant::now();
            let end = self.session(&mut diverged).await;
            if started.elapsed() > self.config.outage_pause_cap {
                backoff.reset();
            }
            self.metrics.stand_by();
            let pause = match end {
                Ok(()) => return,
                Err(End::Claimed) => {
                    self.reached();
                    tracing::debug!(source, "another reader has the source");
                    self.config.claimed_pause
                }
                // Never skipped: what the coordinator has told others did not happen any more, and only people can
                // decide what that means. Said once; the metric keeps saying it.
                Err(End::Diverged(failure)) => {
                    if !diverged {
                        let position = failure.facts.get("position").map(String::as_str);
                        tracing::error!(
                            source,
                            position,
                            "the source's log is not the one that was read: stopped"
                        );
                    }
                    diverged = true;
                    self.reached();
                    self.metrics.diverged(true);
                    DIVERGED_PAUSE
                }
                Err(End::Outdated(newer)) => {
                    if newer != refused {
                        tracing::warn!(source, newer, "a newer version reads this source: standing by");
                    }
                    refused = newer;
                    self.reached();
                    self.release().await;
                    DIVERGED_PAUSE
                }
                // Said again only when it is something else.
                Err(End::Refused(failure)) => {
                    let failure = failure.to_string();
                    if failure != refused {
                        tracing::error!(source, failure, "the source's feed refused the coordinator");
                    }
                    refused = failure;
                    self.config.claimed_pause + backoff.next_delay()
                }
            };
            if self.stopping.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    /// From the claim to its end. `Ok` when the process stops.
    async fn session(&self, diverged: &mut bool) -> Result<(), End> {
        let Some(at) = self.stopping.run_until_cancelled(self.cursor()).await else {
            return Ok(());
        };
        let mut at = at?;
        // The first read takes the claim. Only the holder of the claim parks and takes back, so what is parked is known
        // from then on; what the read itself brought is read again.
        let Some(first) = self.stopping.run_until_cancelled(self.read(&at, 1, Duration::ZERO)).await else {
            return Ok(());
        };
        first?;
        at.starts = Arc::new(self.register().await?);
        let mut parked = self.parked().await?;
        self.reached();
        if std::mem::take(diverged) {
            tracing::info!(source = self.backend.name(), "the source's log is the one that was read again");
        }
        self.metrics.diverged(false);
        tracing::info!(
            source = self.backend.name(),
            position = at.position,
            parked = parked.len(),
            "reading"
        );

        loop {
            self.metrics.parked(parked.len());
            let read = self.read(&at, self.config.batch, self.config.wait);
            let Some(batch) = self.stopping.run_until_cancelled(read).await else {
                return Ok(());
            };
            let batch = batch?;
            self.metrics.lag(batch.head_position - at.position);
            let last = batch.events.last().map(|event| (event.position, event.hash.clone()));
            let items = batch::sort(batch.events, batch.to_retry, &parked);
            if items.is_empty() && last.is_none() {
                tokio::time::sleep(EMPTY_PAUSE).await;
                continue;
            }
            tokio::select! {
                handled = self.handle(items, &at, &mut parked) => handled?,
                end = self.keep_claim(&at) => return Err(end),
            }
            if let Some((position, hash)) = last {
                at = Position { position, hash, ..at };
                self.acknowledge(&at).await?;
                self.metrics.lag(batch.head_position - at.position);
            }
            if self.stopping.is_cancelled() {
                return Ok(());
            }
        }
    }

    /// Different aggregates side by side, the events of one in their order.
    async fn handle(
        &self,
        items: Vec<Item>,
        at: &Position,
        parked: &mut BTreeSet<String>,
    ) -> Result<(), End> {
        let handled: Vec<(String, bool)> = stream::iter(items)
            .map(|item| async move {
                let aggregate = item.aggregate.clone();
                self.item(item, at).await.map(|through| (aggregate, through))
            })
            .buffer_unordered(self.config.concurrency)
            .try_collect()
            .await?;
        for (aggregate, through) in handled {
            if through {
                parked.remove(&aggregate);
            } else {
                parked.insert(aggregate);
            }
        }
        Ok(())
    }

    /// Handles one aggregate; `false` when it is parked now.
    async fn item(&self, item: Item, at: &Position) -> Result<bool, End> {
        if let Some(parked) = &item.to_retry {
            // It was parked behind the cursor, in a batch that nobody acknowledged.
            if parked.position > at.position {
                return self.resume_ahead(parked, &item.events, at).await;
            }
            if !self.resume(parked, at).await? {
                return Ok(false);
            }
        }
        for event in &item.events {
            if !self.event(event, at, false).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Renews the claim while a batch is at work, for longer than the source's lease if it must be. Returns when the
    /// claim is lost.
    async fn keep_claim(&self, at: &Position) -> End {
        loop {
            tokio::time::sleep(self.config.renew).await;
            match self.read(at, 1, Duration::ZERO).await {
                Ok(read) => self.metrics.lag(read.head_position - at.position),
                Err(end) => return end,
            }
        }
    }
}
