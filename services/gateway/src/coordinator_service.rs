//! How far the coordinator has got, and what is to become of what it could not do. The state lies in the services' feeds;
//! the gateway asks all of them, with the caller's own identity, so that a decision is recorded with its maker.

use std::sync::Arc;

use cqm_proto::PersonalData;
use cqm_proto::events::v1::event_feed_client::EventFeedClient;
use cqm_proto::events::v1::{
    Cursor, DiscardRequest, GetCursorRequest, GetParkedRequest, ListParkedRequest, ListParkedResponse,
    ParkedAggregate, ReadAggregateRequest, RequestRetryRequest,
};
use cqm_proto::gateway::v1::coordinator_service_server::CoordinatorService;
use cqm_proto::gateway::v1::section_status::State;
use cqm_proto::gateway::v1::{
    DiscardParkedEventRequest, GetParkedAggregateRequest, GetParkedAggregateResponse,
    ListParkedAggregatesRequest, ListParkedAggregatesResponse, ListSourcesRequest, ListSourcesResponse,
    ParkedItem, RetryParkedAggregateRequest, SectionStatus, Source,
};
use cqm_rpc::{Call, Error, Failure, PageRequest, Violations, reason};
use cqm_runtime::channel::{self, Channel};
use futures::future::join_all;
use tonic::{Request, Response, Status};

use crate::backend::{Backend, Channels};
use crate::coordinator::{CONSUMER, reactions_to};
use crate::error::{SOURCE_UNAVAILABLE, SOURCE_UNKNOWN, word};

/// The waiting events that one answer shows.
const WAITING_SHOWN: i32 = 100;

/// The feeds of all services, as one shard reads them.
#[derive(Clone)]
pub struct Feeds(Arc<[EventFeedClient<Channel>; Backend::ALL.len()]>);

impl Feeds {
    pub fn new(channels: &Channels) -> Self {
        Self(Arc::new(Backend::ALL.map(|backend| EventFeedClient::new(channels.to(backend)))))
    }

    fn feed(&self, backend: Backend) -> EventFeedClient<Channel> {
        self.0[backend as usize].clone()
    }

    async fn source(&self, call: &Call, backend: Backend) -> Source {
        let message = GetCursorRequest { consumer: CONSUMER.to_owned() };
        let answer = self.feed(backend).get_cursor(channel::request(call, message)).await;
        let (state, reason, cursor) = match answer {
            Ok(cursor) => (State::Ok, String::new(), cursor.into_inner()),
            Err(status) => (State::Unavailable, word(&Failure::of(&status)).to_owned(), Cursor::default()),
        };
        Source {
            source: backend.name().to_owned(),
            status: Some(SectionStatus { state: state.into(), reason, age: None }),
            lag: (cursor.head_position - cursor.position).max(0),
            log_id: cursor.log_id,
            position: cursor.position,
            head_position: cursor.head_position,
            reader: cursor.reader,
            lease_expire_time: cursor.lease_expire_time,
        }
    }

    /// Walks the sources in their order; the token says in which one the page ended, and where.
    async fn parked(
        &self,
        call: &Call,
        message: ListParkedAggregatesRequest,
    ) -> Result<ListParkedAggregatesResponse, Status> {
        let mut violations = Violations::default();
        let page =
            PageRequest::parse(message.page_size, &message.page_token, &[&message.source], &mut violations);
        violations.finish()?;
        let only = match message.source.as_str() {
            "" => None,
            name => Some(backend(name)?),
        };
        let mut place = Place::read(page.after.as_deref())?;
        let (mut items, mut unreachable_sources) = (Vec::new(), Vec::new());
        while let Some(backend) = Backend::ALL.get(place.source).copied() {
            if only.is_some_and(|only| only != backend) {
                place = Place::begin(place.source + 1);
                continue;
            }
            if items.len() == page.size {
                break;
            }
            let ask = ListParkedRequest {
                consumer: CONSUMER.to_owned(),
                page_size: i32::try_from(page.size - items.len()).unwrap_or(i32::MAX),
                page_token: std::mem::take(&mut place.token),
            };
            let answer = self.feed(backend).list_parked(channel::request(call, ask)).await;
            let found = match answer {
                Ok(found) => found.into_inner(),
                // Somebody wants to see what an outage has parked while it lasts.
                Err(status) if only.is_none() && Failure::of(&status).is_transient() => {
                    unreachable_sources.push(backend.name().to_owned());
                    ListParkedResponse::default()
                }
                Err(status) => return Err(relayed(backend, status)),
            };
            items.extend(found.parked_aggregates.into_iter().map(|parked| ParkedItem {
                source: backend.name().to_owned(),
                parked_aggregate: Some(parked),
            }));
            if found.next_page_token.is_empty() {
                place = Place::begin(place.source + 1);
            } else {
                place.token = found.next_page_token;
            }
        }
        if place.source < Backend::ALL.len() {
            // One item too many tells the page that there is more; it is cut off again.
            items.push(ParkedItem::default());
        }
        let page = page.page(items, |_| place.key());
        Ok(ListParkedAggregatesResponse {
            parked_items: page.items,
            next_page_token: page.next_page_token,
            unreachable_sources,
        })
    }

    async fn one_parked(
        &self,
        call: &Call,
        message: GetParkedAggregateRequest,
    ) -> Result<GetParkedAggregateResponse, Status> {
        let backend = backend(&message.source)?;
        let ask = GetParkedRequest { consumer: CONSUMER.to_owned(), aggregate: message.aggregate };
        let answer = self.feed(backend).get_parked(channel::request(call, ask)).await;
        let parked = answer.map_err(|status| relayed(backend, status))?.into_inner();
        let ask = ReadAggregateRequest {
            consumer: CONSUMER.to_owned(),
            aggregate: parked.aggregate.clone(),
            after_position: parked.position - 1,
            max_events: WAITING_SHOWN,
        };
        let answer = self.feed(backend).read_aggregate(channel::request(call, ask)).await;
        let waiting = answer.map_err(|status| relayed(backend, status))?.into_inner();
        Ok(GetParkedAggregateResponse {
            source: backend.name().to_owned(),
            reactions: reactions_to(&parked.r#type),
            parked_aggregate: Some(parked),
            events: waiting.events,
        })
    }

    async fn retry(
        &self,
        call: &Call,
        message: RetryParkedAggregateRequest,
    ) -> Result<ParkedAggregate, Status> {
        let backend = backend(&message.source)?;
        let ask = RequestRetryRequest { consumer: CONSUMER.to_owned(), aggregate: message.aggregate };
        let answer = self.feed(backend).request_retry(channel::request(call, ask)).await;
        answer.map(Response::into_inner).map_err(|status| relayed(backend, status))
    }

    async fn discard(
        &self,
        call: &Call,
        message: DiscardParkedEventRequest,
    ) -> Result<ParkedAggregate, Status> {
        let backend = backend(&message.source)?;
        let ask = DiscardRequest {
            consumer: CONSUMER.to_owned(),
            aggregate: message.aggregate,
            event_id: message.event_id,
        };
        let answer = self.feed(backend).discard(channel::request(call, ask)).await;
        answer.map(Response::into_inner).map_err(|status| relayed(backend, status))
    }
}

#[tonic::async_trait]
impl CoordinatorService for Feeds {
    async fn list_sources(
        &self,
        request: Request<ListSourcesRequest>,
    ) -> Result<Response<ListSourcesResponse>, Status> {
        relay(request, async |call, _| {
            let sources = join_all(Backend::ALL.map(|backend| self.source(&call, backend))).await;
            Ok(ListSourcesResponse { sources })
        })
        .await
    }

    async fn list_parked_aggregates(
        &self,
        request: Request<ListParkedAggregatesRequest>,
    ) -> Result<Response<ListParkedAggregatesResponse>, Status> {
        relay(request, async |call, message| self.parked(&call, message).await).await
    }

    async fn get_parked_aggregate(
        &self,
        request: Request<GetParkedAggregateRequest>,
    ) -> Result<Response<GetParkedAggregateResponse>, Status> {
        relay(request, async |call, message| self.one_parked(&call, message).await).await
    }

    async fn retry_parked_aggregate(
        &self,
        request: Request<RetryParkedAggregateRequest>,
    ) -> Result<Response<ParkedAggregate>, Status> {
        relay(request, async |call, message| self.retry(&call, message).await).await
    }

    async fn discard_parked_event(
        &self,
        request: Request<DiscardParkedEventRequest>,
    ) -> Result<Response<ParkedAggregate>, Status> {
        relay(request, async |call, message| self.discard(&call, message).await).await
    }
}

/// As [`cqm_rpc::serve`], for handlers whose refusals are often another service's own, passed on as they are.
async fn relay<Q, A: PersonalData + Send>(
    request: Request<Q>,
    handler: impl AsyncFnOnce(Call, Q) -> Result<A, Status>,
) -> Result<Response<A>, Status> {
    let answer = cqm_rpc::serve(request, async |call, message| Ok(handler(call, message).await)).await?;
    answer.into_inner().map(Response::new)
}

fn backend(name: &str) -> Result<Backend, Error> {
    Backend::from_name(name)
        .ok_or_else(|| Error::Malformed(cqm_rpc::Refusal::new(SOURCE_UNKNOWN).fact("source", name)))
}

/// What the feed answered: its own refusal, or that nobody answered at all.
fn relayed(backend: Backend, status: Status) -> Status {
    let failure = Failure::of(&status);
    if failure.is_transient() {
        return Error::unavailable(SOURCE_UNAVAILABLE, format!("{}: {failure}", backend.name())).into();
    }
    Status::with_details(status.code(), status.message(), status.details().to_vec().into())
}

/// Where a page ends: the source's index, and the token of its feed.
struct Place {
    source: usize,
    token: String,
}

impl Place {
    fn begin(source: usize) -> Self {
        Self { source, token: String::new() }
    }

    fn read(key: Option<&[u8]>) -> Result<Self, Error> {
        let Some(key) = key else {
            return Ok(Self::begin(0));
        };
        let forged =
            || Error::invalid("page_token", reason::PAGE_TOKEN_INVALID, "is not a token of this list");
        let (source, token) = key.split_first().ok_or_else(forged)?;
        let token = std::str::from_utf8(token).map_err(|_| forged())?;
        Ok(Self { source: usize::from(*source), token: token.to_owned() })
    }

    fn key(&self) -> Vec<u8> {
        let mut key = vec![u8::try_from(self.source).expect("there are five sources")];
        key.extend_from_slice(self.token.as_bytes());
        key
    }
}
