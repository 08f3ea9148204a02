//! The calls that a reader makes to its source's feed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cqm_proto::events::v1::event_feed_client::EventFeedClient;
use cqm_proto::events::v1::{
    AckRequest, Cursor, Event, GetCursorRequest, ListParkedRequest, ParkRequest, Reaction,
    ReadAggregateRequest, ReadAggregateResponse, ReadRequest, ReadResponse, RegisterReactionsRequest,
    ReleaseRequest, UnparkRequest,
};
use cqm_rpc::{Failure, TraceContext};
use cqm_runtime::channel::{Channel, request};
use tonic::{Response, Status};
use uuid::Uuid;

use super::{End, Position, Reader};
use crate::coordinator::executor::coordinators_call;
use crate::coordinator::reactions::REACTIONS;
use crate::coordinator::starts::Starts;
use crate::coordinator::{CONSUMER, Patience};

/// How long a call to the feed itself may take, beside the wait for events.
const FEED_BUDGET: Duration = Duration::from_secs(5);
/// What giving the claim back may take at the end; who stops does not wait for a source that is away.
const RELEASE_BUDGET: Duration = Duration::from_millis(500);
const PAGE: i32 = 200;

impl Reader {
    /// Another replica need not wait until the claim has run out. Tried once: it would run out by itself.
    pub(super) async fn release(&self) {
        let ask = ReleaseRequest { consumer: CONSUMER.to_owned(), reader: self.name.to_string() };
        let call = coordinators_call(RELEASE_BUDGET, TraceContext::fresh(false));
        if let Err(status) = self.feed.clone().release(request(&call, ask)).await {
            let failure = Failure::of(&status);
            tracing::debug!(source = self.backend.name(), %failure, "the claim runs out by itself");
        }
    }

    pub(super) async fn cursor(&self) -> Result<Position, End> {
        let ask = GetCursorRequest { consumer: CONSUMER.to_owned() };
        let cursor: Cursor =
            self.ask(FEED_BUDGET, &ask, |mut feed, ask| async move { feed.get_cursor(ask).await }).await?;
        let log_id = Uuid::try_parse(&cursor.log_id)
            .map_err(|_| End::Refused(Failure::of(&Status::internal("the source's log has no identity"))))?;
        let starts = Arc::new(Starts::new(Vec::new()));
        Ok(Position { log_id, position: cursor.position, hash: cursor.hash, starts })
    }

    /// Where in this log each reaction applies; those that are new here begin now.
    pub(super) async fn register(&self) -> Result<Starts, End> {
        let reactions = REACTIONS.iter().map(|reaction| Reaction {
            id: reaction.id.to_owned(),
            replaces: reaction.replaces.to_owned(),
            start_position: 0,
        });
        let ask = RegisterReactionsRequest {
            consumer: CONSUMER.to_owned(),
            reader: self.name.to_string(),
            reactions: reactions.collect(),
        };
        let registered = self
            .ask(FEED_BUDGET, &ask, |mut feed, ask| async move { feed.register_reactions(ask).await })
            .await?;
        let starts = Starts::new(registered.reactions);
        match starts.unknown_successor(REACTIONS) {
            Some(newer) => Err(End::Outdated(newer.to_owned())),
            None => Ok(starts),
        }
    }

    pub(super) async fn read(
        &self,
        at: &Position,
        max_events: i32,
        wait: Duration,
    ) -> Result<ReadResponse, End> {
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

    pub(super) async fn acknowledge(&self, at: &Position) -> Result<(), End> {
        let ask = AckRequest {
            consumer: CONSUMER.to_owned(),
            reader: self.name.to_string(),
            position: at.position,
            hash: at.hash.clone(),
        };
        self.ask(FEED_BUDGET, &ask, |mut feed, ask| async move { feed.ack(ask).await }).await.map(drop)
    }

    /// The names of all parked aggregates.
    pub(super) async fn parked(&self) -> Result<BTreeSet<String>, End> {
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

    pub(in crate::coordinator) async fn read_aggregate(
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

    pub(in crate::coordinator) async fn park(
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

    pub(in crate::coordinator) async fn unpark(&self, aggregate: &str, through: i64) -> Result<bool, End> {
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
