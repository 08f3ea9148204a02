//! Every process of the suite in one, on one machine: what `./scripts/dev up` runs and what journeys test.
//!
//! It is a composition and nothing else. Each service keeps its own database, its own address and its own drain;
//! they talk over TCP exactly as they do in a cluster.

mod secrets;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use cqm_gateway::backend::{Backend, Backends};
use cqm_gateway::config::IssuerConfig;
use cqm_gateway::coordinator::{self, CoordinatorConfig};
use cqm_gateway::edge::{self, EdgeConfig};
use cqm_rpc::{BoxError, Clock};
use cqm_runtime::config::{self, Settings};
use cqm_runtime::process::{self, Running, Service};
use cqm_runtime::server::Health;
use cqm_runtime::telemetry::TelemetryConfig;
use tokio_util::sync::CancellationToken;

pub use secrets::Secrets;

/// How long the services may take to be ready, their migrations already done.
const PATIENCE: Duration = Duration::from_secs(60);
/// What `cqm token` puts into its tokens.
const ISSUER: &str = "cqm-development";
const AUDIENCE: &str = "cqm";

/// What a suite on one machine needs to know.
pub struct Options {
    /// The gateway's address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// A Postgres connection string by service name.
    pub database: Box<dyn Fn(&str) -> String + Send + Sync>,
    pub redis_url: Option<String>,
    /// The folder that `cqm dev-keys` has made: what bearer tokens are checked by, and what the suite's passes are signed
    /// and checked by.
    pub keys: PathBuf,
    pub mail: Mail,
    pub secrets: Secrets,
    pub clock: Clock,
    /// Whether and how calls are traced; who initialises telemetry is the process itself.
    pub telemetry: TelemetryConfig,
}

/// Where mails go.
pub enum Mail {
    /// Files in a folder, one a mail.
    Mailbox(PathBuf),
    /// A mail server without encryption on this machine.
    Smtp { host: String, port: u16 },
}

/// The suite at work.
pub struct Suite {
    address: SocketAddr,
    health: Health,
    services: BTreeMap<&'static str, SocketAddr>,
    /// In the order in which they end: those that call before those that are called.
    layers: Vec<Layer>,
}

/// Processes that end together.
#[derive(Default)]
struct Layer {
    shutdown: CancellationToken,
    ends: Vec<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Layer {
    async fn end(self) {
        self.shutdown.cancel();
        for end in self.ends {
            end.await;
        }
    }
}

impl Suite {
    /// Migrates the databases, starts everything, and returns when the suite serves.
    pub async fn start(options: Options) -> Result<Self, BoxError> {
        let mut base = Layer::default();
        let mut services = BTreeMap::new();
        macro_rules! start {
            ($app:ty, $own:expr) => {
                let running = start::<$app>(&options, &$own, base.shutdown.clone()).await?;
                services.insert(<$app as Service>::NAME, running.address());
                base.ends.push(Box::pin(running.join()));
            };
        }
        start!(cqm_customer_data::App, customer_data(&options));
        start!(cqm_complaints::App, "");
        start!(cqm_surveys::App, surveys(&options));
        start!(cqm_notifications::App, notifications(&options));
        start!(cqm_loyalty::App, loyalty(&options));

        let backends = Backends::at(|backend: Backend| format!("http://{}", services[backend.name()]));
        let settings = gateway(&options, backends)?;
        let mut coordinator = Layer::default();
        let coordinating = CoordinatorConfig::from(&settings);
        let running = coordinator::start(coordinating, options.clock.clone(), coordinator.shutdown.clone())?;
        coordinator.ends.push(Box::pin(running.join()));
        let mut edge = Layer::default();
        let running =
            edge::start(EdgeConfig::from(&settings), options.clock.clone(), edge.shutdown.clone()).await?;
        let (address, health) = (running.address(), running.health().clone());
        edge.ends.push(Box::pin(running.join()));
        Ok(Self { address, health, services, layers: vec![edge, coordinator, base] })
    }

    /// Where callers call.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the edge tells balancers and probes.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Where each service itself listens.
    pub fn services(&self) -> &BTreeMap<&'static str, SocketAddr> {
        &self.services
    }

    /// Drains and ends everything, callers first.
    pub async fn stop(self) {
        for layer in self.layers {
            layer.end().await;
        }
    }
}

/// One service: its database brought up to date, then served.
async fn start<S: Service>(
    options: &Options,
    own: &str,
    shutdown: CancellationToken,
) -> Result<Running, BoxError> {
    let database = (options.database)(S::NAME);
    let redis = options.redis_url.as_ref().map_or_else(String::new, |url| {
        format!("redis_url = {}\nkey = {}\n", quoted(url), quoted(&options.secrets.cache_key))
    });
    let layer = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n{PLAINTEXT}{DRAIN}[database]\nurl = {}\n[cache]\n{redis}[service]\n{own}",
        quoted(&database),
    );
    let mut settings: Settings<S::Config> = config::layered(S::NAME, &[S::DEFAULTS, &layer])?;
    settings.telemetry = options.telemetry.clone();
    settings.passes.keys = options.keys.join("pass-keys.pem");
    for name in cqm_db::run(&settings.database, S::MIGRATIONS).await? {
        tracing::info!(service = S::NAME, migration = name, "migrated");
    }
    let mut running = process::start::<S>(settings, options.clock.clone(), shutdown).await?;
    tokio::time::timeout(PATIENCE, running.ready())
        .await
        .map_err(|_| format!("{} does not get ready", S::NAME))?;
    Ok(running)
}

/// Everything stays on one machine.
const PLAINTEXT: &str = "plaintext = true\n";
/// No balancer stands in front of a suite on one machine: nobody has to notice before the door closes.
const DRAIN: &str = "[server.drain]\nsettle = \"0s\"\ntimeout = \"10s\"\n";

fn customer_data(options: &Options) -> String {
    format!("report_keys = [{}]\n", quoted(&options.secrets.report_key))
}

fn surveys(options: &Options) -> String {
    // Nobody serves this page; the demo and the journeys take the token out of the link.
    format!(
        "public_url = \"http://localhost/survey/\"\ntoken_keys = [{}]\n",
        quoted(&options.secrets.token_key)
    )
}

fn loyalty(options: &Options) -> String {
    format!("voucher_keys = [{}]\n", quoted(&options.secrets.voucher_key))
}

fn notifications(options: &Options) -> String {
    match &options.mail {
        Mail::Mailbox(folder) => format!("mailbox = {}\n", quoted(&folder.to_string_lossy())),
        Mail::Smtp { host, port } => format!(
            "[service.smtp]\nhost = {}\nport = {port}\ntls = \"none\"\nfrom = \"CQM <service@example.com>\"\n",
            quoted(host),
        ),
    }
}

fn gateway(options: &Options, backends: Backends) -> Result<cqm_gateway::config::Settings, BoxError> {
    let redis =
        options.redis_url.as_ref().map_or_else(String::new, |url| format!("redis_url = {}\n", quoted(url)));
    let layer =
        format!("[server]\nlisten = \"{}\"\n{PLAINTEXT}{DRAIN}[service.quota]\n{redis}", options.listen);
    let mut settings: cqm_gateway::config::Settings =
        config::layered("gateway", &[cqm_gateway::config::DEFAULTS, &layer])?;
    settings.telemetry = options.telemetry.clone();
    settings.service.backends = backends;
    settings.service.passes.key = options.keys.join("pass-signing.pem");
    let issuer = IssuerConfig {
        internal_service: true,
        ..IssuerConfig::of_file(ISSUER, AUDIENCE, options.keys.join("jwks.json"))
    };
    settings.service.identity.issuers.insert("development".to_owned(), issuer);
    Ok(settings)
}

/// A text as TOML writes it. JSON's escapes are a subset of TOML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
