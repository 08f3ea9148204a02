//! `cqm-standalone`: the whole suite on one machine, as `./scripts/dev up` starts it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Parser;
use cqm_rpc::{BoxError, Clock};
use cqm_runtime::process::{Admin, serving};
use cqm_runtime::telemetry::{LogFormat, TelemetryConfig};
use cqm_standalone::{Mail, Options, Secrets, Suite};
use tokio_util::sync::CancellationToken;

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
    /// Where `/metrics` is answered
    #[arg(long)]
    admin: Option<SocketAddr>,
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let arguments = Arguments::parse();
    let telemetry = TelemetryConfig {
        format: LogFormat::Pretty,
        otlp_endpoint: arguments.otlp.clone(),
        sample: 1.0,
        listen: arguments.admin,
        ..TelemetryConfig::default()
    };
    serving(&telemetry.clone(), "standalone", async |shutdown| serve(arguments, telemetry, shutdown).await)
        .await
}

async fn serve(
    arguments: Arguments,
    telemetry: TelemetryConfig,
    shutdown: CancellationToken,
) -> Result<(), BoxError> {
    let mail = arguments.data.join("mail");
    std::fs::create_dir_all(&mail)?;
    let postgres = arguments.postgres;
    let options = Options {
        listen: arguments.listen,
        database: Box::new(move |service| format!("{postgres} dbname={}", service.replace('-', "_"))),
        redis_url: arguments.redis,
        keys: arguments.data.join("keys"),
        mail: Mail::Mailbox(mail.clone()),
        secrets: Secrets::keep(&arguments.data)?,
        clock: Clock::system(),
        telemetry: telemetry.clone(),
    };
    let suite = Suite::start(options).await?;
    let _admin = Admin::open(&telemetry, suite.health()).await?;
    say_ready(&arguments.data, &suite, &mail)?;
    tracing::info!(address = %suite.address(), "the suite serves");

    shutdown.cancelled().await;
    suite.stop().await;
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
