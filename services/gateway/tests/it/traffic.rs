//! Calls and the pods that they go to: spread, moved away from what drains or fails, repeated where that is safe.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use cqm_gateway::backend::Backends;
use cqm_proto::customers::v1::customer_service_client::CustomerServiceClient;
use cqm_proto::customers::v1::{CreateCustomerRequest, Customer, GetCustomerRequest};
use cqm_rpc::{Error, Role, reason};
use cqm_runtime::server::ServerConfig;
use cqm_runtime::tasks::detached;
use cqm_testkit::{Door, eventually};
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::desk;
use crate::pods::{Names, Pair, Pod, noticed};
use crate::wire::{Edge, refused};

const WORKERS: usize = 16;

fn get() -> GetCustomerRequest {
    GetCustomerRequest { name: "customers/1".into(), ..Default::default() }
}

async fn client(edge: &Edge) -> CustomerServiceClient<Channel> {
    CustomerServiceClient::new(edge.channel().await)
}

/// Calls of many callers, one after another each, until they are told to stop.
struct Load {
    over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    workers: Vec<JoinHandle<Result<(), Status>>>,
}

impl Load {
    async fn on(edge: &Edge) -> Self {
        let (over, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let mut workers = Vec::new();
        for _ in 0..WORKERS {
            let (mut client, over, answered) = (client(edge).await, Arc::clone(&over), Arc::clone(&answered));
            let metadata = edge.request(Role::Supervisor, ()).metadata().clone();
            workers.push(detached(async move {
                while !over.load(Ordering::Relaxed) {
                    let mut request = Request::new(get());
                    *request.metadata_mut() = metadata.clone();
                    client.get_customer(request).await?;
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            }));
        }
        Self { over, answered, workers }
    }

    /// Returns when so many more calls have been answered.
    async fn answer(&self, more: usize) {
        let until = self.answered.load(Ordering::Relaxed) + more;
        eventually("answers", || async {
            // A worker that ended has failed; its word is better than the end of patience.
            self.answered.load(Ordering::Relaxed) >= until || self.workers.iter().any(JoinHandle::is_finished)
        })
        .await;
    }

    /// Fails when one call has.
    async fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        for worker in self.workers {
            worker.await.unwrap().unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_spread_over_the_pods_of_a_name() {
    let pair = Pair::start().await;
    let load = Load::on(&pair.edge).await;
    load.answer(1000).await;
    load.end().await;
    let seen = pair.seen();
    let all = seen[0] + seen[1];
    assert!(seen.iter().all(|count| count * 3 > all), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_systems_resolver_finds_the_pods() {
    // Behind every loopback address that the machine has for the name; where it has another one beside 127.0.0.1, nobody
    // listens there, and no call is lost to it.
    let pod = Pod::start(desk::config()).await;
    let port = pod.address.port();
    let edge = Edge::before(Backends::at(|_| format!("http://localhost:{port}"))).await;
    let mut client = client(&edge).await;
    for _ in 0..50 {
        client.get_customer(edge.request(Role::Supervisor, get())).await.unwrap();
    }
    assert_eq!(pod.desk.all().len(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_come_and_go_are_found_without_a_restart() {
    let pair = Pair::start().await;
    let [first, second] = &pair.pods;
    pair.names.say(&[first.address]);
    let mut client = client(&pair.edge).await;
    let mut call = async || client.get_customer(pair.edge.request(Role::Supervisor, get())).await.unwrap();
    eventually("the second one's end", async || {
        let before = second.desk.all().len();
        for _ in 0..20 {
            call().await;
        }
        second.desk.all().len() == before
    })
    .await;
    pair.names.say(&[second.address]);
    eventually("the first one's end", async || {
        let before = first.desk.all().len();
        for _ in 0..20 {
            call().await;
        }
        first.desk.all().len() == before
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_server_that_is_silent_takes_no_pods_away() {
    let pair = Pair::start().await;
    pair.names.say(&[]);
    let load = Load::on(&pair.edge).await;
    load.answer(500).await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_drains_gets_no_new_calls() {
    // It says that it does not serve, and answers whoever comes all the same, for as long as the test lasts.
    let mut config = desk::config();
    config.drain.settle = crate::PATIENCE * 10;
    let pair = Pair::configured(config, |_| {}).await;
    let load = Load::on(&pair.edge).await;
    load.answer(100).await;
    pair.pods[0].dismiss();
    eventually("calls for the other one alone", || async {
        let [before, others] = pair.seen();
        load.answer(100).await;
        let [after, others_after] = pair.seen();
        after == before && others_after > others
    })
    .await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_killed_under_load_harms_no_call_that_is_safe_to_repeat() {
    let pods = [Pod::start(desk::config()).await, Pod::start(desk::config()).await];
    let door = Door::to_server(pods[0].address).await;
    let names = Names::default();
    names.say(&[door.address(), pods[1].address]);
    let edge = Pair::edge(&names, |_| {}).await;
    let load = Load::on(&edge).await;
    for _ in 0..3 {
        load.answer(300).await;
        assert!(!pods[0].desk.all().is_empty());
        // Every connection breaks in the middle of what it does, and new ones as well.
        door.close();
        load.answer(300).await;
        door.reopen();
        let before = pods[0].desk.all().len();
        eventually("calls for the pod that is back", || async { pods[0].desk.all().len() > before }).await;
    }
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_under_load_harms_no_call_that_is_safe_to_repeat() {
    let mut pair = Pair::configured(noticed(), |_| {}).await;
    let load = Load::on(&pair.edge).await;
    for _ in 0..2 {
        for pod in &mut pair.pods {
            load.answer(100).await;
            pod.restart().await;
            let before = pod.desk.all().len();
            eventually("calls for the new process", || async { pod.desk.all().len() > before }).await;
        }
    }
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_that_nobody_was_told_of_harms_no_call_that_is_safe_to_repeat() {
    // The door closes at once: what has not left moves on, what was refused or broken off is repeated.
    let mut pair = Pair::start().await;
    let load = Load::on(&pair.edge).await;
    for pod in &mut pair.pods {
        load.answer(200).await;
        pod.restart().await;
        let before = pod.desk.all().len();
        eventually("calls for the new process", || async { pod.desk.all().len() > before }).await;
    }
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_only_fails_is_put_out() {
    let pair = Pair::configured(desk::config(), |config| {
        config.traffic.eject_after = 3;
        config.traffic.ejection = Duration::from_secs(600);
        config.traffic.ejection_cap = Duration::from_secs(600);
    })
    .await;
    pair.pods[0].desk.on::<Customer>("GetCustomer", |_| {
        Err(Error::Unavailable { reason: reason::STORAGE_UNAVAILABLE, source: None })
    });
    let mut client = client(&pair.edge).await;
    for _ in 0..200 {
        client.get_customer(pair.edge.request(Role::Supervisor, get())).await.unwrap();
    }
    // One connection of the caller is one shard of the edge.
    assert_eq!(pair.seen(), [3, 200]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overloaded_pod_is_not_put_out() {
    let pair = Pair::configured(desk::config(), |config| {
        config.traffic.eject_after = 1;
        config.traffic.ejection = Duration::from_secs(600);
        config.traffic.ejection_cap = Duration::from_secs(600);
        config.traffic.tries = 1;
    })
    .await;
    for pod in &pair.pods {
        pod.desk.on::<Customer>("GetCustomer", |_| {
            Err(Error::Unavailable { reason: reason::OVERLOADED, source: None })
        });
    }
    let mut client = client(&pair.edge).await;
    for _ in 0..60 {
        let answer = client.get_customer(pair.edge.request(Role::Supervisor, get())).await;
        assert_eq!(refused(answer), (Code::Unavailable, "OVERLOADED".into()));
    }
    let seen = pair.seen();
    assert!(seen.iter().all(|count| *count > 10), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mutation_is_repeated_only_with_a_request_id() {
    let pair = Pair::start().await;
    for pod in &pair.pods {
        pod.desk.on::<Customer>("CreateCustomer", |_| {
            Err(Error::Unavailable { reason: reason::OUTCOME_UNKNOWN, source: None })
        });
    }
    let mut client = client(&pair.edge).await;
    // Each asks to be left alone for 200 ms: that is waited for once, and then the caller is told.
    for (request_id, sent) in [(String::new(), 1), (cqm_testkit::request_id(), 2)] {
        let before: usize = pair.seen().iter().sum();
        let message = CreateCustomerRequest { request_id, ..Default::default() };
        let answer = client.create_customer(pair.edge.request(Role::ServiceManager, message)).await;
        assert_eq!(refused(answer), (Code::Unavailable, "OUTCOME_UNKNOWN".into()));
        let after: usize = pair.seen().iter().sum();
        assert_eq!(after - before, sent);
    }
    // The same bytes each time.
    let all: Vec<_> = pair.pods.iter().flat_map(|pod| pod.desk.all()).collect();
    let repeated: Vec<_> = all.iter().filter(|seen| !seen.message.is_empty()).collect();
    assert!(repeated.len() == 2 && repeated.iter().all(|seen| seen.message == repeated[0].message));
}

#[tokio::test(flavor = "multi_thread")]
async fn repeats_end_with_their_budget() {
    let pair = Pair::configured(desk::config(), |config| {
        config.traffic.repeat_percent = 0;
        config.traffic.repeat_reserve = 1;
    })
    .await;
    for pod in &pair.pods {
        pod.desk.on::<Customer>("GetCustomer", |_| {
            Err(Error::Unavailable { reason: reason::STORAGE_UNAVAILABLE, source: None })
        });
    }
    let client = client(&pair.edge).await;
    let calls = (0..40).map(|_| {
        let mut client = client.clone();
        let request = pair.edge.request(Role::Supervisor, get());
        async move { client.get_customer(request).await }
    });
    for answer in futures::future::join_all(calls).await {
        assert_eq!(refused(answer), (Code::Unavailable, "STORAGE_UNAVAILABLE".into()));
    }
    // One a second over ten seconds, whatever happens.
    let seen: usize = pair.seen().iter().sum();
    assert!((41..=50).contains(&seen), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_repeat_comes_after_the_deadline() {
    let pair = Pair::start().await;
    for pod in &pair.pods {
        // Asks to be left alone for 200 ms.
        pod.desk.on::<Customer>("GetCustomer", |_| {
            Err(Error::Unavailable { reason: reason::STORAGE_UNAVAILABLE, source: None })
        });
    }
    let mut client = client(&pair.edge).await;
    let mut request = pair.edge.request(Role::Supervisor, get());
    request.set_timeout(Duration::from_millis(150));
    let answer = client.get_customer(request).await;
    assert_eq!(refused(answer), (Code::Unavailable, "STORAGE_UNAVAILABLE".into()));
    assert_eq!(pair.seen().iter().sum::<usize>(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_calls_than_one_connection_takes_do_not_wait_for_each_other() {
    // Streams that nobody ends, more than a service takes on one connection, and then a call.
    let pod = Pod::start(ServerConfig { bulk_share_percent: 100, ..desk::config() }).await;
    let names = Names::default();
    names.say(&[pod.address]);
    let edge = Pair::edge(&names, |config| {
        config.server.bulk_share_percent = 100;
        config.quota.bulk.burst = 1000;
    })
    .await;
    let mut streams = Vec::new();
    let mut channels = Vec::new();
    for _ in 0..4 {
        let mut client = client(&edge).await;
        for _ in 0..70 {
            let (rows, stream) = tokio::sync::mpsc::channel(1);
            let request =
                edge.request(Role::ServiceManager, tokio_stream::wrappers::ReceiverStream::new(stream));
            streams.push(client.import_customers(request).await.unwrap());
            channels.push(rows);
        }
    }
    let mut client = client(&edge).await;
    client.get_customer(edge.request(Role::Supervisor, get())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_of_a_service_is_what_its_pods_say() {
    let mut config = desk::config();
    config.drain.settle = crate::PATIENCE * 10;
    let pair = Pair::configured(config, |_| {}).await;
    let wire = pair.edge.wire().await;
    let serving = async |service: &str| {
        let request = tonic_health::pb::HealthCheckRequest { service: service.to_owned() };
        let message = prost::Message::encode_to_vec(&request);
        wire.call("/grpc.health.v1.Health/Check", &[], &message).await.body.ends_with(b"\x08\x01")
    };
    let service = "cqm.customers.v1.CustomerService";
    eventually("the service", || serving(service)).await;
    pair.pods[0].dismiss();
    // One of two is enough.
    eventually("the news", || async {
        let before = pair.pods[0].desk.all().len();
        let mut client = client(&pair.edge).await;
        for _ in 0..20 {
            client.get_customer(pair.edge.request(Role::Supervisor, get())).await.unwrap();
        }
        pair.pods[0].desk.all().len() == before
    })
    .await;
    assert!(serving(service).await);
    pair.pods[1].dismiss();
    eventually("the end of the service", || async { !serving(service).await }).await;
    // The gateway itself is well: it answers for five services.
    assert!(serving("").await);
    assert!(serving("cqm.gateway.v1.Customer360Service").await);
}
