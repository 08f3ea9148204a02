use cqm_proto::customers::v1::import_customers_response::Outcome;
use cqm_proto::customers::v1::*;
use cqm_rpc::Failure;
use tonic::Code;

use crate::desk::*;

fn outcomes(answers: &[ImportCustomersResponse]) -> Vec<(i64, Outcome)> {
    answers.iter().map(|answer| (answer.row, answer.outcome())).collect()
}

#[tokio::test]
async fn an_import_answers_every_row_in_order_and_can_be_repeated() {
    let mut desk = Desk::open().await;
    let rows: Vec<_> =
        (0..1000).map(|row| import(row * 10, referenced(&format!("cdnow/{row:05}")))).collect();
    let first = desk.import(rows.clone()).await;
    let expected: Vec<_> = (0..1000).map(|row| (row * 10, Outcome::Created)).collect();
    assert_eq!(outcomes(&first), expected);
    assert!(first.iter().all(|answer| answer.error.is_none()));

    let mut events = desk.events().await;
    let mut told: Vec<_> =
        first.iter().map(|answer| ("CustomerCreated".to_owned(), answer.name.clone(), 1)).collect();
    events.sort();
    told.sort();
    assert_eq!(events, told, "one event a customer");
    let read = desk.get(&first[999].name).await.unwrap();
    assert_eq!((read.external_reference.as_str(), read.etag.as_str()), ("cdnow/00999", "v1"));

    let second = desk.import(rows).await;
    assert!(second.iter().all(|answer| answer.outcome() == Outcome::AlreadyPresent));
    let names = |answers: &[ImportCustomersResponse]| -> Vec<String> {
        answers.iter().map(|answer| answer.name.clone()).collect()
    };
    assert_eq!(names(&second), names(&first));
    assert_eq!(desk.kit.table("customers").await.len(), 1000);
}

#[tokio::test]
async fn a_row_that_is_refused_does_not_stop_its_neighbours() {
    let mut desk = Desk::open().await;
    let bad = Customer { locale: "fr".into(), ..referenced("crm/2") };
    let nameless =
        Customer { display_name: String::new(), external_reference: " ".into(), ..Default::default() };
    let rows = vec![
        import(1, referenced("crm/1")),
        import(2, bad.clone()),
        import(3, nameless),
        ImportCustomersRequest { row: 4, ..Default::default() },
        ImportCustomersRequest { default_region: "XX".into(), ..import(5, referenced("crm/5")) },
        import(6, typed()),
    ];
    let answers = desk.import(rows).await;
    assert_eq!(
        outcomes(&answers),
        [
            (1, Outcome::Created),
            (2, Outcome::Rejected),
            (3, Outcome::Rejected),
            (4, Outcome::Rejected),
            (5, Outcome::Rejected),
            (6, Outcome::Created),
        ]
    );
    let violations = |index: usize| row_failure(answers[index].error.as_ref()).violations;
    let pair = |field: &str, reason: &str| (field.to_owned(), reason.to_owned());
    assert_eq!(violations(1), [pair("customer.locale", "FIELD_FORMAT")]);
    assert_eq!(
        violations(2),
        [
            pair("customer.display_name", "FIELD_REQUIRED"),
            pair("customer.external_reference", "FIELD_REQUIRED")
        ]
    );
    assert_eq!(violations(3), [pair("customer", "FIELD_REQUIRED")]);
    assert_eq!(violations(4), [pair("default_region", "FIELD_FORMAT")]);
    assert!(answers[1].name.is_empty());

    // A row is refused as a call would be.
    let call = desk.customers.create_customer(specialist(create(bad))).await.unwrap_err();
    assert_eq!(prost::Message::encode_to_vec(answers[1].error.as_ref().unwrap()), call.details());
    assert_eq!(desk.kit.events.next_types().await, ["CustomerCreated", "CustomerCreated"]);
    assert_eq!(desk.kit.table("customer_tags").await.len(), 2);
}

#[tokio::test]
async fn a_reference_repeated_within_a_batch_is_one_customer() {
    let mut desk = Desk::open().await;
    let second = Customer { display_name: "Another".into(), ..referenced("crm/1") };
    let answers = desk.import(vec![import(1, referenced("crm/1")), import(2, second)]).await;
    assert_eq!(outcomes(&answers), [(1, Outcome::Created), (2, Outcome::AlreadyPresent)]);
    assert_eq!(answers[0].name, answers[1].name);
    assert_eq!(desk.get(&answers[0].name).await.unwrap().display_name, "Han Meimei");
    assert_eq!(desk.kit.events.next_types().await, ["CustomerCreated"]);
}

#[tokio::test]
async fn two_imports_of_the_same_rows_at_once_create_each_customer_once() {
    let mut desk = Desk::open().await;
    let forth: Vec<_> = (0..300).map(|row| import(row, referenced(&format!("crm/{row}")))).collect();
    let back: Vec<_> = forth.iter().rev().cloned().collect();
    let (first, mut second) = tokio::join!(desk.import(forth), desk.import(back));
    second.reverse();
    for (one, other) in first.iter().zip(&second) {
        assert_eq!((one.row, &one.name), (other.row, &other.name));
        let mut outcomes = [one.outcome(), other.outcome()];
        outcomes.sort();
        assert_eq!(outcomes, [Outcome::Created, Outcome::AlreadyPresent], "row {}", one.row);
    }
    assert_eq!(desk.events().await.len(), 300);
}

#[tokio::test]
async fn a_reference_that_is_given_up_while_it_is_imported_is_looked_for_again() {
    let mut desk = Desk::open().await;
    let holder = desk.created(referenced("crm/1")).await;
    // Between the two statements of the first try, as somebody else's change is; a number that is drawn stays drawn.
    for statement in [
        "CREATE SEQUENCE tries",
        "CREATE FUNCTION give_up() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             IF nextval('tries') = 1 THEN
                 UPDATE customers SET external_reference = 'crm/9' WHERE external_reference = 'crm/1';
             END IF;
             RETURN NULL;
         END $$",
        "CREATE TRIGGER give_up AFTER INSERT ON customer_tags EXECUTE FUNCTION give_up()",
    ] {
        desk.kit.execute(statement).await;
    }
    let tagged = Customer { tags: vec!["vip".into()], ..referenced("crm/2") };
    let answers = desk.import(vec![import(1, referenced("crm/1")), import(2, tagged)]).await;
    assert_eq!(outcomes(&answers), [(1, Outcome::AlreadyPresent), (2, Outcome::Created)]);
    assert_eq!(answers[0].name, holder.name);
    assert_eq!(desk.kit.events.next_types().await, ["CustomerCreated"]);
}

#[tokio::test]
async fn a_row_over_the_limit_ends_the_stream_and_the_rows_before_it_stay() {
    let mut desk = Desk::open().await;
    let huge = import(2, named(&"x".repeat(80 * 1024)));
    let rows = tokio_stream::iter([import(1, referenced("crm/1")), huge, import(3, referenced("crm/3"))]);
    let mut answers = desk.customers.import_customers(specialist(rows)).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().outcome(), Outcome::Created);
    let end = answers.message().await.unwrap_err();
    let end = Failure::of(&end);
    assert_eq!((end.code, end.reason.as_str()), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"));
    assert_eq!(desk.kit.events.next_types().await, ["CustomerCreated"]);
    assert_eq!(desk.kit.table("customers").await.len(), 1);
}

#[tokio::test]
async fn an_empty_import_ends_well() {
    let desk = Desk::open().await;
    assert!(desk.import(Vec::new()).await.is_empty());
}

#[tokio::test]
async fn rows_are_answered_while_the_stream_is_open() {
    let mut desk = Desk::open().await;
    let (send, rows) = tokio::sync::mpsc::channel(1);
    let rows = tokio_stream::wrappers::ReceiverStream::new(rows);
    let mut answers = desk.customers.import_customers(specialist(rows)).await.unwrap().into_inner();
    for row in 0..3 {
        send.send(import(row, referenced(&format!("crm/{row}")))).await.unwrap();
        let answer = answers.message().await.unwrap().expect("an answer while the stream is open");
        assert_eq!((answer.row, answer.outcome()), (row, Outcome::Created));
    }
    drop(send);
    assert!(answers.message().await.unwrap().is_none());
    assert_eq!(desk.events().await.len(), 3);
}
