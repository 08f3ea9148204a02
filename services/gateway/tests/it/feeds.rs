//! The coordinator's work, watched and helped through the edge.

use cqm_db::log::{self, Park};
use cqm_gateway::backend::{Backend, Backends};
use cqm_proto::events::v1::event_feed_client::EventFeedClient;
use cqm_proto::events::v1::parked_aggregate::State as ParkedState;
use cqm_proto::events::v1::{ComplaintClosed, GetCursorRequest};
use cqm_proto::gateway::v1::coordinator_service_client::CoordinatorServiceClient;
use cqm_proto::gateway::v1::section_status::State;
use cqm_proto::gateway::v1::{
    DiscardParkedEventRequest, GetParkedAggregateRequest, ListParkedAggregatesRequest, ListSourcesRequest,
    RetryParkedAggregateRequest,
};
use cqm_rpc::{Call, Role};
use tonic::transport::Channel;
use tonic::{Code, Request};

use crate::desk::Desk;
use crate::office::{Office, event};
use crate::wire::{Edge, refused};

/// Two offices with logs; the other services are away.
struct Scene {
    complaints: Office,
    loyalty: Office,
    edge: Edge,
    client: CoordinatorServiceClient<Channel>,
}

impl Scene {
    async fn set() -> Self {
        let (complaints, loyalty) =
            (Office::open(Desk::default()).await, Office::open(Desk::default()).await);
        let backends = Backends::at(|backend| match backend {
            Backend::Complaints => complaints.url(),
            Backend::Loyalty => loyalty.url(),
            _ => "http://127.0.0.1:1".to_owned(),
        });
        let edge = Edge::before(backends).await;
        let client = CoordinatorServiceClient::new(edge.channel().await);
        Self { complaints, loyalty, edge, client }
    }

    fn request<M>(&self, message: M) -> Request<M> {
        self.edge.request(Role::Supervisor, message)
    }

    async fn page(&mut self, source: &str, size: i32, token: &str) -> (Vec<String>, String) {
        let message = ListParkedAggregatesRequest {
            page_size: size,
            page_token: token.to_owned(),
            source: source.to_owned(),
        };
        let request = self.request(message);
        let page = self.client.list_parked_aggregates(request).await.unwrap().into_inner();
        let items = page.parked_items.into_iter();
        let names = items.map(|item| format!("{} {}", item.source, item.parked_aggregate.unwrap().aggregate));
        (names.collect(), page.next_page_token)
    }
}

/// Writes events of these aggregates down and parks them, in this order.
async fn park(office: &Office, aggregates: &[&str]) -> Vec<String> {
    let events: Vec<_> = aggregates.iter().map(|name| event(name, 1, &ComplaintClosed::default())).collect();
    let events = office.all_happened(&events).await;
    let call = Call::internal("test", crate::PATIENCE);
    for (index, event) in events.iter().enumerate() {
        let park = Park {
            consumer: "coordinator".to_owned(),
            aggregate: event.aggregate.clone(),
            event_id: event.event_id,
            position: index as i64 + 1,
            event_type: event.event_type.clone(),
            reason: "CUSTOMER_NOT_FOUND".to_owned(),
            detail_code: "NOT_FOUND".to_owned(),
            attempts: 5,
        };
        office.db.tx(&call, "park", async |tx| log::parked::park(tx, &park).await).await.unwrap();
    }
    events.iter().map(|event| event.event_id.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_are_listed_with_their_lag_also_those_that_are_away() {
    let mut scene = Scene::set().await;
    park(&scene.complaints, &["complaints/1", "complaints/2"]).await;
    let request = scene.request(ListSourcesRequest {});
    let sources = scene.client.list_sources(request).await.unwrap().into_inner().sources;
    let shown: Vec<_> = sources
        .iter()
        .map(|source| {
            let status = source.status.as_ref().unwrap();
            (source.source.as_str(), status.state(), status.reason.as_str(), source.head_position, source.lag)
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("complaints", State::Ok, "", 2, 2),
            ("customer-data", State::Unavailable, "UNREACHABLE", 0, 0),
            ("loyalty", State::Ok, "", 0, 0),
            ("notifications", State::Unavailable, "UNREACHABLE", 0, 0),
            ("surveys", State::Unavailable, "UNREACHABLE", 0, 0),
        ]
    );
    assert_eq!(sources[0].log_id, scene.complaints.cursor().await.log_id.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_aggregates_are_paged_source_by_source() {
    let mut scene = Scene::set().await;
    park(&scene.complaints, &["complaints/1", "complaints/2", "complaints/3"]).await;
    park(&scene.loyalty, &["members/1"]).await;

    let (names, token) = scene.page("complaints", 2, "").await;
    assert_eq!(names, ["complaints complaints/1", "complaints complaints/2"]);
    let (names, end) = scene.page("complaints", 2, &token).await;
    assert_eq!((names, end), (vec!["complaints complaints/3".to_owned()], String::new()));
    let (names, end) = scene.page("loyalty", 50, "").await;
    assert_eq!((names, end), (vec!["loyalty members/1".to_owned()], String::new()));

    // Of all sources two are there; the others are named where they would stand.
    let (names, token) = scene.page("", 3, "").await;
    assert_eq!(names.len(), 3);
    let message =
        ListParkedAggregatesRequest { page_size: 3, page_token: token.clone(), ..Default::default() };
    let request = scene.edge.request(Role::Supervisor, message);
    let rest = scene.client.list_parked_aggregates(request).await.unwrap().into_inner();
    assert_eq!(rest.parked_items.iter().map(|item| item.source.as_str()).collect::<Vec<_>>(), ["loyalty"]);
    assert_eq!(rest.unreachable_sources, ["customer-data", "notifications", "surveys"]);
    assert_eq!(rest.next_page_token, "");
    let message = ListParkedAggregatesRequest { source: "surveys".into(), ..Default::default() };
    let answer = scene.client.list_parked_aggregates(scene.edge.request(Role::Supervisor, message)).await;
    assert_eq!(refused(answer), (Code::Unavailable, "SOURCE_UNAVAILABLE".into()));

    for (message, expected) in [
        // A token belongs to its query.
        (
            ListParkedAggregatesRequest { page_token: token, source: "loyalty".into(), ..Default::default() },
            "PAGE_TOKEN_INVALID",
        ),
        (
            ListParkedAggregatesRequest { page_token: "AAAA".into(), ..Default::default() },
            "PAGE_TOKEN_INVALID",
        ),
        (ListParkedAggregatesRequest { page_size: -1, ..Default::default() }, "FIELD_RANGE"),
        (ListParkedAggregatesRequest { source: "gateway".into(), ..Default::default() }, "SOURCE_UNKNOWN"),
    ] {
        let answer = scene.client.list_parked_aggregates(scene.edge.request(Role::Supervisor, message)).await;
        assert_eq!(refused(answer), (Code::InvalidArgument, expected.to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_aggregate_is_shown_with_its_reason_and_its_events() {
    let mut scene = Scene::set().await;
    let ids = park(&scene.complaints, &["complaints/1"]).await;
    scene.complaints.happened("complaints/1", 2, &ComplaintClosed::default()).await;
    let ask = |aggregate: &str| GetParkedAggregateRequest {
        source: "complaints".into(),
        aggregate: aggregate.into(),
    };
    let request = scene.request(ask("complaints/1"));
    let shown = scene.client.get_parked_aggregate(request).await.unwrap().into_inner();
    let parked = shown.parked_aggregate.unwrap();
    assert_eq!((parked.event_id.as_str(), parked.reason.as_str()), (ids[0].as_str(), "CUSTOMER_NOT_FOUND"));
    let positions: Vec<i64> = shown.events.iter().map(|event| event.position).collect();
    assert_eq!((positions, shown.events[0].event_id.as_str()), (vec![1, 2], ids[0].as_str()));
    assert!(shown.reactions.is_empty(), "nothing follows from a closing");
    let answer = scene.client.get_parked_aggregate(scene.request(ask("complaints/2"))).await;
    assert_eq!(refused(answer), (Code::NotFound, "PARKED_NOT_FOUND".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_reaches_the_source_with_its_maker() {
    let mut scene = Scene::set().await;
    let ids = park(&scene.complaints, &["complaints/1", "complaints/2"]).await;

    let retry = RetryParkedAggregateRequest { source: "complaints".into(), aggregate: "complaints/1".into() };
    let request = scene.request(retry);
    let parked = scene.client.retry_parked_aggregate(request).await.unwrap().into_inner();
    assert_eq!(parked.state(), ParkedState::RetryRequested);

    let discard = DiscardParkedEventRequest {
        source: "complaints".into(),
        aggregate: "complaints/2".into(),
        event_id: ids[1].clone(),
    };
    let request = scene.request(discard.clone());
    let parked = scene.client.discard_parked_event(request).await.unwrap().into_inner();
    assert_eq!(parked.state(), ParkedState::DiscardRequested);
    // The maker stands in the source's own record.
    scene
        .complaints
        .tamper("DO $$ BEGIN ASSERT (SELECT actor FROM event_discarded) = 'staff-7'; END $$")
        .await;

    // The feed's refusals come back as they are.
    let other = DiscardParkedEventRequest { event_id: ids[0].clone(), ..discard.clone() };
    let answer = scene.client.discard_parked_event(scene.edge.request(Role::Supervisor, other)).await;
    assert_eq!(refused(answer), (Code::FailedPrecondition, "PARKED_EVENT_MISMATCH".into()));
    for (source, aggregate, code, reason) in [
        ("complaints", "complaints/9", Code::NotFound, "PARKED_NOT_FOUND"),
        ("", "complaints/1", Code::InvalidArgument, "SOURCE_UNKNOWN"),
        ("surveys", "invitations/1", Code::Unavailable, "SOURCE_UNAVAILABLE"),
    ] {
        let retry = RetryParkedAggregateRequest { source: source.into(), aggregate: aggregate.into() };
        let answer = scene.client.retry_parked_aggregate(scene.edge.request(Role::Supervisor, retry)).await;
        assert_eq!(refused(answer), (code, reason.to_owned()), "{source} {aggregate}");
    }
    let retry = RetryParkedAggregateRequest { source: "complaints".into(), aggregate: "complaints/1".into() };
    let answer = scene.client.retry_parked_aggregate(scene.edge.request(Role::AfterSales, retry)).await;
    assert_eq!(refused(answer), (Code::PermissionDenied, "ROLE_MISSING".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_is_found_by_the_source_in_the_metadata() {
    let scene = Scene::set().await;
    park(&scene.complaints, &["complaints/1"]).await;
    let mut feed = EventFeedClient::new(scene.edge.channel().await);
    for (source, head) in [("complaints", 1), ("loyalty", 0)] {
        let mut request = scene.request(GetCursorRequest { consumer: "warehouse".into() });
        request.metadata_mut().insert("x-cqm-source", source.parse().unwrap());
        assert_eq!(feed.get_cursor(request).await.unwrap().into_inner().head_position, head, "{source}");
    }
}
