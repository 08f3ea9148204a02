//! The commands of a service.

use std::process::ExitCode;

use cqm_db::DatabaseConfig;
use cqm_rpc::{BoxError, Clock};

use super::{Admin, Findings, Service, readiness, run, serving, start};
use crate::cache::Cache;
use crate::config::{self, Settings};
use crate::pass::PassGate;
use crate::server;

#[derive(Clone, Copy)]
enum Command {
    Serve,
    Migrate,
    Check,
}

/// The whole `main` of a service: `serve`, `migrate` or `check`.
pub fn main<S: Service>() -> ExitCode {
    let commands = [("serve", Command::Serve), ("migrate", Command::Migrate), ("check", Command::Check)];
    let load = |command| {
        Ok(match command {
            Command::Serve => Work::Serve(config::load(S::NAME, S::DEFAULTS)?),
            Command::Migrate => Work::Migrate(config::load_database(S::NAME, S::DEFAULTS)?),
            Command::Check => Work::Check(config::load(S::NAME, S::DEFAULTS)?),
        })
    };
    run(S::NAME, &commands, load, async |work| match work {
        Work::Serve(settings) => serve::<S>(settings).await,
        Work::Migrate(database) => migrate::<S>(database).await,
        Work::Check(settings) => check::<S>(settings).await,
    })
}

/// A command and what it is configured by.
enum Work<C> {
    Serve(Settings<C>),
    Migrate(DatabaseConfig),
    Check(Settings<C>),
}

async fn serve<S: Service>(settings: Settings<S::Config>) -> Result<(), BoxError> {
    let telemetry = settings.telemetry.clone();
    serving(&telemetry, S::NAME, async |shutdown| {
        let running = start::<S>(settings, Clock::system(), shutdown).await?;
        tracing::info!(service = S::NAME, address = %running.address(), "listening");
        let _admin = Admin::open(&telemetry, running.health()).await?;
        running.join().await;
        Ok(())
    })
    .await
}

async fn migrate<S: Service>(database: DatabaseConfig) -> Result<(), BoxError> {
    for name in cqm_db::run(&database, S::MIGRATIONS).await? {
        eprintln!("applied {name}");
    }
    Ok(())
}

async fn check<S: Service>(settings: Settings<S::Config>) -> Result<(), BoxError> {
    let mut findings = Findings::default();
    findings.add("listener", server::check(&settings.server));
    let gate = PassGate::new(&settings.passes, S::NAME, Clock::system());
    findings.add("passes", gate.map(|_| "their keys can be read"));
    let database = readiness::expected(&settings.database, S::MIGRATIONS).await;
    findings.add("database", database.map(|()| "reachable, no migration pending"));
    // The service runs without it, only slower; still, somebody meant it to be there.
    let cache = Cache::new(&settings.cache, S::NAME)?.check().await;
    findings.add("cache", cache.map(|()| "in order"));
    findings.conclude()
}
