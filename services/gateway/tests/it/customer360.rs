//! One customer across all services, also when some of them are away.

use std::time::{Duration, Instant};

use cqm_gateway::backend::Backends;
use cqm_gateway::config::Customer360Config;
use cqm_gateway::edge::EdgeConfig;
use cqm_proto::complaints::v1::{
    Complaint, ListComplaintsRequest, ListComplaintsResponse, Sla, SlaClock, sla_clock,
};
use cqm_proto::customers::v1::{Customer, ListPurchasesResponse, Purchase};
use cqm_proto::gateway::v1::customer360_service_client::Customer360ServiceClient;
use cqm_proto::gateway::v1::section_status::State;
use cqm_proto::gateway::v1::{GetCustomer360Request, GetCustomer360Response, SectionStatus};
use cqm_proto::loyalty::v1::{Account, GetMemberRequest, GetTierRequest, ListEntriesResponse, Member, Tier};
use cqm_proto::surveys::v1::{
    Answer, Invitation, ListInvitationsResponse, ListResponsesResponse, Response, answer,
};
use cqm_rpc::{Error, Failure, Reason, Refusal, Role, reason};
use prost_types::{FieldMask, Timestamp};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::desk::{self, Desk, Served};
use crate::tokens::Issuer;
use crate::wire::{Edge, refused};

const CUSTOMER: &str = "customers/01890a5d-ac96-774b-bcce-b302099a8057";

struct Scene {
    edge: Edge,
    desk: Desk,
    client: Customer360ServiceClient<Channel>,
    _served: Served,
}

impl Scene {
    async fn set() -> Self {
        let desk = Desk::default();
        let served = desk::serve(desk::config(), desk.clone()).await;
        let url = served.url();
        let config = Customer360Config { section_limit: Duration::from_millis(1500), ..Default::default() };
        let issuer = Issuer::new();
        let edge = Edge::config(Backends::at(|_| url.clone()), issuer.trusted());
        let edge = Edge::start(EdgeConfig { customer360: config, ..edge }, &served.clock, issuer).await;
        let client = Customer360ServiceClient::new(edge.channel().await);
        desk.on("GetCustomer", |_| {
            Ok(Customer { name: CUSTOMER.into(), display_name: "王丽".into(), ..Default::default() })
        });
        desk.on("ListPurchases", |_| {
            let purchase = Purchase {
                name: format!("{CUSTOMER}/purchases/1"),
                purchase_time: at(10),
                ..Default::default()
            };
            Ok(ListPurchasesResponse { purchases: vec![purchase], ..Default::default() })
        });
        desk.on("ListComplaints", |_| {
            let complaint = Complaint {
                name: "complaints/1".into(),
                create_time: at(20),
                sla: Some(late()),
                ..Default::default()
            };
            Ok(ListComplaintsResponse { complaints: vec![complaint], ..Default::default() })
        });
        desk.on("ListInvitations", |_| {
            let invitation =
                Invitation { name: "invitations/1".into(), create_time: at(15), ..Default::default() };
            Ok(ListInvitationsResponse { invitations: vec![invitation], ..Default::default() })
        });
        desk.on("GetAccount", |_| Ok(Account { available: 12, ..Default::default() }));
        Self { edge, desk, client, _served: served }
    }

    async fn get(&mut self) -> Result<GetCustomer360Response, Status> {
        self.get_fields(&[]).await
    }

    async fn get_fields(&mut self, paths: &[&str]) -> Result<GetCustomer360Response, Status> {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        let message = GetCustomer360Request { customer: CUSTOMER.into(), fields: Some(FieldMask { paths }) };
        let request = self.edge.request(Role::ServiceRepresentative, message);
        self.client.get_customer360(request).await.map(tonic::Response::into_inner)
    }

    /// The method fails from now on.
    fn away(&self, method: &str, error: impl Fn() -> Error + Send + Sync + 'static) {
        self.desk.on::<Customer>(method, move |_| Err(error()));
    }
}

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

/// Somebody answered in time, and nobody has settled it.
fn late() -> Sla {
    let clock = |state: sla_clock::State, end_time| SlaClock {
        state: state.into(),
        due_time: at(40),
        end_time,
        ..Default::default()
    };
    Sla {
        policy: "slaPolicies/1".into(),
        first_response: Some(clock(sla_clock::State::Met, at(30))),
        resolution: Some(clock(sla_clock::State::Breached, None)),
    }
}

fn down() -> Error {
    Error::Unavailable { reason: reason::STORAGE_UNAVAILABLE, source: None }
}

fn unavailable(reason: &str) -> Option<SectionStatus> {
    Some(SectionStatus { state: State::Unavailable.into(), reason: reason.to_owned(), age: None })
}

fn states(answer: &GetCustomer360Response) -> [State; 8] {
    let state = |status: Option<&Option<SectionStatus>>| status.unwrap().as_ref().unwrap().state();
    [
        state(answer.profile.as_ref().map(|section| &section.status)),
        state(answer.purchases.as_ref().map(|section| &section.status)),
        state(answer.interactions.as_ref().map(|section| &section.status)),
        state(answer.complaints.as_ref().map(|section| &section.status)),
        state(answer.surveys.as_ref().map(|section| &section.status)),
        state(answer.messages.as_ref().map(|section| &section.status)),
        state(answer.points.as_ref().map(|section| &section.status)),
        state(answer.tier.as_ref().map(|section| &section.status)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn all_services_make_one_answer_read_as_the_caller() {
    let mut scene = Scene::set().await;
    let answer = scene.get().await.unwrap();
    assert_eq!(states(&answer), [State::Ok; 8]);
    assert_eq!(answer.customer, CUSTOMER);
    assert_eq!(answer.profile.unwrap().customer.unwrap().display_name, "王丽");
    assert_eq!(answer.points.unwrap().account.unwrap().available, 12);
    assert_eq!(answer.complaints.unwrap().complaints[0].sla, Some(late()));
    let timeline: Vec<&str> = answer.timeline.iter().map(|item| item.title.as_str()).collect();
    assert_eq!(timeline, ["COMPLAINT_REGISTERED", "INVITATION_CREATED", "PURCHASE_RECORDED"]);

    let seen = scene.desk.all();
    assert_eq!(seen.len(), 11, "{:?}", seen.iter().map(|seen| &seen.method).collect::<Vec<_>>());
    for seen in seen {
        assert_eq!(&*seen.call.caller.subject, "staff-7", "{}", seen.method);
        assert_eq!(seen.call.caller.roles, [Role::ServiceRepresentative], "{}", seen.method);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_away_costs_its_section_and_is_remembered() {
    let mut scene = Scene::set().await;
    scene.away("ListComplaints", down);
    let answer = scene.get().await.unwrap();
    assert_eq!(answer.complaints.as_ref().unwrap().status, unavailable("STORAGE_UNAVAILABLE"));
    assert!(answer.complaints.unwrap().complaints.is_empty());
    assert_eq!(answer.purchases.unwrap().purchases.len(), 1);

    // Purchases were read a moment ago, complaints never.
    scene.away("ListPurchases", down);
    scene.away("GetCustomer", down);
    scene.edge.clock.advance(Duration::from_secs(42));
    let answer = scene.get().await.unwrap();
    assert_eq!(
        states(&answer),
        [
            State::Stale,
            State::Stale,
            State::Ok,
            State::Unavailable,
            State::Ok,
            State::Ok,
            State::Ok,
            State::Ok
        ]
    );
    let purchases = answer.purchases.unwrap();
    let status = purchases.status.unwrap();
    assert_eq!((status.reason.as_str(), status.age.unwrap().seconds), ("STORAGE_UNAVAILABLE", 42));
    assert_eq!(purchases.purchases.len(), 1);
    // The service that would write a release down is away: what is remembered is masked.
    assert_eq!(answer.profile.unwrap().customer.unwrap().display_name, "王*");
    assert!(answer.timeline.iter().any(|item| item.title == "PURCHASE_RECORDED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sections_tell_the_tier_the_open_cases_and_the_scores() {
    let mut scene = Scene::set().await;
    scene.desk.on("GetMember", |seen| {
        let name = seen.read::<GetMemberRequest>().name;
        Ok(Member { name, tier: "tiers/1".into(), points_to_next_tier: 300, ..Default::default() })
    });
    scene.desk.on("GetTier", |seen| {
        Ok(Tier { name: seen.read::<GetTierRequest>().name, code: "gold".into(), ..Default::default() })
    });
    scene.desk.on("ListComplaints", |seen| {
        let name =
            if seen.read::<ListComplaintsRequest>().open_only { "complaints/old" } else { "complaints/new" };
        let complaints = vec![Complaint { name: name.into(), ..Default::default() }];
        Ok(ListComplaintsResponse { complaints, ..Default::default() })
    });
    scene.desk.on("ListResponses", |_| {
        let nps = Answer { question_id: "q".into(), value: Some(answer::Value::Nps(3)) };
        let response =
            Response { answers: vec![nps], dissatisfied: true, create_time: at(5), ..Default::default() };
        Ok(ListResponsesResponse { responses: vec![response], ..Default::default() })
    });
    let answer = scene.get().await.unwrap();
    let tier = answer.tier.unwrap();
    assert_eq!((tier.tier.unwrap().code.as_str(), tier.member.unwrap().points_to_next_tier), ("gold", 300));
    let asked: GetMemberRequest = scene.desk.seen("GetMember")[0].read();
    assert_eq!(asked.name, CUSTOMER.replace("customers", "members"));
    let complaints = answer.complaints.unwrap();
    assert_eq!(complaints.open_complaints[0].name, "complaints/old");
    assert_eq!(complaints.complaints[0].name, "complaints/new");
    let scores = answer.surveys.unwrap().scores.unwrap();
    assert_eq!((scores.responses, scores.dissatisfied, scores.latest_nps), (1, 1, Some(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_sections_that_are_asked_for_are_read() {
    let mut scene = Scene::set().await;
    let answer = scene.get_fields(&["complaints", "points"]).await.unwrap();
    assert!(answer.complaints.is_some() && answer.points.is_some());
    let rest =
        (answer.profile, answer.purchases, answer.interactions, answer.surveys, answer.messages, answer.tier);
    assert_eq!(rest, (None, None, None, None, None, None));
    assert!(answer.timeline.is_empty());
    let methods = |scene: &Scene| {
        let mut methods: Vec<String> = scene.desk.all().into_iter().map(|seen| seen.method).collect();
        methods.sort();
        methods.dedup();
        methods
    };
    assert_eq!(methods(&scene), ["GetAccount", "ListComplaints", "ListEntries"]);

    // The timeline alone is of everything, and brings nothing else.
    let answer = scene.get_fields(&["timeline"]).await.unwrap();
    assert_eq!(answer.timeline.len(), 3);
    assert!(answer.profile.is_none() && answer.purchases.is_none() && answer.complaints.is_none());
    assert!(!methods(&scene).contains(&"GetCustomer".to_owned()));

    let unknown = scene.get_fields(&["profile", "horoscope"]).await.unwrap_err();
    assert_eq!(Failure::of(&unknown).violations[0].0, "fields.horoscope");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_data_is_needed_for_is_told_to_every_service() {
    let mut scene = Scene::set().await;
    let message = GetCustomer360Request { customer: CUSTOMER.into(), ..Default::default() };
    let mut request = scene.edge.request(Role::Supervisor, message);
    request.metadata_mut().insert("x-cqm-purpose", "quality_supervision case 7".parse().unwrap());
    // The services mask and release; what they answer is passed on as it came.
    let answer = scene.client.get_customer360(request).await.unwrap().into_inner();
    assert_eq!(answer.profile.unwrap().customer.unwrap().display_name, "王丽");
    for seen in scene.desk.all() {
        assert_eq!(seen.header("x-cqm-purpose"), Some("quality_supervision case 7"), "{}", seen.method);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_section_is_none() {
    let mut scene = Scene::set().await;
    scene.away("ListResponses", down);
    let answer = scene.get().await.unwrap();
    let surveys = answer.surveys.unwrap();
    assert_eq!(surveys.status, unavailable("STORAGE_UNAVAILABLE"));
    assert!(surveys.invitations.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_caller_may_not_read_is_not_read_from_memory_either() {
    let mut scene = Scene::set().await;
    scene.get().await.unwrap();
    scene.away("ListPurchases", || Error::Denied { permission: "purchases".into() });
    let answer = scene.get().await.unwrap();
    assert_eq!(answer.purchases.unwrap().status, unavailable("ROLE_MISSING"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_service_costs_its_section_and_no_more_time_than_the_call_has() {
    let mut scene = Scene::set().await;
    scene.desk.stuck("ListMessages", true);
    let mut request = scene
        .edge
        .request(Role::Supervisor, GetCustomer360Request { customer: CUSTOMER.into(), ..Default::default() });
    request.set_timeout(Duration::from_secs(3));
    let started = Instant::now();
    let answer = scene.client.get_customer360(request).await.unwrap().into_inner();
    // The section's limit is 1.5 s.
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert_eq!(answer.messages.unwrap().status, unavailable("DEADLINE_PASSED"));
    assert_eq!(answer.points.unwrap().account.unwrap().available, 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_who_does_not_exist_fails_the_call_and_is_forgotten() {
    const UNKNOWN: Reason = Reason::new("cqm.customers.v1", "CUSTOMER_NOT_FOUND");
    let mut scene = Scene::set().await;
    scene.get().await.unwrap();
    scene.away("GetCustomer", || Error::NotFound { reason: UNKNOWN, name: CUSTOMER.into() });
    assert_eq!(refused(scene.get().await), (Code::NotFound, "CUSTOMER_NOT_FOUND".into()));

    // What was remembered of a deleted customer is gone.
    scene.away("GetCustomer", down);
    scene.away("ListPurchases", down);
    let answer = scene.get().await.unwrap();
    assert_eq!(answer.profile.unwrap().status, unavailable("STORAGE_UNAVAILABLE"));
    assert_eq!(answer.purchases.unwrap().status, unavailable("STORAGE_UNAVAILABLE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_who_is_known_under_another_name_fails_the_call_with_that_name() {
    let mut scene = Scene::set().await;
    scene.get().await.unwrap();
    let merged = || {
        let refusal = Refusal::new(reason::CUSTOMER_MERGED);
        Error::from(refusal.fact("customer", CUSTOMER).fact("survivor", "customers/2"))
    };
    // Whoever knows it first, and whatever is asked for.
    for (method, fields) in [("ListPurchases", &["purchases"][..]), ("GetCustomer", &[])] {
        scene.away(method, merged);
        let failure = Failure::of(&scene.get_fields(fields).await.unwrap_err());
        assert_eq!(
            (failure.code, failure.reason.as_str(), failure.domain.as_str()),
            (Code::FailedPrecondition, "CUSTOMER_MERGED", "cqm")
        );
        assert_eq!(failure.facts["customer"], CUSTOMER);
        assert_eq!(failure.facts["survivor"], "customers/2");
    }

    // What was remembered under the old name is gone.
    scene.away("GetCustomer", down);
    scene.away("ListPurchases", down);
    let answer = scene.get().await.unwrap();
    assert_eq!(answer.profile.unwrap().status, unavailable("STORAGE_UNAVAILABLE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_without_points_has_an_empty_section() {
    const NO_MEMBER: Reason = Reason::new("cqm.loyalty.v1", "MEMBER_NOT_FOUND");
    let mut scene = Scene::set().await;
    scene.away("GetAccount", || Error::NotFound { reason: NO_MEMBER, name: "members/1".into() });
    scene.desk.on("ListEntries", |_| Ok(ListEntriesResponse::default()));
    let points = scene.get().await.unwrap().points.unwrap();
    assert_eq!(points.status.unwrap().state(), State::Ok);
    assert_eq!(points.account, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_none_is_refused_before_anybody_is_asked() {
    let mut scene = Scene::set().await;
    for (customer, reason) in
        [("", "FIELD_REQUIRED"), ("customers/1", "FIELD_FORMAT"), ("members/1", "FIELD_FORMAT")]
    {
        let request = scene.edge.request(
            Role::Supervisor,
            GetCustomer360Request { customer: customer.to_owned(), ..Default::default() },
        );
        let answer = scene.client.get_customer360(request).await;
        assert_eq!(refused(answer), (Code::InvalidArgument, reason.to_owned()), "{customer}");
    }
    assert!(scene.desk.all().is_empty());
}
