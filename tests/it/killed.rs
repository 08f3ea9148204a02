//! kill -9 of one of two processes of a service, while callers call who do not repeat by themselves: the gateway does, and
//! nobody notices.

use std::net::SocketAddr;
use std::process::Command;

use cqm_testkit::{TestDatabase, eventually};
use cqm_tests::{
    Addresses, Balancer, Bearer, Caller, Process, Redis, Site, binary, folder, gateway_configuration,
};
use secrecy::ExposeSecret;
use tokio::task::block_in_place;

use crate::rolling::{Load, Names, edge, serves};
use crate::upgrade::Deployment;

const SERVICE: &str = "complaints";
const CALLERS: usize = 4;
/// Calls that are answered between two steps.
const BETWEEN: usize = 200;
/// How often each process is killed.
const ROUNDS: usize = 3;

/// Two processes of the complaints' service.
struct Twins {
    deployment: Deployment,
    addresses: Addresses,
    _redis: Redis,
    // Last: the processes that use it are gone by then.
    folder: tempfile::TempDir,
}

impl Twins {
    /// They take passes that `keys` sign, or those of the tests.
    async fn start(keys: bool) -> Self {
        let folder = folder();
        let made = Command::new(binary("cqm")).arg("dev-keys").arg(folder.path().join("keys")).status();
        assert!(made.unwrap().success());
        let pass_keys = match keys {
            true => folder.path().join("keys/pass-keys.pem"),
            false => cqm_testkit::passes().keys,
        };
        let redis = Redis::start(folder.path());
        let database = TestDatabase::empty().await;
        let mut addresses = Addresses::draw();
        let deployment = block_in_place(|| {
            let site = Site { folder: folder.path(), pass_keys: &pass_keys, redis: &redis, more: "" };
            let program = binary(&format!("cqm-{SERVICE}"));
            let mut deployment =
                Deployment::start(&site, (SERVICE, database.url.expose_secret()), &mut addresses, &program);
            deployment.pods.iter_mut().for_each(|pod| pod.serves());
            deployment
        });
        Self { deployment, addresses, _redis: redis, folder }
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.deployment.pods.iter().map(|pod| pod.address.parse().unwrap()).collect()
    }

    /// Kills one and then the other, again and again. `down` is told who gets no connections until it is ready again, as a
    /// cluster's own services see to; `back` waits until one that is up again is at work, whose admin port it gets.
    async fn die(&mut self, load: &Load, down: impl Fn(Option<SocketAddr>), back: impl AsyncFn(&str)) {
        for _ in 0..ROUNDS {
            for pod in &mut self.deployment.pods {
                load.answer(BETWEEN).await;
                pod.process.kill();
                load.answer(BETWEEN).await;
                let address = pod.address.parse().unwrap();
                down(Some(address));
                pod.process.start();
                serves(&mut pod.process, address).await;
                down(None);
                back(pod.process.admin()).await;
            }
        }
        load.answer(BETWEEN).await;
    }
}

fn callers(address: &str, token: &str) -> Vec<Caller> {
    (0..CALLERS).map(|_| Bearer::caller(address, token)).collect()
}

/// Whether the process has answered calls since it was started.
async fn has_answered(admin: &str) -> bool {
    let told = cqm_testkit::get(admin, "/metrics").await;
    told.is_ok_and(|(_, text)| text.contains("RegisterComplaint") && text.contains("ListComplaints"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_killed_under_load_fails_no_call_and_loses_and_doubles_nothing() {
    let mut twins = Twins::start(false).await;
    let names = Names::default();
    names.set(SERVICE, twins.addresses());
    let (edge, token) = edge(&names, twins.folder.path()).await;
    let callers = callers(&edge.address().to_string(), &token);

    let load = Load::on_complaints(&callers, "It does not work");
    // Killed only while it is at work, every time.
    let at_work = async |admin: &str| eventually("calls for it", async || has_answered(admin).await).await;
    for pod in &twins.deployment.pods {
        at_work(pod.process.admin()).await;
    }
    twins.die(&load, |_| {}, at_work).await;
    load.end(callers[0].clone()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_behind_one_address_with_another_one_is_killed_under_load_and_nobody_notices() {
    // The gateway is a process of its own, too, and knows one address, as of a service that is not headless. Each kill but
    // perhaps the first one breaks all of its connections: after the one before there was nobody else to have them.
    let mut twins = Twins::start(true).await;
    let balancer = Balancer::before(twins.addresses()).await;
    let listen = twins.addresses.another();
    let (complaints, nowhere) = (balancer.address(), twins.addresses.another());
    let backends: String = cqm_tests::SERVICES
        .map(|(service, database)| match service {
            SERVICE => format!("{database} = \"http://{complaints}\"\n"),
            _ => format!("{database} = \"http://{nowhere}\"\n"),
        })
        .concat();
    let keys = twins.folder.path().join("keys");
    let configuration = gateway_configuration(&keys, &listen, "0s", &backends, "");
    let (program, admin) = (binary("cqm-gateway"), twins.addresses.another());
    let mut gateway = Process::new(twins.folder.path(), "gateway", program, "serve", &configuration, admin);
    gateway.start();
    serves(&mut gateway, listen.parse().unwrap()).await;
    let printed = Command::new(binary("cqm"))
        .args(["token", "--role", "service_manager", "--key"])
        .arg(keys.join("signing.pem"))
        .output();
    let token = String::from_utf8(printed.unwrap().stdout).unwrap();
    let callers = callers(&listen, token.trim());

    let load = Load::on_complaints(&callers, "It does not work");
    let all = twins.addresses();
    let down = |one| balancer.set(all.iter().copied().filter(|address| Some(*address) != one).collect());
    twins.die(&load, down, async |_| {}).await;
    load.end(callers[0].clone()).await;
    assert!(gateway.ended().is_none(), "{}", gateway.tail());
}
