//! Coordinators share the sources, and whoever is left reads all of them.

use std::time::{Duration, Instant};

use cqm_proto::customers::v1::customer_service_client::CustomerServiceClient;
use cqm_proto::customers::v1::{CreateCustomerRequest, Customer};
use cqm_tests::{Bearer, Caller, Cluster, settled, sources};

/// What the death of a reader may cost: the sources' lease, and how often somebody looks.
const TAKEOVER: Duration = Duration::from_secs(5);

async fn create(staff: &Caller) {
    let request = CreateCustomerRequest {
        customer: Some(Customer { display_name: "Han Meimei".to_owned(), ..Customer::default() }),
        ..Default::default()
    };
    CustomerServiceClient::new(staff.clone()).create_customer(request).await.unwrap();
}

/// Waits until `reader` reads all sources to their ends, and tells how long that took.
async fn until_read_by(staff: &Caller, reader: &str) -> Duration {
    let started = Instant::now();
    loop {
        let sources = sources(staff).await;
        if sources.iter().all(|source| source.reader == reader && source.lag == 0) {
            return started.elapsed();
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{reader} does not take over: {sources:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_coordinator_dies_another_one_reads_its_sources_within_five_seconds() {
    let mut cluster = Cluster::start();
    let staff = Bearer::caller(cluster.address(), &cluster.token("service_manager"));
    settled(&staff).await;
    // A drain gives the sources back: the other one has them all.
    cluster.terminate("coordinator-1");
    until_read_by(&staff, "coordinator-2").await;
    cluster.restart("coordinator-1");
    // The new one is up, and stands by, when it has nothing.
    create(&staff).await;
    settled(&staff).await;

    cluster.kill("coordinator-2");
    create(&staff).await;
    let took = until_read_by(&staff, "coordinator-1").await;
    assert!(took < TAKEOVER, "the takeover took {took:?}");
    assert!(cluster.ended().is_empty());
}
