use cqm_proto::customers::v1::*;
use tonic::Code;

use crate::desk::*;

/// All pages of a list, by their customers' names.
async fn listed(desk: &Desk, message: ListCustomersRequest) -> Vec<String> {
    let mut message = ListCustomersRequest { page_size: 3, ..message };
    let mut names = Vec::new();
    loop {
        let page =
            desk.customers.clone().list_customers(specialist(message.clone())).await.unwrap().into_inner();
        assert!(page.customers.len() <= 3);
        names.extend(page.customers.into_iter().map(|customer| customer.display_name));
        if page.next_page_token.is_empty() {
            return names;
        }
        message.page_token = page.next_page_token;
    }
}

#[tokio::test]
async fn customers_are_listed_newest_first_by_every_filter() {
    let mut desk = Desk::open().await;
    for number in 0..10 {
        let mut customer =
            Customer { external_reference: format!("crm/{number}"), ..named(&number.to_string()) };
        if number % 2 == 0 {
            customer.tags = vec!["even".into(), "all".into()];
        }
        if number % 3 == 0 {
            customer.source_channel = SourceChannel::Interview.into();
        }
        desk.created(customer).await;
    }
    let all = ListCustomersRequest::default();
    let tag = |tag: &str| ListCustomersRequest { tag: tag.into(), ..Default::default() };
    let channel = ListCustomersRequest { source_channel: SourceChannel::Interview.into(), ..all.clone() };
    let reference =
        |reference: &str| ListCustomersRequest { external_reference: reference.into(), ..Default::default() };
    for (message, expected) in [
        (all.clone(), "9 8 7 6 5 4 3 2 1 0"),
        (tag("even"), "8 6 4 2 0"),
        (tag(" EVEN "), "8 6 4 2 0"),
        (tag("odd"), ""),
        (channel.clone(), "9 6 3 0"),
        (ListCustomersRequest { tag: "even".into(), ..channel }, "6 0"),
        (reference("crm/4"), "4"),
        (reference("crm/44"), ""),
        (ListCustomersRequest { tag: "even".into(), ..reference("crm/4") }, "4"),
        (ListCustomersRequest { tag: "even".into(), ..reference("crm/5") }, ""),
    ] {
        let expected: Vec<&str> = expected.split_whitespace().collect();
        assert_eq!(listed(&desk, message.clone()).await, expected, "{message:?}");
    }
}

#[tokio::test]
async fn a_page_token_belongs_to_its_list() {
    let mut desk = Desk::open().await;
    for _ in 0..3 {
        desk.created(Customer { tags: vec!["a".into()], ..named("Li Lei") }).await;
    }
    let first = ListCustomersRequest { page_size: 1, tag: "a".into(), ..Default::default() };
    let token =
        answer(desk.customers.list_customers(specialist(first.clone())).await).unwrap().next_page_token;
    assert!(!token.is_empty());
    let mut forged = token.clone();
    forged.replace_range(3..4, if &token[3..4] == "A" { "B" } else { "A" });
    for message in [
        ListCustomersRequest { page_token: forged, ..first.clone() },
        ListCustomersRequest { page_token: "no token".into(), ..first.clone() },
        ListCustomersRequest { page_token: token.clone(), tag: "b".into(), ..first.clone() },
        ListCustomersRequest { page_token: token.clone(), tag: String::new(), ..first.clone() },
        ListCustomersRequest {
            page_token: token.clone(),
            source_channel: SourceChannel::Import.into(),
            ..first.clone()
        },
    ] {
        let refused = answer(desk.customers.list_customers(specialist(message)).await).unwrap_err();
        assert_eq!((refused.code, refused.reason.as_str()), (Code::InvalidArgument, "PAGE_TOKEN_INVALID"));
    }
    let customer =
        answer(desk.customers.list_customers(specialist(first)).await).unwrap().customers.remove(0).name;
    let purchases =
        ListPurchasesRequest { customer: customer.clone(), page_token: token, ..Default::default() };
    let refused = answer(desk.purchases.list_purchases(specialist(purchases)).await).unwrap_err();
    assert_eq!(refused.reason, "PAGE_TOKEN_INVALID", "a token of another list");
}

#[tokio::test]
async fn purchases_are_listed_latest_first_page_by_page() {
    let mut desk = Desk::open().await;
    let customer = desk.created(named("Li Lei")).await.name;
    let other = desk.created(named("Han Meimei")).await.name;
    let bought = |row: i64, customer: &str, at: i64| RecordPurchasesRequest {
        purchase_time: seconds(at),
        ..purchase(row, customer, &format!("p{row}"))
    };
    // Years apart, two at one moment.
    let rows = vec![
        bought(0, &customer, 0),
        bought(1, &customer, NOW_SECONDS),
        bought(2, &customer, -86_400),
        bought(3, &other, NOW_SECONDS),
        bought(4, &customer, 1_000_000_000),
        bought(5, &customer, 1_000_000_000),
    ];
    desk.record(rows).await;
    let mut found = Vec::new();
    let mut message = ListPurchasesRequest { customer, page_size: 1, ..Default::default() };
    loop {
        let page = answer(desk.purchases.list_purchases(specialist(message.clone())).await).unwrap();
        assert_eq!(page.purchases.len(), 1);
        found.extend(page.purchases.into_iter().map(|purchase| purchase.purchase_reference));
        if page.next_page_token.is_empty() {
            break;
        }
        message.page_token = page.next_page_token;
    }
    assert_eq!(found, ["p1", "p5", "p4", "p0", "p2"]);
    assert_eq!(desk.events().await.len(), 6);
}
