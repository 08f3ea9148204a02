//! How customers are reached, and the messages that wait for it.

use cqm_proto::notifications::v1::message::State;
use cqm_proto::notifications::v1::*;
use cqm_rpc::Role;
use cqm_testkit::{request, specialist};
use tonic::Code;

use crate::desk::*;

fn name_of(contact: &Contact) -> String {
    contact.customer.replace("customers/", "contacts/")
}

async fn get(desk: &mut Desk, contact: &Contact) -> Result<Contact, tonic::Status> {
    let message = GetContactRequest { name: name_of(contact) };
    Ok(desk.contacts.get_contact(specialist(message)).await?.into_inner())
}

#[tokio::test]
async fn only_a_newer_copy_takes_the_place_of_the_stored_one() {
    let mut desk = Desk::open().await;
    let newer = Contact { customer_version: 3, email: "new@example.com".to_owned(), ..li() };
    let stored = desk.put(Contact { customer_version: 2, ..li() }).await;
    assert_eq!(
        (stored.name.as_str(), stored.email.as_str()),
        (name_of(&li()).as_str(), "li.lei@example.com")
    );
    assert_eq!((stored.phone.as_str(), stored.locale.as_str()), ("+8613800138000", "zh-CN"));
    let stored = desk.put(newer.clone()).await;
    assert_eq!((stored.customer_version, stored.email.as_str()), (3, "new@example.com"));
    for stale in [li(), Contact { customer_version: 3, ..li() }, Contact { deleted: true, ..li() }] {
        assert_eq!(desk.put(stale).await, stored);
    }
    assert_eq!(get(&mut desk, &li()).await.unwrap(), stored);
    let bare = Contact { customer_version: 4, customer: LI.to_owned(), ..Default::default() };
    let stored = desk.put(bare).await;
    assert_eq!(
        (stored.display_name.as_str(), stored.email.as_str(), stored.locale.as_str()),
        ("", "", "zh-CN")
    );
}

#[tokio::test]
async fn a_message_waits_for_its_contact_and_goes_out_when_it_arrives() {
    let mut desk = Desk::open().await;
    let messages = desk.send(acknowledgement(JANE)).await;
    for message in &messages {
        assert_eq!(message.state(), State::WaitingForContact);
    }
    // Somebody else's contact wakes nobody.
    desk.put(li()).await;
    assert_eq!(desk.get(&messages[0].name).await.state(), State::WaitingForContact);
    desk.put(jane()).await;
    for message in &messages {
        let message = desk.reaches(&message.name, State::Delivered).await;
        assert_eq!(message.locale, "en");
    }
    let way = [
        "ACCEPTED IN_APP",
        "WAIT_FOR_CONTACT",
        "CONTACT_FOUND",
        "LOCALE_CHOSEN en",
        "1 ACCEPTED: inbox",
        "DELIVERED",
    ];
    assert_eq!(desk.way(&messages[1].name).await, way);
    desk.events(2).await;
    assert_eq!(desk.sink.mails().len(), 1);
}

#[tokio::test]
async fn contacts_and_messages_that_come_at_the_same_time_do_not_miss_each_other() {
    let mut desk = Desk::open().await;
    let customers: Vec<String> = (0..20).map(|_| format!("customers/{}", request_id())).collect();
    let calls = customers.iter().map(|customer| {
        let (mut messages, mut contacts) = (desk.messages.clone(), desk.contacts.clone());
        let send = SendMessageRequest { channels: vec![Channel::InApp.into()], ..acknowledgement(customer) };
        let put = PutContactRequest { contact: Some(Contact { customer: customer.clone(), ..li() }) };
        async move {
            let (sent, put) = tokio::join!(
                messages.send_message(coordinator(send)),
                contacts.put_contact(coordinator(put))
            );
            put.unwrap();
            sent.unwrap().into_inner().messages.remove(0)
        }
    });
    let messages = futures::future::join_all(calls).await;
    for message in &messages {
        desk.reaches(&message.name, State::Delivered).await;
    }
    desk.events(20).await;
}

#[tokio::test]
async fn patience_with_an_unknown_contact_has_an_end() {
    let mut desk = Desk::open().await;
    let message = desk.send_on(Channel::InApp, JANE).await;
    let wait = desk.steps(&message.name).await.pop().unwrap();
    let until = wait.next_attempt_time.unwrap().seconds - wait.time.unwrap().seconds;
    assert_eq!(u64::try_from(until).unwrap(), PATIENCE.as_secs());
    desk.kit.clock.advance(PATIENCE);
    let message = desk.reaches(&message.name, State::Failed).await;
    assert_eq!(message.failure_reason(), FailureReason::ContactUnknown);
    assert_eq!(
        desk.way(&message.name).await,
        ["ACCEPTED IN_APP", "WAIT_FOR_CONTACT", "GIVE_UP CONTACT_UNKNOWN"]
    );
    desk.failed(&message, FailureReason::ContactUnknown).await;
}

#[tokio::test]
async fn a_customer_without_an_address_gets_no_mail() {
    let mut desk = Desk::open().await;
    desk.put(Contact { email: String::new(), ..jane() }).await;
    let messages = desk.send(acknowledgement(JANE)).await;
    let mail = desk.reaches(&messages[0].name, State::Failed).await;
    desk.reaches(&messages[1].name, State::Delivered).await;
    assert_eq!((mail.failure_reason(), mail.attempts), (FailureReason::AddressMissing, 0));
    let way = ["ACCEPTED EMAIL", "CHANNEL_SKIPPED no e-mail address", "GIVE_UP ADDRESS_MISSING"];
    assert_eq!(desk.way(&mail.name).await, way);
    desk.events(2).await;
    assert!(desk.sink.mails().is_empty());
}

#[tokio::test]
async fn a_deleted_customer_leaves_nothing_and_gets_nothing() {
    let mut desk = Desk::open_with(cqm_testkit::SmtpSink::start().await, |config| {
        // Nobody listens there: the mail stays on its way.
        config.smtp.as_mut().unwrap().port = Some(1);
    })
    .await;
    desk.put(jane()).await;
    let messages = desk.send(acknowledgement(JANE)).await;
    desk.reaches(&messages[1].name, State::Delivered).await;
    desk.delivered(&messages[1]).await;
    assert_eq!(desk.items(JANE).await.len(), 1);
    until("the mail waits", async || {
        desk.way(&messages[0].name).await.contains(&"RETRY".to_owned()).then_some(())
    })
    .await;

    let stored = desk.put(Contact { display_name: "Jane Doe".to_owned(), ..deleted(jane()) }).await;
    assert!(stored.deleted);
    assert_eq!((stored.display_name.as_str(), stored.email.as_str()), ("", ""));
    let mail = desk.get(&messages[0].name).await;
    assert_eq!((mail.state(), mail.failure_reason()), (State::Failed, FailureReason::ContactDeleted));
    desk.failed(&mail, FailureReason::ContactDeleted).await;
    assert!(desk.items(JANE).await.is_empty());
    let everything = "SELECT to_jsonb(c)::text AS row FROM contacts c";
    let rest = desk.kit.rows(everything).await;
    assert!(
        !format!("{rest:?}").contains("Jane") && !format!("{rest:?}").contains("example.com"),
        "{rest:?}"
    );
    assert!(
        desk.kit
            .rows("SELECT variables::text AS row FROM messages WHERE variables IS NOT NULL")
            .await
            .is_empty()
    );

    refused(get(&mut desk, &jane()).await, Code::NotFound, "CONTACT_NOT_FOUND");
    refused(get(&mut desk, &li()).await, Code::NotFound, "CONTACT_NOT_FOUND");

    // What is sent afterwards ends there, too.
    let late = desk.send_on(Channel::InApp, JANE).await;
    let late = desk.reaches(&late.name, State::Failed).await;
    desk.failed(&late, FailureReason::ContactDeleted).await;
}

#[tokio::test]
async fn a_deletion_ends_the_messages_that_wait_for_the_contact() {
    let mut desk = Desk::open().await;
    let message = desk.send_on(Channel::Email, JANE).await;
    desk.put(deleted(jane())).await;
    let message = desk.get(&message.name).await;
    assert_eq!(message.failure_reason(), FailureReason::ContactDeleted);
    desk.failed(&message, FailureReason::ContactDeleted).await;
}

#[tokio::test]
async fn wrong_contacts_are_refused_with_everything_that_is_wrong() {
    let mut desk = Desk::open().await;
    let wrong = Contact {
        name: format!("contacts/{NOBODY}"),
        customer_version: 0,
        display_name: "Jane\nDoe".to_owned(),
        email: "jane@example.com\r\nBcc: x@example.com".to_owned(),
        phone: "911".to_owned(),
        locale: "en_GB".to_owned(),
        ..jane()
    };
    let put = PutContactRequest { contact: Some(wrong) };
    let found = violations(desk.contacts.put_contact(coordinator(put)).await);
    let expected = [
        "contact.name FIELD_FORMAT",
        "contact.customer_version FIELD_RANGE",
        "contact.display_name FORBIDDEN_CHARACTER",
        "contact.email FORBIDDEN_CHARACTER",
        "contact.email FIELD_FORMAT",
        "contact.phone FIELD_FORMAT",
        "contact.locale FIELD_FORMAT",
    ];
    assert_eq!(found, expected);
    for (contact, field, reason) in [
        (None, "contact", "FIELD_REQUIRED"),
        (Some(Contact { customer: String::new(), ..jane() }), "contact.customer", "FIELD_REQUIRED"),
        (Some(Contact { customer: "customers/1".to_owned(), ..jane() }), "contact.customer", "FIELD_FORMAT"),
        (Some(Contact { display_name: "x".repeat(201), ..jane() }), "contact.display_name", "FIELD_TOO_LONG"),
    ] {
        let put = PutContactRequest { contact };
        assert_eq!(
            violations(desk.contacts.put_contact(coordinator(put)).await),
            [format!("{field} {reason}")]
        );
    }
    let get = GetContactRequest { name: "contacts/1".to_owned() };
    let found = violations(desk.contacts.get_contact(representative(get)).await);
    assert_eq!(found, ["name FIELD_FORMAT"]);
    let put = PutContactRequest { contact: Some(jane()) };
    refused(
        desk.contacts.put_contact(request(Role::ServiceManager, put)).await,
        Code::PermissionDenied,
        "ROLE_MISSING",
    );
    assert_eq!(desk.kit.count("contacts").await, 0);
}
