use cqm_proto::customers::v1::*;
use futures::future::join_all;
use tonic::Code;

use crate::desk::*;

#[tokio::test]
async fn an_external_reference_belongs_to_one_customer() {
    let mut desk = Desk::open().await;
    let first = desk.created(referenced("crm/1")).await;
    let second = desk.created(referenced("crm/2")).await;

    let taken =
        answer(desk.customers.create_customer(specialist(create(referenced("crm/1")))).await).unwrap_err();
    assert_eq!((taken.code, taken.reason.as_str()), (Code::AlreadyExists, "EXTERNAL_REFERENCE_TAKEN"));
    assert_eq!((taken.domain.as_str(), &taken.facts["name"]), ("cqm.customers.v1", &first.name));

    let wish =
        Customer { name: second.name.clone(), external_reference: "crm/1".into(), ..Default::default() };
    let taken =
        answer(desk.customers.update_customer(specialist(update(wish, &["external_reference"]))).await);
    let taken = taken.unwrap_err();
    assert_eq!((taken.reason.as_str(), &taken.facts["name"]), ("EXTERNAL_REFERENCE_TAKEN", &first.name));

    // Given up, it is free again.
    let gives_up = Customer { name: first.name.clone(), ..Default::default() };
    answer(desk.customers.update_customer(specialist(update(gives_up, &["external_reference"]))).await)
        .unwrap();
    let third =
        answer(desk.customers.create_customer(specialist(create(referenced("crm/1")))).await).unwrap();
    assert_eq!(
        desk.events().await,
        [("CustomerUpdated".to_owned(), first.name, 2), ("CustomerCreated".to_owned(), third.name, 1),]
    );
}

#[tokio::test]
async fn of_many_who_want_one_reference_at_once_one_gets_it() {
    let mut desk = Desk::open().await;
    let create = || {
        let mut customers = desk.customers.clone();
        async move { answer(customers.create_customer(specialist(create(referenced("crm/1")))).await) }
    };
    let outcomes = join_all((0..8).map(|_| create())).await;
    let mut winners = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok());
    let winner = winners.next().expect("one gets it").name.clone();
    assert!(winners.next().is_none(), "one alone");
    for failure in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        assert_eq!((failure.reason.as_str(), &failure.facts["name"]), ("EXTERNAL_REFERENCE_TAKEN", &winner));
    }

    // The same by updates.
    let mut others = Vec::new();
    for _ in 0..4 {
        let created =
            answer(desk.customers.create_customer(specialist(crate::desk::create(named("A")))).await);
        others.push(created.unwrap().name);
    }
    let take = |name: &String| {
        let (mut customers, name) = (desk.customers.clone(), name.clone());
        let wish = Customer { name, external_reference: "crm/2".into(), ..Default::default() };
        async move { answer(customers.update_customer(specialist(update(wish, &["external_reference"]))).await) }
    };
    let outcomes = join_all(others.iter().map(take)).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    for failure in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        assert_eq!(failure.reason, "EXTERNAL_REFERENCE_TAKEN");
    }
    let types = desk.kit.events.next_types().await;
    assert_eq!(types.iter().filter(|kind| *kind == "CustomerCreated").count(), 5);
    assert_eq!(types.iter().filter(|kind| *kind == "CustomerUpdated").count(), 1);
}
