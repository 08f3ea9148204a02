//! Makes the recording that the coordinator's golden test replays.

use std::path::Path;

use cqm_proto::customers::v1::customer_service_client::CustomerServiceClient;
use cqm_proto::customers::v1::erasure::Ground;
use cqm_proto::customers::v1::erasure_service_client::ErasureServiceClient;
use cqm_proto::customers::v1::merge_service_client::MergeServiceClient;
use cqm_proto::customers::v1::{
    CancelErasureRequest, Customer, DeleteCustomerRequest, EraseCustomerRequest, LiftLegalHoldRequest,
    MergeCustomersRequest, PlaceLegalHoldRequest, UpdateCustomerRequest,
};
use cqm_proto::loyalty::v1::member_service_client::MemberServiceClient;
use cqm_proto::loyalty::v1::{CreateMemberRequest, GetMemberRequest};
use cqm_tests::customer::{Callers, Person, created, live, live_on};
use cqm_tests::{Bearer, Cluster, SERVICES, channel, settled};
use uuid::Uuid;

const RECORDING: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../services/gateway/src/coordinator/reactions/recorded-log.tsv");

fn fresh() -> String {
    Uuid::now_v7().to_string()
}

/// Two loops, one of which ends well, by a customer who was brought in by another one, and one who changes and
/// leaves, and one who is erased, and one who is known under two names.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "writes a file of the repository: ./scripts/record"]
async fn a_closed_loop_is_recorded() {
    let cluster = Cluster::start();
    let callers = Callers {
        staff: Bearer::caller(cluster.address(), &cluster.token("service_manager")),
        internal: Bearer::caller(cluster.address(), &cluster.token("internal_service")),
        stranger: channel(cluster.address()),
    };
    settled(&callers.staff).await;
    let first = live(&callers, &Person::anybody(), false).await;
    settled(&callers.staff).await;

    let mut members = MemberServiceClient::new(callers.staff.clone());
    let referrer = first.customer.replace("customers/", "members/");
    let referrer = GetMemberRequest { name: referrer };
    let code = members.get_member(referrer).await.unwrap().into_inner().referral_code;
    let mut customers = CustomerServiceClient::new(callers.staff.clone());
    let second = created(&callers, &Person::anybody()).await;
    let enrol = CreateMemberRequest { customer: second.clone(), referral_code: code, request_id: fresh() };
    members.create_member(enrol).await.unwrap();
    live_on(&callers, second.clone(), true).await;
    settled(&callers.staff).await;

    let changed = Customer { name: second.clone(), locale: "en".to_owned(), ..Customer::default() };
    let update = UpdateCustomerRequest { customer: Some(changed), request_id: fresh(), ..Default::default() };
    customers.update_customer(update).await.unwrap();
    let delete = DeleteCustomerRequest { name: second, request_id: fresh(), ..Default::default() };
    customers.delete_customer(delete).await.unwrap();
    settled(&callers.staff).await;

    let third = created(&callers, &Person::anybody()).await;
    settled(&callers.staff).await;
    let mut erasures = ErasureServiceClient::new(callers.staff.clone());
    let request = EraseCustomerRequest {
        customer: third,
        ground: Ground::Request.into(),
        request_id: fresh(),
        ..Default::default()
    };
    // Called off while something stands in the way, and asked for again.
    let hold = PlaceLegalHoldRequest {
        customer: request.customer.clone(),
        reference: "court/7".to_owned(),
        request_id: fresh(),
    };
    erasures.place_legal_hold(hold).await.unwrap();
    let name = erasures.erase_customer(request.clone()).await.unwrap().into_inner().name;
    settled(&callers.staff).await;
    erasures.cancel_erasure(CancelErasureRequest { name, request_id: fresh() }).await.unwrap();
    let lift = LiftLegalHoldRequest { customer: request.customer.clone(), request_id: fresh() };
    erasures.lift_legal_hold(lift).await.unwrap();
    settled(&callers.staff).await;
    erasures.erase_customer(EraseCustomerRequest { request_id: fresh(), ..request }).await.unwrap();
    settled(&callers.staff).await;

    let (old, new) =
        (created(&callers, &Person::anybody()).await, created(&callers, &Person::anybody()).await);
    settled(&callers.staff).await;
    let merge =
        MergeCustomersRequest { customer: old, survivor: new, request_id: fresh(), ..Default::default() };
    MergeServiceClient::new(callers.staff.clone()).merge_customers(merge).await.unwrap();
    settled(&callers.staff).await;

    let mut recording = String::new();
    for (service, database) in SERVICES {
        let sql = format!(
            "SELECT concat_ws(E'\\t', '{service}', log_id, event_log.position, event_id, type, encode(payload, 'hex'))
             FROM event_log CROSS JOIN event_head ORDER BY event_log.position"
        );
        recording.push_str(&cluster.postgres.sql(database, &sql));
    }
    std::fs::write(Path::new(RECORDING), recording).unwrap();
}
