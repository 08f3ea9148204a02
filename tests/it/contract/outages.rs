//! Servers that are gone, slow or taken: who calls is told so at once, told when to come back, and needs nothing
//! restarted.

use std::time::{Duration, Instant};

use cqm_proto::complaints::v1::complaint_service_client::ComplaintServiceClient;
use cqm_proto::complaints::v1::{
    AcknowledgeComplaintRequest, Complaint, GetComplaintRequest, RegisterComplaintRequest,
};
use cqm_proto::customers::v1::customer_service_client::CustomerServiceClient;
use cqm_proto::customers::v1::{GetCustomerRequest, UpdateCustomerRequest};
use cqm_proto::loyalty::v1::GetAccountRequest;
use cqm_proto::loyalty::v1::ledger_service_client::LedgerServiceClient;
use cqm_proto::notifications::v1::ListTemplatesRequest;
use cqm_proto::notifications::v1::template_service_client::TemplateServiceClient;
use cqm_proto::surveys::v1::ListInvitationsRequest;
use cqm_proto::surveys::v1::invitation_service_client::InvitationServiceClient;
use cqm_rpc::Failure;
use cqm_testkit::until;
use cqm_tests::{Bearer, Caller, Cluster, again};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use futures::future::join_all;
use tokio::task::block_in_place;
use tonic::{Code, Response, Status};

use super::{about, create, fresh, named, nobody, refused, register};

/// What the contract gives a service to tell that its storage is gone.
const BUDGET: Duration = Duration::from_millis(300);
/// What the median may take on a machine that does other things, too.
const GENEROUS: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_told_and_over_when_it_is_over() {
    let mut cluster = Cluster::start();
    let staff = Bearer::caller(cluster.address(), &cluster.token("service_manager"));
    let complaint = registered(&staff).await;
    everybody_answers(&staff).await;
    a_request_in_flight(&cluster, &staff).await;
    a_row_that_is_held(&cluster, &staff, &complaint).await;
    a_commit_that_breaks_off(&cluster, &staff).await;
    without_redis(&mut cluster, &staff).await;
    without_postgres(&mut cluster, &staff, &complaint).await;
    assert_eq!(cluster.ended(), Vec::<String>::new(), "nothing was restarted");
}

async fn registered(staff: &Caller) -> Complaint {
    let message = register(about("It does not work"));
    let complaints = ComplaintServiceClient::new(staff.clone());
    let outcome = again(|| {
        let (mut complaints, message) = (complaints.clone(), message.clone());
        async move { complaints.register_complaint(message).await }
    });
    outcome.await.expect("a complaint is registered")
}

/// Waits until every service answers.
async fn everybody_answers(staff: &Caller) {
    until("all services answer", async || {
        let outcomes = reads(staff).await;
        outcomes.iter().all(|(_, outcome)| !failed_to_answer(outcome)).then_some(())
    })
    .await;
}

fn failed_to_answer(outcome: &Result<(), Status>) -> bool {
    outcome.as_ref().is_err_and(|status| Failure::of(status).is_transient())
}

/// One read of each service that no cache can answer.
async fn reads(staff: &Caller) -> Vec<(&'static str, Result<(), Status>)> {
    fn outcome<A>(answer: Result<Response<A>, Status>) -> Result<(), Status> {
        answer.map(|_| ())
    }
    let customer = GetCustomerRequest { name: nobody("customers"), ..Default::default() };
    let complaint = GetComplaintRequest { name: nobody("complaints") };
    let account = GetAccountRequest { customer: nobody("customers") };
    let invitations = ListInvitationsRequest { customer: nobody("customers"), ..Default::default() };
    vec![
        ("customer-data", outcome(CustomerServiceClient::new(staff.clone()).get_customer(customer).await)),
        ("complaints", outcome(ComplaintServiceClient::new(staff.clone()).get_complaint(complaint).await)),
        ("loyalty", outcome(LedgerServiceClient::new(staff.clone()).get_account(account).await)),
        (
            "notifications",
            outcome(
                TemplateServiceClient::new(staff.clone())
                    .list_templates(ListTemplatesRequest::default())
                    .await,
            ),
        ),
        ("surveys", outcome(InvitationServiceClient::new(staff.clone()).list_invitations(invitations).await)),
    ]
}

/// Somebody else at the same database.
async fn other(cluster: &Cluster, database: &str) -> AsyncPgConnection {
    AsyncPgConnection::establish(&cluster.postgres.url(database)).await.unwrap()
}

async fn a_request_in_flight(cluster: &Cluster, staff: &Caller) {
    let message = register(about("It does not work"));
    let mut first = other(cluster, "complaints").await;
    let claim = format!(
        "BEGIN; INSERT INTO idempotency (caller, request_id, method, body_digest, create_time)
         VALUES ('service_manager', '{}', 'first', '', now())",
        message.request_id
    );
    first.batch_execute(&claim).await.unwrap();
    let mut complaints = ComplaintServiceClient::new(staff.clone());
    let started = Instant::now();
    let told =
        refused(complaints.register_complaint(message.clone()).await, Code::Aborted, "REQUEST_ID_IN_FLIGHT");
    assert!(started.elapsed() > Duration::from_millis(400), "it waits first: {:?}", started.elapsed());
    assert_eq!(told.details, ["ErrorInfo", "RetryInfo"]);
    assert!(told.failure.retry_after.is_some() && told.failure.is_transient());
    first.batch_execute("ROLLBACK").await.unwrap();
    complaints.register_complaint(message).await.expect("the first one left nothing behind");
}

async fn a_row_that_is_held(cluster: &Cluster, staff: &Caller, complaint: &Complaint) {
    let id = complaint.name.trim_start_matches("complaints/");
    let mut holder = other(cluster, "complaints").await;
    let hold = format!("BEGIN; SELECT FROM complaints WHERE id = '{id}' FOR UPDATE");
    holder.batch_execute(&hold).await.unwrap();
    let acknowledge = || AcknowledgeComplaintRequest {
        name: complaint.name.clone(),
        request_id: fresh(),
        ..Default::default()
    };
    let mut complaints = ComplaintServiceClient::new(staff.clone());
    let told =
        refused(complaints.acknowledge_complaint(acknowledge()).await, Code::Aborted, "TRANSACTION_CONFLICT");
    assert_eq!(told.details, ["ErrorInfo", "RetryInfo"]);
    assert!(told.failure.retry_after.is_some());

    // More than there are connections: who gets none within a moment is not left waiting.
    let crowd = (0..40).map(|_| {
        let (mut complaints, message) = (complaints.clone(), acknowledge());
        async move { complaints.acknowledge_complaint(message).await }
    });
    let mut overloaded = 0;
    for outcome in join_all(crowd).await {
        let failure = Failure::of(outcome.as_ref().unwrap_err());
        if failure.reason == "OVERLOADED" {
            let told = refused(outcome, Code::Unavailable, "OVERLOADED");
            assert_eq!(told.details, ["ErrorInfo", "RetryInfo"]);
            assert!(told.failure.retry_after.is_some());
            overloaded += 1;
        } else {
            refused(outcome, Code::Aborted, "TRANSACTION_CONFLICT");
        }
    }
    assert!((1..40).contains(&overloaded), "{overloaded} of 40 are refused for want of a connection");
    holder.batch_execute("ROLLBACK").await.unwrap();
    complaints.acknowledge_complaint(acknowledge()).await.expect("the row is free");
}

/// The connection is lost when the transaction's work is done and its end is on its way.
async fn a_commit_that_breaks_off(cluster: &Cluster, staff: &Caller) {
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql
                    AS $$ BEGIN PERFORM pg_sleep(20); RETURN NULL; END $$;
                CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON complaints
                    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()";
    let mut other = other(cluster, "complaints").await;
    other.batch_execute(slow).await.unwrap();
    let message = register(about("It does not work"));
    let mut complaints = ComplaintServiceClient::new(staff.clone());
    // Every time: the edge repeats the call, because its request id makes that safe.
    let cut = async {
        loop {
            until("a commit under way", async || {
                let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                           WHERE datname = 'complaints' AND query LIKE '%COMMIT%' AND wait_event = 'PgSleep'";
                let cut = block_in_place(|| cluster.postgres.sql("complaints", sql));
                (cut.trim() == "t").then_some(())
            })
            .await;
        }
    };
    let outcome = tokio::select! {
        outcome = complaints.register_complaint(message.clone()) => outcome,
        () = cut => unreachable!("it goes on cutting"),
    };
    let told = refused(outcome, Code::Unavailable, "OUTCOME_UNKNOWN");
    assert!(told.failure.is_transient());
    other.batch_execute("DROP TRIGGER slow ON complaints; DROP FUNCTION slow()").await.unwrap();
    again_with(staff, &message).await;
}

/// Repeats the message until it is answered: the complaint is there once.
async fn again_with(staff: &Caller, message: &RegisterComplaintRequest) {
    let complaints = ComplaintServiceClient::new(staff.clone());
    let call = || {
        let (mut complaints, message) = (complaints.clone(), message.clone());
        async move { complaints.register_complaint(message).await }
    };
    let first = again(call).await.expect("the same request is answered in the end");
    assert_eq!(again(call).await.expect("and again"), first);
    let get = GetComplaintRequest { name: first.name.clone() };
    assert_eq!(complaints.clone().get_complaint(get).await.unwrap().into_inner(), first);
}

async fn without_redis(cluster: &mut Cluster, staff: &Caller) {
    let mut customers = CustomerServiceClient::new(staff.clone());
    let known = customers.create_customer(create(named("Han Meimei"))).await.unwrap().into_inner();
    let get = |name: &str, minimum_etag: &str| GetCustomerRequest {
        name: name.to_owned(),
        minimum_etag: minimum_etag.to_owned(),
    };
    customers.get_customer(get(&known.name, "")).await.unwrap();
    block_in_place(|| cluster.redis.kill());
    for round in 0..5 {
        let update = UpdateCustomerRequest {
            customer: Some(cqm_proto::customers::v1::Customer {
                name: known.name.clone(),
                ..named(&format!("Han Meimei {round}"))
            }),
            ..Default::default()
        };
        let updated = customers.update_customer(update).await.expect("written without a cache").into_inner();
        let read =
            customers.get_customer(get(&known.name, &updated.etag)).await.expect("read without a cache");
        assert_eq!(read.into_inner(), updated);
        let created = customers.create_customer(create(named("Li Lei"))).await.unwrap().into_inner();
        assert_eq!(customers.get_customer(get(&created.name, "")).await.unwrap().into_inner(), created);
        for (service, outcome) in reads(staff).await {
            assert!(!failed_to_answer(&outcome), "{service}: {outcome:?}");
        }
    }
    block_in_place(|| cluster.redis.run());
    customers.get_customer(get(&known.name, "")).await.expect("with a new cache");
}

async fn without_postgres(cluster: &mut Cluster, staff: &Caller, complaint: &Complaint) {
    block_in_place(|| cluster.postgres.crash());
    let message = register(about("It does not work"));
    let mut complaints = ComplaintServiceClient::new(staff.clone());
    let mut took = Vec::new();
    for _ in 0..9 {
        for (service, outcome) in reads(staff).await {
            let status = outcome.expect_err("there is no database");
            let failure = Failure::of(&status);
            assert_eq!(failure.reason, "STORAGE_UNAVAILABLE", "{service}: {failure}");
            let told = super::told(&status, Code::Unavailable, "STORAGE_UNAVAILABLE");
            assert_eq!(told.details, ["ErrorInfo", "RetryInfo"], "{service}");
            assert!(told.failure.retry_after.is_some());
        }
        let get = GetComplaintRequest { name: complaint.name.clone() };
        let started = Instant::now();
        refused(complaints.get_complaint(get).await, Code::Unavailable, "STORAGE_UNAVAILABLE");
        took.push(started.elapsed());
        let started = Instant::now();
        let outcome = complaints.register_complaint(message.clone()).await;
        took.push(started.elapsed());
        refused(outcome, Code::Unavailable, "STORAGE_UNAVAILABLE");
    }
    took.sort();
    let median = took[took.len() / 2];
    eprintln!(
        "without Postgres: told after {median:?} at the median, {:?} at most; {BUDGET:?} are given",
        took.last()
    );
    assert!(median < GENEROUS, "{took:?}");

    block_in_place(|| cluster.postgres.run());
    again_with(staff, &message).await;
    everybody_answers(staff).await;
    let get = GetComplaintRequest { name: complaint.name.clone() };
    complaints.get_complaint(get).await.expect("what was acknowledged is there");
}
