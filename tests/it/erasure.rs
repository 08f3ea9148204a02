//! A customer is forgotten by every service: nothing of them is anywhere afterwards, and nothing brings them back.

use std::process::Command;
use std::time::{Duration, Instant};

use cqm_proto::complaints::v1::complaint::Channel as CameBy;
use cqm_proto::complaints::v1::complaint_service_client::ComplaintServiceClient;
use cqm_proto::complaints::v1::{
    Category, CloseComplaintRequest, Complaint, RegisterComplaintRequest, Severity,
};
use cqm_proto::customers::v1::customer_service_client::CustomerServiceClient;
use cqm_proto::customers::v1::erasure::{Ground, State, step};
use cqm_proto::customers::v1::erasure_service_client::ErasureServiceClient;
use cqm_proto::customers::v1::interaction_service_client::InteractionServiceClient;
use cqm_proto::customers::v1::{
    CancelErasureRequest, EraseCustomerRequest, Erasure, GetCustomerRequest, GetErasureReportRequest,
    GetErasureRequest, GetReportKeysRequest, Interaction, LiftLegalHoldRequest, PlaceLegalHoldRequest,
    RecordInteractionRequest, interaction,
};
use cqm_proto::loyalty::v1::ledger_service_client::LedgerServiceClient;
use cqm_proto::loyalty::v1::{GetAccountRequest, RedeemPointsRequest};
use cqm_rpc::Failure;
use cqm_tests::customer::{Callers, Person, created, live};
use cqm_tests::{Bearer, Cluster, SERVICES, again, binary, channel, parked, settled};
use uuid::Uuid;

use crate::privacy::redis_content;

const PATIENCE: Duration = Duration::from_secs(60);

fn fresh() -> String {
    Uuid::now_v7().to_string()
}

pub fn callers(cluster: &Cluster) -> Callers {
    Callers {
        staff: Bearer::caller(cluster.address(), &cluster.token("service_manager")),
        internal: Bearer::caller(cluster.address(), &cluster.token("internal_service")),
        stranger: channel(cluster.address()),
    }
}

fn planted() -> (Person, [&'static str; 7]) {
    let person = Person {
        name: "Quirinius Plantagenet".to_owned(),
        email: "quirinius.planted@example.com".to_owned(),
        phone: "+8613911122233".to_owned(),
    };
    // And what every `live` says: the complaint's subject, the words of the resolution and those of the answer.
    let traces = [
        "Quirinius",
        "Plantagenet",
        "quirinius.planted",
        "13911122233",
        "It does not work",
        "Replaced",
        "It went as I said",
    ];
    (person, traces)
}

pub async fn erase(callers: &Callers, customer: &str, forfeit_points: bool) -> Erasure {
    let request = EraseCustomerRequest {
        customer: customer.to_owned(),
        ground: Ground::Request.into(),
        forfeit_points,
        request_id: fresh(),
    };
    let service = ErasureServiceClient::new(callers.staff.clone());
    let answer = again(|| {
        let (mut service, request) = (service.clone(), request.clone());
        async move { service.erase_customer(request).await }
    });
    answer.await.expect("an erasure is asked for")
}

/// The erasure, when it is as it should be.
pub async fn until(callers: &Callers, name: &str, done: impl Fn(&Erasure) -> bool) -> Erasure {
    let started = Instant::now();
    let service = ErasureServiceClient::new(callers.staff.clone());
    loop {
        let found = again(|| {
            let (mut service, name) = (service.clone(), name.to_owned());
            async move { service.get_erasure(GetErasureRequest { name }).await }
        });
        let erasure = found.await.expect("the erasure is there");
        if done(&erasure) {
            return erasure;
        }
        assert!(started.elapsed() < PATIENCE, "{erasure:?}, parked: {:?}", parked(&callers.staff).await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

pub fn blockers(erasure: &Erasure) -> Vec<String> {
    let of = |step: &cqm_proto::customers::v1::erasure::Step| {
        let service = step.service.clone();
        step.blockers.iter().map(move |word| format!("{service} {word}")).collect::<Vec<_>>()
    };
    erasure.steps.iter().flat_map(of).collect()
}

fn complaint(customer: &str, subject: &str) -> RegisterComplaintRequest {
    RegisterComplaintRequest {
        complaint: Some(Complaint {
            customer: customer.to_owned(),
            channel: CameBy::Phone.into(),
            category: Category::ProductQuality.into(),
            severity: Severity::Low.into(),
            subject: subject.to_owned(),
            ..Complaint::default()
        }),
        request_id: fresh(),
    }
}

/// Everything that all databases, Redis and the logs hold.
pub async fn everything(cluster: &Cluster) -> Vec<(String, String)> {
    let mut places: Vec<(String, String)> = SERVICES
        .iter()
        .map(|(service, database)| ((*service).to_owned(), cluster.postgres.dump(database)))
        .collect();
    places.push(("Redis".to_owned(), redis_content(&cluster.redis.url()).await));
    places.push(("the logs".to_owned(), cluster.logs()));
    places
}

/// Where the words are found, as text or as bytes in hexadecimal.
pub fn found(places: &[(String, String)], words: &[&str]) -> Vec<String> {
    let hex = |word: &str| word.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut found = Vec::new();
    for (place, content) in places {
        for word in words {
            if let Some(at) = content.find(word).or_else(|| content.find(&hex(word))) {
                let from = content.floor_char_boundary(at.saturating_sub(200));
                found.push(format!(
                    "{word} in {place}: {}",
                    &content[from..content.ceil_char_boundary(at + 20)]
                ));
            }
        }
    }
    found
}

async fn reason_of<A>(answer: Result<tonic::Response<A>, tonic::Status>) -> String {
    Failure::of(&answer.map(drop).expect_err("it is refused")).reason
}

/// GW-05, PIPL art. 47, GDPR art. 17.
#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_waits_for_what_must_be_kept_and_then_leaves_nothing_anywhere() {
    let mut cluster = Cluster::start();
    let callers = callers(&cluster);
    settled(&callers.staff).await;
    let (person, words) = planted();
    let life = live(&callers, &person, false).await;
    let mut erasures = ErasureServiceClient::new(callers.staff.clone());
    let mut complaints = ComplaintServiceClient::new(callers.staff.clone());
    let mut interactions = InteractionServiceClient::new(callers.staff.clone());
    let noted = RecordInteractionRequest {
        customer: life.customer.clone(),
        interaction: Some(Interaction {
            kind: interaction::Kind::Enquiry.into(),
            channel: interaction::Channel::Phone.into(),
            summary: "Quirinius called".to_owned(),
            ..Interaction::default()
        }),
        request_id: fresh(),
    };
    interactions.record_interaction(noted.clone()).await.unwrap();
    let hold = PlaceLegalHoldRequest {
        customer: life.customer.clone(),
        reference: "court/7".to_owned(),
        request_id: fresh(),
    };
    erasures.place_legal_hold(hold).await.unwrap();
    settled(&callers.staff).await;
    while !life.is_told(&callers).await {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(
        found(&everything(&cluster).await, &words).len() >= words.len(),
        "the search finds what is there"
    );

    // Asked for, every service stops taking new data, and says what it waits for.
    let asked = erase(&callers, &life.customer, false).await;
    let waits = until(&callers, &asked.name, |erasure| erasure.state() == State::Restricted).await;
    let expected = ["complaints OPEN_COMPLAINT", "customer-data LEGAL_HOLD", "loyalty UNREDEEMED_POINTS"];
    assert_eq!(blockers(&waits), expected);
    let new = complaints.register_complaint(complaint(&life.customer, "Another one")).await;
    assert_eq!(reason_of(new).await, "CUSTOMER_RESTRICTED");
    let again_noted = RecordInteractionRequest { request_id: fresh(), ..noted.clone() };
    assert_eq!(reason_of(interactions.record_interaction(again_noted).await).await, "CUSTOMER_RESTRICTED");
    assert_eq!(
        reason_of(erasures.get_erasure_report(GetErasureReportRequest { name: asked.name.clone() }).await)
            .await,
        "ERASURE_UNFINISHED"
    );

    // What stood in the way goes, one after the other; the customer uses up their points.
    let close =
        CloseComplaintRequest { name: life.complaint.clone(), request_id: fresh(), ..Default::default() };
    complaints.close_complaint(close).await.unwrap();
    until(&callers, &asked.name, |erasure| blockers(erasure) == expected[1..]).await;
    let lift = LiftLegalHoldRequest { customer: life.customer.clone(), request_id: fresh() };
    erasures.lift_legal_hold(lift).await.unwrap();
    until(&callers, &asked.name, |erasure| blockers(erasure) == expected[2..]).await;
    let mut ledger = LedgerServiceClient::new(callers.internal.clone());
    let account = GetAccountRequest { customer: life.customer.clone() };
    let points = ledger.get_account(account).await.unwrap().into_inner().available;
    let redeem = RedeemPointsRequest {
        customer: life.customer.clone(),
        points,
        source: "orders/7".to_owned(),
        request_id: fresh(),
        ..Default::default()
    };
    ledger.redeem_points(redeem).await.unwrap();

    let erased = until(&callers, &asked.name, |erasure| erasure.state() == State::Erased).await;
    assert!(erased.steps.iter().all(|step| step.state() == step::State::Erased && !step.erased.is_empty()));
    settled(&callers.staff).await;
    assert!(parked(&callers.staff).await.is_empty());
    let places = everything(&cluster).await;
    assert_eq!(found(&places, &words), Vec::<String>::new());
    let id = life.customer.trim_start_matches("customers/");
    assert!(!found(&places, &[id]).is_empty(), "the pseudonymous facts stay");

    check_report(&cluster, &mut erasures, &asked.name, &life.customer).await;

    // Asking again is asking once; nothing is taken any more.
    let second = erase(&callers, &life.customer, true).await;
    assert_eq!(second, erased);
    let new = complaints.register_complaint(complaint(&life.customer, "Quirinius again")).await;
    assert_eq!(reason_of(new).await, "CUSTOMER_ERASED");
    let mut customers = CustomerServiceClient::new(callers.staff.clone());
    let get = GetCustomerRequest { name: life.customer.clone(), ..Default::default() };
    assert_eq!(reason_of(customers.get_customer(get).await).await, "CUSTOMER_NOT_FOUND");

    // All that ever happened is told once more, and brings nothing back.
    cluster.without_coordinators(|cluster| {
        for (_, database) in SERVICES {
            cluster.postgres.sql(database, "UPDATE event_ack SET position = 0, hash = ''");
        }
    });
    settled(&callers.staff).await;
    assert!(parked(&callers.staff).await.is_empty(), "{:?}", parked(&callers.staff).await);
    assert_eq!(found(&everything(&cluster).await, &words), Vec::<String>::new());
}

/// The report is what was signed, by a key that is told, and the tool says so.
async fn check_report(
    cluster: &Cluster,
    erasures: &mut ErasureServiceClient<cqm_tests::Caller>,
    name: &str,
    customer: &str,
) {
    let ask = GetErasureReportRequest { name: name.to_owned() };
    let report = erasures.get_erasure_report(ask).await.unwrap().into_inner().report;
    let keys = erasures.get_report_keys(GetReportKeysRequest {}).await.unwrap().into_inner().jwks;
    let folder = cluster.mailbox();
    let (report_file, keys_file) = (folder.join("../report.jws"), folder.join("../report-keys.json"));
    std::fs::write(&keys_file, keys).unwrap();
    let verify = |report: &str| {
        std::fs::write(&report_file, report).unwrap();
        Command::new(binary("cqm"))
            .args(["erasure", "verify"])
            .arg(&report_file)
            .arg("--keys")
            .arg(&keys_file)
            .output()
            .unwrap()
    };
    let good = verify(&report);
    let said = String::from_utf8_lossy(&good.stdout).into_owned();
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    for part in [customer, "notifications", "\"contacts\": 1", "\"ground\": \"REQUEST\""] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let at = report.find('.').unwrap() + 10;
    let other = if &report[at..=at] == "A" { "B" } else { "A" };
    let altered = format!("{}{other}{}", &report[..at], &report[at + 1..]);
    assert!(!verify(&altered).status.success(), "an altered report is refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_is_called_off_leaves_everything_as_it_was() {
    let cluster = Cluster::start();
    let callers = callers(&cluster);
    settled(&callers.staff).await;
    let customer = created(&callers, &Person::anybody()).await;
    let mut complaints = ComplaintServiceClient::new(callers.staff.clone());
    complaints.register_complaint(complaint(&customer, "It broke")).await.unwrap();
    settled(&callers.staff).await;
    let asked = erase(&callers, &customer, false).await;
    until(&callers, &asked.name, |erasure| erasure.state() == State::Restricted).await;
    let refused = complaints.register_complaint(complaint(&customer, "Another one")).await;
    assert_eq!(reason_of(refused).await, "CUSTOMER_RESTRICTED");

    let mut erasures = ErasureServiceClient::new(callers.staff.clone());
    let cancel = CancelErasureRequest { name: asked.name.clone(), request_id: fresh() };
    let off = erasures.cancel_erasure(cancel).await.unwrap().into_inner();
    assert_eq!(off.state(), State::Cancelled);
    settled(&callers.staff).await;
    complaints.register_complaint(complaint(&customer, "Another one")).await.unwrap();
    let mut customers = CustomerServiceClient::new(callers.staff.clone());
    let get = GetCustomerRequest { name: customer.clone(), ..Default::default() };
    assert_eq!(customers.get_customer(get).await.unwrap().into_inner().display_name, "Han Meimei");

    // And it can be asked for again.
    let again = erase(&callers, &customer, false).await;
    assert_eq!(again.name, asked.name);
    let waits = until(&callers, &again.name, |erasure| erasure.state() == State::Restricted).await;
    assert_eq!(blockers(&waits), ["complaints OPEN_COMPLAINT"]);
    assert!(parked(&callers.staff).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_is_finished_though_everything_is_killed_on_its_way() {
    let mut cluster = Cluster::start();
    let callers = callers(&cluster);
    settled(&callers.staff).await;
    let (person, _) = planted();
    let people = [created(&callers, &person).await, created(&callers, &Person::anybody()).await];
    settled(&callers.staff).await;
    let mut names = Vec::new();
    for customer in &people {
        names.push(erase(&callers, customer, true).await.name);
        for (service, _) in SERVICES {
            cluster.kill_and_restart(service);
        }
        cluster.kill_and_restart("coordinator-1");
        cluster.kill_and_restart("coordinator-2");
    }
    for name in &names {
        until(&callers, name, |erasure| erasure.state() == State::Erased).await;
    }
    settled(&callers.staff).await;
    assert!(parked(&callers.staff).await.is_empty());
    assert_eq!(found(&everything(&cluster).await, &["Quirinius", "13911122233"]), Vec::<String>::new());
}
