//! The commands of a service.

use std::process::ExitCode;

use cqm_rpc::{BoxError, Clock};

use super::{Findings, Service, readiness, run, serving, start};
use crate::cache::Cache;
use crate::config::{self, Settings};

#[derive(Clone, Copy)]
enum Command {
    Serve,
    Migrate,
    Check,
}

/// The whole `main` of a service: `serve`, `migrate` or `check`.
pub fn main<S: Service>() -> ExitCode {
    let commands = [("serve", Command::Serve), ("migrate", Command::Migrate), ("check", Command::Check)];
    let load = || config::load(S::NAME, S::DEFAULTS);
    run(S::NAME, &commands, load, async |command, settings| match command {
        Command::Serve => serve::<S>(settings).await,
        Command::Migrate => migrate::<S>(settings).await,
        Command::Check => check::<S>(settings).await,
    })
}

async fn serve<S: Service>(settings: Settings<S::Config>) -> Result<(), BoxError> {
    let telemetry = settings.telemetry.clone();
    serving(&telemetry, S::NAME, async |shutdown| {
        let running = start::<S>(settings, Clock::system(), shutdown).await?;
        tracing::info!(service = S::NAME, address = %running.address(), "listening");
        running.join().await;
        Ok(())
    })
    .await
}

async fn migrate<S: Service>(settings: Settings<S::Config>) -> Result<(), BoxError> {
    for name in cqm_db::run(&settings.database.url, S::MIGRATIONS).await? {
        eprintln!("applied {name}");
    }
    Ok(())
}

async fn check<S: Service>(settings: Settings<S::Config>) -> Result<(), BoxError> {
    let mut findings = Findings::default();
    let database = readiness::expected(&settings.database, S::MIGRATIONS).await;
    findings.add("database", database.map(|()| "reachable, no migration pending"));
    // The service runs without it, only slower; still, somebody meant it to be there.
    let cache = Cache::new(&settings.cache, S::NAME)?.check().await;
    findings.add("cache", cache.map(|()| "in order"));
    findings.conclude()
}
