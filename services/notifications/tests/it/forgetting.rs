//! A customer is to be forgotten: they are told how their complaint ends, and then nobody knows how they were reached.

use cqm_proto::notifications::v1::{Channel, SendMessageRequest, message};
use cqm_proto::subjects::v1::subject_service_client::SubjectServiceClient;
use cqm_proto::subjects::v1::{EraseSubjectRequest, RestrictSubjectRequest};
use cqm_testkit::coordinator;
use tonic::Code;

use crate::desk::{Desk, LI, acknowledgement, li, refused};

#[tokio::test]
async fn who_is_forgotten_is_told_how_their_complaint_ends_and_nothing_else() {
    let mut desk = Desk::open().await;
    let mut subjects = SubjectServiceClient::new(desk.kit.channel.clone());
    desk.put(li()).await;
    let restrict = RestrictSubjectRequest { customer: LI.to_owned(), ..Default::default() };
    subjects.restrict_subject(coordinator(restrict)).await.unwrap();
    let about = |about: &str| SendMessageRequest {
        channels: vec![Channel::InApp.into()],
        about: about.to_owned(),
        ..acknowledgement(LI)
    };
    let told = desk.send(about("complaints/01890a5d-ac96-774b-bcce-b302099a8001")).await.remove(0);
    desk.reaches(&told.name, message::State::Delivered).await;
    let asked = about("invitations/01890a5d-ac96-774b-bcce-b302099a8001");
    let other = desk.messages.send_message(coordinator(asked)).await;
    refused(other, Code::FailedPrecondition, "CUSTOMER_RESTRICTED");
    assert_eq!(desk.items(LI).await.len(), 1);

    let erase = EraseSubjectRequest { customer: LI.to_owned(), ..Default::default() };
    subjects.erase_subject(coordinator(erase)).await.unwrap();
    let types = desk.kit.events.next_types().await;
    assert_eq!(types, ["SubjectRestricted", "MessageDelivered", "SubjectErased"]);
    assert!(desk.items(LI).await.is_empty());
    let row = desk.kit.table("contacts").await.remove(0);
    assert_eq!((&row["deleted"], &row["display_name"]), (&true.into(), &"".into()));

    // What comes late brings nothing back.
    let late = desk.contacts.put_contact(coordinator(cqm_proto::notifications::v1::PutContactRequest {
        contact: Some(cqm_proto::notifications::v1::Contact { customer_version: 99, ..li() }),
    }));
    refused(late.await, Code::FailedPrecondition, "CUSTOMER_ERASED");
    let late =
        desk.messages.send_message(coordinator(about("complaints/01890a5d-ac96-774b-bcce-b302099a8001")));
    refused(late.await, Code::FailedPrecondition, "CUSTOMER_ERASED");
}
