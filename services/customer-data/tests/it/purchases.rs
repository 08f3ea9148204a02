use cqm_proto::customers::v1::record_purchases_response::Outcome;
use cqm_proto::customers::v1::*;
use cqm_proto::events::v1 as events;
use prost::Message;
use serde_json::json;
use tonic::Code;

use crate::desk::*;

fn outcomes(answers: &[RecordPurchasesResponse]) -> Vec<(i64, Outcome)> {
    answers.iter().map(|answer| (answer.row, answer.outcome())).collect()
}

async fn listed(desk: &Desk, customer: &str) -> Vec<Purchase> {
    let message =
        ListPurchasesRequest { customer: customer.to_owned(), page_size: 200, ..Default::default() };
    desk.purchases.clone().list_purchases(specialist(message)).await.unwrap().into_inner().purchases
}

#[tokio::test]
async fn a_purchase_is_recorded_by_the_customers_name_or_reference() {
    let mut desk = Desk::open().await;
    let customer = desk.created(referenced("cdnow/00004")).await.name;
    let answers = desk.record(vec![purchase(1, &customer, "a"), purchase_of(2, "cdnow/00004", "b")]).await;
    assert_eq!(outcomes(&answers), [(1, Outcome::Recorded), (2, Outcome::Recorded)]);

    let mut found = listed(&desk, &customer).await;
    found.sort_by(|a, b| a.purchase_reference.cmp(&b.purchase_reference));
    let expected = |answer: &RecordPurchasesResponse, reference: &str| Purchase {
        name: answer.purchase.clone(),
        purchase_reference: reference.to_owned(),
        purchase_time: seconds(NOW_SECONDS - 60),
        amount: money("USD", 29, 330_000_000),
        quantity: 2,
        product: "CD".into(),
        create_time: seconds(NOW_SECONDS),
    };
    assert_eq!(found, [expected(&answers[0], "a"), expected(&answers[1], "b")]);
    assert!(answers[0].purchase.starts_with(&format!("{customer}/purchases/")));

    let told = desk.kit.events.next().await;
    assert_eq!(told.len(), 2);
    for (event, answer) in told.iter().zip(&answers) {
        assert_eq!((event.aggregate.as_str(), event.aggregate_version), (answer.purchase.as_str(), 1));
        let expected = events::PurchaseRecorded {
            customer: customer.clone(),
            purchase: answer.purchase.clone(),
            amount: money("USD", 29, 330_000_000),
            quantity: 2,
            purchase_time: seconds(NOW_SECONDS - 60),
        };
        assert_eq!(events::PurchaseRecorded::decode(event.payload.as_slice()).unwrap(), expected);
    }
    let row = &desk.kit.table("purchases").await[0];
    assert_eq!((&row["currency_code"], &row["amount_units"]), (&json!("USD"), &json!(29)));
    assert_eq!(desk.get(&customer).await.unwrap().etag, "v1", "the customer's own record is as it was");
}

#[tokio::test]
async fn a_stream_can_be_repeated_and_records_nothing_twice() {
    let mut desk = Desk::open().await;
    let customer = desk.created(named("Li Lei")).await.name;
    let rows: Vec<_> = (0..500).map(|row| purchase(row, &customer, &format!("p{row}"))).collect();
    let first = desk.record(rows.clone()).await;
    assert_eq!(outcomes(&first), (0..500).map(|row| (row, Outcome::Recorded)).collect::<Vec<_>>());
    assert_eq!(desk.events().await.len(), 500);

    let second = desk.record(rows).await;
    assert_eq!(outcomes(&second), (0..500).map(|row| (row, Outcome::AlreadyRecorded)).collect::<Vec<_>>());
    let names = |answers: &[RecordPurchasesResponse]| -> Vec<String> {
        answers.iter().map(|answer| answer.purchase.clone()).collect()
    };
    assert_eq!(names(&first), names(&second));
    assert_eq!(desk.kit.table("purchases").await.len(), 500);
}

#[tokio::test]
async fn a_reference_with_other_contents_is_another_purchase_and_refused() {
    let mut desk = Desk::open().await;
    let customer = desk.created(named("Li Lei")).await.name;
    let other = desk.created(named("Han Meimei")).await.name;
    let original = purchase(1, &customer, "p1");
    let first = desk.record(vec![original.clone()]).await.remove(0);
    let changes: [fn(&mut RecordPurchasesRequest); 5] = [
        |row| row.quantity = 3,
        |row| row.amount = money("USD", 29, 0),
        |row| row.amount = money("EUR", 29, 330_000_000),
        |row| row.product = "LP".into(),
        |row| row.purchase_time = seconds(0),
    ];
    let mut rows: Vec<_> = changes
        .iter()
        .map(|change| {
            let mut row = original.clone();
            change(&mut row);
            row
        })
        .collect();
    rows.push(purchase(9, &other, "p1"));
    let mut answers = desk.record(rows).await;
    let elsewhere = answers.pop().unwrap();
    assert_eq!(elsewhere.outcome(), Outcome::Recorded, "a reference is the customer's own");
    for answer in answers {
        let refused = row_failure(answer.error.as_ref());
        assert_eq!(
            (refused.code, refused.reason.as_str()),
            (Code::AlreadyExists, "PURCHASE_REFERENCE_REUSED")
        );
        assert_eq!(refused.facts["name"], first.purchase);
    }
    assert_eq!(desk.kit.events.next_types().await, ["PurchaseRecorded", "PurchaseRecorded"]);
}

#[tokio::test]
async fn a_purchase_repeated_within_a_batch_is_recorded_once() {
    let mut desk = Desk::open().await;
    let customer = desk.created(referenced("crm/1")).await.name;
    let cheaper = RecordPurchasesRequest { amount: money("USD", 1, 0), ..purchase(3, &customer, "p1") };
    let answers =
        desk.record(vec![purchase(1, &customer, "p1"), purchase_of(2, "crm/1", "p1"), cheaper]).await;
    assert_eq!(
        outcomes(&answers),
        [(1, Outcome::Recorded), (2, Outcome::AlreadyRecorded), (3, Outcome::Rejected)]
    );
    assert_eq!(answers[0].purchase, answers[1].purchase);
    assert_eq!(desk.kit.events.next_types().await, ["PurchaseRecorded"]);
}

#[tokio::test]
async fn a_row_that_is_refused_does_not_stop_its_neighbours() {
    let mut desk = Desk::open().await;
    let customer = desk.created(named("Li Lei")).await.name;
    let wrong = RecordPurchasesRequest {
        row: 2,
        owner: None,
        purchase_reference: "x".repeat(129),
        purchase_time: seconds(NOW_SECONDS + 3600),
        amount: money("usd", -1, -1),
        quantity: 0,
        product: "a\0".into(),
    };
    let empty = RecordPurchasesRequest { row: 3, ..Default::default() };
    let answers = desk
        .record(vec![
            purchase(1, &customer, "a"),
            wrong,
            empty,
            purchase(4, NOBODY, "a"),
            purchase(5, "customers/1", "a"),
            purchase_of(6, "nobody's", "a"),
            purchase(7, &customer, "b"),
        ])
        .await;
    let recorded: Vec<i64> = answers
        .iter()
        .filter(|answer| answer.outcome() == Outcome::Recorded)
        .map(|answer| answer.row)
        .collect();
    assert_eq!(recorded, [1, 7]);
    let failure = |index: usize| row_failure(answers[index].error.as_ref());
    let pair = |field: &str, reason: &str| (field.to_owned(), reason.to_owned());
    assert_eq!(
        failure(1).violations,
        [
            pair("customer", "FIELD_REQUIRED"),
            pair("purchase_reference", "FIELD_TOO_LONG"),
            pair("purchase_time", "FIELD_RANGE"),
            pair("amount.currency_code", "FIELD_FORMAT"),
            pair("amount.units", "FIELD_RANGE"),
            pair("amount.nanos", "FIELD_RANGE"),
            pair("quantity", "FIELD_RANGE"),
            pair("product", "FORBIDDEN_CHARACTER"),
        ]
    );
    assert_eq!(
        failure(2).violations,
        [
            pair("customer", "FIELD_REQUIRED"),
            pair("purchase_reference", "FIELD_REQUIRED"),
            pair("purchase_time", "FIELD_REQUIRED"),
            pair("amount", "FIELD_REQUIRED"),
            pair("quantity", "FIELD_RANGE"),
        ]
    );
    assert_eq!((failure(3).code, failure(3).reason.as_str()), (Code::NotFound, "CUSTOMER_NOT_FOUND"));
    assert_eq!(failure(4).violations, [pair("customer", "FIELD_FORMAT")]);
    assert_eq!((failure(5).code, failure(5).reason.as_str()), (Code::NotFound, "CUSTOMER_NOT_FOUND"));
    assert_eq!(desk.kit.events.next_types().await, ["PurchaseRecorded", "PurchaseRecorded"]);
}

#[tokio::test]
async fn the_same_rows_from_two_sides_at_once_are_recorded_once() {
    let mut desk = Desk::open().await;
    let mut names = Vec::new();
    for _ in 0..5 {
        names.push(desk.created(named("Li Lei")).await.name);
    }
    let forth: Vec<_> = (0..400_usize)
        .map(|row| purchase(i64::try_from(row).unwrap(), &names[row % 5], &format!("p{row}")))
        .collect();
    let back: Vec<_> = forth.iter().rev().cloned().collect();
    let (first, mut second) = tokio::join!(desk.record(forth), desk.record(back));
    second.reverse();
    for (one, other) in first.iter().zip(&second) {
        assert_eq!((one.row, &one.purchase), (other.row, &other.purchase));
        let mut outcomes = [one.outcome(), other.outcome()];
        outcomes.sort();
        assert_eq!(outcomes, [Outcome::Recorded, Outcome::AlreadyRecorded], "row {}", one.row);
    }
    assert_eq!(desk.events().await.len(), 400);
}

#[tokio::test]
async fn a_caller_who_hangs_up_leaves_whole_batches() {
    let mut desk = Desk::open().await;
    let customer = desk.created(named("Li Lei")).await.name;
    let rows: Vec<_> = (0..400).map(|row| purchase(row, &customer, &format!("p{row}"))).collect();
    let mut answers = desk
        .purchases
        .record_purchases(specialist(tokio_stream::iter(rows.clone())))
        .await
        .unwrap()
        .into_inner();
    answers.message().await.unwrap().expect("the first answer");
    drop(answers);

    // Whatever was written has its event; what was not is written now.
    let answers = desk.record(rows).await;
    assert!(answers.iter().all(|answer| answer.outcome() != Outcome::Rejected));
    assert!(answers.iter().any(|answer| answer.outcome() == Outcome::AlreadyRecorded));
    let events = desk.events().await;
    let rows = desk.kit.table("purchases").await;
    assert_eq!((events.len(), rows.len()), (400, 400));
}
