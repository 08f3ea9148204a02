use cqm_proto::customers::v1::*;
use cqm_proto::google::r#type::Date;
use tonic::Code;

use crate::desk::*;

#[tokio::test]
async fn everything_wrong_with_a_customer_is_said_at_once() {
    let mut desk = Desk::open().await;
    let email = |address: &str, primary| Email { address: address.into(), primary };
    let phone = |number: &str| Phone { number: number.into(), ..Default::default() };
    let cases = [
        (Customer::default(), vec!["customer.display_name FIELD_REQUIRED"]),
        (named(" \u{3000} "), vec!["customer.display_name FIELD_REQUIRED"]),
        (named(&"名".repeat(201)), vec!["customer.display_name FIELD_TOO_LONG"]),
        (named("a\0b"), vec!["customer.display_name FORBIDDEN_CHARACTER"]),
        (named("a\u{202e}b"), vec!["customer.display_name FORBIDDEN_CHARACTER"]),
        (
            Customer {
                phones: vec![phone("13800138000"), phone("12"), phone("+86 138 0013 8000"), phone("")],
                emails: vec![email("a@example.com", true), email("b", false), email("b@EXAMPLE.com", true)],
                ..named("A")
            },
            vec![
                "customer.phones[1].number FIELD_FORMAT",
                "customer.phones[2].number FIELD_FORMAT",
                "customer.phones[3].number FIELD_REQUIRED",
                "customer.emails[1].address FIELD_FORMAT",
                "customer.emails FIELD_FORMAT",
            ],
        ),
        (
            Customer {
                phones: vec![Phone { label: 9, ..phone("13800138000") }; 11],
                emails: vec![email(&format!("{}@example.com", "a".repeat(250)), false)],
                ..named("A")
            },
            // At most 16 are told.
            vec![
                "customer.phones FIELD_TOO_LONG",
                "customer.phones[0].label ENUM_UNKNOWN",
                "customer.phones[1].label ENUM_UNKNOWN",
                "customer.phones[1].number FIELD_FORMAT",
            ],
        ),
        (
            Customer {
                addresses: vec![
                    Address { city: "x".repeat(101), ..Default::default() },
                    Address {
                        country_code: "C1".into(),
                        lines: vec!["a".into(), "".into(), "c".into(), "d".into(), "e".into(), "f".into()],
                        postal_code: "1".repeat(17),
                        ..Default::default()
                    },
                ],
                ..named("A")
            },
            vec![
                "customer.addresses[0].country_code FIELD_REQUIRED",
                "customer.addresses[0].city FIELD_TOO_LONG",
                "customer.addresses[1].country_code FIELD_FORMAT",
                "customer.addresses[1].postal_code FIELD_TOO_LONG",
                "customer.addresses[1].lines FIELD_TOO_LONG",
                "customer.addresses[1].lines[1] FIELD_REQUIRED",
            ],
        ),
        (
            Customer {
                birthday: Some(Date { year: 2023, month: 2, day: 29 }),
                gender: 77,
                locale: "fr".into(),
                source_channel: -1,
                tags: vec!["ok".into(), "not ok".into(), "".into()],
                external_reference: "x".repeat(129),
                ..named("A")
            },
            vec![
                "customer.birthday FIELD_FORMAT",
                "customer.gender ENUM_UNKNOWN",
                "customer.locale FIELD_FORMAT",
                "customer.source_channel ENUM_UNKNOWN",
                "customer.tags[1] FIELD_FORMAT",
                "customer.tags[2] FIELD_FORMAT",
                "customer.external_reference FIELD_TOO_LONG",
            ],
        ),
        (Customer { tags: vec!["a".into(); 51], ..named("A") }, vec!["customer.tags FIELD_TOO_LONG"]),
        (
            Customer { birthday: Some(Date { year: -1, month: -2, day: 40 }), ..named("A") },
            vec!["customer.birthday FIELD_FORMAT"],
        ),
    ];
    for (customer, expected) in cases {
        let refused = answer(desk.customers.create_customer(specialist(create(customer))).await);
        let found = violations(refused);
        assert!(found.len() <= 16);
        assert_eq!(found[..expected.len().min(found.len())], expected[..], "{found:?}");
        assert!(found.len() == expected.len() || found.len() > 8, "{found:?}");
    }
    let message = CreateCustomerRequest { default_region: "86".into(), ..Default::default() };
    let refused = answer(desk.customers.create_customer(specialist(message)).await);
    assert_eq!(violations(refused), ["default_region FIELD_FORMAT", "customer FIELD_REQUIRED"]);
    assert!(desk.kit.table("customers").await.is_empty());
}

#[tokio::test]
async fn what_looks_dangerous_is_text() {
    let mut desk = Desk::open().await;
    for name in ["<script>alert(1)</script>", "'; DROP TABLE customers;--", "=1+1", "Robert\u{301}"] {
        let created = desk.created(named(name)).await;
        let read = desk.get(&created.name).await.unwrap();
        assert_eq!(read.display_name, name, "what has no composed form stays");
    }
    assert_eq!(desk.created(named("Cafe\u{301}")).await.display_name, "Café");
}

#[tokio::test]
async fn a_wrong_name_etag_mask_or_page_is_said_by_its_field() {
    let mut desk = Desk::open().await;
    let created = desk.created(named("Li Lei")).await;
    for name in ["", "customers/1", "complaints/01890a5d-ac96-774b-bcce-b302099a8057", "customers/"] {
        let reason = if name.is_empty() { "FIELD_REQUIRED" } else { "FIELD_FORMAT" };
        let get = GetCustomerRequest { name: name.into(), minimum_etag: "1".into() };
        let refused = answer(desk.customers.get_customer(specialist(get)).await);
        assert_eq!(violations(refused), [format!("name {reason}"), "minimum_etag FIELD_FORMAT".into()]);
        let message = DeleteCustomerRequest { etag: "v0".into(), ..delete(name) };
        let refused = answer(desk.customers.delete_customer(specialist(message)).await);
        assert_eq!(violations(refused), [format!("name {reason}"), "etag FIELD_FORMAT".into()]);
        let message = update(Customer { name: name.into(), ..named("A") }, &["*"]);
        let refused = answer(desk.customers.update_customer(specialist(message)).await);
        assert_eq!(violations(refused), [format!("customer.name {reason}")]);
        let message = ListPurchasesRequest { customer: name.into(), page_size: -1, page_token: "x".into() };
        let refused = answer(desk.purchases.list_purchases(specialist(message)).await);
        assert_eq!(
            violations(refused),
            [
                format!("customer {reason}"),
                "page_size FIELD_RANGE".into(),
                "page_token PAGE_TOKEN_INVALID".into()
            ]
        );
        let message = ListInteractionsRequest { customer: name.into(), page_size: -1, ..Default::default() };
        let refused = answer(desk.interactions.list_interactions(specialist(message)).await);
        assert_eq!(violations(refused), [format!("customer {reason}"), "page_size FIELD_RANGE".into()]);
    }
    let message = update(created.clone(), &["display_name", "name", "state", "nonsense", "phones.number"]);
    let refused = answer(desk.customers.update_customer(specialist(message)).await);
    assert_eq!(
        violations(refused),
        [
            "update_mask.name FIELD_FORMAT",
            "update_mask.state FIELD_FORMAT",
            "update_mask.nonsense FIELD_FORMAT",
            "update_mask.phones.number FIELD_FORMAT",
        ]
    );
    let message = update(Customer { name: created.name.clone(), ..Default::default() }, &["display_name"]);
    let refused = answer(desk.customers.update_customer(specialist(message)).await);
    assert_eq!(violations(refused), ["customer.display_name FIELD_REQUIRED"], "a name cannot be taken away");
    let refused = answer(desk.customers.update_customer(specialist(UpdateCustomerRequest::default())).await);
    assert_eq!(violations(refused), ["customer FIELD_REQUIRED"]);

    let list = ListCustomersRequest {
        page_size: -1,
        page_token: "x".into(),
        tag: "not a tag".into(),
        source_channel: 99,
        external_reference: "a\u{7}".into(),
    };
    let refused = answer(desk.customers.list_customers(specialist(list)).await);
    assert_eq!(
        violations(refused),
        [
            "source_channel ENUM_UNKNOWN",
            "tag FIELD_FORMAT",
            "external_reference FORBIDDEN_CHARACTER",
            "page_size FIELD_RANGE",
            "page_token PAGE_TOKEN_INVALID",
        ]
    );
    assert_eq!(desk.get(&created.name).await.unwrap(), created);
}

#[tokio::test]
async fn everything_wrong_with_a_contact_is_said_at_once() {
    let mut desk = Desk::open().await;
    let customer = desk.created(named("Li Lei")).await.name;
    let message = RecordInteractionRequest {
        customer: "customers/x".into(),
        interaction: Some(Interaction {
            kind: 0,
            channel: 99,
            occur_time: seconds(NOW_SECONDS + 61),
            summary: format!("\u{1b}[2J{}", "x".repeat(2000)),
            subject: "about Li Lei".into(),
            ..Default::default()
        }),
        request_id: String::new(),
    };
    let refused = answer(desk.interactions.record_interaction(specialist(message)).await);
    assert_eq!(
        violations(refused),
        [
            "customer FIELD_FORMAT",
            "interaction.kind ENUM_UNKNOWN",
            "interaction.channel ENUM_UNKNOWN",
            "interaction.occur_time FIELD_RANGE",
            "interaction.summary FORBIDDEN_CHARACTER",
            "interaction.summary FIELD_TOO_LONG",
            "interaction.subject FIELD_FORMAT",
        ]
    );
    let message = RecordInteractionRequest { interaction: None, ..contact(&customer, "") };
    let refused = answer(desk.interactions.record_interaction(specialist(message)).await);
    assert_eq!(violations(refused), ["interaction FIELD_REQUIRED"]);
    assert!(desk.kit.table("interactions").await.is_empty());
}

#[tokio::test]
async fn a_message_over_its_limit_is_refused() {
    let mut desk = Desk::open().await;
    let refused =
        answer(desk.customers.create_customer(specialist(create(named(&"x".repeat(65 * 1024))))).await);
    let refused = refused.unwrap_err();
    assert_eq!((refused.code, refused.reason.as_str()), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"));
    assert_eq!(refused.facts["limit"], (64 * 1024).to_string());
}
