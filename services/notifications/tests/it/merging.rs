//! A customer turns out to be another one: what they were told and are to be told is the survivor's, and goes where the
//! survivor is reached.

use cqm_proto::events::v1 as events;
use cqm_proto::notifications::v1::message::State;
use cqm_proto::notifications::v1::*;
use cqm_proto::subjects::v1::subject_service_client::SubjectServiceClient;
use cqm_proto::subjects::v1::{EraseSubjectRequest, MergeSubjectRequest};
use cqm_testkit::Answer;
use prost::Message as _;
use tonic::Code;

use crate::desk::*;

/// Jane turns out to be Li Lei.
async fn merge(desk: &Desk) {
    let mut subjects = SubjectServiceClient::new(desk.kit.channel.clone());
    let message =
        MergeSubjectRequest { customer: JANE.to_owned(), survivor: LI.to_owned(), ..Default::default() };
    subjects.merge_subject(coordinator(message)).await.unwrap();
}

/// What the one event since the last look says was moved.
async fn moved(desk: &mut Desk) -> Vec<(String, i64)> {
    let (_, receipt) = desk.kit.events.only::<events::SubjectMerged>().await;
    assert_eq!((receipt.customer.as_str(), receipt.survivor.as_str()), (JANE, LI));
    receipt.moved.into_iter().collect()
}

fn counts(contacts: i64, inbox_items: i64, messages: i64) -> Vec<(String, i64)> {
    [("contacts", contacts), ("inbox_items", inbox_items), ("messages", messages)]
        .map(|(what, count)| (what.to_owned(), count))
        .into()
}

async fn sent_to(desk: &Desk, customer: &str) -> Vec<String> {
    let list = ListMessagesRequest { recipient: customer.to_owned(), ..Default::default() };
    let page = desk.messages.clone().list_messages(representative(list)).await.unwrap().into_inner();
    page.messages.into_iter().map(|message| message.name).collect()
}

#[tokio::test]
async fn what_was_told_under_the_name_that_goes_is_the_survivors_and_how_they_were_reached_is_forgotten() {
    let mut desk = Desk::open().await;
    desk.put(jane()).await;
    desk.put(li()).await;
    let message = desk.send_on(Channel::InApp, JANE).await;
    let seen = desk.reaches(&message.name, State::Delivered).await;
    desk.delivered(&seen).await;
    merge(&desk).await;
    assert_eq!(moved(&mut desk).await, counts(1, 1, 1));

    let found = desk.get(&message.name).await;
    assert_eq!((found.recipient.as_str(), found.state()), (LI, State::Delivered));
    assert_ne!(found.etag, seen.etag);
    assert_eq!((sent_to(&desk, LI).await, sent_to(&desk, JANE).await), (vec![message.name], Vec::new()));
    let item = desk.items(LI).await.remove(0);
    assert_eq!((item.customer.as_str(), item.etag.as_str()), (LI, "v2"));
    assert!(desk.items(JANE).await.is_empty());
    let read = MarkInboxItemReadRequest { name: item.name, etag: item.etag, ..Default::default() };
    desk.inbox.mark_inbox_item_read(representative(read)).await.unwrap();

    let contacts = format!("{:?}", desk.kit.table("contacts").await);
    assert!(contacts.contains("li.lei@example.com"), "{contacts}");
    assert!(!contacts.contains("Jane") && !contacts.contains("jane"), "{contacts}");
}

#[tokio::test]
async fn what_comes_under_the_old_name_is_refused_with_the_name_to_use() {
    let mut desk = Desk::open().await;
    merge(&desk).await;
    assert_eq!(moved(&mut desk).await, counts(0, 0, 0));
    let late = Contact { customer_version: 99, ..jane() };
    let about = |about: &str| SendMessageRequest { about: about.to_owned(), ..acknowledgement(JANE) };
    let get = GetContactRequest { name: JANE.replace("customers", "contacts") };
    for outcome in [
        desk.contacts.put_contact(coordinator(PutContactRequest { contact: Some(late) })).await.map(drop),
        desk.contacts.get_contact(representative(get)).await.map(drop),
        desk.messages.send_message(coordinator(about(COMPLAINT))).await.map(drop),
        desk.messages.send_message(coordinator(about(""))).await.map(drop),
    ] {
        let refusal = refused(outcome, Code::FailedPrecondition, "CUSTOMER_MERGED");
        assert_eq!((&*refusal.facts["customer"], &*refusal.facts["survivor"]), (JANE, LI));
    }
    assert_eq!(desk.kit.count("messages").await, 0);
}

#[tokio::test]
async fn a_mail_that_is_not_delivered_yet_goes_to_the_survivors_address() {
    let mut desk = Desk::open().await;
    desk.sink.script([Answer::TryLater]);
    desk.put(jane()).await;
    desk.put(li()).await;
    let message = desk.send_on(Channel::Email, JANE).await;
    until("the mail waits", async || {
        desk.way(&message.name).await.contains(&"RETRY".to_owned()).then_some(())
    })
    .await;
    merge(&desk).await;
    assert_eq!(moved(&mut desk).await, counts(1, 0, 1));
    desk.kit.clock.advance(std::time::Duration::from_secs(37));
    let message = desk.reaches(&message.name, State::Delivered).await;
    let mail = desk.sink.wait_for(1).await.remove(0);
    assert_eq!((mail.to, message.recipient.as_str()), (vec!["li.lei@example.com".to_owned()], LI));
    let way = desk.way(&message.name).await;
    assert_eq!(
        way[3..],
        [
            "1 TRANSIENT_FAILURE: smtp 451",
            "RETRY",
            "RECIPIENT_MERGED",
            "ATTEMPT_STARTED attempt 2",
            "2 ACCEPTED: smtp 250",
            "DELIVERED"
        ]
    );
    desk.delivered(&message).await;
}

#[tokio::test]
async fn a_message_that_waits_for_a_contact_gets_the_survivors_now_or_when_it_comes() {
    let mut desk = Desk::open().await;
    let message = desk.send_on(Channel::InApp, JANE).await;
    desk.put(li()).await;
    merge(&desk).await;
    let message = desk.reaches(&message.name, State::Delivered).await;
    assert_eq!(desk.items(LI).await.len(), 1);
    desk.kit.events.next().await;
    let way = [
        "ACCEPTED IN_APP",
        "WAIT_FOR_CONTACT",
        "RECIPIENT_MERGED",
        "CONTACT_FOUND",
        "LOCALE_CHOSEN zh-CN",
        "1 ACCEPTED: inbox",
        "DELIVERED",
    ];
    assert_eq!(desk.way(&message.name).await, way);

    let mut desk = Desk::open().await;
    let message = desk.send_on(Channel::InApp, JANE).await;
    merge(&desk).await;
    assert_eq!(moved(&mut desk).await, counts(0, 0, 1));
    assert_eq!(desk.get(&message.name).await.state(), State::WaitingForContact);
    desk.put(li()).await;
    let message = desk.reaches(&message.name, State::Delivered).await;
    desk.delivered(&message).await;
    assert_eq!(desk.items(LI).await.len(), 1);
}

#[tokio::test]
async fn what_is_sent_while_the_merge_comes_is_the_survivors_or_refused_and_never_lost() {
    let mut desk = Desk::open().await;
    desk.put(jane()).await;
    desk.put(li()).await;
    let calls = (0..20).map(|_| {
        let mut messages = desk.messages.clone();
        let message = SendMessageRequest { channels: vec![Channel::InApp.into()], ..acknowledgement(JANE) };
        async move { messages.send_message(coordinator(message)).await }
    });
    let (sent, ()) = tokio::join!(futures::future::join_all(calls), merge(&desk));
    let mut accepted = Vec::new();
    for outcome in sent {
        match outcome {
            Ok(answer) => accepted.push(answer.into_inner().messages.remove(0).name),
            Err(status) => drop(refused(Err::<(), _>(status), Code::FailedPrecondition, "CUSTOMER_MERGED")),
        }
    }
    for name in &accepted {
        let message = desk.reaches(name, State::Delivered).await;
        assert_eq!(message.recipient, LI);
    }
    assert_eq!((desk.items(LI).await.len(), desk.items(JANE).await.len()), (accepted.len(), 0));
    let told = desk.events(accepted.len() + 1).await;
    let receipt = told.iter().find(|event| event.event_type.ends_with("SubjectMerged")).unwrap();
    let receipt = events::SubjectMerged::decode(receipt.payload.as_slice()).unwrap();
    assert_eq!(receipt.moved["messages"], accepted.len() as i64);
}

#[tokio::test]
async fn the_survivors_erasure_empties_what_came_with_the_merge() {
    let mut desk = Desk::open().await;
    desk.put(jane()).await;
    let message = desk.send_on(Channel::InApp, JANE).await;
    desk.reaches(&message.name, State::Delivered).await;
    merge(&desk).await;
    assert_eq!(desk.items(LI).await.len(), 1);
    let erase = EraseSubjectRequest { customer: LI.to_owned(), ..Default::default() };
    let mut subjects = SubjectServiceClient::new(desk.kit.channel.clone());
    subjects.erase_subject(coordinator(erase)).await.unwrap();
    assert_eq!(desk.kit.events.next_types().await, ["MessageDelivered", "SubjectMerged", "SubjectErased"]);
    assert_eq!((desk.items(LI).await.len(), desk.kit.count("inbox_items").await), (0, 0));
}
