//! One timeline across all services, page by page, also while some of them are away.

use cqm_gateway::backend::Backends;
use cqm_proto::complaints::v1::{
    ListCustomerTimelineResponse as Steps, TimelineEntry, timeline_entry::Action,
};
use cqm_proto::customers::v1::{
    Interaction, ListInteractionsResponse, ListPurchasesRequest, ListPurchasesResponse, Purchase,
};
use cqm_proto::gateway::v1::customer360_service_client::Customer360ServiceClient;
use cqm_proto::gateway::v1::section_status::State;
use cqm_proto::gateway::v1::{ListCustomerTimelineRequest, ListCustomerTimelineResponse};
use cqm_proto::loyalty::v1::{Entry, ListEntriesResponse};
use cqm_proto::notifications::v1::{ListMessagesResponse, Message};
use cqm_proto::surveys::v1::{Invitation, ListInvitationsResponse, ListResponsesResponse, Response};
use cqm_rpc::{Error, Failure, Reason, Refusal, Role, reason};
use prost_types::Timestamp;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::desk::{self, Desk, Served};
use crate::wire::{Edge, refused};

const CUSTOMER: &str = "customers/01890a5d-ac96-774b-bcce-b302099a8057";

struct Scene {
    edge: Edge,
    desk: Desk,
    client: Customer360ServiceClient<Channel>,
    _served: Served,
}

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

/// The purchases as customer-data pages them: by key, two on a page.
fn purchases(seconds: &[i64]) -> impl Fn(&desk::Seen) -> Result<ListPurchasesResponse, Error> + use<> {
    let all: Vec<Purchase> = seconds
        .iter()
        .map(|second| Purchase {
            name: format!("{CUSTOMER}/purchases/{second}"),
            purchase_time: at(*second),
            ..Default::default()
        })
        .collect();
    move |seen| {
        let token = seen.read::<ListPurchasesRequest>().page_token;
        let from = all.iter().position(|purchase| purchase.name == token).map_or(0, |index| index + 1);
        let page: Vec<Purchase> = all[from..].iter().take(2).cloned().collect();
        let more = all.len() > from + page.len();
        let next_page_token = page.last().filter(|_| more).map(|last| last.name.clone()).unwrap_or_default();
        Ok(ListPurchasesResponse { purchases: page, next_page_token })
    }
}

impl Scene {
    /// Something of every kind, and five purchases over three pages between it.
    async fn set() -> Self {
        let desk = Desk::default();
        let served = desk::serve(desk::config(), desk.clone()).await;
        let url = served.url();
        let edge = Edge::before(Backends::at(|_| url.clone())).await;
        let client = Customer360ServiceClient::new(edge.channel().await);
        desk.on("ListPurchases", purchases(&[90, 70, 50, 30, 10]));
        desk.on("ListInteractions", |_| {
            let interactions =
                vec![Interaction { name: "i/1".into(), occur_time: at(80), ..Default::default() }];
            Ok(ListInteractionsResponse { interactions, ..Default::default() })
        });
        // Resolved long after it was registered: each step has its own place.
        desk.on("ListCustomerTimeline", |_| {
            let step = |version, action: Action, seconds| TimelineEntry {
                name: format!("complaints/1/timeline/{version}"),
                action: action.into(),
                time: at(seconds),
                note: "planted".into(),
                ..Default::default()
            };
            let entries = vec![
                step(3, Action::Reopened, 75),
                step(2, Action::Resolved, 65),
                step(1, Action::Registered, 20),
            ];
            Ok(Steps { entries, ..Default::default() })
        });
        desk.on("ListInvitations", |_| {
            let invitations =
                vec![Invitation { name: "invitations/1".into(), create_time: at(66), ..Default::default() }];
            Ok(ListInvitationsResponse { invitations, ..Default::default() })
        });
        desk.on("ListResponses", |_| {
            let responses =
                vec![Response { name: "responses/1".into(), create_time: at(70), ..Default::default() }];
            Ok(ListResponsesResponse { responses, ..Default::default() })
        });
        desk.on("ListMessages", |_| {
            let messages =
                vec![Message { name: "messages/1".into(), create_time: at(67), ..Default::default() }];
            Ok(ListMessagesResponse { messages, ..Default::default() })
        });
        desk.on("ListEntries", |_| {
            let entries =
                vec![Entry { name: "members/1/entries/1".into(), create_time: at(11), ..Default::default() }];
            Ok(ListEntriesResponse { entries, ..Default::default() })
        });
        Self { edge, desk, client, _served: served }
    }

    async fn page(&mut self, size: i32, token: &str) -> Result<ListCustomerTimelineResponse, Status> {
        let message = ListCustomerTimelineRequest {
            customer: CUSTOMER.into(),
            page_size: size,
            page_token: token.to_owned(),
        };
        let request = self.edge.request(Role::ServiceRepresentative, message);
        self.client.list_customer_timeline(request).await.map(tonic::Response::into_inner)
    }

    /// All pages after a token, as `seconds TITLE`.
    async fn rest(&mut self, size: i32, token: &str) -> Vec<String> {
        let (mut all, mut token) = (Vec::new(), token.to_owned());
        loop {
            let page = self.page(size, &token).await.unwrap();
            assert!(page.items.len() <= usize::try_from(size).unwrap());
            all.extend(lines(&page));
            token = page.next_page_token;
            if token.is_empty() {
                return all;
            }
        }
    }

    fn away(&self, method: &str, error: impl Fn() -> Error + Send + Sync + 'static) {
        self.desk.on::<Entry>(method, move |_| Err(error()));
    }
}

fn lines(page: &ListCustomerTimelineResponse) -> Vec<String> {
    page.items.iter().map(|item| format!("{} {}", item.time.unwrap().seconds, item.title)).collect()
}

fn down() -> Error {
    Error::Unavailable { reason: reason::STORAGE_UNAVAILABLE, source: None }
}

const ALL: [&str; 13] = [
    "90 PURCHASE_RECORDED",
    "80 INTERACTION_UNSPECIFIED",
    "75 COMPLAINT_REOPENED",
    "70 PURCHASE_RECORDED",
    "70 RESPONSE_ACCEPTED",
    "67 MESSAGE_UNSPECIFIED",
    "66 INVITATION_CREATED",
    "65 COMPLAINT_RESOLVED",
    "50 PURCHASE_RECORDED",
    "30 PURCHASE_RECORDED",
    "20 COMPLAINT_REGISTERED",
    "11 POINTS_ADJUSTED",
    "10 PURCHASE_RECORDED",
];

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_happened_is_told_once_in_one_order_whatever_the_pages() {
    let mut scene = Scene::set().await;
    for size in [1, 2, 3, 5, 12, 13, 14, 200] {
        assert_eq!(scene.rest(size, "").await, ALL, "pages of {size}");
    }
    // With what each is and where it is from, and nothing personal.
    let page = scene.page(200, "").await.unwrap();
    let step = &page.items[2];
    assert_eq!((step.source.as_str(), step.resource.as_str()), ("complaints", "complaints/1"));
    assert!(page.items.iter().all(|item| !format!("{item:?}").contains("planted")));
    assert!(page.sources.iter().all(|source| source.status.as_ref().unwrap().state() == State::Ok));
    for seen in scene.desk.all() {
        assert_eq!(seen.call.caller.roles, [Role::ServiceRepresentative], "{}", seen.method);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_while_somebody_reads_moves_nothing() {
    let mut scene = Scene::set().await;
    let first = scene.page(4, "").await.unwrap();
    assert_eq!(lines(&first), ALL[..4]);
    // More than a page of new purchases, one of them at the very time where the page ended.
    scene.desk.on("ListPurchases", purchases(&[99, 98, 97, 90, 70, 50, 30, 10]));
    assert_eq!(scene.rest(4, &first.next_page_token).await, ALL[4..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_away_costs_its_items_until_it_is_back() {
    let mut scene = Scene::set().await;
    scene.away("ListCustomerTimeline", down);
    let first = scene.page(5, "").await.unwrap();
    let without: Vec<&str> = ALL.into_iter().filter(|line| !line.contains("COMPLAINT")).collect();
    assert_eq!(lines(&first), without[..5]);
    let away = first.sources.iter().find(|source| source.source == "complaints").unwrap();
    let status = away.status.as_ref().unwrap();
    assert_eq!((status.state(), status.reason.as_str()), (State::Unavailable, "STORAGE_UNAVAILABLE"));
    assert_eq!(first.sources.len(), 7);

    // It is back: what it has comes now, in the order of time from here on.
    scene.desk.on("ListCustomerTimeline", |_| {
        let entry = TimelineEntry {
            name: "complaints/1/timeline/1".into(),
            action: Action::Registered.into(),
            time: at(75),
            ..Default::default()
        };
        Ok(Steps { entries: vec![entry], ..Default::default() })
    });
    let second = scene.page(2, &first.next_page_token).await.unwrap();
    assert_eq!(lines(&second), ["75 COMPLAINT_REGISTERED", without[5]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_nothing_else_is_left_the_call_fails_instead_of_leading_on_for_ever() {
    let mut scene = Scene::set().await;
    scene.away("ListEntries", down);
    let page = scene.page(200, "").await.unwrap();
    assert_eq!(page.items.len(), 12);
    assert!(!page.next_page_token.is_empty(), "the points are still to come");
    let again = scene.page(200, &page.next_page_token).await;
    assert_eq!(refused(again), (Code::Unavailable, "SOURCE_UNAVAILABLE".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_caller_may_not_read_is_left_out_and_leads_nowhere() {
    let mut scene = Scene::set().await;
    scene.away("ListEntries", || Error::Denied { permission: "entries".into() });
    let page = scene.page(200, "").await.unwrap();
    assert_eq!((page.items.len(), page.next_page_token.as_str()), (12, ""));
    let points = page.sources.iter().find(|source| source.source == "points").unwrap();
    assert_eq!(points.status.as_ref().unwrap().reason, "ROLE_MISSING");

    // Nobody is a member before the first points.
    const NO_MEMBER: Reason = Reason::new("cqm.loyalty.v1", "MEMBER_NOT_FOUND");
    scene.away("ListEntries", || Error::NotFound { reason: NO_MEMBER, name: "members/1".into() });
    let page = scene.page(200, "").await.unwrap();
    let points = page.sources.iter().find(|source| source.source == "points").unwrap();
    assert_eq!(points.status.as_ref().unwrap().state(), State::Ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_who_does_not_exist_and_a_token_of_another_list_are_refused() {
    const UNKNOWN: Reason = Reason::new("cqm.customers.v1", "CUSTOMER_NOT_FOUND");
    let mut scene = Scene::set().await;
    let token = scene.page(3, "").await.unwrap().next_page_token;
    let message = ListCustomerTimelineRequest {
        customer: CUSTOMER.replace("8057", "8058"),
        page_token: token,
        ..Default::default()
    };
    let request = scene.edge.request(Role::Supervisor, message);
    let forged = scene.client.list_customer_timeline(request).await.unwrap_err();
    assert_eq!(Failure::of(&forged).violations, [("page_token".to_owned(), "PAGE_TOKEN_INVALID".to_owned())]);
    for size in [-1, i32::MIN] {
        let failure = Failure::of(&scene.page(size, "").await.unwrap_err());
        assert_eq!(failure.violations, [("page_size".to_owned(), "FIELD_RANGE".to_owned())]);
    }
    scene.away("ListPurchases", || Error::NotFound { reason: UNKNOWN, name: CUSTOMER.into() });
    assert_eq!(refused(scene.page(3, "").await), (Code::NotFound, "CUSTOMER_NOT_FOUND".to_owned()));
    scene.away("ListPurchases", || {
        Refusal::new(reason::CUSTOMER_MERGED)
            .fact("customer", CUSTOMER)
            .fact("survivor", "customers/2")
            .into()
    });
    let merged = Failure::of(&scene.page(3, "").await.unwrap_err());
    assert_eq!(
        (merged.reason.as_str(), merged.facts["survivor"].as_str()),
        ("CUSTOMER_MERGED", "customers/2")
    );
}
