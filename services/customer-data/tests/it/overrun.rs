//! What Postgres still does for callers whose deadline has passed or who have hung up.

use std::time::Duration;

use cqm_customer_data::App;
use cqm_proto::customers::v1::customer_service_client::CustomerServiceClient;
use cqm_proto::customers::v1::*;
use cqm_runtime::process;
use cqm_runtime::tasks::detached;
use cqm_testkit::{eventually, settings};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

use crate::desk::*;

/// Longer than any deadline of these tests: only a deadline can end the work, or the end of its caller.
const NEVER: Duration = Duration::from_secs(60);

struct Held {
    desk: Desk,
    customers: CustomerServiceClient<Channel>,
    /// Holds the table as long as it is there.
    _holder: AsyncPgConnection,
    _stop: tokio_util::sync::DropGuard,
}

impl Held {
    /// A service whose every statement on customers waits.
    async fn start() -> Self {
        let desk = Desk::open().await;
        let mut settings = settings::<App>(desk.kit.database(), CONFIG);
        settings.database.lock_timeout = NEVER;
        let stop = tokio_util::sync::CancellationToken::new();
        let mut replica =
            process::start::<App>(settings, desk.kit.clock.clone(), stop.clone()).await.unwrap();
        replica.ready().await;
        let channel = Endpoint::from_shared(format!("http://{}", replica.address())).unwrap();
        let customers = CustomerServiceClient::new(channel.connect().await.unwrap());
        let url = secrecy::ExposeSecret::expose_secret(&desk.kit.database().url).to_owned();
        let mut holder = AsyncPgConnection::establish(&url).await.unwrap();
        holder.batch_execute("BEGIN; LOCK TABLE customers IN ACCESS EXCLUSIVE MODE").await.unwrap();
        Self { desk, customers, _holder: holder, _stop: stop.drop_guard() }
    }

    /// Sessions that wait for the table: as pg_stat_activity has them, of this test's own table.
    async fn working(&self) -> i64 {
        let waiting = "pg_stat_activity AS activity JOIN pg_locks AS held USING (pid) \
                       WHERE activity.state = 'active' AND held.relation = 'customers'::regclass AND NOT held.granted";
        self.desk.kit.count(waiting).await
    }
}

fn get(within: Duration) -> Request<GetCustomerRequest> {
    let mut request = specialist(GetCustomerRequest { name: NOBODY.to_owned(), ..Default::default() });
    request.set_timeout(within);
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_works_for_a_caller_whose_deadline_has_passed() {
    let held = Held::start().await;
    let within = Duration::from_millis(400);
    let mut calls = Vec::new();
    for number in 0..4 {
        let mut customers = held.customers.clone();
        calls.push(detached(async move {
            // Whose clock ends the call, the client's or the service's, is chance.
            if number % 2 == 0 {
                customers.get_customer(get(within)).await.unwrap_err();
            } else {
                let mut request = specialist(create(named("Li Lei")));
                request.set_timeout(within);
                customers.create_customer(request).await.unwrap_err();
            }
        }));
    }
    eventually("the work", || async { held.working().await > 0 }).await;
    for call in calls {
        call.await.unwrap();
    }
    eventually("the end of all work", || async { held.working().await == 0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_works_for_a_caller_who_has_hung_up() {
    let held = Held::start().await;
    let calls: Vec<_> = (0..3)
        .map(|_| {
            let mut customers = held.customers.clone();
            // As long as a call may take.
            detached(async move { customers.get_customer(get(Duration::from_secs(30))).await })
        })
        .collect();
    eventually("the work", || async { held.working().await > 0 }).await;
    let begin = std::time::Instant::now();
    for call in calls {
        call.abort();
    }
    eventually("the end of all work", || async { held.working().await == 0 }).await;
    assert!(begin.elapsed() < Duration::from_secs(25), "it was the deadline that ended it");
}
