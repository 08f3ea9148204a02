//! The feed of a service's event log over gRPC: `cqm.events.v1.EventFeed`, one implementation for all services.
//!
//! Thin: the log is [`cqm_db::log`]; here messages become its arguments, and a read with nothing to read waits until
//! the [`sequencer`] of its process wakes it.

mod answer;
mod backlog;
mod request;
mod sequencing;

use std::time::Duration;

use cqm_db::Db;
use cqm_db::log::{self, Parked, feed, parked};
use cqm_proto::events::v1 as proto;
use cqm_proto::events::v1::event_feed_server::{EventFeed, EventFeedServer};
use cqm_rpc::{Call, Error, Refusal, reason, serve};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

pub(crate) use backlog::figures;
pub use sequencing::sequencer;

/// Left of a call's deadline to answer in: an empty answer, not a failure, is what a wait ends with.
const MARGIN: Duration = Duration::from_millis(200);
/// Decisions of operators that one answer carries.
const MAX_TO_RETRY: i64 = 100;

/// The tonic service over one runtime's `Db`. Reads that wait are sent away when `stopping` is cancelled, so
/// that a drain does not wait for them and their readers go to another replica.
pub fn server(db: Db, stopping: CancellationToken) -> EventFeedServer<impl EventFeed> {
    EventFeedServer::new(Feed { db, stopping })
}

#[derive(Clone, Debug)]
struct Feed {
    db: Db,
    stopping: CancellationToken,
}

#[tonic::async_trait]
impl EventFeed for Feed {
    async fn read(
        &self,
        request: Request<proto::ReadRequest>,
    ) -> Result<Response<proto::ReadResponse>, Status> {
        serve(request, async |call, message| self.read_or_wait(&call, message).await).await
    }

    async fn ack(&self, request: Request<proto::AckRequest>) -> Result<Response<proto::Cursor>, Status> {
        serve(request, async |call, message| self.acknowledge(&call, message).await).await
    }

    async fn get_cursor(
        &self,
        request: Request<proto::GetCursorRequest>,
    ) -> Result<Response<proto::Cursor>, Status> {
        serve(request, async |call, message| self.cursor(&call, message).await).await
    }

    async fn register_reactions(
        &self,
        request: Request<proto::RegisterReactionsRequest>,
    ) -> Result<Response<proto::RegisterReactionsResponse>, Status> {
        serve(request, async |call, message| self.register(&call, message).await).await
    }

    async fn release(
        &self,
        request: Request<proto::ReleaseRequest>,
    ) -> Result<Response<proto::ReleaseResponse>, Status> {
        serve(request, async |call, message| self.give_back(&call, message).await).await
    }

    async fn get_parked(
        &self,
        request: Request<proto::GetParkedRequest>,
    ) -> Result<Response<proto::ParkedAggregate>, Status> {
        serve(request, async |call, message| self.one_parked(&call, message).await).await
    }

    async fn park(
        &self,
        request: Request<proto::ParkRequest>,
    ) -> Result<Response<proto::ParkedAggregate>, Status> {
        serve(request, async |call, message| self.set_aside(&call, message).await).await
    }

    async fn list_parked(
        &self,
        request: Request<proto::ListParkedRequest>,
    ) -> Result<Response<proto::ListParkedResponse>, Status> {
        serve(request, async |call, message| self.page_of_parked(&call, message).await).await
    }

    async fn read_aggregate(
        &self,
        request: Request<proto::ReadAggregateRequest>,
    ) -> Result<Response<proto::ReadAggregateResponse>, Status> {
        serve(request, async |call, message| self.events_of_aggregate(&call, message).await).await
    }

    async fn request_retry(
        &self,
        request: Request<proto::RequestRetryRequest>,
    ) -> Result<Response<proto::ParkedAggregate>, Status> {
        serve(request, async |call, message| self.ask_for_retry(&call, message).await).await
    }

    async fn discard(
        &self,
        request: Request<proto::DiscardRequest>,
    ) -> Result<Response<proto::ParkedAggregate>, Status> {
        serve(request, async |call, message| self.leave_out(&call, message).await).await
    }

    async fn unpark(
        &self,
        request: Request<proto::UnparkRequest>,
    ) -> Result<Response<proto::UnparkResponse>, Status> {
        serve(request, async |call, message| self.take_back(&call, message).await).await
    }
}

/// What one look at the log found.
type Look = (log::Batch, Vec<Parked>);

impl Feed {
    async fn read_or_wait(
        &self,
        call: &Call,
        message: proto::ReadRequest,
    ) -> Result<proto::ReadResponse, Error> {
        let read = request::Read::parse(message)?;
        let lease = self.db.events().lease;
        // The claim is taken once, so the wait must end while it holds: a reader that has died keeps its place
        // no longer than the lease, whatever it asked for.
        let wait = read.wait.min(lease.mul_f64(0.6)).min(call.deadline.remaining().saturating_sub(MARGIN));
        let until = Instant::now() + wait;
        // The wake-up is armed before the look: what is sequenced between the two is not missed.
        let mut sequenced = std::pin::pin!(self.db.sequenced().notified());
        sequenced.as_mut().enable();
        let (mut batch, mut to_retry) = self
            .db
            .tx(call, "read_feed", async |tx| {
                feed::claim(tx, &read.consumer, &read.reader, lease).await?;
                let batch = feed::read(tx, read.after, &read.expect_hash, read.max).await?;
                let to_retry = parked::requested(tx, &read.consumer, MAX_TO_RETRY).await?;
                Ok::<Look, Error>((batch, to_retry))
            })
            .await?;
        while batch.events.is_empty() && to_retry.is_empty() && Instant::now() < until {
            // No poll of its own: the process's sequencer polls for all readers, and tells of other replicas' events.
            tokio::select! {
                () = sequenced.as_mut() => {
                    sequenced.set(self.db.sequenced().notified());
                    sequenced.as_mut().enable();
                }
                () = tokio::time::sleep_until(until) => {}
                () = self.stopping.cancelled() => {
                    return Err(Error::Unavailable { reason: reason::DRAINING, source: None });
                }
            }
            (batch, to_retry) = self
                .db
                .read(call, "poll_feed", async |conn| {
                    let (log_id, head_position) = feed::head(conn).await?;
                    let batch = if head_position == read.after {
                        log::Batch { log_id, head_position, events: Vec::new() }
                    } else {
                        feed::read(conn, read.after, &read.expect_hash, read.max).await?
                    };
                    let to_retry = parked::requested(conn, &read.consumer, MAX_TO_RETRY).await?;
                    Ok::<Look, Error>((batch, to_retry))
                })
                .await?;
        }
        Ok(answer::read_response(batch, to_retry))
    }

    async fn acknowledge(&self, call: &Call, message: proto::AckRequest) -> Result<proto::Cursor, Error> {
        let ack = request::Ack::parse(message)?;
        let lease = self.db.events().lease;
        let cursor = self
            .db
            .tx(call, "ack_feed", async |tx| {
                feed::claim(tx, &ack.consumer, &ack.reader, lease).await?;
                feed::ack(tx, &ack.consumer, &ack.reader, ack.position, &ack.hash).await?;
                feed::cursor(tx, &ack.consumer).await
            })
            .await?;
        Ok(answer::cursor(ack.consumer, cursor))
    }

    async fn cursor(&self, call: &Call, message: proto::GetCursorRequest) -> Result<proto::Cursor, Error> {
        let consumer = request::consumer_alone(message.consumer)?;
        let cursor =
            self.db.read(call, "get_cursor", async |conn| feed::cursor(conn, &consumer).await).await?;
        Ok(answer::cursor(consumer, cursor))
    }

    async fn register(
        &self,
        call: &Call,
        message: proto::RegisterReactionsRequest,
    ) -> Result<proto::RegisterReactionsResponse, Error> {
        let register = request::Register::parse(message)?;
        let lease = self.db.events().lease;
        let reactions = self
            .db
            .tx(call, "register_reactions", async |tx| {
                feed::claim(tx, &register.consumer, &register.reader, lease).await?;
                log::reactions::register(tx, &register.consumer, &register.reactions).await
            })
            .await?;
        Ok(answer::reactions(reactions))
    }

    async fn give_back(
        &self,
        call: &Call,
        message: proto::ReleaseRequest,
    ) -> Result<proto::ReleaseResponse, Error> {
        let (consumer, reader) = request::claim_key(message.consumer, message.reader)?;
        let released =
            self.db.tx(call, "release_feed", async |tx| feed::release(tx, &consumer, &reader).await).await?;
        Ok(proto::ReleaseResponse { released })
    }

    async fn one_parked(
        &self,
        call: &Call,
        message: proto::GetParkedRequest,
    ) -> Result<proto::ParkedAggregate, Error> {
        let (consumer, aggregate) = request::parked_key(message.consumer, message.aggregate)?;
        let found = self
            .db
            .read(call, "get_parked", async |conn| parked::find(conn, &consumer, &aggregate).await)
            .await?;
        found.map(answer::parked).ok_or_else(|| Error::not_found(log::PARKED_NOT_FOUND, aggregate))
    }

    async fn set_aside(
        &self,
        call: &Call,
        message: proto::ParkRequest,
    ) -> Result<proto::ParkedAggregate, Error> {
        let park = request::Park::parse(message)?;
        let lease = self.db.events().lease;
        let parked = self
            .db
            .tx(call, "park_aggregate", async |tx| {
                feed::claim(tx, &park.consumer, &park.reader, lease).await?;
                let found = feed::read_aggregate(tx, &park.aggregate, park.position - 1, 1).await?;
                let event = found
                    .into_iter()
                    .find(|event| event.position == park.position && event.event_id == park.event_id)
                    .ok_or_else(|| {
                        Refusal::new(log::PARKED_EVENT_MISMATCH).fact("event_id", park.event_id)
                    })?;
                let before = parked::find(tx, &park.consumer, &park.aggregate).await?;
                let tried = before.filter(|before| before.park.event_id == park.event_id);
                let attempts = tried.map_or(0, |before| before.park.attempts).saturating_add(park.attempts);
                parked::park(tx, &park.at(&event, attempts)).await?;
                parked::find(tx, &park.consumer, &park.aggregate)
                    .await?
                    .ok_or_else(|| Error::internal("what was just parked is not there"))
            })
            .await?;
        Ok(answer::parked(parked))
    }

    async fn page_of_parked(
        &self,
        call: &Call,
        message: proto::ListParkedRequest,
    ) -> Result<proto::ListParkedResponse, Error> {
        let list = request::List::parse(message)?;
        let rows = self
            .db
            .read(call, "list_parked", async |conn| {
                let after = list.after.as_ref().map(|(time, aggregate)| (*time, aggregate.as_str()));
                parked::list(conn, &list.consumer, after, list.limit()).await
            })
            .await?;
        Ok(answer::list_response(list.page(rows)))
    }

    async fn events_of_aggregate(
        &self,
        call: &Call,
        message: proto::ReadAggregateRequest,
    ) -> Result<proto::ReadAggregateResponse, Error> {
        let read = request::ReadAggregate::parse(message)?;
        let events = self
            .db
            .read(call, "read_aggregate", async |conn| {
                feed::read_aggregate(conn, &read.aggregate, read.after, read.max + 1).await
            })
            .await?;
        Ok(answer::aggregate_response(events, read.max))
    }

    async fn ask_for_retry(
        &self,
        call: &Call,
        message: proto::RequestRetryRequest,
    ) -> Result<proto::ParkedAggregate, Error> {
        let (consumer, aggregate) = request::parked_key(message.consumer, message.aggregate)?;
        let parked = self
            .db
            .tx(call, "retry_parked", async |tx| parked::request_retry(tx, &consumer, &aggregate).await)
            .await?;
        self.decided();
        Ok(answer::parked(parked))
    }

    async fn leave_out(
        &self,
        call: &Call,
        message: proto::DiscardRequest,
    ) -> Result<proto::ParkedAggregate, Error> {
        let discard = request::Discard::parse(message)?;
        let actor = &call.caller.subject;
        let parked = self
            .db
            .tx(call, "discard_event", async |tx| {
                parked::discard(tx, &discard.consumer, &discard.aggregate, discard.event_id, actor).await
            })
            .await?;
        self.decided();
        Ok(answer::parked(parked))
    }

    /// Wakes the readers that wait here for an operator's decision; one that waits at another replica learns of it when
    /// its wait ends, which is within the lease.
    fn decided(&self) {
        self.db.sequenced().notify_waiters();
    }

    async fn take_back(
        &self,
        call: &Call,
        message: proto::UnparkRequest,
    ) -> Result<proto::UnparkResponse, Error> {
        let unpark = request::Unpark::parse(message)?;
        let lease = self.db.events().lease;
        let unparked = self
            .db
            .tx(call, "unpark_aggregate", async |tx| {
                feed::claim(tx, &unpark.consumer, &unpark.reader, lease).await?;
                parked::unpark(tx, &unpark.consumer, &unpark.aggregate, unpark.through).await
            })
            .await?;
        Ok(proto::UnparkResponse { unparked })
    }
}
