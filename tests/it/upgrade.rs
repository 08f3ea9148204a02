//! From the version before to this one, as a deployment does it: the migrations while the old processes work, then one
//! process after another, and one of them back again.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cqm_testkit::environment;
use cqm_tests::{Addresses, Bearer, Postgres, Process, Redis, SERVICES, Site, binary, folder};

use crate::rolling::{Load, Names, edge};

const PODS: usize = 2;
/// Calls that are answered between two steps of the deployment.
const BETWEEN: usize = 50;
const PATIENCE: Duration = Duration::from_secs(30);

/// The processes of one service on one database.
pub(crate) struct Deployment {
    service: &'static str,
    pub(crate) pods: Vec<Pod>,
}

pub(crate) struct Pod {
    pub(crate) process: Process,
    pub(crate) address: String,
}

impl Deployment {
    /// Migrates the database and starts them; returns without waiting for them to serve.
    pub(crate) fn start(
        site: &Site<'_>,
        (service, url): (&'static str, &str),
        addresses: &mut Addresses,
        program: &Path,
    ) -> Self {
        let pods = (0..PODS)
            .map(|number| {
                let address = addresses.another();
                // The drain leaves the edge the time that it needs to hear of it.
                let configuration = site.service(service, &address, "500ms", url);
                let name = format!("{service}-{number}");
                let admin = addresses.another();
                let mut process =
                    Process::new(site.folder, &name, program.to_owned(), "serve", &configuration, admin);
                if number == 0 {
                    process.migrate();
                }
                process.start();
                Pod { process, address }
            })
            .collect();
        Self { service, pods }
    }

    /// Ends one process after its drain, and starts it as this program.
    fn replace(&mut self, number: usize, program: PathBuf) {
        let pod = &mut self.pods[number];
        pod.process.terminate();
        pod.process.becomes(program);
        pod.process.start();
        pod.serves();
    }
}

impl Pod {
    pub(crate) fn serves(&mut self) {
        let begin = Instant::now();
        while std::net::TcpStream::connect(&self.address).is_err() {
            assert!(begin.elapsed() < PATIENCE && self.process.ended().is_none(), "{}", self.process.tail());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the programs of the version before: ./scripts/test --only upgrade"]
async fn an_upgrade_from_the_version_before_fails_no_call_that_is_safe_to_repeat() {
    let before = PathBuf::from(environment("CQM_TEST_BEFORE"));
    let program = |service: &str| format!("cqm-{service}");
    let folder = folder();
    let postgres = Postgres::start(folder.path(), &SERVICES.map(|(_, database)| database));
    let redis = Redis::start(folder.path());
    let pass_keys = cqm_testkit::passes().keys;
    let site = Site { folder: folder.path(), pass_keys: &pass_keys, redis: &redis, more: "" };
    let (names, mut addresses) = (Names::default(), Addresses::draw());
    let mut deployments: Vec<Deployment> = SERVICES
        .into_iter()
        .map(|(service, database)| {
            let old = before.join(program(service));
            Deployment::start(&site, (service, &postgres.url(database)), &mut addresses, &old)
        })
        .collect();
    for deployment in &mut deployments {
        deployment.pods.iter_mut().for_each(Pod::serves);
        let pods = deployment.pods.iter().map(|pod| pod.address.parse().unwrap()).collect();
        names.set(deployment.service, pods);
    }
    let (edge, token) = edge(&names, folder.path()).await;
    let caller = Bearer::caller(&edge.address().to_string(), &token);

    let load = Load::start(std::slice::from_ref(&caller), "It does not work");
    for deployment in &mut deployments {
        let (old, new) = (before.join(program(deployment.service)), binary(&program(deployment.service)));
        load.answer(BETWEEN).await;
        tokio::task::block_in_place(|| {
            deployment.pods[0].process.becomes(new.clone());
            deployment.pods[0].process.migrate();
        });
        // The old ones on the new tables.
        load.answer(BETWEEN).await;
        tokio::task::block_in_place(|| deployment.replace(0, new.clone()));
        // Both side by side.
        load.answer(BETWEEN).await;
        tokio::task::block_in_place(|| deployment.replace(1, new.clone()));
        load.answer(BETWEEN).await;
        // Somebody thinks better of it: an old one comes back to tables that are new for good.
        tokio::task::block_in_place(|| deployment.replace(0, old));
        load.answer(BETWEEN).await;
        tokio::task::block_in_place(|| deployment.replace(0, new));
        load.answer(BETWEEN).await;
    }
    load.end(caller).await;
}
