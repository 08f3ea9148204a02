use cqm_customer_data::App;
use cqm_proto::customers::v1::customer_service_client::CustomerServiceClient;
use cqm_proto::customers::v1::*;
use cqm_runtime::process;
use cqm_testkit::settings;
use futures::future::join_all;

use crate::desk::*;

#[tokio::test]
async fn concurrent_updates_all_count() {
    let mut desk = Desk::open().await;
    let created = desk.created(named("Li Lei")).await;
    let rename = |round: i32| {
        let mut customers = desk.customers.clone();
        let customer = Customer { name: created.name.clone(), ..named(&format!("name {round}")) };
        async move { answer(customers.update_customer(specialist(update(customer, &["display_name"]))).await) }
    };
    let outcomes = join_all((0..10).map(rename)).await;
    let mut etags: Vec<String> = outcomes.into_iter().map(|outcome| outcome.unwrap().etag).collect();
    etags.sort_by_key(|etag| etag[1..].parse::<i64>().unwrap());
    assert_eq!(etags, (2..=11).map(|version| format!("v{version}")).collect::<Vec<_>>());
    let events = desk.events().await;
    let expected: Vec<_> =
        (2..=11).map(|version| ("CustomerUpdated".to_owned(), created.name.clone(), version)).collect();
    assert_eq!(events, expected, "one event a version, in order");
}

#[tokio::test]
async fn who_knows_a_version_never_reads_an_older_one_from_another_replica() {
    let mut desk = Desk::open().await;
    let settings = settings::<App>(desk.kit.database(), CONFIG);
    let stop = tokio_util::sync::CancellationToken::new();
    let mut replica = process::start::<App>(settings, desk.kit.clock.clone(), stop.clone()).await.unwrap();
    replica.ready().await;
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", replica.address())).unwrap();
    let mut other = CustomerServiceClient::new(channel.connect().await.unwrap());

    let mut known = desk.created(named("name 1")).await;
    for round in 2..20 {
        // The other replica has the row in its process, and would have it for seconds.
        let message = GetCustomerRequest { name: known.name.clone(), minimum_etag: known.etag.clone() };
        assert_eq!(other.get_customer(specialist(message)).await.unwrap().into_inner(), known);

        let customer = Customer { name: known.name.clone(), ..named(&format!("name {round}")) };
        known = answer(desk.customers.update_customer(specialist(update(customer, &["display_name"]))).await)
            .unwrap();
    }
    let message = GetCustomerRequest { name: known.name.clone(), minimum_etag: known.etag.clone() };
    assert_eq!(other.get_customer(specialist(message)).await.unwrap().into_inner(), known);
    assert_eq!(desk.events().await.len(), 18);
    drop(other);
    stop.cancel();
    replica.join().await;
}
