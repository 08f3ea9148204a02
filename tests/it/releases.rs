//! Personal data on its way through the gateway: masked, released for a purpose, and found again by the supervisor.

use cqm_proto::audit::v1::audit_service_client::AuditServiceClient;
use cqm_proto::audit::v1::{ListReleasesRequest, VerifyAuditRequest};
use cqm_proto::customers::v1::customer_service_client::CustomerServiceClient;
use cqm_proto::customers::v1::{CreateCustomerRequest, Customer, GetCustomerRequest, Phone};
use cqm_proto::gateway::v1::GetCustomer360Request;
use cqm_proto::gateway::v1::customer360_service_client::Customer360ServiceClient;
use cqm_proto::options::v1::Purpose;
use cqm_rpc::Failure;
use cqm_tests::Bearer;
use tonic::Request;

use crate::journey::Stage;

/// A request with metadata of the suite.
fn with<M>(name: &'static str, value: &str, message: M) -> Request<M> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(name, value.parse().unwrap());
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_representative_needs_is_released_for_a_purpose_and_the_supervisor_finds_it() {
    let stage = Stage::set().await;
    let address = stage.suite.address().to_string();
    let as_role = |role: &str| Bearer::caller(&address, &stage.token(role));
    let person = Customer {
        display_name: "Han Meimei".to_owned(),
        phones: vec![Phone { number: "+8613800134321".to_owned(), ..Default::default() }],
        ..Default::default()
    };
    let message = CreateCustomerRequest { customer: Some(person), ..Default::default() };
    let mut specialist = CustomerServiceClient::new(as_role("crm_specialist"));
    let name = specialist.create_customer(message).await.unwrap().into_inner().name;
    let get = GetCustomerRequest { name: name.clone(), ..Default::default() };

    let mut customers = CustomerServiceClient::new(as_role("service_representative"));
    let masked = customers.get_customer(get.clone()).await.unwrap().into_inner();
    assert_eq!(
        (masked.display_name.as_str(), masked.phones[0].number.as_str()),
        ("Han Meimei", "+86*******4321")
    );
    let purpose = "complaint_handling complaints/7";
    let clear =
        customers.get_customer(with("x-cqm-purpose", purpose, get.clone())).await.unwrap().into_inner();
    assert_eq!(clear.phones[0].number, "+8613800134321");
    let refused = customers.get_customer(with("x-cqm-purpose", "curiosity", get)).await.unwrap_err();
    assert_eq!(Failure::of(&refused).reason, "PURPOSE_INVALID");

    // The same through the view over all services.
    let view = GetCustomer360Request { customer: name.clone(), ..Default::default() };
    let mut views = Customer360ServiceClient::new(as_role("service_representative"));
    let number = |answer: cqm_proto::gateway::v1::GetCustomer360Response| {
        answer.profile.unwrap().customer.unwrap().phones.remove(0).number
    };
    let masked = views.get_customer360(view.clone()).await.unwrap().into_inner();
    assert_eq!(number(masked), "+86*******4321");
    let clear = views.get_customer360(with("x-cqm-purpose", purpose, view)).await.unwrap().into_inner();
    assert_eq!(number(clear), "+8613800134321");

    // Written down where the data is, once for each answer, by the caller's own name.
    let mut audit = AuditServiceClient::new(as_role("supervisor"));
    let filter = ListReleasesRequest { customer: name.clone(), ..Default::default() };
    let list = with("x-cqm-source", "customer-data", filter.clone());
    let releases = audit.list_releases(list).await.unwrap().into_inner().releases;
    assert_eq!(releases.len(), 2);
    for release in &releases {
        assert_eq!(
            (release.purpose(), release.reference.as_str()),
            (Purpose::ComplaintHandling, "complaints/7")
        );
        assert_eq!(release.customers, std::slice::from_ref(&name));
        assert!(!release.caller.is_empty());
    }
    let elsewhere = audit.list_releases(with("x-cqm-source", "loyalty", filter.clone())).await.unwrap();
    assert!(elsewhere.into_inner().releases.is_empty());
    let verify = with("x-cqm-source", "customer-data", VerifyAuditRequest::default());
    let mut answers = audit.verify_audit(verify).await.unwrap().into_inner();
    let mut last = None;
    while let Some(answer) = answers.message().await.unwrap() {
        last = Some(answer);
    }
    let last = last.unwrap();
    assert!(last.done && last.faults_total == 0 && last.checked == 2, "{last:?}");

    // Nobody else does, and not without saying whose.
    let mut audit = AuditServiceClient::new(as_role("service_manager"));
    let denied =
        audit.list_releases(with("x-cqm-source", "customer-data", filter.clone())).await.unwrap_err();
    assert_eq!(Failure::of(&denied).reason, "ROLE_MISSING");
    let mut audit = AuditServiceClient::new(as_role("supervisor"));
    let nowhere = audit.list_releases(filter).await.unwrap_err();
    assert_eq!(Failure::of(&nowhere).reason, "SOURCE_UNKNOWN");
    stage.suite.stop().await;
}
