//! Personal data is never printed, and the rest is.

use std::collections::BTreeMap;

use cqm_proto::google::r#type::Date;
use cqm_proto::{complaints, customers, gateway, notifications, surveys};

fn customer() -> customers::v1::Customer {
    use customers::v1::{Address, Customer, Email, Gender, Phone, customer::State};
    Customer {
        name: "customers/0190".to_owned(),
        display_name: "planted-name".to_owned(),
        phones: vec![Phone { number: "planted-number".to_owned(), ..Default::default() }],
        emails: vec![Email { address: "planted-address".to_owned(), primary: true }],
        addresses: vec![Address { city: "planted-city".to_owned(), ..Default::default() }],
        birthday: Some(Date { year: 77_777, ..Default::default() }),
        gender: Gender::Female.into(),
        state: State::Active.into(),
        tags: vec!["gold".to_owned()],
        ..Default::default()
    }
}

fn assert_hidden(printed: &str) {
    for planted in ["planted", "77777", "Female"] {
        assert!(!printed.contains(planted), "{planted} in {printed}");
    }
    assert!(printed.contains("[personal]"), "{printed}");
}

#[test]
fn a_customer_prints_without_personal_data() {
    let printed = format!("{:?}", customer());
    assert_hidden(&printed);
    for shown in [r#"name: "customers/0190""#, "state: Active", r#"tags: ["gold"]"#, "gender: [personal]"] {
        assert!(printed.contains(shown), "{shown} not in {printed}");
    }
    assert_hidden(&format!("{:#?}", customer()));
    assert_hidden(&format!("{:?}", customer().phones));
    assert_hidden(&format!("{:?}", customer().emails));
    assert_hidden(&format!("{:?}", customer().addresses));
}

#[test]
fn what_holds_a_customer_prints_without_personal_data() {
    let request = customers::v1::UpdateCustomerRequest { customer: Some(customer()), ..Default::default() };
    assert_hidden(&format!("{request:?}"));
    let section = gateway::v1::ProfileSection { customer: Some(customer()), ..Default::default() };
    let answer = gateway::v1::GetCustomer360Response { profile: Some(section), ..Default::default() };
    assert_hidden(&format!("{answer:?}"));
}

#[test]
fn maps_oneofs_and_secrets_print_without_personal_data() {
    let request = notifications::v1::SendMessageRequest {
        variables: BTreeMap::from([("planted-key".to_owned(), "planted-value".to_owned())]),
        ..Default::default()
    };
    assert_hidden(&format!("{request:?}"));

    let value = surveys::v1::answer::Value::Text("planted-text".to_owned());
    assert_eq!(format!("{value:?}"), "Text([personal])");
    assert_eq!(format!("{:?}", surveys::v1::answer::Value::Nps(9)), "Nps(9)");
    let request = surveys::v1::SubmitResponseRequest {
        token: "planted-token".to_owned(),
        answers: vec![surveys::v1::Answer { question_id: "q1".to_owned(), value: Some(value) }],
        ..Default::default()
    };
    let printed = format!("{request:?}");
    assert_hidden(&printed);
    assert!(printed.contains(r#"question_id: "q1""#), "{printed}");
}

#[test]
fn an_enum_value_of_a_later_version_prints_as_its_number() {
    let complaint = complaints::v1::Complaint { state: 99, severity: 3, ..Default::default() };
    let printed = format!("{complaint:?}");
    assert!(printed.contains("state: 99") && printed.contains("severity: High"), "{printed}");
}
