//! Who sees what of a customer, and what is written down about it.

use cqm_proto::audit::v1::audit_service_client::AuditServiceClient;
use cqm_proto::audit::v1::{AuditFault, ListReleasesRequest, Release, VerifyAuditRequest, audit_fault};
use cqm_proto::customers::v1::*;
use cqm_proto::options::v1::{PersonalKind, Purpose};
use cqm_rpc::{Role, metadata};
use cqm_testkit::{refused, request, violations};
use diesel_async::SimpleAsyncConnection;
use tonic::{Code, Request};

use crate::desk::{Desk, contact, create, named, typed, update};

const HANDLING: &str = "complaint_handling complaints/7";

fn with_purpose<M>(role: Role, purpose: &str, message: M) -> Request<M> {
    let mut request = request(role, message);
    request.metadata_mut().insert(metadata::PURPOSE, purpose.parse().unwrap());
    request
}

fn get(name: &str) -> GetCustomerRequest {
    GetCustomerRequest { name: name.to_owned(), ..Default::default() }
}

/// Created by somebody who sees everything.
async fn li_lei(desk: &mut Desk) -> Customer {
    desk.created(Customer { external_reference: String::new(), ..typed() }).await
}

async fn seen_by(desk: &Desk, role: Role, customer: &Customer) -> Customer {
    desk.customers.clone().get_customer(request(role, get(&customer.name))).await.unwrap().into_inner()
}

async fn seen_for_a_purpose(desk: &Desk, role: Role, customer: &Customer) -> Customer {
    let request = with_purpose(role, HANDLING, get(&customer.name));
    desk.customers.clone().get_customer(request).await.unwrap().into_inner()
}

async fn releases(desk: &Desk, filter: ListReleasesRequest) -> Vec<Release> {
    let mut audit = AuditServiceClient::new(desk.kit.channel.clone());
    audit.list_releases(request(Role::Supervisor, filter)).await.unwrap().into_inner().releases
}

async fn verified(desk: &Desk) -> (i64, Vec<AuditFault>) {
    let mut audit = AuditServiceClient::new(desk.kit.channel.clone());
    let message = VerifyAuditRequest::default();
    let mut answers = audit.verify_audit(request(Role::Supervisor, message)).await.unwrap().into_inner();
    let (mut faults, mut last) = (Vec::new(), None);
    while let Some(answer) = answers.message().await.unwrap() {
        faults.extend(answer.faults.clone());
        last = Some(answer);
    }
    let last = last.unwrap();
    assert!(last.done);
    assert_eq!(usize::try_from(last.faults_total).unwrap(), faults.len());
    (last.checked, faults)
}

#[tokio::test]
async fn every_role_sees_what_the_contract_shows_it() {
    let mut desk = Desk::open().await;
    let customer = li_lei(&mut desk).await;
    let seen = |customer: &Customer| {
        (
            customer.display_name == "Li Lei",
            customer.phones[1].number == "+8613800138000",
            customer.emails[0].address == "Li.Lei@example.com",
            customer.addresses[0].lines[0] == "长安街 1 号",
            customer.birthday.is_some() && customer.gender != 0,
        )
    };
    let all = (true, true, true, true, true);
    for (role, without, with) in [
        (Role::ServiceManager, (true, false, false, false, false), all),
        (Role::ServiceRepresentative, (true, false, false, false, false), all),
        (Role::TechnicalSupport, (false, false, false, false, false), (true, true, true, false, false)),
        (Role::AfterSales, (true, false, false, false, false), (true, true, true, true, false)),
        (Role::CrmSpecialist, all, all),
        (Role::Supervisor, (false, false, false, false, false), (true, true, true, false, false)),
        (Role::InternalService, all, all),
        (Role::Coordinator, all, all),
    ] {
        assert_eq!(seen(&seen_by(&desk, role, &customer).await), without, "{role:?}");
        assert_eq!(seen(&seen_for_a_purpose(&desk, role, &customer).await), with, "{role:?} for a purpose");
    }
    // The cache holds the row as it is; who is shown a mask does not leave it there for the next.
    assert_eq!(seen(&seen_by(&desk, Role::CrmSpecialist, &customer).await), all);
}

#[tokio::test]
async fn a_mask_keeps_what_somebody_can_be_recognised_by() {
    let mut desk = Desk::open().await;
    let customer = li_lei(&mut desk).await;
    let masked = seen_by(&desk, Role::Supervisor, &customer).await;
    assert_eq!(masked.display_name, "L* L*");
    assert_eq!(masked.phones[1].number, "+86*******8000");
    assert_eq!((masked.phones[1].label, masked.phones[1].primary), (phone::Label::Mobile.into(), true));
    assert_eq!(masked.emails[0].address, "L***@example.com");
    let address = &masked.addresses[0];
    assert_eq!((address.country_code.as_str(), address.city.as_str()), ("CN", "北***"));
    assert_eq!(address.lines, ["长***"]);
    assert_eq!((masked.birthday, masked.gender), (None, 0));
    // What is not personal is as it is.
    assert_eq!((masked.name, masked.tags, masked.etag), (customer.name, customer.tags, customer.etag));
}

#[tokio::test]
async fn a_release_is_written_down_before_it_is_told_and_a_mask_is_not() {
    let mut desk = Desk::open().await;
    let customer = li_lei(&mut desk).await;
    seen_by(&desk, Role::ServiceRepresentative, &customer).await;
    seen_by(&desk, Role::CrmSpecialist, &customer).await;
    assert!(releases(&desk, ListReleasesRequest::default()).await.is_empty());

    seen_for_a_purpose(&desk, Role::ServiceRepresentative, &customer).await;
    let release = releases(&desk, ListReleasesRequest::default()).await.remove(0);
    assert_eq!((release.name.as_str(), release.caller.as_str()), ("releases/1", "service_representative"));
    assert_eq!(release.roles, [Role::ServiceRepresentative as i32]);
    assert_eq!((release.purpose(), release.reference.as_str()), (Purpose::ComplaintHandling, "complaints/7"));
    assert_eq!(release.method, "cqm.customers.v1.CustomerService/GetCustomer");
    assert_eq!(
        (&release.customers, &release.resources),
        (&vec![customer.name.clone()], &vec![customer.name])
    );
    let kinds: Vec<_> = release.kinds().collect();
    use PersonalKind::{Address, Attribute, Email, Name, Phone};
    assert_eq!(kinds, [Name, Phone, Email, Address, Attribute]);
    assert_eq!((release.trace_id.len(), release.hash.len()), (32, 32));
}

#[tokio::test]
async fn a_page_is_one_release_with_all_its_names() {
    let mut desk = Desk::open().await;
    let customer = li_lei(&mut desk).await;
    let mut names = vec![customer.name.clone()];
    for _ in 0..3 {
        names.push(li_lei(&mut desk).await.name);
    }
    let list = ListCustomersRequest { page_size: 3, ..Default::default() };
    let page = desk.customers.list_customers(with_purpose(Role::Supervisor, HANDLING, list)).await.unwrap();
    let page = page.into_inner().customers;
    assert_eq!(page.len(), 3);
    assert!(page.iter().all(|customer| customer.display_name == "Li Lei"));
    let release = releases(&desk, ListReleasesRequest::default()).await.remove(0);
    names.remove(0);
    names.sort();
    assert_eq!(release.customers.len(), 3);
    assert_eq!(release.resources, names);

    // What hangs on a customer is found under them.
    desk.interactions
        .record_interaction(with_purpose(
            Role::TechnicalSupport,
            HANDLING,
            contact(&customer.name, "a secret"),
        ))
        .await
        .unwrap();
    desk.kit.events.next().await;
    let filter = ListReleasesRequest { customer: customer.name.clone(), ..Default::default() };
    let release = releases(&desk, filter).await.remove(0);
    assert!(release.resources[0].starts_with(&format!("{}/interactions/", customer.name)), "{release:?}");
    assert_eq!(release.kinds().collect::<Vec<_>>(), [PersonalKind::Text]);
}

#[tokio::test]
async fn a_supervisor_finds_releases_and_nobody_else_does() {
    let mut desk = Desk::open().await;
    let (one, other) = (li_lei(&mut desk).await, li_lei(&mut desk).await);
    for customer in [&one, &other, &one] {
        seen_for_a_purpose(&desk, Role::ServiceRepresentative, customer).await;
    }
    let care = with_purpose(Role::ServiceManager, "customer_care", get(&other.name));
    desk.customers.get_customer(care).await.unwrap();

    let found = async |filter: ListReleasesRequest| -> Vec<i64> {
        releases(&desk, filter).await.into_iter().map(|release| release.sequence).collect()
    };
    let none = ListReleasesRequest::default;
    assert_eq!(found(none()).await, [4, 3, 2, 1]);
    assert_eq!(found(ListReleasesRequest { customer: one.name.clone(), ..none() }).await, [3, 1]);
    assert_eq!(found(ListReleasesRequest { caller: "service_manager".into(), ..none() }).await, [4]);
    assert_eq!(found(ListReleasesRequest { purpose: Purpose::CustomerCare.into(), ..none() }).await, [4]);
    let now = Some(cqm_rpc::time::wire(desk.kit.clock.now()));
    assert_eq!(found(ListReleasesRequest { start_time: now, ..none() }).await.len(), 4);
    assert_eq!(found(ListReleasesRequest { end_time: now, ..none() }).await.len(), 0);

    // In pages.
    let mut audit = AuditServiceClient::new(desk.kit.channel.clone());
    let mut message = ListReleasesRequest { page_size: 3, ..none() };
    let first = audit.list_releases(request(Role::Supervisor, message.clone())).await.unwrap().into_inner();
    message.page_token = first.next_page_token;
    let second = audit.list_releases(request(Role::Supervisor, message.clone())).await.unwrap().into_inner();
    assert_eq!((first.releases.len(), second.releases.len(), second.next_page_token.as_str()), (3, 1, ""));
    message.caller = "somebody else".into();
    let forged = audit.list_releases(request(Role::Supervisor, message)).await;
    assert_eq!(violations(forged), ["page_token PAGE_TOKEN_INVALID"]);

    for role in [Role::ServiceManager, Role::CrmSpecialist, Role::InternalService, Role::Coordinator] {
        let denied = audit.list_releases(request(role, none())).await;
        refused(denied, Code::PermissionDenied, "ROLE_MISSING");
        let denied = audit.verify_audit(request(role, VerifyAuditRequest::default())).await;
        refused(denied, Code::PermissionDenied, "ROLE_MISSING");
    }
}

#[tokio::test]
async fn an_altered_release_is_found_and_named() {
    let mut desk = Desk::open().await;
    let customer = li_lei(&mut desk).await;
    for _ in 0..3 {
        seen_for_a_purpose(&desk, Role::ServiceRepresentative, &customer).await;
    }
    assert_eq!(verified(&desk).await, (3, vec![]));
    execute(
        &desk,
        "ALTER TABLE audit_release DISABLE TRIGGER USER;
         UPDATE audit_release SET caller = 'somebody else' WHERE sequence = 2",
    )
    .await;
    let fault = AuditFault { release: "releases/2".into(), check: audit_fault::Check::Hash.into() };
    assert_eq!(verified(&desk).await, (3, vec![fault]));
}

#[tokio::test]
async fn what_cannot_be_written_down_is_not_told() {
    let mut desk = Desk::open().await;
    let customer = li_lei(&mut desk).await;
    execute(&desk, "ALTER TABLE audit_head RENAME TO away").await;
    let answer = desk
        .customers
        .get_customer(with_purpose(Role::ServiceRepresentative, HANDLING, get(&customer.name)))
        .await;
    refused(answer, Code::Internal, "INTERNAL");
    // Nothing is released without a purpose, so that nothing is in the way.
    assert_eq!(seen_by(&desk, Role::ServiceRepresentative, &customer).await.display_name, "Li Lei");
    execute(&desk, "ALTER TABLE away RENAME TO audit_head").await;
    seen_for_a_purpose(&desk, Role::ServiceRepresentative, &customer).await;
    assert_eq!(verified(&desk).await, (1, vec![]));
}

#[tokio::test]
async fn a_purpose_that_is_none_is_refused_before_anything_is_done() {
    let desk = Desk::open().await;
    let long = format!("customer_care {}", "x".repeat(129));
    for purpose in ["", "because", "CUSTOMER_CARE", "unspecified", &long] {
        let message = create(named("Nobody"));
        let answer =
            desk.customers.clone().create_customer(with_purpose(Role::CrmSpecialist, purpose, message)).await;
        refused(answer, Code::InvalidArgument, "PURPOSE_INVALID");
    }
    let all =
        desk.customers.clone().list_customers(crate::desk::specialist(ListCustomersRequest::default())).await;
    assert!(all.unwrap().into_inner().customers.is_empty());
}

#[tokio::test]
async fn what_was_shown_masked_and_comes_back_does_not_become_the_value() {
    let mut desk = Desk::open().await;
    let customer = li_lei(&mut desk).await;
    let mut masked = seen_by(&desk, Role::Supervisor, &customer).await;
    masked.locale = "zh-CN".to_owned();

    // All that was shown, back as it is.
    let whole = UpdateCustomerRequest { customer: Some(masked.clone()), ..Default::default() };
    let answer = desk.customers.update_customer(request(Role::TechnicalSupport, whole)).await;
    let mut found = violations(answer);
    found.sort();
    assert_eq!(
        found,
        [
            "customer.addresses[0].city FIELD_MASKED",
            "customer.addresses[0].lines[0] FIELD_MASKED",
            "customer.addresses[0].postal_code FIELD_MASKED",
            "customer.addresses[0].region FIELD_MASKED",
            "customer.display_name FIELD_MASKED",
            "customer.emails[0].address FIELD_MASKED",
            "customer.phones[0].number FIELD_MASKED",
            "customer.phones[1].number FIELD_MASKED",
        ]
    );
    // Everything anew, by somebody who does not see everything: the birthday would be gone.
    let nothing = update(Customer { name: customer.name.clone(), ..named("Li Lei") }, &["*"]);
    let answer = desk.customers.update_customer(request(Role::ServiceManager, nothing.clone())).await;
    assert_eq!(violations(answer), ["update_mask FIELD_MASKED"]);
    // Nor by a new customer or an import.
    let copy = create(Customer { name: String::new(), external_reference: String::new(), ..masked.clone() });
    let answer = desk.customers.create_customer(request(Role::ServiceManager, copy)).await;
    assert_eq!(violations(answer).len(), 8);

    // The fields that were changed, by name; a real value without having seen the old one.
    let new = Phone { number: "+8613900139000".into(), ..Default::default() };
    let change = Customer { phones: vec![new], ..masked };
    let answer = desk
        .customers
        .update_customer(request(Role::TechnicalSupport, update(change, &["locale", "phones"])))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((answer.locale.as_str(), answer.phones[0].number.as_str()), ("zh-CN", "+86*******9000"));
    desk.kit.events.next().await;
    let now = seen_by(&desk, Role::CrmSpecialist, &customer).await;
    assert_eq!(now.phones[0].number, "+8613900139000");
    assert_eq!((now.display_name, now.emails), (customer.display_name, customer.emails));
    assert_eq!(
        (now.addresses, now.birthday, now.gender),
        (customer.addresses, customer.birthday, customer.gender)
    );
    // Who sees everything may give everything.
    desk.customers.update_customer(request(Role::CrmSpecialist, nothing)).await.unwrap();
    desk.kit.events.next().await;
    assert_eq!(desk.get(&customer.name).await.unwrap().birthday, None);
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer_as_its_caller_may_see_it() {
    let mut desk = Desk::open().await;
    let message = CreateCustomerRequest { request_id: cqm_testkit::request_id(), ..create(typed()) };
    let first = desk.customers.create_customer(request(Role::ServiceManager, message.clone())).await.unwrap();
    let first = first.into_inner();
    desk.kit.events.next().await;
    assert_eq!(first.phones[1].number, "+86*******8000");
    let again = desk.customers.create_customer(request(Role::ServiceManager, message.clone())).await.unwrap();
    assert_eq!(again.into_inner(), first);
    let clear = with_purpose(Role::ServiceManager, "data_maintenance", message);
    let clear = desk.customers.create_customer(clear).await.unwrap().into_inner();
    assert_eq!((clear.name, clear.phones[1].number.as_str()), (first.name, "+8613800138000"));
    assert_eq!(releases(&desk, ListReleasesRequest::default()).await.len(), 1);
}

async fn execute(desk: &Desk, statement: &str) {
    let call = cqm_rpc::Call::internal("test", std::time::Duration::from_secs(10));
    desk.kit
        .db
        .read(&call, "execute", async |conn| Ok::<_, cqm_rpc::Error>(conn.batch_execute(statement).await?))
        .await
        .unwrap();
}
