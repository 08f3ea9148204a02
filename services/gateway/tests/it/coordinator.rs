//! From an event to what follows from it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cqm_gateway::backend::{Backend, Backends};
use cqm_gateway::config::ReadingConfig;
use cqm_gateway::coordinator::{self, CoordinatorConfig, Running};
use cqm_proto::complaints::v1::{Complaint, ReopenComplaintRequest};
use cqm_proto::customers::v1::{Customer, Email, GetCustomerRequest, RecordMergeStepRequest};
use cqm_proto::events::v1::*;
use cqm_proto::google::r#type::Money;
use cqm_proto::loyalty::v1::earn_points_request::Basis;
use cqm_proto::loyalty::v1::{EarnPointsRequest, EarnPointsResponse};
use cqm_proto::notifications::v1::{PutContactRequest, SendMessageRequest};
use cqm_proto::subjects::v1::MergeSubjectRequest;
use cqm_proto::surveys::v1::{CreateInvitationRequest, GetInvitationLinkResponse};
use cqm_rpc::{Error, Reason, Refusal, Role, reason};
use cqm_runtime::server::ServerConfig;
use cqm_runtime::tls::ClientTlsConfig;
use cqm_testkit::eventually;
use prost_types::Timestamp;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::desk::{self, Desk};
use crate::office::{Office, event};

/// One source with a log, four without events, and a desk that all commands arrive at.
pub struct Scene {
    pub desk: Desk,
    pub source: Office,
    /// The four without events.
    pub quiet: Office,
    backends: Backends,
}

impl Scene {
    pub async fn at(source: Backend) -> Self {
        Self::with_lease(source, Duration::from_secs(3)).await
    }

    pub async fn with_lease(source: Backend, lease: Duration) -> Self {
        let desk = Desk::default();
        let (office, quiet) =
            (Office::with_lease(desk.clone(), lease).await, Office::open(desk.clone()).await);
        let backends = Backends::at(|backend| if backend == source { office.url() } else { quiet.url() });
        Self { desk, source: office, backends, quiet }
    }

    /// Every service listens by `server`, and the coordinator calls by `tls`.
    pub async fn secured(source: Backend, server: &ServerConfig, tls: ClientTlsConfig) -> Self {
        let desk = Desk::default();
        let open = async || Office::serving(desk.clone(), Duration::from_secs(3), server.clone()).await;
        let (office, quiet) = (open().await, open().await);
        let url = |office: &Office| format!("https://{}", office.served.address());
        let backends = Backends {
            tls: tls.into(),
            ..Backends::at(|backend| url(if backend == source { &office } else { &quiet }))
        };
        Self { desk, source: office, backends, quiet }
    }

    /// See [`Office::by_the_machines_clock`].
    pub fn by_the_machines_clock(&self) {
        self.source.by_the_machines_clock();
        self.quiet.by_the_machines_clock();
    }

    /// Where a service of the scene is.
    pub fn url(&self, backend: Backend) -> String {
        self.backends.address(backend).to_owned()
    }

    /// A source without events at an address of the test's choice.
    pub async fn serve_at(&self, address: SocketAddr) -> Office {
        Office::at(self.desk.clone(), address).await
    }

    /// A coordinator with short pauses.
    pub fn coordinator(&self) -> Coordinator {
        self.coordinator_with(quick())
    }

    pub fn coordinator_with(&self, reading: ReadingConfig) -> Coordinator {
        let shutdown = CancellationToken::new();
        let config =
            CoordinatorConfig { backends: self.backends.clone(), passes: cqm_testkit::signing(), reading };
        let running = coordinator::start(config, desk::clock(), shutdown.clone()).unwrap();
        Coordinator { running, shutdown }
    }

    /// Until everything that has happened is acknowledged.
    pub async fn through(&self) {
        eventually("the end of the log", || self.source.is_through()).await;
    }

    /// The answered points by what they are for: the effects, where the desk counts calls.
    pub fn points_ledger(&self) -> Arc<Mutex<Vec<(String, String)>>> {
        let ledger: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
        let entries = Arc::clone(&ledger);
        self.desk.on("EarnPoints", move |seen| {
            let message: EarnPointsRequest = seen.read();
            let mut entries = entries.lock().unwrap();
            if !entries.iter().any(|(request_id, _)| *request_id == message.request_id) {
                entries.push((message.request_id, message.source));
            }
            Ok(EarnPointsResponse::default())
        });
        ledger
    }
}

pub fn quick() -> ReadingConfig {
    ReadingConfig {
        wait: Duration::from_millis(300),
        refusal_pause: Duration::from_millis(1),
        refusal_pause_cap: Duration::from_millis(2),
        outage_pause: Duration::from_millis(1),
        outage_pause_cap: Duration::from_millis(20),
        claimed_pause: Duration::from_millis(50),
        renew: Duration::from_millis(200),
        drain: Duration::from_secs(5),
        ..ReadingConfig::default()
    }
}

pub struct Coordinator {
    pub running: Running,
    pub shutdown: CancellationToken,
}

impl Coordinator {
    pub async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(crate::PATIENCE, self.running.join()).await.expect("the coordinator stops");
    }
}

pub fn purchase(customer: &str, purchase: &str) -> PurchaseRecorded {
    PurchaseRecorded {
        customer: customer.to_owned(),
        purchase: purchase.to_owned(),
        amount: Some(Money { currency_code: "CNY".into(), units: 12, nanos: 0 }),
        quantity: 1,
        purchase_time: Some(Timestamp { seconds: 100, nanos: 0 }),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resolved_complaint_is_told_asked_about_and_paid_in_the_coordinators_name_and_the_events_trace() {
    let scene = Scene::at(Backend::Complaints).await;
    let coordinator = scene.coordinator();
    let resolved = ComplaintResolved {
        complaint: "complaints/1".into(),
        reference: "C-1".into(),
        customer: "customers/1".into(),
        resolution_version: 2,
        compensation_points: 100,
    };
    let event = scene.source.happened("complaints/1", 7, &resolved).await;
    scene.through().await;
    coordinator.stop().await;

    let seen = scene.desk.all();
    let methods: Vec<&str> = seen.iter().map(|seen| seen.method.as_str()).collect();
    assert_eq!(methods, ["SendMessage", "CreateInvitation", "EarnPoints"]);
    let log_id = scene.source.cursor().await.log_id;
    let id = |reaction: &str| {
        Uuid::new_v5(&log_id, format!("{}/{reaction}", event.event_id).as_bytes()).to_string()
    };
    let message: SendMessageRequest = seen[0].read();
    assert_eq!(
        (message.template.as_str(), message.request_id),
        ("templates/complaint-resolved", id("complaint-outcome"))
    );
    assert_eq!(
        message.variables.into_iter().collect::<Vec<_>>(),
        [("reference".to_owned(), "C-1".to_owned())]
    );
    let invitation: CreateInvitationRequest = seen[1].read();
    assert_eq!((invitation.subject.as_str(), invitation.subject_version), ("complaints/1", 2));
    assert_eq!(invitation.request_id, id("complaint-survey"));
    let points: EarnPointsRequest = seen[2].read();
    assert!(matches!(points.basis, Some(Basis::Compensation(basis)) if basis.points == 100));
    assert_eq!(points.source, "complaints/1/resolutions/2");
    assert_eq!(points.request_id, id("complaint-compensation"));
    for seen in &seen {
        assert_eq!(&*seen.call.caller.subject, "coordinator");
        assert_eq!(seen.call.caller.roles, [Role::Coordinator]);
        assert_eq!(seen.header("traceparent"), Some(scene.source.trace().to_string().as_str()));
        assert!(seen.header("grpc-timeout").is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_events_do_not_carry_is_fetched() {
    let scene = Scene::at(Backend::CustomerData).await;
    const UNKNOWN: Reason = Reason::new("cqm.customers.v1", "CUSTOMER_NOT_FOUND");
    scene.desk.on("GetCustomer", |seen| {
        let message: GetCustomerRequest = seen.read();
        match message.name.as_str() {
            "customers/gone" => Err(Error::NotFound { reason: UNKNOWN, name: message.name }),
            _ => Ok(Customer {
                name: message.name,
                display_name: "王丽".into(),
                emails: vec![Email { address: "wang@example.com".into(), primary: true }],
                locale: "zh-CN".into(),
                etag: "v5".into(),
                ..Default::default()
            }),
        }
    });
    scene.desk.on("GetInvitationLink", |_| {
        Ok(GetInvitationLinkResponse {
            token: "secret".into(),
            url: "https://example.com/s/secret".into(),
            expire_time: Some(Timestamp { seconds: 1_768_435_200, nanos: 0 }),
        })
    });
    let coordinator = scene.coordinator();
    let (created, deleted) = (
        CustomerCreated { customer: "customers/1".into(), version: 1 },
        CustomerDeleted { customer: "customers/2".into(), version: 9 },
    );
    let gone = CustomerUpdated { customer: "customers/gone".into(), version: 2 };
    let invited = InvitationCreated {
        invitation: "invitations/1".into(),
        customer: "customers/1".into(),
        ..Default::default()
    };
    scene
        .source
        .all_happened(&[
            event("customers/1", 1, &created),
            event("customers/2", 9, &deleted),
            event("customers/gone", 2, &gone),
            event("invitations/1", 1, &invited),
        ])
        .await;
    scene.through().await;
    coordinator.stop().await;

    let asked: Vec<GetCustomerRequest> =
        scene.desk.seen("GetCustomer").iter().map(|seen| seen.read()).collect();
    assert!(asked.iter().any(|asked| asked.name == "customers/1" && asked.minimum_etag == "v1"), "{asked:?}");
    let contacts: BTreeSet<_> = scene
        .desk
        .seen("PutContact")
        .iter()
        .map(|seen| seen.read::<PutContactRequest>().contact.unwrap())
        .map(|contact| (contact.customer, contact.customer_version, contact.email, contact.deleted))
        .collect();
    let expected = [
        ("customers/1".to_owned(), 5, "wang@example.com".to_owned(), false),
        ("customers/2".to_owned(), 9, String::new(), true),
        ("customers/gone".to_owned(), 2, String::new(), true),
    ];
    assert_eq!(contacts, expected.into());
    let message: SendMessageRequest = scene.desk.seen("SendMessage")[0].read();
    assert_eq!(message.template, "templates/survey-invitation");
    assert_eq!(message.variables["link"], "https://example.com/s/secret");
    assert_eq!(message.variables["expire_date"], "2026-01-15");
    assert_eq!((message.recipient.as_str(), message.about.as_str()), ("customers/1", "invitations/1"));
}

/// What the desk says of `customers/1`, until it is of another name.
fn merged(customer: &str, survivor: &str) -> Error {
    Refusal::new(reason::CUSTOMER_MERGED).fact("customer", customer).fact("survivor", survivor).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_under_way_for_somebody_who_is_merged_is_done_once_for_the_survivor() {
    let scene = Scene::at(Backend::CustomerData).await;
    // Merged on while the coordinator is at it. Of an id that was answered, the service knows the contents.
    let ledger: Arc<Mutex<Vec<EarnPointsRequest>>> = Arc::default();
    let entries = Arc::clone(&ledger);
    scene.desk.on("EarnPoints", move |seen| {
        let message: EarnPointsRequest = seen.read();
        let mut entries = entries.lock().unwrap();
        if entries.iter().any(|entry| entry.request_id == message.request_id && *entry != message) {
            return Err(Error::refused(reason::REQUEST_ID_REUSED));
        }
        match message.customer.as_str() {
            "customers/1" => Err(merged("customers/1", "customers/2")),
            "customers/2" => Err(merged("customers/2", "customers/3")),
            _ => {
                entries.push(message);
                Ok(EarnPointsResponse::default())
            }
        }
    });
    let bought = purchase("customers/1", "customers/1/purchases/7");
    scene.source.happened("customers/1/purchases/7", 1, &bought).await;
    let coordinator = scene.coordinator();
    scene.through().await;
    coordinator.stop().await;
    let seen: Vec<EarnPointsRequest> = scene.desk.seen("EarnPoints").iter().map(|seen| seen.read()).collect();
    let customers: Vec<&str> = seen.iter().map(|message| message.customer.as_str()).collect();
    assert_eq!(customers, ["customers/1", "customers/2", "customers/3"]);
    for again in &seen[1..] {
        assert_eq!(*again, EarnPointsRequest { customer: again.customer.clone(), ..seen[0].clone() });
    }

    scene.source.tamper("DELETE FROM event_ack").await;
    let coordinator = scene.coordinator();
    scene.through().await;
    coordinator.stop().await;
    assert_eq!(scene.desk.seen("EarnPoints").len(), 4, "the log was read again");
    assert_eq!(ledger.lock().unwrap().len(), 1);
    assert!(scene.source.parked().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_about_a_name_ends_with_the_name() {
    let scene = Scene::at(Backend::CustomerData).await;
    for method in ["GetCustomer", "PutContact", "RestrictSubject", "ReleaseSubject", "EraseSubject"] {
        scene.desk.on::<Customer>(method, |_| Err(merged("customers/1", "customers/2")));
    }
    let customer = || "customers/1".to_owned();
    scene
        .source
        .all_happened(&[
            event("customers/1", 2, &CustomerUpdated { customer: customer(), version: 2 }),
            event("customers/1", 3, &CustomerDeleted { customer: customer(), version: 3 }),
            event("erasures/1", 1, &CustomerErasureRequested { customer: customer(), ..Default::default() }),
            event("erasures/1", 2, &CustomerErasureCancelled { customer: customer() }),
            event("erasures/2", 3, &CustomerErasureCleared { customer: customer() }),
        ])
        .await;
    let coordinator = scene.coordinator();
    scene.through().await;
    coordinator.stop().await;
    assert!(scene.source.parked().await.is_empty());
    // Each once, none of them for the survivor.
    let methods = ["GetCustomer", "PutContact", "RestrictSubject", "ReleaseSubject", "EraseSubject"];
    assert_eq!(methods.map(|method| scene.desk.seen(method).len()), [1, 1, 5, 5, 5]);
    let contact = scene.desk.seen("PutContact")[0].read::<PutContactRequest>().contact.unwrap();
    assert_eq!(contact.customer, "customers/1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_reaches_every_service_and_each_receipt_comes_back() {
    let scene = Scene::at(Backend::CustomerData).await;
    let begun = CustomerMerged { customer: "customers/1".into(), survivor: "customers/2".into() };
    let receipt = SubjectMerged {
        customer: "customers/1".into(),
        survivor: "customers/2".into(),
        service: "customer-data".into(),
        version: 1,
        moved: [("purchases".to_owned(), 3)].into(),
    };
    scene.source.all_happened(&[event("merges/1", 1, &begun), event("subjects/1", 1, &receipt)]).await;
    let coordinator = scene.coordinator();
    scene.through().await;
    coordinator.stop().await;
    let told = scene.desk.seen("MergeSubject");
    assert_eq!(told.len(), 4, "customer-data has done its part when it tells of it");
    let ids: BTreeSet<String> = told
        .iter()
        .map(|seen| seen.read::<MergeSubjectRequest>())
        .inspect(|message| {
            assert_eq!(
                (message.customer.as_str(), message.survivor.as_str()),
                ("customers/1", "customers/2")
            );
        })
        .map(|message| message.request_id)
        .collect();
    assert_eq!(ids.len(), 4);
    let step: RecordMergeStepRequest = scene.desk.seen("RecordMergeStep")[0].read();
    assert_eq!((step.customer.as_str(), step.service.as_str()), ("customers/1", "customer-data"));
    assert_eq!(step.receipt, receipt.moved);
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_again_from_the_first_event_changes_nothing() {
    let scene = Scene::at(Backend::CustomerData).await;
    let ledger = scene.points_ledger();
    let events: Vec<_> = (0..500)
        .map(|number| {
            let name = format!("customers/1/purchases/{number}");
            event(&name, 1, &purchase("customers/1", &name))
        })
        .collect();
    scene.source.all_happened(&events).await;
    let coordinator = scene.coordinator();
    scene.through().await;
    coordinator.stop().await;
    let first = ledger.lock().unwrap().clone();
    assert_eq!(first.len(), 500);
    let calls = scene.desk.seen("EarnPoints").len();

    scene.source.tamper("DELETE FROM event_ack").await;
    let coordinator = scene.coordinator();
    scene.through().await;
    coordinator.stop().await;
    assert_eq!(scene.desk.seen("EarnPoints").len(), calls * 2, "everything was read again");
    assert_eq!(*ledger.lock().unwrap(), first);
    assert!(scene.source.parked().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_one_aggregate_are_handled_in_their_order() {
    let scene = Scene::at(Backend::CustomerData).await;
    scene.desk.on("GetCustomer", |seen| {
        let message: GetCustomerRequest = seen.read();
        Ok(Customer { name: message.name, etag: message.minimum_etag, ..Default::default() })
    });
    // Twenty customers, forty changes each, all mixed.
    let mut events = Vec::new();
    for version in 1..=40 {
        for customer in 0..20 {
            let customer = format!("customers/{customer}");
            let payload = CustomerUpdated { customer: customer.clone(), version };
            events.push(event(&customer, version, &payload));
        }
    }
    scene.source.all_happened(&events).await;
    let coordinator = scene.coordinator();
    scene.through().await;
    coordinator.stop().await;

    let contacts: Vec<_> = scene
        .desk
        .seen("PutContact")
        .iter()
        .map(|seen| seen.read::<PutContactRequest>().contact.unwrap())
        .collect();
    for customer in 0..20 {
        let customer = format!("customers/{customer}");
        let versions: Vec<i64> = contacts
            .iter()
            .filter(|contact| contact.customer == customer)
            .map(|contact| contact.customer_version)
            .collect();
        assert_eq!(versions, (1..=40).collect::<Vec<_>>(), "{customer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dissatisfied_answer_reopens_what_it_was_about() {
    let scene = Scene::at(Backend::Surveys).await;
    let coordinator = scene.coordinator();
    let response = |subject: &str, dissatisfied| ResponseAccepted {
        response: "responses/1".into(),
        customer: "customers/1".into(),
        subject: subject.into(),
        subject_version: 3,
        dissatisfied,
        incentive: true,
        ..Default::default()
    };
    scene
        .source
        .all_happened(&[
            event("responses/1", 1, &response("complaints/1", true)),
            event("responses/2", 1, &response("complaints/2", false)),
            event("responses/3", 1, &response("customers/1/purchases/1", true)),
        ])
        .await;
    scene.through().await;
    coordinator.stop().await;
    let reopened: Vec<ReopenComplaintRequest> =
        scene.desk.seen("ReopenComplaint").iter().map(|seen| seen.read()).collect();
    assert_eq!(reopened.len(), 1);
    assert_eq!((reopened[0].name.as_str(), reopened[0].caused_by_version), ("complaints/1", 3));
    assert_eq!(reopened[0].cause, "responses/1");
    assert_eq!(scene.desk.seen("EarnPoints").len(), 3);
}

/// Who invited the customer may have named any complaint: one that is worked on, or none.
#[tokio::test(flavor = "multi_thread")]
async fn a_dissatisfied_answer_about_what_cannot_be_reopened_parks_nothing() {
    for word in ["COMPLAINT_STATE", "COMPLAINT_NOT_FOUND"] {
        let scene = Scene::at(Backend::Surveys).await;
        let refusal = Reason::new("cqm.complaints.v1", word);
        scene.desk.on::<Complaint>("ReopenComplaint", move |_| Err(Refusal::new(refusal).into()));
        let coordinator = scene.coordinator();
        let response = ResponseAccepted {
            response: "responses/1".into(),
            subject: "complaints/1".into(),
            dissatisfied: true,
            ..Default::default()
        };
        scene.source.happened("responses/1", 1, &response).await;
        scene.through().await;
        coordinator.stop().await;
        assert_eq!(scene.desk.seen("ReopenComplaint").len(), 1, "{word}");
        assert!(scene.source.parked().await.is_empty(), "{word}");
    }
}
