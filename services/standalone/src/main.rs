//! `cqm-standalone`: the whole suite on one machine, as `./scripts/dev up` starts it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Parser;
use cqm_rpc::{BoxError, Clock};
use cqm_runtime::process::shutdown_on_signal;
use cqm_runtime::telemetry::{self, LogFormat, TelemetryConfig};
use cqm_standalone::{Mail, Options, Secrets, Suite};

/// All services, the gateway and the coordinator in one process.
#[derive(Parser)]
struct Arguments {
    /// Keys, secrets, mails and ready.json
    #[arg(long)]
    data: PathBuf,
    /// A Postgres connection string without a database: `host=/run/postgresql user=cqm`
    #[arg(long)]
    postgres: String,
    /// `redis://host:port` or `redis+unix:///path`; without it the cache stays in the process
    #[arg(long)]
    redis: Option<String>,
    /// The gateway's address
    #[arg(long)]
    listen: SocketAddr,
    /// An OpenTelemetry collector, `http://host:4317`
    #[arg(long)]
    otlp: Option<String>,
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let arguments = Arguments::parse();
    let telemetry = TelemetryConfig {
        format: LogFormat::Pretty,
        otlp_endpoint: arguments.otlp.clone(),
        sample: 1.0,
        ..TelemetryConfig::default()
    };
    let mut guard = telemetry::init(&telemetry, "standalone")?;
    let shutdown = shutdown_on_signal()?;

    let mail = arguments.data.join("mail");
    std::fs::create_dir_all(&mail)?;
    let postgres = arguments.postgres.clone();
    let options = Options {
        listen: arguments.listen,
        database: Box::new(move |service| format!("{postgres} dbname={}", service.replace('-', "_"))),
        redis_url: arguments.redis.clone(),
        jwks: arguments.data.join("keys/jwks.json"),
        mail: Mail::Mailbox(mail.clone()),
        secrets: Secrets::keep(&arguments.data)?,
        clock: Clock::system(),
        telemetry,
    };
    let suite = Suite::start(options).await?;
    say_ready(&arguments.data, &suite, &mail)?;
    tracing::info!(address = %suite.address(), "the suite serves");

    shutdown.cancelled().await;
    suite.stop().await;
    tokio::task::spawn_blocking(move || guard.flush()).await?;
    Ok(())
}

/// Tells whoever started the process that it serves, and where. Renamed into place: nobody reads half of it.
fn say_ready(data: &Path, suite: &Suite, mail: &Path) -> Result<(), BoxError> {
    let ready = serde_json::json!({
        "address": suite.address().to_string(),
        "services": suite.services(),
        "mail": mail,
    });
    let unfinished = data.join("ready.json.new");
    std::fs::write(&unfinished, serde_json::to_vec_pretty(&ready)?)?;
    std::fs::rename(unfinished, data.join("ready.json"))?;
    Ok(())
}
