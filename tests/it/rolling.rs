//! Every service and the gateway restarted, pod by pod, while callers call.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cqm_gateway::backend::{Backend, Backends};
use cqm_gateway::config::{IdentityConfig, IssuerConfig};
use cqm_gateway::edge::{self, EdgeConfig, Resolve};
use cqm_proto::complaints::v1::ListComplaintsRequest;
use cqm_proto::complaints::v1::complaint_service_client::ComplaintServiceClient;
use cqm_proto::customers::v1::ListCustomersRequest;
use cqm_proto::customers::v1::customer_service_client::CustomerServiceClient;
use cqm_proto::loyalty::v1::ListProgrammesRequest;
use cqm_proto::loyalty::v1::programme_service_client::ProgrammeServiceClient;
use cqm_proto::notifications::v1::ListTemplatesRequest;
use cqm_proto::notifications::v1::template_service_client::TemplateServiceClient;
use cqm_proto::surveys::v1::ListInvitationsRequest;
use cqm_proto::surveys::v1::invitation_service_client::InvitationServiceClient;
use cqm_rpc::Clock;
use cqm_runtime::config::{self, Settings};
use cqm_runtime::process::{self, Running, Service};
use cqm_runtime::server::{DrainConfig, ServerConfig, Shape};
use cqm_runtime::tasks::detached;
use cqm_testkit::{TestDatabase, environment, eventually};
use cqm_tests::{Addresses, Balancer, Bearer, Caller, Process, binary, channel, gateway_configuration};
use futures::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Response, Status};

use crate::contract::{about, register};
use crate::journey::Stage;

/// Any 32 bytes: the data is thrown away.
pub(crate) const KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
const PODS: usize = 2;

/// The addresses behind each service's name, as a headless service has them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names(Arc<Mutex<HashMap<String, Vec<SocketAddr>>>>);

impl Names {
    pub(crate) fn set(&self, service: &str, addresses: Vec<SocketAddr>) {
        self.0.lock().unwrap().insert(service.to_owned(), addresses);
    }
}

impl Resolve for Names {
    fn resolve<'a>(&'a self, host: &'a str, _: u16) -> BoxFuture<'a, std::io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(self.0.lock().unwrap().get(host).cloned().unwrap_or_default()) })
    }
}

/// One process of a service.
pub(crate) struct Pod {
    running: Running,
    shutdown: CancellationToken,
}

impl Pod {
    async fn start<S: Service>(settings: Settings<S::Config>) -> Self {
        let shutdown = CancellationToken::new();
        let mut running =
            process::start::<S>(settings, Clock::system(), shutdown.clone()).await.expect("the pod starts");
        running.ready().await;
        Self { running, shutdown }
    }
}

/// What a pod runs by, and the pod.
pub(crate) type Pods<C> = Vec<(Settings<C>, Pod)>;

/// Starts two pods of a service on one database.
async fn pods<S: Service>(names: &Names, own: &str) -> Pods<S::Config> {
    pods_with::<S>(names, own, |_| {}).await
}

/// The same, with settings but for what `change` does to them.
pub(crate) async fn pods_with<S: Service>(
    names: &Names,
    own: &str,
    change: impl Fn(&mut Settings<S::Config>),
) -> Pods<S::Config> {
    let database = TestDatabase::migrated(S::MIGRATIONS).await;
    let mut pods = Vec::new();
    for _ in 0..PODS {
        let layer = format!(
            "[cache]\nredis_url = \"{}\"\nkey = \"{KEY}\"\n[database]\nurl = \"unused\"\n[service]\n{own}",
            environment("CQM_TEST_REDIS_URL")
        );
        let mut settings: Settings<S::Config> =
            config::layered(S::NAME, &[S::DEFAULTS, &layer]).expect("the pod is configured");
        settings.database = database.config();
        settings.passes = cqm_testkit::passes();
        settings.server = ServerConfig {
            shape: Shape::MultiThread,
            // As long as the edge may need to hear of it.
            drain: DrainConfig { settle: Duration::from_millis(500), timeout: Duration::from_secs(10) },
            ..ServerConfig::on(SocketAddr::from(([127, 0, 0, 1], 0)))
        };
        change(&mut settings);
        let pod = Pod::start::<S>(settings.clone()).await;
        settings.server.listen = pod.running.address();
        pods.push((settings, pod));
    }
    let addresses = pods.iter().map(|(settings, _)| settings.server.listen).collect();
    names.set(S::NAME, addresses);
    pods
}

/// Restarts them one after another, as a deployment does.
async fn roll<S: Service>(pods: Pods<S::Config>, load: &Load) -> Pods<S::Config> {
    let mut rolled = Vec::new();
    for (settings, pod) in pods {
        load.answer(20).await;
        pod.shutdown.cancel();
        pod.running.join().await;
        load.answer(20).await;
        let pod = Pod::start::<S>(settings.clone()).await;
        rolled.push((settings, pod));
        load.answer(20).await;
    }
    rolled
}

/// Calls of callers who do not repeat them, over and over.
pub(crate) struct Load {
    over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    registered: Arc<AtomicUsize>,
    workers: Vec<JoinHandle<Result<(), Status>>>,
}

impl Load {
    /// Of each caller: reads of every service, and complaints that are registered.
    pub(crate) fn start(callers: &[Caller], subject: &str) -> Self {
        let mut load = Self::on_complaints(callers, subject);
        for caller in callers {
            macro_rules! read {
                ($client:ident, $method:ident, $request:ident) => {
                    let client = $client::new(caller.clone());
                    load.repeat(move || {
                        let mut client = client.clone();
                        async move { client.$method($request::default()).await }
                    });
                };
            }
            read!(CustomerServiceClient, list_customers, ListCustomersRequest);
            read!(ProgrammeServiceClient, list_programmes, ListProgrammesRequest);
            read!(TemplateServiceClient, list_templates, ListTemplatesRequest);
            read!(InvitationServiceClient, list_invitations, ListInvitationsRequest);
        }
        load
    }

    /// Of each caller: complaints that are registered, and lists of them.
    pub(crate) fn on_complaints(callers: &[Caller], subject: &str) -> Self {
        let (over, answered, registered) = Default::default();
        let mut load = Self { over, answered, registered, workers: Vec::new() };
        for caller in callers {
            let complaints = ComplaintServiceClient::new(caller.clone());
            let (registered, subject) = (Arc::clone(&load.registered), subject.to_owned());
            load.repeat(move || {
                let (mut client, registered) = (complaints.clone(), Arc::clone(&registered));
                let message = register(about(&subject));
                async move {
                    let answer = client.register_complaint(message).await?;
                    registered.fetch_add(1, Ordering::Relaxed);
                    Ok(answer)
                }
            });
            let complaints = ComplaintServiceClient::new(caller.clone());
            load.repeat(move || {
                let mut client = complaints.clone();
                async move { client.list_complaints(ListComplaintsRequest::default()).await }
            });
        }
        load
    }

    fn repeat<A: Send, W>(&mut self, call: impl Fn() -> W + Send + Sync + 'static)
    where
        W: Future<Output = Result<Response<A>, Status>> + Send + 'static,
    {
        let (over, answered) = (Arc::clone(&self.over), Arc::clone(&self.answered));
        self.workers.push(detached(async move {
            while !over.load(Ordering::Relaxed) {
                match call().await {
                    Ok(_) => answered.fetch_add(1, Ordering::Relaxed),
                    Err(status) if unsent(&status) => continue,
                    Err(status) => return Err(status),
                };
            }
            Ok(())
        }));
    }

    pub(crate) async fn answer(&self, more: usize) {
        let until = self.answered.load(Ordering::Relaxed) + more;
        eventually("answers", || async {
            // A worker that ended has failed; its word is better than the end of patience.
            self.answered.load(Ordering::Relaxed) >= until || self.workers.iter().any(JoinHandle::is_finished)
        })
        .await;
    }

    /// Ends it; fails when one call has, and when what was acknowledged is not there once.
    pub(crate) async fn end(self, caller: Caller) {
        self.over.store(true, Ordering::Relaxed);
        for worker in self.workers {
            worker.await.unwrap().unwrap();
        }
        let mut client = ComplaintServiceClient::new(caller);
        let mut found = 0;
        let mut page_token = String::new();
        loop {
            let message = ListComplaintsRequest { page_size: 200, page_token, ..Default::default() };
            let page = client.list_complaints(message).await.unwrap().into_inner();
            found += page.complaints.len();
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(found, self.registered.load(Ordering::Relaxed));
    }
}

/// Whether a call has never left its client: its connection had ended while it was still in line there. Clients of gRPC
/// send such a call over another connection by themselves; tonic hands it back.
fn unsent(status: &Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled) {
            return true;
        }
        source = error.source();
    }
    false
}

/// An edge in front of what the names name, and a service manager's token for it.
pub(crate) async fn edge(names: &Names, folder: &Path) -> (edge::Running, String) {
    let keys = folder.join("keys");
    assert!(Command::new(binary("cqm")).arg("dev-keys").arg(&keys).status().unwrap().success());
    let printed = Command::new(binary("cqm"))
        .args(["token", "--role", "service_manager", "--key"])
        .arg(keys.join("signing.pem"))
        .output()
        .unwrap();
    let token = String::from_utf8(printed.stdout).unwrap();
    let issuer = IssuerConfig::of_file("cqm-development", "cqm", keys.join("jwks.json"));
    let identity =
        IdentityConfig { issuers: [("development".to_owned(), issuer)].into(), ..IdentityConfig::default() };
    let server = ServerConfig::on(SocketAddr::from(([127, 0, 0, 1], 0)));
    let backends = Backends::at(|backend: Backend| format!("http://{}:50051", backend.name()));
    let mut config = EdgeConfig::new(server, backends, identity);
    config.resolver = Arc::new(names.clone());
    config.passes = cqm_testkit::signing();
    let running = edge::start(config, Clock::system(), CancellationToken::new()).await.unwrap();
    (running, token.trim().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_of_every_service_fails_no_call_that_is_safe_to_repeat() {
    let names = Names::default();
    let folder = tempfile::tempdir().unwrap();
    let mail = folder.path().join("mail");
    std::fs::create_dir(&mail).unwrap();
    let customer_data = pods::<cqm_customer_data::App>(&names, "").await;
    let complaints = pods::<cqm_complaints::App>(&names, "").await;
    let surveys = pods::<cqm_surveys::App>(
        &names,
        &format!("public_url = \"http://localhost/survey/\"\ntoken_keys = [\"{KEY}\"]\n"),
    )
    .await;
    let notifications =
        pods::<cqm_notifications::App>(&names, &format!("mailbox = \"{}\"\n", mail.display())).await;
    let loyalty = pods::<cqm_loyalty::App>(&names, &format!("voucher_keys = [\"{KEY}\"]\n")).await;
    let (edge, token) = edge(&names, folder.path()).await;
    let caller = Bearer::caller(&edge.address().to_string(), &token);

    let load = Load::start(std::slice::from_ref(&caller), "It does not work");
    let _kept = (
        roll::<cqm_customer_data::App>(customer_data, &load).await,
        roll::<cqm_complaints::App>(complaints, &load).await,
        roll::<cqm_surveys::App>(surveys, &load).await,
        roll::<cqm_notifications::App>(notifications, &load).await,
        roll::<cqm_loyalty::App>(loyalty, &load).await,
    );
    load.end(caller).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_of_the_gateway_fails_no_call() {
    // Nobody stands between the callers and the gateway who would repeat anything: what a gateway has let in, before and
    // after it has said that it goes, it answers.
    let stage = Stage::set().await;
    let mut addresses = Addresses::draw();
    let folder = tempfile::tempdir().unwrap();
    let backends: String = stage
        .suite
        .services()
        .iter()
        .map(|(service, address)| format!("{} = \"http://{address}\"\n", service.replace('-', "_")))
        .collect();
    let mut gateways: Vec<(Process, SocketAddr)> = (0..PODS)
        .map(|number| {
            let (listen, admin) = (addresses.another(), addresses.another());
            let configuration = gateway_configuration(stage.keys(), &listen, "500ms", &backends, "");
            let (name, program) = (format!("gateway-{number}"), binary("cqm-gateway"));
            let process = Process::new(folder.path(), &name, program, "serve", &configuration, admin);
            (process, listen.parse().unwrap())
        })
        .collect();
    let all: Vec<SocketAddr> = gateways.iter().map(|(_, address)| *address).collect();
    for (process, address) in &mut gateways {
        process.start();
        serves(process, *address).await;
    }
    let balancer = Balancer::before(all.clone()).await;
    let (address, token) = (balancer.address().to_string(), stage.token("service_manager"));
    // Each has a connection of its own: half of them at one gateway, half at the other.
    let callers: Vec<Caller> = (0..2 * PODS).map(|_| Bearer::caller(&address, &token)).collect();

    let load = Load::start(&callers, "It does not work");
    for _ in 0..2 {
        for (process, own) in &mut gateways {
            load.answer(200).await;
            balancer.set(all.iter().copied().filter(|address| address != own).collect());
            tokio::task::block_in_place(|| process.terminate());
            load.answer(100).await;
            process.start();
            serves(process, *own).await;
            balancer.set(all.clone());
        }
    }
    load.answer(100).await;
    load.end(callers[0].clone()).await;
    drop(gateways);
    stage.suite.stop().await;
}

/// Until the gateway answers calls, which is a moment after it listens. It refuses whoever has no token at once.
pub(crate) async fn serves(process: &mut Process, address: SocketAddr) {
    let mut complaints = ComplaintServiceClient::new(channel(&address.to_string()));
    eventually("a gateway", async || {
        assert!(process.ended().is_none(), "{}", process.tail());
        let refusal = complaints.list_complaints(ListComplaintsRequest::default()).await.unwrap_err();
        refusal.code() == Code::Unauthenticated
    })
    .await;
}
