//! One person who is known under two names is known under one: what was under either is there, nothing is lost or doubled on
//! the way, and everything goes when the person is forgotten.

use std::time::{Duration, Instant};

use cqm_proto::complaints::v1::CloseComplaintRequest;
use cqm_proto::complaints::v1::complaint_service_client::ComplaintServiceClient;
use cqm_proto::customers::v1::customer_service_client::CustomerServiceClient;
use cqm_proto::customers::v1::erasure::State as Erased;
use cqm_proto::customers::v1::interaction_service_client::InteractionServiceClient;
use cqm_proto::customers::v1::merge::{State, step};
use cqm_proto::customers::v1::merge_service_client::MergeServiceClient;
use cqm_proto::customers::v1::purchase_service_client::PurchaseServiceClient;
use cqm_proto::customers::v1::record_purchases_request::Owner;
use cqm_proto::customers::v1::record_purchases_response::Outcome;
use cqm_proto::customers::v1::{
    GetCustomerRequest, GetMergeRequest, Interaction, Merge, MergeCustomersRequest, RecordInteractionRequest,
    RecordPurchasesRequest, interaction,
};
use cqm_proto::gateway::v1::customer360_service_client::Customer360ServiceClient;
use cqm_proto::gateway::v1::{GetCustomer360Request, GetCustomer360Response};
use cqm_proto::google::r#type::Money;
use cqm_proto::loyalty::v1::earn_points_request::Basis;
use cqm_proto::loyalty::v1::earning_rule::effect::Kind;
use cqm_proto::loyalty::v1::earning_rule::{Effect, Trigger};
use cqm_proto::loyalty::v1::earning_rule_service_client::EarningRuleServiceClient;
use cqm_proto::loyalty::v1::ledger_service_client::LedgerServiceClient;
use cqm_proto::loyalty::v1::programme_service_client::ProgrammeServiceClient;
use cqm_proto::loyalty::v1::{
    ActivateProgrammeRequest, BirthdayBasis, CreateEarningRuleRequest, CreateProgrammeRequest,
    EarnPointsRequest, EarningRule, GetAccountRequest, LocalizedText, Programme, VerifyLedgerRequest,
};
use cqm_proto::surveys::v1::create_invitation_request::Target;
use cqm_proto::surveys::v1::invitation_service_client::InvitationServiceClient;
use cqm_proto::surveys::v1::{CreateInvitationRequest, Purpose};
use cqm_rpc::Failure;
use cqm_testkit::eventually;
use cqm_tests::customer::{Callers, Person, answer, created, live};
use cqm_tests::{Cluster, SERVICES, again, parked, settled};
use futures::TryStreamExt;
use prost_types::{Duration as Span, Timestamp};
use uuid::Uuid;

use crate::erasure::{blockers, callers, erase, everything, found, until};

const PATIENCE: Duration = Duration::from_secs(60);
/// What the lot that expires has in it.
const BIRTHDAY_POINTS: i64 = 5;
/// What the purchase that is under way is worth.
const LATE_POINTS: i64 = 42;
/// What the surveys service's own questionnaire is worth.
const SURVEY_POINTS: i64 = 50;

fn fresh() -> String {
    Uuid::now_v7().to_string()
}

/// Two names of one person, and words that nothing else says.
fn planted() -> ([Person; 2], [&'static str; 10]) {
    let person = |name: &str, email: &str, phone: &str| Person {
        name: name.to_owned(),
        email: email.to_owned(),
        phone: phone.to_owned(),
    };
    let people = [
        person("Quirinius Plantagenet", "quirinius.planted@example.com", "+8613911122233"),
        person("Ethelburga Wessex", "ethelburga.planted@example.com", "+8613922233344"),
    ];
    // And what every `live` says, and the contact.
    let words = [
        "Quirinius",
        "Plantagenet",
        "quirinius.planted",
        "13911122233",
        "Ethelburga",
        "ethelburga.planted",
        "13922233344",
        "It does not work",
        "Replaced",
        "It went as I said",
    ];
    (people, words)
}

/// Points that expire, by a rule: those of the base rule do not.
async fn earn_what_expires(callers: &Callers, customer: &str) {
    let text = || {
        let texts = [("zh-CN".to_owned(), "生日".to_owned())].into();
        Some(LocalizedText { texts })
    };
    let mut programmes = ProgrammeServiceClient::new(callers.staff.clone());
    let create = CreateProgrammeRequest {
        programme: Some(Programme { display_name: text(), ..Default::default() }),
        request_id: fresh(),
    };
    let programme = programmes.create_programme(create).await.unwrap().into_inner().name;
    let rule = EarningRule {
        programme: programme.clone(),
        display_name: text(),
        trigger: Trigger::Birthday.into(),
        effect: Some(Effect { kind: Some(Kind::FixedPoints(BIRTHDAY_POINTS)) }),
        lifetime: Some(Span { seconds: 300 * 86_400, nanos: 0 }),
        ..Default::default()
    };
    let create = CreateEarningRuleRequest { earning_rule: Some(rule), request_id: fresh() };
    EarningRuleServiceClient::new(callers.staff.clone()).create_earning_rule(create).await.unwrap();
    let activate = ActivateProgrammeRequest { name: programme, request_id: fresh(), ..Default::default() };
    programmes.activate_programme(activate).await.unwrap();
    // It counts within a second.
    let mut ledger = LedgerServiceClient::new(callers.internal.clone());
    for year in 1900.. {
        let earn = EarnPointsRequest {
            customer: customer.to_owned(),
            basis: Some(Basis::Birthday(BirthdayBasis { year })),
            request_id: fresh(),
            ..Default::default()
        };
        if ledger.earn_points(earn).await.unwrap().into_inner().entry.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn buy(callers: &Callers, customer: &str) {
    let row = RecordPurchasesRequest {
        row: 1,
        owner: Some(Owner::Customer(customer.to_owned())),
        purchase_reference: "order-late".to_owned(),
        purchase_time: Some(Timestamp { seconds: 1_760_000_000, nanos: 0 }),
        amount: Some(Money { currency_code: "CNY".to_owned(), units: LATE_POINTS, nanos: 0 }),
        quantity: 1,
        product: String::new(),
    };
    let mut service = PurchaseServiceClient::new(callers.staff.clone());
    let mut answers = service.record_purchases(tokio_stream::iter([row])).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().outcome(), Outcome::Recorded);
}

async fn note(callers: &Callers, customer: &str) {
    let note = RecordInteractionRequest {
        customer: customer.to_owned(),
        interaction: Some(Interaction {
            kind: interaction::Kind::Enquiry.into(),
            channel: interaction::Channel::Phone.into(),
            summary: "Quirinius called".to_owned(),
            ..Interaction::default()
        }),
        request_id: fresh(),
    };
    InteractionServiceClient::new(callers.staff.clone()).record_interaction(note).await.unwrap();
}

/// Asks a customer something that they have not answered yet.
async fn invite(callers: &Callers, customer: &str) -> String {
    let request = CreateInvitationRequest {
        customer: customer.to_owned(),
        target: Some(Target::Purpose(Purpose::ComplaintHandling.into())),
        subject_version: 7,
        request_id: fresh(),
        ..Default::default()
    };
    let mut service = InvitationServiceClient::new(callers.staff.clone());
    service.create_invitation(request).await.unwrap().into_inner().name
}

async fn merge(callers: &Callers, customer: &str, survivor: &str) -> Merge {
    let request = MergeCustomersRequest {
        customer: customer.to_owned(),
        survivor: survivor.to_owned(),
        request_id: fresh(),
        ..Default::default()
    };
    let service = MergeServiceClient::new(callers.staff.clone());
    let answer = again(|| {
        let (mut service, request) = (service.clone(), request.clone());
        async move { service.merge_customers(request).await }
    });
    answer.await.expect("two customers are merged")
}

/// Waits until every service has given its receipt.
async fn finished(callers: &Callers, name: &str) -> Merge {
    let started = Instant::now();
    let service = MergeServiceClient::new(callers.staff.clone());
    loop {
        let answer = again(|| {
            let (mut service, name) = (service.clone(), name.to_owned());
            async move { service.get_merge(GetMergeRequest { name }).await }
        });
        let merge = answer.await.expect("the merge is there");
        if merge.state() == State::Merged {
            assert!(merge.steps.iter().all(|it| it.state() == step::State::Merged), "{merge:?}");
            return merge;
        }
        assert!(started.elapsed() < PATIENCE, "{merge:?}, parked: {:?}", parked(&callers.staff).await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn seen(callers: &Callers, customer: &str) -> Result<GetCustomer360Response, Failure> {
    let service = Customer360ServiceClient::new(callers.staff.clone());
    let request = GetCustomer360Request { customer: customer.to_owned(), ..Default::default() };
    again(|| {
        let (mut service, request) = (service.clone(), request.clone());
        async move { service.get_customer360(request).await }
    })
    .await
}

/// How much of a customer each service has.
#[derive(Debug, PartialEq, Eq)]
struct Sizes {
    purchases: usize,
    interactions: usize,
    complaints: usize,
    open: usize,
    invitations: usize,
    responses: usize,
    messages: usize,
    points: i64,
}

async fn sizes(callers: &Callers, customer: &str) -> Sizes {
    let all = seen(callers, customer).await.unwrap();
    let (complaints, surveys) = (all.complaints.unwrap(), all.surveys.unwrap());
    Sizes {
        purchases: all.purchases.unwrap().purchases.len(),
        interactions: all.interactions.unwrap().interactions.len(),
        complaints: complaints.complaints.len(),
        open: complaints.open_complaints.len(),
        invitations: surveys.invitations.len(),
        responses: surveys.responses.len(),
        messages: all.messages.unwrap().messages.len(),
        points: all.points.unwrap().account.map_or(0, |account| account.available),
    }
}

#[track_caller]
fn names_the_survivor(failure: &Failure, customer: &str, survivor: &str) {
    assert_eq!(failure.reason, "CUSTOMER_MERGED", "{failure}");
    assert_eq!(
        (failure.facts["customer"].as_str(), failure.facts["survivor"].as_str()),
        (customer, survivor)
    );
}

/// All that ever happened is told once more.
async fn told_once_more(cluster: &mut Cluster, callers: &Callers) {
    cluster.without_coordinators(|cluster| {
        for (_, database) in SERVICES {
            cluster.postgres.sql(database, "UPDATE event_ack SET position = 0, hash = ''");
        }
    });
    settled(&callers.staff).await;
    assert!(parked(&callers.staff).await.is_empty(), "{:?}", parked(&callers.staff).await);
}

/// Owner, points and end of every lot that expires.
fn what_expires(cluster: &Cluster) -> Vec<[String; 3]> {
    let sql = "SELECT customer_id, remaining, expires_at FROM lot
               WHERE remaining > 0 AND expires_at IS NOT NULL ORDER BY id";
    let rows = cluster.postgres.sql("loyalty", sql);
    rows.lines()
        .map(|row| row.split('|').map(str::to_owned).collect::<Vec<_>>().try_into().unwrap())
        .collect()
}

async fn check_ledger(callers: &Callers) {
    let mut ledger = LedgerServiceClient::new(callers.staff.clone());
    let answers = ledger.verify_ledger(VerifyLedgerRequest::default()).await.unwrap().into_inner();
    let checked: Vec<_> = answers.try_collect().await.unwrap();
    let last = checked.last().unwrap();
    assert_eq!((last.done, last.faults_total), (true, 0), "{checked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_names_of_a_person_become_one_everywhere_and_are_forgotten_as_one() {
    let mut cluster = Cluster::start();
    let callers = callers(&cluster);
    settled(&callers.staff).await;
    let (people, words) = planted();
    let (old, new) = tokio::join!(live(&callers, &people[0], false), live(&callers, &people[1], false));
    note(&callers, &old.customer).await;
    let invitation = invite(&callers, &old.customer).await;
    earn_what_expires(&callers, &old.customer).await;
    settled(&callers.staff).await;
    eventually("both are told everything", async || {
        old.is_told(&callers).await && new.is_told(&callers).await
    })
    .await;
    let (one, other) = (sizes(&callers, &old.customer).await, sizes(&callers, &new.customer).await);
    let sum = one.points + other.points;
    let expires = what_expires(&cluster);
    assert_eq!((expires.len(), expires[0][1].as_str()), (1, "5"), "{expires:?}");

    // A purchase is told to loyalty only after the merge, and everything dies on the way.
    for coordinator in ["coordinator-1", "coordinator-2"] {
        cluster.kill(coordinator);
    }
    buy(&callers, &old.customer).await;
    let merging = merge(&callers, &old.customer, &new.customer).await;
    assert_eq!(merging.state(), State::Merging);
    let behind = "UPDATE event_ack SET (position, hash) = (SELECT position, hash FROM event_log
                      WHERE type = 'cqm.events.v1.PurchaseRecorded' ORDER BY position DESC LIMIT 1)";
    let written = "SELECT count(*) FROM event_log WHERE type = 'cqm.events.v1.CustomerMerged'";
    eventually("the merge is in the log", async || {
        cluster.postgres.sql("customer_data", written).trim() == "1"
    })
    .await;
    cluster.postgres.sql("customer_data", behind);
    for coordinator in ["coordinator-1", "coordinator-2"] {
        cluster.restart(coordinator);
    }
    for (service, _) in SERVICES {
        cluster.kill_and_restart(service);
    }
    let merged = finished(&callers, &merging.name).await;
    settled(&callers.staff).await;
    let ledger = LedgerServiceClient::new(callers.staff.clone());
    let available = async |customer: &str| {
        let request = GetAccountRequest { customer: customer.to_owned() };
        let mut ledger = ledger.clone();
        ledger.get_account(request).await.map(|account| account.into_inner().available)
    };
    assert_eq!(available(&new.customer).await.unwrap(), sum, "not one point more or less");
    let moved = |service: &str| merged.steps.iter().find(|it| it.service == service).unwrap().moved.clone();
    assert_eq!(moved("customer-data")["purchases"], 4);

    told_once_more(&mut cluster, &callers).await;
    let expected = Sizes {
        purchases: one.purchases + other.purchases + 1,
        interactions: one.interactions + other.interactions,
        complaints: 2,
        open: 2,
        invitations: 3,
        responses: 2,
        messages: one.messages + other.messages,
        points: sum + LATE_POINTS,
    };
    assert_eq!(sizes(&callers, &new.customer).await, expected);
    let id = |customer: &str| customer.trim_start_matches("customers/").to_owned();
    let [owner, points, end] = &what_expires(&cluster)[0];
    assert_eq!((owner, points, end), (&id(&new.customer), &expires[0][1], &expires[0][2]));
    check_ledger(&callers).await;

    // Whoever comes with the old name is told the survivor's.
    let mut customers = CustomerServiceClient::new(callers.staff.clone());
    let get = GetCustomerRequest { name: old.customer.clone(), ..Default::default() };
    let refused = Failure::of(&customers.get_customer(get.clone()).await.unwrap_err());
    names_the_survivor(&refused, &old.customer, &new.customer);
    names_the_survivor(&seen(&callers, &old.customer).await.unwrap_err(), &old.customer, &new.customer);
    let refused = Failure::of(&available(&old.customer).await.unwrap_err());
    names_the_survivor(&refused, &old.customer, &new.customer);
    // The link that the customer was sent is the survivor's.
    answer(&callers, &invitation, false).await;
    settled(&callers.staff).await;
    assert_eq!(available(&new.customer).await.unwrap(), sum + LATE_POINTS + SURVEY_POINTS);

    // A third name: both of the others lead to it, and nothing that happened under either happens again.
    let third = created(&callers, &Person::anybody()).await;
    settled(&callers.staff).await;
    let merging = merge(&callers, &new.customer, &third).await;
    finished(&callers, &merging.name).await;
    told_once_more(&mut cluster, &callers).await;
    let expected = Sizes { responses: 3, points: expected.points + SURVEY_POINTS, ..expected };
    assert_eq!(sizes(&callers, &third).await, expected);
    let refused = Failure::of(&customers.get_customer(get).await.unwrap_err());
    names_the_survivor(&refused, &old.customer, &third);
    check_ledger(&callers).await;

    // Forgotten under the name that is left, the person is forgotten under all of them.
    assert!(
        found(&everything(&cluster).await, &words).len() >= words.len(),
        "the search finds what is there"
    );
    let asked = erase(&callers, &third, true).await;
    let waits = until(&callers, &asked.name, |erasure| erasure.state() == Erased::Restricted).await;
    assert_eq!(blockers(&waits), ["complaints OPEN_COMPLAINT"]);
    let mut complaints = ComplaintServiceClient::new(callers.staff.clone());
    for name in [old.complaint, new.complaint] {
        let close = CloseComplaintRequest { name, request_id: fresh(), ..Default::default() };
        complaints.close_complaint(close).await.unwrap();
    }
    until(&callers, &asked.name, |erasure| erasure.state() == Erased::Erased).await;
    settled(&callers.staff).await;
    assert!(parked(&callers.staff).await.is_empty());
    assert_eq!(found(&everything(&cluster).await, &words), Vec::<String>::new());
}
