//! Waiting until everything that has happened has been told.

use std::time::{Duration, Instant};

use cqm_proto::gateway::v1::coordinator_service_client::CoordinatorServiceClient;
use cqm_proto::gateway::v1::section_status::State;
use cqm_proto::gateway::v1::{ListParkedAggregatesRequest, ListSourcesRequest, ParkedItem, Source};

use crate::{Caller, again};

const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Waits until the coordinator stands at the end of all five logs, several looks in a row: an event that is
/// told last may lead to another one.
pub async fn settled(caller: &Caller) {
    let started = Instant::now();
    let (mut quiet, mut heads) = (0, Vec::new());
    while quiet < 5 {
        let sources = sources(caller).await;
        let now: Vec<i64> = sources.iter().map(|source| source.head_position).collect();
        let done = sources.len() == 5 && sources.iter().all(is_done);
        quiet = if done && now == heads { quiet + 1 } else { 0 };
        heads = now;
        assert!(
            started.elapsed() < PATIENCE,
            "the coordinator does not catch up: {sources:?}, {:?}",
            parked(caller).await
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// One that does not answer yet has nothing behind it, either.
fn is_done(source: &Source) -> bool {
    let answers = source.status.as_ref().is_none_or(|status| status.state() == State::Ok);
    answers && source.position == source.head_position
}

pub async fn sources(caller: &Caller) -> Vec<Source> {
    let service = CoordinatorServiceClient::new(caller.clone());
    let listed = again(|| {
        let mut service = service.clone();
        async move { service.list_sources(ListSourcesRequest {}).await }
    });
    listed.await.expect("sources are listed").sources
}

/// What the coordinator has set aside.
pub async fn parked(caller: &Caller) -> Vec<ParkedItem> {
    let service = CoordinatorServiceClient::new(caller.clone());
    let listed = again(|| {
        let mut service = service.clone();
        async move { service.list_parked_aggregates(ListParkedAggregatesRequest::default()).await }
    });
    listed.await.expect("parked aggregates are listed").parked_items
}
