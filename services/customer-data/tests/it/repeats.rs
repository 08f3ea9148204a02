use std::time::Duration;

use cqm_proto::customers::v1::*;
use futures::future::join_all;
use prost::Message;
use tonic::Code;

use crate::desk::*;

#[tokio::test]
async fn a_repeat_gets_the_first_answer_byte_for_byte_and_has_no_effect() {
    let mut desk = Desk::open().await;

    let message = CreateCustomerRequest { request_id: request_id(), ..create(typed()) };
    let created = answer(desk.customers.create_customer(specialist(message.clone())).await).unwrap();
    desk.kit.clock.advance(Duration::from_secs(60));
    let again = answer(desk.customers.create_customer(specialist(message)).await).unwrap();
    assert_eq!(again.encode_to_vec(), created.encode_to_vec());

    let customer = Customer { name: created.name.clone(), ..named("Han Meimei") };
    let message = UpdateCustomerRequest {
        request_id: request_id(),
        etag: created.etag.clone(),
        ..update(customer, &["display_name"])
    };
    let updated = answer(desk.customers.update_customer(specialist(message.clone())).await).unwrap();
    let again = answer(desk.customers.update_customer(specialist(message)).await).unwrap();
    assert_eq!(again.encode_to_vec(), updated.encode_to_vec(), "although the etag is stale by now");

    let message = RecordInteractionRequest { request_id: request_id(), ..contact(&created.name, "once") };
    let recorded = answer(desk.interactions.record_interaction(specialist(message.clone())).await).unwrap();
    let again = answer(desk.interactions.record_interaction(specialist(message)).await).unwrap();
    assert_eq!(again.encode_to_vec(), recorded.encode_to_vec());

    let message = DeleteCustomerRequest { request_id: request_id(), ..delete(&created.name) };
    let deleted = answer(desk.customers.delete_customer(specialist(message.clone())).await).unwrap();
    let again = answer(desk.customers.delete_customer(specialist(message)).await).unwrap();
    assert_eq!(again.encode_to_vec(), deleted.encode_to_vec());

    let name = created.name;
    assert_eq!(
        desk.events().await,
        [
            ("CustomerCreated".to_owned(), name.clone(), 1),
            ("CustomerUpdated".to_owned(), name.clone(), 2),
            ("InteractionRecorded".to_owned(), recorded.name, 1),
            ("CustomerDeleted".to_owned(), name, 3),
        ]
    );
    assert_eq!((desk.kit.table("customers").await.len(), desk.kit.table("interactions").await.len()), (1, 1));
}

#[tokio::test]
async fn a_request_id_belongs_to_one_message_of_one_method() {
    let mut desk = Desk::open().await;
    let request_id = request_id();
    let with_id =
        |name: &str| CreateCustomerRequest { request_id: request_id.clone(), ..create(named(name)) };
    let created = answer(desk.customers.create_customer(specialist(with_id("A"))).await).unwrap();
    let reused = answer(desk.customers.create_customer(specialist(with_id("B"))).await).unwrap_err();
    assert_eq!((reused.code, reused.reason.as_str()), (Code::FailedPrecondition, "REQUEST_ID_REUSED"));
    let message = DeleteCustomerRequest { request_id: request_id.clone(), ..delete(&created.name) };
    let reused = answer(desk.customers.delete_customer(specialist(message)).await).unwrap_err();
    assert_eq!(reused.reason, "REQUEST_ID_REUSED");

    for request_id in ["1", "not-a-uuid", " "] {
        let request_id = request_id.to_owned();
        let message = CreateCustomerRequest { request_id: request_id.clone(), ..create(named("A")) };
        let refused = answer(desk.customers.create_customer(specialist(message)).await).unwrap_err();
        assert_eq!((refused.code, refused.reason.as_str()), (Code::InvalidArgument, "REQUEST_ID_FORMAT"));
        let message = RecordInteractionRequest { request_id, ..contact(&created.name, "") };
        let refused = answer(desk.interactions.record_interaction(specialist(message)).await).unwrap_err();
        assert_eq!(refused.reason, "REQUEST_ID_FORMAT");
    }
    assert_eq!(desk.kit.events.next_types().await, ["CustomerCreated"]);
}

#[tokio::test]
async fn a_refused_request_may_be_sent_again_with_its_id() {
    let mut desk = Desk::open().await;
    let first = desk.created(referenced("crm/1")).await;
    let message = CreateCustomerRequest { request_id: request_id(), ..create(referenced("crm/1")) };
    let taken = answer(desk.customers.create_customer(specialist(message.clone())).await).unwrap_err();
    assert_eq!(taken.reason, "EXTERNAL_REFERENCE_TAKEN");
    let gives_up = Customer { name: first.name, ..Default::default() };
    answer(desk.customers.update_customer(specialist(update(gives_up, &["external_reference"]))).await)
        .unwrap();
    answer(desk.customers.create_customer(specialist(message)).await).unwrap();
    assert_eq!(desk.kit.events.next_types().await, ["CustomerUpdated", "CustomerCreated"]);
}

#[tokio::test]
async fn concurrent_duplicates_have_one_effect_and_one_answer() {
    let mut desk = Desk::open().await;
    let message = CreateCustomerRequest { request_id: request_id(), ..create(typed()) };
    let send = || {
        let (mut customers, message) = (desk.customers.clone(), message.clone());
        async move { answer(customers.create_customer(specialist(message)).await) }
    };
    let answers = join_all((0..8).map(|_| send())).await;
    let mut answers = answers.into_iter().map(|answer| answer.unwrap().encode_to_vec());
    let first = answers.next().unwrap();
    assert!(answers.all(|answer| answer == first));
    assert_eq!(desk.kit.events.next_types().await, ["CustomerCreated"]);
    assert_eq!(desk.kit.table("customers").await.len(), 1);
}
