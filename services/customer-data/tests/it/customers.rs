use std::time::Duration;

use cqm_proto::customers::v1::*;
use cqm_proto::events::v1 as events;
use cqm_proto::google::r#type::Date;
use cqm_rpc::Role;
use cqm_testkit::request;
use serde_json::json;
use tonic::Code;

use crate::desk::*;

#[tokio::test]
async fn a_customer_is_kept_in_one_form_and_read_back() {
    let mut desk = Desk::open().await;
    let created = answer(desk.customers.create_customer(specialist(create(typed()))).await).unwrap();
    assert_eq!(
        created,
        Customer {
            name: created.name.clone(),
            display_name: "Li Lei".into(),
            phones: vec![
                Phone { number: "+861065529988".into(), label: phone::Label::Work.into(), primary: false },
                Phone { number: "+8613800138000".into(), label: phone::Label::Mobile.into(), primary: true },
            ],
            emails: vec![Email { address: "Li.Lei@example.com".into(), primary: true }],
            addresses: vec![Address { country_code: "CN".into(), ..typed().addresses.remove(0) }],
            locale: "en".into(),
            tags: vec!["b2c".into(), "vip".into()],
            state: customer::State::Active.into(),
            create_time: seconds(NOW_SECONDS),
            update_time: seconds(NOW_SECONDS),
            etag: "v1".into(),
            ..typed()
        }
    );
    assert_eq!(desk.get(&created.name).await.unwrap(), created);

    let (event, payload) = desk.kit.events.only::<events::CustomerCreated>().await;
    assert_eq!(payload, events::CustomerCreated { customer: created.name.clone(), version: 1 });
    assert_eq!((event.aggregate, event.aggregate_version), (created.name.clone(), 1));
    assert_eq!(event.occur_time, desk.kit.clock.now());

    let row = desk.kit.table("customers").await.remove(0);
    assert_eq!(format!("customers/{}", row["id"].as_str().unwrap()), created.name);
    assert_eq!(row["display_name"], "Li Lei");
    assert_eq!(row["phones"][1], json!({ "number": "+8613800138000", "label": "MOBILE", "primary": true }));
    assert_eq!(
        (&row["birth_year"], &row["birth_month"], &row["birth_day"]),
        (&json!(null), &json!(2), &json!(29))
    );
    assert_eq!((&row["gender"], &row["source_channel"]), (&json!("MALE"), &json!("QUESTIONNAIRE")));
    let tags = desk.kit.table("customer_tags").await;
    assert_eq!(tags.iter().map(|row| &row["tag"]).collect::<Vec<_>>(), ["b2c", "vip"]);
}

#[tokio::test]
async fn a_customer_who_was_read_is_served_from_the_cache() {
    let mut desk = Desk::open().await;
    let created = desk.created(named("Li Lei")).await;
    assert_eq!(desk.get(&created.name).await.unwrap(), created, "from Postgres");
    // Not by the service, so that no cache hears of it.
    desk.kit.execute("UPDATE customers SET display_name = 'Han Meimei'").await;
    assert_eq!(desk.get(&created.name).await.unwrap(), created, "from the cache");
}

#[tokio::test]
async fn a_name_is_enough_and_the_rest_has_defaults() {
    let mut desk = Desk::open().await;
    let mut message = create(named("李雷"));
    message.default_region = "us".into();
    message.customer.as_mut().unwrap().phones =
        vec![Phone { number: "(212) 736-5000".into(), ..Default::default() }];
    // What the service sets is ignored when a caller sets it.
    message.customer.as_mut().unwrap().name = NOBODY.into();
    message.customer.as_mut().unwrap().etag = "v9".into();
    message.customer.as_mut().unwrap().state = customer::State::Deleted.into();
    let created = answer(desk.customers.create_customer(specialist(message)).await).unwrap();
    assert_ne!(created.name, NOBODY);
    assert_eq!((created.locale.as_str(), created.etag.as_str()), ("zh-CN", "v1"));
    assert_eq!(created.state(), customer::State::Active);
    assert_eq!(created.phones[0].number, "+12127365000");
    desk.kit.events.only::<events::CustomerCreated>().await;
}

#[tokio::test]
async fn an_update_changes_what_its_mask_names_and_nothing_else() {
    let mut desk = Desk::open().await;
    let created = desk.created(typed()).await;
    let only_name = Customer { name: created.name.clone(), ..named("Han Meimei") };
    desk.kit.clock.advance(Duration::from_secs(60));

    // Absent: what is populated.
    let message = UpdateCustomerRequest { customer: Some(only_name.clone()), ..Default::default() };
    let renamed = answer(desk.customers.update_customer(specialist(message)).await).unwrap();
    let expected = Customer {
        display_name: "Han Meimei".into(),
        update_time: seconds(NOW_SECONDS + 60),
        etag: "v2".into(),
        ..created.clone()
    };
    assert_eq!(renamed, expected);
    assert_eq!(desk.get(&created.name).await.unwrap(), expected, "whoever wrote reads what was written");
    let (_, payload) = desk.kit.events.only::<events::CustomerUpdated>().await;
    assert_eq!(payload, events::CustomerUpdated { customer: created.name.clone(), version: 2 });

    // Named: those, also when they are empty or wrong elsewhere.
    let tagged = Customer {
        name: created.name.clone(),
        tags: vec!["vip".into(), "new".into()],
        locale: "nobody reads this".into(),
        ..Default::default()
    };
    let message = update(tagged, &["tags", "birthday"]);
    let tagged = answer(desk.customers.update_customer(specialist(message)).await).unwrap();
    let expected =
        Customer { tags: vec!["new".into(), "vip".into()], birthday: None, etag: "v3".into(), ..expected };
    assert_eq!(tagged, expected);
    let tags = desk.kit.table("customer_tags").await;
    assert_eq!(tags.iter().map(|row| &row["tag"]).collect::<Vec<_>>(), ["new", "vip"]);

    // Star: everything.
    let message = update(only_name, &["*"]);
    let bare = answer(desk.customers.update_customer(specialist(message)).await).unwrap();
    let expected = Customer {
        name: created.name.clone(),
        locale: "zh-CN".into(),
        state: customer::State::Active.into(),
        create_time: created.create_time,
        update_time: seconds(NOW_SECONDS + 60),
        etag: "v4".into(),
        ..named("Han Meimei")
    };
    assert_eq!(bare, expected);
    assert_eq!(desk.get(&created.name).await.unwrap(), expected);
    assert!(desk.kit.table("customer_tags").await.is_empty());
    assert_eq!(desk.kit.events.next_types().await, ["CustomerUpdated", "CustomerUpdated"]);
}

#[tokio::test]
async fn an_update_that_changes_nothing_makes_no_version_and_no_event() {
    let mut desk = Desk::open().await;
    let created = desk.created(typed()).await;
    desk.kit.clock.advance(Duration::from_secs(60));
    let same = Customer { name: created.name.clone(), ..typed() };
    let updated = answer(desk.customers.update_customer(specialist(update(same, &["*"]))).await).unwrap();
    assert_eq!(updated, created);
    assert!(desk.events().await.is_empty());
}

#[tokio::test]
async fn an_etag_of_another_version_is_refused() {
    let mut desk = Desk::open().await;
    let created = desk.created(named("Li Lei")).await;
    let renamed = |name: &str, etag: &str| UpdateCustomerRequest {
        etag: etag.to_owned(),
        ..update(Customer { name: created.name.clone(), ..named(name) }, &["display_name"])
    };
    let second = answer(desk.customers.update_customer(specialist(renamed("A", "v1"))).await).unwrap();
    assert_eq!(second.etag, "v2");
    let stale = answer(desk.customers.update_customer(specialist(renamed("B", "v1"))).await).unwrap_err();
    assert_eq!((stale.code, stale.reason.as_str()), (Code::Aborted, "ETAG_MISMATCH"));
    assert_eq!(stale.facts["name"], created.name);
    let stale = DeleteCustomerRequest { etag: "v1".into(), ..delete(&created.name) };
    let stale = answer(desk.customers.delete_customer(specialist(stale)).await).unwrap_err();
    assert_eq!((stale.code, stale.reason.as_str()), (Code::Aborted, "ETAG_MISMATCH"));
    assert_eq!(desk.get(&created.name).await.unwrap(), second);
    desk.kit.events.only::<events::CustomerUpdated>().await;
}

#[tokio::test]
async fn a_birthday_may_be_today_and_not_later() {
    let mut desk = Desk::open().await;
    let born =
        |day| create(Customer { birthday: Some(Date { year: 2026, month: 1, day }), ..named("Li Lei") });
    let today = answer(desk.customers.create_customer(specialist(born(15))).await).unwrap();
    assert_eq!(today.birthday, Some(Date { year: 2026, month: 1, day: 15 }));
    let later = answer(desk.customers.create_customer(specialist(born(16))).await).unwrap_err();
    assert_eq!(later.violations, [("customer.birthday".to_owned(), "FIELD_RANGE".to_owned())]);
    desk.kit.events.only::<events::CustomerCreated>().await;
}

#[tokio::test]
async fn only_those_whose_duty_it_is_may_call() {
    let mut desk = Desk::open().await;
    let created = desk.created(named("Li Lei")).await;
    let denied = desk.customers.create_customer(request(Role::Supervisor, create(named("A")))).await;
    let denied = answer(denied).unwrap_err();
    assert_eq!((denied.code, denied.reason.as_str()), (Code::PermissionDenied, "ROLE_MISSING"));
    let denied =
        desk.customers.delete_customer(request(Role::ServiceRepresentative, delete(&created.name))).await;
    assert_eq!(answer(denied).unwrap_err().reason, "ROLE_MISSING");
    let message = GetCustomerRequest { name: created.name.clone(), ..Default::default() };
    let read = desk.customers.get_customer(request(Role::Coordinator, message)).await;
    assert_eq!(answer(read).unwrap(), created);
}
