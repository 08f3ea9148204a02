//! A customer is to be forgotten: what waits for their open complaint, and what is left of it.

use cqm_proto::complaints::v1::complaint::State;
use cqm_proto::subjects::v1::subject_service_client::SubjectServiceClient;
use cqm_proto::subjects::v1::{EraseSubjectRequest, RestrictSubjectRequest};
use cqm_testkit::{coordinator, eventually};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use secrecy::ExposeSecret;
use tonic::Code;

use crate::desk::{
    CUSTOMER, Desk, acknowledge, close, matter, record_cause, refused, registration, reopen, representative,
    request_id, resolve, start,
};

fn restrict() -> RestrictSubjectRequest {
    RestrictSubjectRequest { customer: CUSTOMER.to_owned(), ..Default::default() }
}

fn erase() -> EraseSubjectRequest {
    EraseSubjectRequest { customer: CUSTOMER.to_owned(), ..Default::default() }
}

#[tokio::test]
async fn an_open_complaint_is_seen_through_and_then_its_words_are_gone() {
    let mut desk = Desk::open().await;
    let mut subjects = SubjectServiceClient::new(desk.kit.channel.clone());
    let registered = registration(matter());
    let remembered =
        cqm_proto::complaints::v1::RegisterComplaintRequest { request_id: request_id(), ..registered };
    let complaint =
        desk.client.register_complaint(representative(remembered.clone())).await.unwrap().into_inner();
    let restricted = subjects.restrict_subject(coordinator(restrict())).await.unwrap().into_inner();
    assert_eq!(restricted.blockers, ["OPEN_COMPLAINT"]);
    let early = subjects.erase_subject(coordinator(erase())).await;
    refused(early, Code::FailedPrecondition, "SUBJECT_BLOCKED");
    let new = desk.client.register_complaint(representative(registration(matter()))).await;
    refused(new, Code::FailedPrecondition, "CUSTOMER_RESTRICTED");

    // The work on it goes on, and it is not opened again.
    desk.client.acknowledge_complaint(representative(acknowledge(&complaint.name))).await.unwrap();
    desk.client.start_investigation(representative(start(&complaint.name))).await.unwrap();
    desk.client.record_root_cause(representative(record_cause(&complaint.name))).await.unwrap();
    desk.client.resolve_complaint(representative(resolve(&complaint.name, 0))).await.unwrap();
    desk.client.close_complaint(representative(close(&complaint.name))).await.unwrap();
    let again = desk.client.reopen_complaint(representative(reopen(&complaint.name))).await;
    refused(again, Code::FailedPrecondition, "CUSTOMER_RESTRICTED");
    eventually("the service sees that it is closed", async || {
        let mut subjects = subjects.clone();
        subjects.restrict_subject(coordinator(restrict())).await.unwrap().into_inner().blockers.is_empty()
    })
    .await;

    let erased = subjects.erase_subject(coordinator(erase())).await.unwrap().into_inner();
    assert_eq!((erased.version, erased.blockers.len()), (3, 0));
    let types = desk.kit.events.next_types().await;
    assert_eq!(types.last().map(String::as_str), Some("SubjectErased"));
    let left = desk.get(&complaint.name).await;
    assert_eq!((left.state(), left.customer.as_str()), (State::Closed, CUSTOMER));
    assert_eq!((left.subject.as_str(), left.description.as_str(), left.remedy_note.as_str()), ("", "", ""));
    let rows =
        format!("{:?}{:?}", desk.kit.table("complaints").await, desk.kit.table("complaint_timeline").await);
    for words in ["parcel", "postage", "driver"] {
        assert!(!rows.contains(words), "{words} in {rows}");
    }
    let repeated = desk.client.register_complaint(representative(remembered)).await;
    refused(repeated, Code::FailedPrecondition, "REQUEST_ID_EXPIRED");
    let late = desk.client.register_complaint(representative(registration(matter()))).await;
    refused(late, Code::FailedPrecondition, "CUSTOMER_ERASED");
    let late = desk.client.reopen_complaint(representative(reopen(&complaint.name))).await;
    refused(late, Code::FailedPrecondition, "CUSTOMER_ERASED");
}

#[tokio::test]
async fn who_reopens_a_complaint_is_waited_for_before_it_is_said_that_none_is_open() {
    let mut desk = Desk::open().await;
    let subjects = SubjectServiceClient::new(desk.kit.channel.clone());
    let complaint = desk.in_state(State::Closed).await;
    let mut somebody = AsyncPgConnection::establish(desk.kit.database().url.expose_secret()).await.unwrap();
    // They have read that anything is taken about the customer, and are about to commit.
    let reopening = format!(
        "SET application_name = '{}'; BEGIN; UPDATE complaints SET state = 3, close_time = NULL",
        complaint.name
    );
    somebody.batch_execute(&reopening).await.unwrap();
    let waiting = format!(
        "SELECT to_jsonb(waits.pid)::text AS row
         FROM pg_stat_activity AS waits JOIN pg_stat_activity AS works ON works.pid = ANY(pg_blocking_pids(waits.pid))
         WHERE works.application_name = '{}'",
        complaint.name
    );
    let commit = async {
        eventually("the restriction waits", async || !desk.kit.rows(&waiting).await.is_empty()).await;
        somebody.batch_execute("COMMIT").await.unwrap();
    };
    let mut asked = subjects.clone();
    let (answer, ()) = tokio::join!(asked.restrict_subject(coordinator(restrict())), commit);
    assert_eq!(answer.unwrap().into_inner().blockers, ["OPEN_COMPLAINT"]);
    desk.kit.events.next().await;
}
