use cqm_proto::customers::v1::*;
use cqm_proto::events::v1 as events;
use serde_json::json;
use tonic::Code;

use crate::desk::*;

#[tokio::test]
async fn a_deleted_customer_leaves_an_empty_tombstone() {
    let mut desk = Desk::open().await;
    let created = desk.created(typed()).await;
    let name = created.name.clone();
    let recorded = desk.record(vec![purchase(1, &name, "p1")]).await;
    assert_eq!(recorded[0].outcome(), record_purchases_response::Outcome::Recorded);
    answer(desk.interactions.record_interaction(specialist(contact(&name, "Li Lei asked"))).await).unwrap();
    assert_eq!(desk.kit.events.next_types().await, ["PurchaseRecorded", "InteractionRecorded"]);

    let tombstone = answer(desk.customers.delete_customer(specialist(delete(&name))).await).unwrap();
    let expected = Customer {
        name: name.clone(),
        locale: "en".into(),
        source_channel: SourceChannel::Questionnaire.into(),
        external_reference: "crm/7".into(),
        state: customer::State::Deleted.into(),
        create_time: created.create_time,
        update_time: created.update_time,
        etag: "v2".into(),
        ..Default::default()
    };
    assert_eq!(tombstone, expected);
    let (event, payload) = desk.kit.events.only::<events::CustomerDeleted>().await;
    assert_eq!(payload, events::CustomerDeleted { customer: name.clone(), version: 2 });
    assert_eq!((event.aggregate, event.aggregate_version), (name.clone(), 2));

    let row = desk.kit.table("customers").await.remove(0);
    for column in ["phones", "emails", "addresses", "tags"] {
        assert_eq!(row[column], json!([]), "{column}");
    }
    for column in ["birth_year", "birth_month", "birth_day", "gender"] {
        assert_eq!(row[column], json!(null), "{column}");
    }
    assert_eq!((&row["display_name"], &row["version"]), (&json!(""), &json!(2)));
    assert_eq!(desk.kit.table("interactions").await[0]["summary"], "");
    assert!(desk.kit.table("customer_tags").await.is_empty());
    assert_eq!(desk.kit.table("purchases").await.len(), 1, "purchases lead to a name that nobody is behind");
}

#[tokio::test]
async fn a_deleted_customer_is_as_absent_as_one_who_never_was() {
    let mut desk = Desk::open().await;
    let created = desk.created(referenced("crm/1")).await;
    let name = created.name.clone();
    assert_eq!(desk.get(&name).await.unwrap(), created, "now the caches know it");
    answer(desk.customers.delete_customer(specialist(delete(&name))).await).unwrap();
    desk.kit.events.only::<events::CustomerDeleted>().await;

    for customer in [name.as_str(), NOBODY] {
        let named = |value: &str| Customer { name: customer.to_owned(), ..named(value) };
        let get = |minimum_etag: &str| GetCustomerRequest {
            name: customer.to_owned(),
            minimum_etag: minimum_etag.to_owned(),
        };
        let purchases = ListPurchasesRequest { customer: customer.to_owned(), ..Default::default() };
        let interactions = ListInteractionsRequest { customer: customer.to_owned(), ..Default::default() };
        let statuses = [
            desk.customers.get_customer(specialist(get(""))).await.unwrap_err(),
            desk.customers.get_customer(specialist(get("v1"))).await.unwrap_err(),
            desk.customers.get_customer(specialist(get("v2"))).await.unwrap_err(),
            desk.customers.update_customer(specialist(update(named("A"), &["*"]))).await.unwrap_err(),
            desk.customers.delete_customer(specialist(delete(customer))).await.unwrap_err(),
            desk.purchases.list_purchases(specialist(purchases)).await.unwrap_err(),
            desk.interactions.list_interactions(specialist(interactions)).await.unwrap_err(),
            desk.interactions.record_interaction(specialist(contact(customer, "A"))).await.unwrap_err(),
        ];
        let absent =
            desk.customers.get_customer(specialist(GetCustomerRequest { name: NOBODY.into(), ..get("") }));
        let absent = absent.await.unwrap_err();
        for status in statuses {
            assert_eq!(status.code(), Code::NotFound);
            // The ids have one length, so that replacing one keeps the encoding whole.
            let bytes = String::from_utf8_lossy(status.details()).replace(customer, NOBODY);
            assert_eq!(bytes, String::from_utf8_lossy(absent.details()));
            assert_eq!(status.message().replace(customer, NOBODY), absent.message());
        }
        let row = desk.record(vec![purchase(1, customer, "p1")]).await.remove(0);
        let refused = row_failure(row.error.as_ref());
        assert_eq!((refused.code, refused.reason.as_str()), (Code::NotFound, "CUSTOMER_NOT_FOUND"));
    }
    let list = ListCustomersRequest { external_reference: "crm/1".into(), ..Default::default() };
    let list = answer(desk.customers.list_customers(specialist(list)).await).unwrap();
    assert_eq!(list, ListCustomersResponse::default());
}

#[tokio::test]
async fn a_repeated_import_does_not_bring_a_deleted_customer_back() {
    let mut desk = Desk::open().await;
    let created = desk.created(referenced("crm/1")).await;
    answer(desk.customers.delete_customer(specialist(delete(&created.name))).await).unwrap();
    desk.kit.events.only::<events::CustomerDeleted>().await;

    let row = desk.import(vec![import(7, referenced("crm/1"))]).await.remove(0);
    assert_eq!(row.outcome(), import_customers_response::Outcome::Rejected);
    let refused = row_failure(row.error.as_ref());
    assert_eq!((refused.code, refused.reason.as_str()), (Code::AlreadyExists, "EXTERNAL_REFERENCE_TAKEN"));
    let refused = answer(desk.customers.create_customer(specialist(create(referenced("crm/1")))).await);
    assert_eq!(refused.unwrap_err().reason, "EXTERNAL_REFERENCE_TAKEN");
    let row = desk.record(vec![purchase_of(1, "crm/1", "p1")]).await.remove(0);
    assert_eq!(row_failure(row.error.as_ref()).reason, "CUSTOMER_NOT_FOUND");
    assert_eq!(desk.kit.table("customers").await.len(), 1);
}

#[tokio::test]
async fn nothing_is_recorded_for_a_customer_once_they_are_deleted() {
    let mut desk = Desk::open().await;
    for round in 0..10 {
        let name = desk.created(named("Li Lei")).await.name;
        let mut customers = desk.customers.clone();
        let rows = (0..20).map(|row| purchase(row, &name, &format!("p{row}"))).collect();
        let (deleted, recorded) =
            tokio::join!(customers.delete_customer(specialist(delete(&name))), desk.record(rows));
        deleted.unwrap();
        let recorded = recorded
            .iter()
            .filter(|row| row.outcome() == record_purchases_response::Outcome::Recorded)
            .count();
        let types = desk.kit.events.next_types().await;
        assert_eq!(types.len(), recorded + 1, "round {round}");
        let rows = desk.kit.table("purchases").await;
        let id = name.strip_prefix("customers/").unwrap();
        assert_eq!(rows.iter().filter(|row| row["customer_id"] == id).count(), recorded, "round {round}");
    }
}

#[tokio::test]
async fn a_planted_personal_datum_is_in_no_event_and_in_no_error() {
    const PLANTED: &[&str] =
        &["Planted Name", "13912345678", "planted.mail", "Planted Street", "planted words"];
    let mut desk = Desk::open().await;
    let customer = Customer {
        phones: vec![Phone { number: "13912345678".into(), ..Default::default() }],
        emails: vec![Email { address: "planted.mail@example.com".into(), ..Default::default() }],
        addresses: vec![Address {
            country_code: "CN".into(),
            city: "Planted Street".into(),
            ..Default::default()
        }],
        ..named("Planted Name")
    };
    let created = answer(desk.customers.create_customer(specialist(create(customer.clone()))).await).unwrap();
    let name = created.name.clone();
    answer(desk.interactions.record_interaction(specialist(contact(&name, "planted words"))).await).unwrap();
    let renamed = Customer { name: name.clone(), ..named("Planted Name Two") };
    answer(desk.customers.update_customer(specialist(update(renamed, &["display_name"]))).await).unwrap();
    answer(desk.customers.delete_customer(specialist(delete(&name))).await).unwrap();
    let events = desk.kit.events.next().await;
    assert_eq!(events.len(), 4);

    // Everything wrong with it at once, with the datum inside what is wrong.
    let wrong = Customer {
        display_name: "Planted Name\u{202e}".into(),
        phones: vec![Phone { number: "13912345678 ext. 5".into(), ..Default::default() }],
        emails: vec![Email { address: "planted.mail@".into(), ..Default::default() }],
        addresses: vec![Address {
            country_code: "CN".into(),
            lines: vec!["Planted Street\0".into()],
            ..Default::default()
        }],
        ..Default::default()
    };
    let refused = desk.customers.create_customer(specialist(create(wrong.clone()))).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let refused_row = desk.import(vec![import(1, wrong)]).await.remove(0);

    let mut told: Vec<Vec<u8>> = events.into_iter().map(|event| event.payload).collect();
    told.push(refused.message().into());
    told.push(refused.details().to_vec());
    told.push(prost::Message::encode_to_vec(refused_row.error.as_ref().expect("a refused row says why")));
    told.push(format!("{created:?}").into());
    for bytes in told {
        let text = String::from_utf8_lossy(&bytes);
        for planted in PLANTED {
            assert!(!text.contains(planted), "{planted} in {text}");
        }
    }
}
