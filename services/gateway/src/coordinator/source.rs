//! Reading one service's feed: claim, read, handle, acknowledge, again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cqm_proto::events::v1::event_feed_client::EventFeedClient;
use cqm_proto::events::v1::{
    AckRequest, Cursor, Event, GetCursorRequest, ListParkedRequest, ParkRequest, ReadAggregateRequest,
    ReadAggregateResponse, ReadRequest, ReadResponse, UnparkRequest,
};
use cqm_rpc::{BoxError, Failure, TraceContext};
use cqm_runtime::channel::{Channel, request};
use cqm_runtime::tasks::Backoff;
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio_util::sync::CancellationToken;
use tonic::{Response, Status};
use uuid::Uuid;

use super::batch::{self, Item};
use super::executor::{Executor, coordinators_call};
use super::metrics::Metrics;
use super::{CONSUMER, Patience};
use crate::backend::Backend;
use crate::config::ReadingConfig;

/// How long a call to the feed itself may take, beside the wait for events.
const FEED_BUDGET: Duration = Duration::from_secs(5);
/// Between two looks at a log that is not the one that was read: somebody has to repair it first.
const DIVERGED_PAUSE: Duration = Duration::from_secs(10);
/// After an empty answer: a feed that does not wait must not be asked in a loop.
const EMPTY_PAUSE: Duration = Duration::from_millis(10);
const PAGE: i32 = 200;

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
}

/// How far this session has got.
#[derive(Clone, Debug)]
pub(super) struct Position {
    pub log_id: Uuid,
    pub position: i64,
    hash: bytes::Bytes,
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
        Ok(())
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
            let pause = match end {
                Ok(()) => return,
                Err(End::Claimed) => {
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
                    self.metrics.diverged(true);
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
        let mut parked = self.parked().await?;
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
        if let Some(parked) = item.to_retry
            && !self.resume(&parked, at).await?
        {
            return Ok(false);
        }
        for event in &item.events {
            if !self.event(event, at.log_id).await? {
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
            if let Err(end) = self.read(at, 1, Duration::ZERO).await {
                return end;
            }
        }
    }

    async fn cursor(&self) -> Result<Position, End> {
        let ask = GetCursorRequest { consumer: CONSUMER.to_owned() };
        let cursor: Cursor =
            self.ask(FEED_BUDGET, &ask, |mut feed, ask| async move { feed.get_cursor(ask).await }).await?;
        let log_id = Uuid::try_parse(&cursor.log_id)
            .map_err(|_| End::Refused(Failure::of(&Status::internal("the source's log has no identity"))))?;
        Ok(Position { log_id, position: cursor.position, hash: cursor.hash })
    }

    async fn read(&self, at: &Position, max_events: i32, wait: Duration) -> Result<ReadResponse, End> {
        let ask = ReadRequest {
            consumer: CONSUMER.to_owned(),
            reader: self.name.to_string(),
            after_position: at.position,
            expect_hash: at.hash.clone(),
            max_events,
            wait: prost_types::Duration::try_from(wait).ok(),
        };
        self.ask(FEED_BUDGET + wait, &ask, |mut feed, ask| async move { feed.read(ask).await }).await
    }

    async fn acknowledge(&self, at: &Position) -> Result<(), End> {
        let ask = AckRequest {
            consumer: CONSUMER.to_owned(),
            reader: self.name.to_string(),
            position: at.position,
            hash: at.hash.clone(),
        };
        self.ask(FEED_BUDGET, &ask, |mut feed, ask| async move { feed.ack(ask).await }).await.map(drop)
    }

    /// The names of all parked aggregates.
    async fn parked(&self) -> Result<BTreeSet<String>, End> {
        let mut names = BTreeSet::new();
        let mut ask =
            ListParkedRequest { consumer: CONSUMER.to_owned(), page_size: PAGE, page_token: String::new() };
        loop {
            let page = self
                .ask(FEED_BUDGET, &ask, |mut feed, ask| async move { feed.list_parked(ask).await })
                .await?;
            names.extend(page.parked_aggregates.into_iter().map(|parked| parked.aggregate));
            if page.next_page_token.is_empty() {
                return Ok(names);
            }
            ask.page_token = page.next_page_token;
        }
    }

    pub(super) async fn read_aggregate(
        &self,
        aggregate: &str,
        after: i64,
    ) -> Result<ReadAggregateResponse, End> {
        let ask = ReadAggregateRequest {
            consumer: CONSUMER.to_owned(),
            aggregate: aggregate.to_owned(),
            after_position: after,
            max_events: self.config.batch,
        };
        self.ask(FEED_BUDGET, &ask, |mut feed, ask| async move { feed.read_aggregate(ask).await }).await
    }

    pub(super) async fn park(
        &self,
        event: &Event,
        reason: &str,
        detail_code: &str,
        attempts: u32,
    ) -> Result<(), End> {
        let ask = ParkRequest {
            consumer: CONSUMER.to_owned(),
            reader: self.name.to_string(),
            aggregate: event.aggregate.clone(),
            event_id: event.event_id.clone(),
            position: event.position,
            reason: reason.chars().take(64).collect(),
            detail_code: detail_code.to_owned(),
            attempts: i32::try_from(attempts).unwrap_or(i32::MAX),
        };
        self.ask(FEED_BUDGET, &ask, |mut feed, ask| async move { feed.park(ask).await }).await.map(drop)
    }

    pub(super) async fn unpark(&self, aggregate: &str, through: i64) -> Result<bool, End> {
        let ask = UnparkRequest {
            consumer: CONSUMER.to_owned(),
            reader: self.name.to_string(),
            aggregate: aggregate.to_owned(),
            through_position: through,
        };
        let answer =
            self.ask(FEED_BUDGET, &ask, |mut feed, ask| async move { feed.unpark(ask).await }).await?;
        Ok(answer.unparked)
    }

    /// Asks the feed until it answers. Every call of the feed may be repeated.
    async fn ask<Q, A, F>(
        &self,
        budget: Duration,
        message: &Q,
        send: impl Fn(EventFeedClient<Channel>, tonic::Request<Q>) -> F,
    ) -> Result<A, End>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let mut patience = Patience::new(&self.config);
        loop {
            let call = coordinators_call(budget, TraceContext::fresh(false));
            let failure = match send(self.feed.clone(), request(&call, message.clone())).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => Failure::of(&status),
            };
            match failure.reason.as_str() {
                "FEED_CLAIMED" => return Err(End::Claimed),
                "LOG_DIVERGED" => return Err(End::Diverged(failure)),
                _ if failure.is_transient() => {
                    patience
                        .wait(|| tracing::warn!(source = self.backend.name(), %failure, "the source is away"))
                        .await;
                }
                _ => return Err(End::Refused(failure)),
            }
        }
    }
}
