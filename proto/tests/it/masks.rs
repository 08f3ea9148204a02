//! What is generated to mask messages: personal data of every shape, and nothing else.

use cqm_proto::google::r#type::Date;
use cqm_proto::options::v1::PersonalKind;
use cqm_proto::{Kinds, PersonalData, Subjects, complaints, customers, gateway, surveys};

fn customer() -> customers::v1::Customer {
    use customers::v1::{Address, Customer, Email, Gender, Phone};
    Customer {
        name: "customers/1".to_owned(),
        display_name: "Wang Li".to_owned(),
        phones: vec![Phone { number: "+8613800138000".to_owned(), primary: true, ..Default::default() }],
        emails: vec![Email { address: "wang@example.com".to_owned(), primary: true }],
        addresses: vec![Address {
            country_code: "CN".to_owned(),
            lines: vec!["one".to_owned(), "two".to_owned()],
            ..Default::default()
        }],
        birthday: Some(Date { year: 1990, month: 1, day: 2 }),
        gender: Gender::Female.into(),
        tags: vec!["gold".to_owned()],
        ..Default::default()
    }
}

#[test]
fn only_the_kinds_that_are_named_are_masked() {
    let phone = Kinds::of(&[PersonalKind::Phone]);
    let mut masked = customer();
    masked.mask(phone);
    let mut expected = customer();
    expected.phones[0].number = "+86*******8000".to_owned();
    assert_eq!(masked, expected);

    let mut untouched = customer();
    untouched.mask(Kinds::of(&[PersonalKind::Text]));
    assert_eq!(untouched, customer());

    let mut masked = customer();
    masked.mask(customers::v1::Customer::KINDS);
    assert_eq!((masked.display_name.as_str(), masked.birthday, masked.gender), ("W* L*", None, 0));
    assert_eq!(masked.emails[0].address, "w***@example.com");
    assert_eq!(masked.addresses[0].lines, ["o***", "t***"]);
    assert_eq!((masked.addresses[0].country_code.as_str(), masked.tags), ("CN", vec!["gold".to_owned()]));
    assert!(masked.phones[0].primary);
}

#[test]
fn a_mask_reaches_into_everything_that_holds_personal_data() {
    let profile = gateway::v1::ProfileSection { customer: Some(customer()), ..Default::default() };
    let answer = surveys::v1::Answer {
        question_id: "q".to_owned(),
        value: Some(surveys::v1::answer::Value::Text("a story".to_owned())),
    };
    let rating = surveys::v1::Answer { value: Some(surveys::v1::answer::Value::Rating(2)), ..answer.clone() };
    let response = surveys::v1::Response {
        name: "responses/1".to_owned(),
        customer: "customers/2".to_owned(),
        answers: vec![answer, rating.clone()],
        ..Default::default()
    };
    let complaint = complaints::v1::Complaint {
        name: "complaints/1".to_owned(),
        customer: "customers/3".to_owned(),
        resolution: Some(complaints::v1::Resolution { summary: "mended".to_owned(), ..Default::default() }),
        ..Default::default()
    };
    let mut view = gateway::v1::GetCustomer360Response {
        profile: Some(profile),
        surveys: Some(gateway::v1::SurveysSection { responses: vec![response], ..Default::default() }),
        complaints: Some(gateway::v1::ComplaintsSection {
            complaints: vec![complaint],
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut subjects = Subjects::default();
    view.subjects(&mut subjects);
    let names = |names: &std::collections::BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>();
    assert_eq!(names(&subjects.resources), ["complaints/1", "customers/1", "responses/1"]);
    assert_eq!(names(&subjects.customers), ["customers/1", "customers/2", "customers/3"]);

    view.mask(gateway::v1::GetCustomer360Response::KINDS);
    assert_eq!(view.profile.unwrap().customer.unwrap().display_name, "W* L*");
    let answers = view.surveys.unwrap().responses.remove(0).answers;
    assert_eq!(answers[0].value, Some(surveys::v1::answer::Value::Text("***".to_owned())));
    assert_eq!(answers[1], rating);
    let complaint = view.complaints.unwrap().complaints.remove(0);
    assert_eq!((complaint.resolution.unwrap().summary.as_str(), complaint.subject.as_str()), ("***", ""));
}
