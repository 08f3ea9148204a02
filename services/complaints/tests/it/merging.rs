//! A customer turns out to be another one: whose their complaints are from then on.

use cqm_proto::complaints::v1::complaint::State;
use cqm_proto::complaints::v1::{
    Complaint, ListComplaintsRequest, ListCustomerTimelineRequest, StartInvestigationRequest,
};
use cqm_proto::events::v1 as events;
use cqm_proto::subjects::v1::subject_service_client::SubjectServiceClient;
use cqm_proto::subjects::v1::{EraseSubjectRequest, MergeSubjectRequest, RestrictSubjectRequest, subject};
use cqm_testkit::{Line, coordinator};
use prost::Message;
use tonic::Code;

use crate::desk::{
    CUSTOMER, Desk, acknowledge, close, matter, refused, registration, representative, resolve, start,
};

/// Who turns out to be [`CUSTOMER`].
const DUPLICATE: &str = "customers/01890a5d-ac96-774b-bcce-b302099a8060";

fn merge() -> MergeSubjectRequest {
    MergeSubjectRequest {
        customer: DUPLICATE.to_owned(),
        survivor: CUSTOMER.to_owned(),
        ..Default::default()
    }
}

fn subjects(desk: &Desk) -> SubjectServiceClient<Line> {
    SubjectServiceClient::new(desk.kit.channel.clone())
}

/// A complaint under the name that goes; its event is not looked at.
async fn register_theirs(desk: &Desk) -> Complaint {
    let told = Complaint { customer: DUPLICATE.to_owned(), ..matter() };
    let answer = desk.client.clone().register_complaint(representative(registration(told))).await;
    answer.unwrap().into_inner()
}

async fn names_of(desk: &Desk, customer: &str) -> Vec<String> {
    let list = ListComplaintsRequest { customer: customer.to_owned(), ..Default::default() };
    let page = desk.client.clone().list_complaints(representative(list)).await.unwrap().into_inner();
    page.complaints.into_iter().map(|complaint| complaint.name).collect()
}

#[tokio::test]
async fn complaints_under_the_name_that_goes_are_the_survivors_and_the_work_on_them_goes_on() {
    let mut desk = Desk::open().await;
    let mut subjects = subjects(&desk);
    let own = desk.registered().await.name;
    let moved = register_theirs(&desk).await.name;
    let seen = desk.client.acknowledge_complaint(representative(acknowledge(&moved))).await.unwrap();
    desk.kit.events.next().await;

    let answer = subjects.merge_subject(coordinator(merge())).await.unwrap().into_inner();
    assert_eq!((answer.state(), answer.survivor.as_str()), (subject::State::Merged, CUSTOMER));
    let (event, receipt) = desk.kit.events.only::<events::SubjectMerged>().await;
    assert_eq!(event.aggregate, DUPLICATE.replace("customers", "subjects"));
    assert_eq!((receipt.customer.as_str(), receipt.survivor.as_str()), (DUPLICATE, CUSTOMER));
    assert_eq!(receipt.moved, [("complaints".to_owned(), 1)].into());

    let found = desk.get(&moved).await;
    assert_eq!((found.customer.as_str(), found.state()), (CUSTOMER, State::Acknowledged));
    assert_eq!(names_of(&desk, CUSTOMER).await, [moved.clone(), own]);
    assert!(names_of(&desk, DUPLICATE).await.is_empty());
    let list = ListCustomerTimelineRequest { customer: CUSTOMER.to_owned(), ..Default::default() };
    let steps = desk.client.list_customer_timeline(representative(list)).await.unwrap().into_inner().entries;
    assert_eq!(steps.len(), 3);
    assert!(steps.iter().all(|step| step.customer == CUSTOMER), "{steps:?}");

    // Whoever has read whose it was has read something that is no longer so.
    let etag = seen.into_inner().etag;
    let outdated = StartInvestigationRequest { etag: etag.clone(), ..start(&moved) };
    let outdated = desk.client.start_investigation(representative(outdated)).await;
    refused(outdated, Code::Aborted, "ETAG_MISMATCH");
    assert_eq!((etag.as_str(), found.etag.as_str()), ("v2", "v3"));
    let fresh = StartInvestigationRequest { etag: found.etag, ..start(&moved) };
    desk.client.start_investigation(representative(fresh)).await.unwrap();
    let (event, told) = desk.kit.events.only::<events::ComplaintInvestigationStarted>().await;
    assert_eq!((event.aggregate_version, told.customer.as_str()), (4, CUSTOMER));

    let again = subjects.merge_subject(coordinator(merge())).await.unwrap().into_inner();
    assert_eq!(again, answer);
    assert_eq!(desk.get(&moved).await.etag, "v4");
}

#[tokio::test]
async fn a_complaint_under_the_old_name_is_refused_with_the_name_to_use() {
    let mut desk = Desk::open().await;
    subjects(&desk).merge_subject(coordinator(merge())).await.unwrap();
    let (_, receipt) = desk.kit.events.only::<events::SubjectMerged>().await;
    assert_eq!(receipt.moved, [("complaints".to_owned(), 0)].into());
    let told = Complaint { customer: DUPLICATE.to_owned(), ..matter() };
    let late = desk.client.register_complaint(representative(registration(told))).await;
    let refusal = refused(late, Code::FailedPrecondition, "CUSTOMER_MERGED");
    let facts = [("customer", DUPLICATE), ("survivor", CUSTOMER)];
    assert_eq!(refusal.facts, facts.map(|(key, name)| (key.to_owned(), name.to_owned())).into());
    assert_eq!(desk.kit.count("complaints").await, 0);
}

#[tokio::test]
async fn work_that_comes_at_the_same_time_as_the_merge_is_done_and_stays_done() {
    let mut desk = Desk::open().await;
    let mut theirs = Vec::new();
    for _ in 0..10 {
        theirs.push(register_theirs(&desk).await.name);
    }
    let mut subjects = subjects(&desk);
    let calls = theirs.iter().map(|name| {
        let mut client = desk.client.clone();
        let message = representative(acknowledge(name));
        async move { client.acknowledge_complaint(message).await }
    });
    let (acknowledged, merged) =
        tokio::join!(futures::future::join_all(calls), subjects.merge_subject(coordinator(merge())));
    merged.unwrap();
    for answer in acknowledged {
        answer.unwrap();
    }
    for name in &theirs {
        let left = desk.get(name).await;
        assert_eq!(
            (left.state(), left.customer.as_str(), left.etag.as_str()),
            (State::Acknowledged, CUSTOMER, "v3")
        );
    }
    let told = desk.kit.events.next().await;
    assert_eq!(told.len(), 21);
    for event in told.iter().filter(|event| event.event_type.ends_with("ComplaintAcknowledged")) {
        let told = events::ComplaintAcknowledged::decode(event.payload.as_slice()).unwrap();
        // The second version is the work's when it came first, and the merge's when that did.
        let whose = if event.aggregate_version == 2 { DUPLICATE } else { CUSTOMER };
        assert_eq!(told.customer, whose);
    }
}

#[tokio::test]
async fn the_survivors_erasure_waits_for_a_complaint_that_came_with_the_merge_and_empties_it() {
    let mut desk = Desk::open().await;
    let mut subjects = subjects(&desk);
    let moved = register_theirs(&desk).await.name;
    subjects.merge_subject(coordinator(merge())).await.unwrap();
    let restrict = RestrictSubjectRequest { customer: CUSTOMER.to_owned(), ..Default::default() };
    let restricted = subjects.restrict_subject(coordinator(restrict)).await.unwrap().into_inner();
    assert_eq!(restricted.blockers, ["OPEN_COMPLAINT"]);

    desk.client.acknowledge_complaint(representative(acknowledge(&moved))).await.unwrap();
    desk.client.resolve_complaint(representative(resolve(&moved, 0))).await.unwrap();
    desk.client.close_complaint(representative(close(&moved))).await.unwrap();
    let erase = EraseSubjectRequest { customer: CUSTOMER.to_owned(), ..Default::default() };
    subjects.erase_subject(coordinator(erase)).await.unwrap();
    let types = desk.kit.events.next_types().await;
    assert_eq!(types.last().map(String::as_str), Some("SubjectErased"));
    let rows =
        format!("{:?}{:?}", desk.kit.table("complaints").await, desk.kit.table("complaint_timeline").await);
    for words in ["parcel", "postage"] {
        assert!(!rows.contains(words), "{words} in {rows}");
    }
}
