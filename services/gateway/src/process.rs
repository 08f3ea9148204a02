//! The gateway's process: its command line, its start, its end.

use std::process::ExitCode;
use std::time::Duration;

use cqm_rpc::{BoxError, Clock};
use cqm_runtime::channel;
use cqm_runtime::config;
use cqm_runtime::pass::Mint;
use cqm_runtime::process::{Admin, Findings, run, serving};
use cqm_runtime::server::{self, Health};

use crate::backend::{Backend, Backends, authority};
use crate::config::{DEFAULTS, Settings};
use crate::coordinator::CoordinatorConfig;
use crate::edge::{EdgeConfig, Identity};
use crate::{coordinator, edge};

/// How long `check` waits for a service.
const REACH: Duration = Duration::from_secs(1);

#[derive(Clone, Copy)]
enum Command {
    Serve,
    Coordinate,
    Check,
}

/// The whole `main`: `serve`, `coordinate` or `check`.
pub fn main() -> ExitCode {
    let commands =
        [("serve", Command::Serve), ("coordinate", Command::Coordinate), ("check", Command::Check)];
    let load = |command| Ok((command, config::load::<Settings>("gateway", DEFAULTS)?));
    run("cqm-gateway", &commands, load, async |(command, settings)| match command {
        Command::Serve => serve(&settings).await,
        Command::Coordinate => coordinate(&settings).await,
        Command::Check => check(&settings).await,
    })
}

async fn serve(settings: &Settings) -> Result<(), BoxError> {
    serving(&settings.telemetry, "gateway", async |shutdown| {
        if settings.service.identity.issuers.is_empty() {
            tracing::warn!("no issuer is configured: only methods that are open to customers can be called");
        }
        let running = edge::start(EdgeConfig::from(settings), Clock::system(), shutdown).await?;
        tracing::info!(address = %running.address(), "serving");
        let _admin = Admin::open(&settings.telemetry, running.health()).await?;
        running.join().await;
        Ok(())
    })
    .await
}

async fn coordinate(settings: &Settings) -> Result<(), BoxError> {
    serving(&settings.telemetry, "coordinator", async |shutdown| {
        let config = CoordinatorConfig::from(settings);
        let mut running = coordinator::start(config, Clock::system(), shutdown.clone())?;
        // Nobody calls it: ready when it reads, or stands by for who does.
        let health = Health::new(&[]);
        let _admin = Admin::open(&settings.telemetry, &health).await?;
        if shutdown.run_until_cancelled(running.ready()).await.is_some() {
            health.ready().await;
        }
        running.join().await;
        Ok(())
    })
    .await
}

async fn check(settings: &Settings) -> Result<(), BoxError> {
    let mut findings = Findings::default();
    findings.add("listener", server::check(&settings.server));
    let mint = Mint::new(&settings.service.passes, Clock::system());
    findings.add("passes", mint.map(|_| "their key can be read"));
    match Identity::new(&settings.service.identity, Clock::system()) {
        Ok(identity) => {
            for (issuer, keys) in identity.fetch().await {
                findings.add(issuer, keys.map(|count| format!("{count} keys")));
            }
        }
        Err(problem) => findings.add("identity", Err::<&str, _>(problem)),
    }
    for backend in Backend::ALL {
        findings.add(backend.name(), reach(&settings.service.backends, backend).await);
    }
    findings.conclude()
}

async fn reach(backends: &Backends, backend: Backend) -> Result<&'static str, BoxError> {
    let authority = authority(backends.address(backend)).ok_or("the address must be a URL")?;
    let tls = backends.tls(backend);
    tokio::time::timeout(REACH, channel::dial(&authority, tls)).await??;
    Ok(if tls.is_some() { "accepts connections by TLS" } else { "accepts connections, without TLS" })
}
