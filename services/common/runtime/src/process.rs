//! A service's process: its command line, its start, its end.
//!
//! ```ignore
//! fn main() -> std::process::ExitCode {
//!     cqm_runtime::process::main::<cqm_complaints::App>()
//! }
//! ```

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use cqm_db::log::Sequencer;
use cqm_db::{DatabaseConfig, Db, idempotency};
use cqm_proto::events::v1::event_feed_server;
use cqm_rpc::{BoxError, Call, Clock};
use serde::de::DeserializeOwned;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::cache::Cache;
use crate::config::{self, Settings, Validate};
use crate::event_feed;
use crate::server::{self, Health, Options, Shard};
use crate::tasks::{Backoff, Supervisor, detached};
use crate::telemetry::{self, Sampling};

/// How long workers may take to finish what they are doing once the server has drained. Too high: the
/// orchestrator kills the process first. Too low: deliveries are cut and done again by the next process.
const WORKERS_LIMIT: Duration = Duration::from_secs(5);
/// Between two looks for answers to forget. Too high: the table is larger than it need be. Too low: an idle
/// database is asked for nothing.
const FORGET_EVERY: Duration = Duration::from_secs(60);
/// Answers forgotten by one transaction.
const FORGET_BATCH: i64 = 1000;
/// What one turn of the sequencer, or of forgetting, may take.
const TURN_BUDGET: Duration = Duration::from_secs(10);
/// How long the database may take to say which migrations it has. Too high: a start hangs on a dead host. Too low:
/// a loaded database is never asked.
const PENDING_LIMIT: Duration = Duration::from_secs(5);
/// Of the process's connections, the part for background work: one in five, so that workers cannot starve calls.
const BACKGROUND_SHARE: usize = 5;

/// A service of the suite, as its process sees it.
pub trait Service: Clone + Send + Sync + Sized + 'static {
    /// `complaints`: in logs, traces and cache keys.
    const NAME: &'static str;
    /// The gRPC services it answers for, as in the contract: `cqm.complaints.v1.ComplaintService`. The event
    /// feed is added to every service and not named here.
    const SERVICES: &'static [&'static str];
    /// TOML over the suite's defaults.
    const DEFAULTS: &'static str;
    /// The `[service]` section.
    type Config: DeserializeOwned + Validate + Clone + Send + Sync + 'static;
    const MIGRATIONS: cqm_db::Migrations;

    /// Puts the service together on one runtime. Called once per shard, and once for the workers.
    fn new(base: Base, config: Self::Config) -> Result<Self, BoxError>;
    fn routes(&self) -> Routes;
    /// Starts the loops. Called once per process, when the database is as the binary expects it.
    fn workers(&self, supervisor: &Supervisor);
}

/// What a service works with, on one runtime. Values, never globals: six services run in one process.
#[derive(Clone)]
pub struct Base {
    pub db: Db,
    pub cache: Cache,
    pub clock: Clock,
}

impl Base {
    /// For background work: the smaller part of the connections.
    fn background<C>(settings: &Settings<C>, service: &str, clock: Clock) -> Result<Self, BoxError> {
        let (background, _) = shares(settings.database.max_connections, 1);
        let database = DatabaseConfig { max_connections: background, ..settings.database.clone() };
        Ok(Self {
            db: Db::new(database, settings.events.clone(), clock.clone())?,
            cache: Cache::new(&settings.cache, service)?,
            clock,
        })
    }

    /// For one shard: a pool that opens its connections there, and the same in-process cache.
    fn for_shard(&self, connections: usize) -> Result<Self, BoxError> {
        Ok(Self {
            db: self.db.sibling(connections)?,
            cache: self.cache.for_shard(),
            clock: self.clock.clone(),
        })
    }
}

/// Background work's connections and each shard's. Nobody gets none, so a very small total is exceeded.
fn shares(total: usize, shards: usize) -> (usize, usize) {
    let background = (total / BACKGROUND_SHARE).max(1);
    (background, (total.saturating_sub(background) / shards).max(1))
}

/// A service at work.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    ready: watch::Receiver<bool>,
    ended: JoinHandle<()>,
}

impl Running {
    /// Where it listens, the chosen port included.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it serves; `false` while the database is away or a migration is pending.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Returns when it serves, or when it never will because it has been stopped.
    pub async fn ready(&mut self) {
        let _ = self.ready.wait_for(|ready| *ready).await;
    }

    /// Returns when the drain is over and the workers have stopped.
    pub async fn join(self) {
        let _ = self.ended.await;
    }
}

/// Starts a service on the current runtime: binds, checks the database, serves. Returns at once when the
/// database is not as it should be, and becomes ready when it is. Cancel `shutdown` to end it.
pub async fn start<S: Service>(
    settings: Settings<S::Config>,
    clock: Clock,
    shutdown: CancellationToken,
) -> Result<Running, BoxError> {
    settings.validate()?;
    let background = Base::background(&settings, S::NAME, clock)?;
    let bound = server::bind(&settings.server)?;

    let mut names = S::SERVICES.to_vec();
    names.push(event_feed_server::SERVICE_NAME);
    let health = Health::new(&names);
    let options = Options {
        health: health.clone(),
        shutdown: shutdown.clone(),
        sampling: Sampling::of(&settings.telemetry),
    };

    let (base, config) = (background.clone(), settings.service.clone());
    let total = settings.database.max_connections;
    let make = move |shard: Shard| {
        let (_, connections) = shares(total, shard.count);
        let base = base.for_shard(connections)?;
        let feed = event_feed::server(base.db.clone(), shard.closing.clone());
        Ok(S::new(base, config.clone())?.routes().add_service(feed).prepare())
    };
    let server = bound.serve(options, make).await?;
    let address = server.address();

    let supervisor = Supervisor::default();
    let service = S::new(background.clone(), settings.service.clone())?;
    let (tell, ready) = watch::channel(false);
    let readiness = Readiness { database: settings.database, health, service, background, tell };
    if let Err(obstacle) = readiness.reach(&supervisor).await {
        supervisor.spawn_once("readiness", readiness.wait(obstacle, supervisor.clone()));
    }

    let ended = detached(async move {
        server.join().await;
        // After the drain: the calls at work may still need what the workers do.
        supervisor.shutdown(WORKERS_LIMIT).await;
    });
    Ok(Running { address, ready, ended })
}

/// The way from "started" to "serving".
struct Readiness<S> {
    database: DatabaseConfig,
    health: Health,
    service: S,
    background: Base,
    tell: watch::Sender<bool>,
}

impl<S: Service> Readiness<S> {
    /// Serves if the database has what this binary expects; otherwise says what is missing.
    async fn reach(&self, supervisor: &Supervisor) -> Result<(), String> {
        let pending = pending::<S>(&self.database)
            .await
            .map_err(|error| format!("the database cannot be asked for its migrations: {error}"))?;
        if !pending.is_empty() {
            return Err(format!("migrations are pending, run `migrate`: {}", pending.join(", ")));
        }
        sequence(self.background.db.clone(), supervisor);
        forget(self.background.clone(), supervisor);
        self.service.workers(supervisor);
        self.health.ready().await;
        self.tell.send_replace(true);
        tracing::info!(service = S::NAME, "serving");
        Ok(())
    }

    async fn wait(self, mut obstacle: String, supervisor: Supervisor) -> Result<(), BoxError> {
        tracing::warn!(service = S::NAME, obstacle, "not ready");
        let (stop, mut backoff) = (supervisor.stopping(), Backoff::default());
        loop {
            let pause = tokio::time::sleep(backoff.next_delay());
            if stop.run_until_cancelled(pause).await.is_none() {
                return Ok(());
            }
            match self.reach(&supervisor).await {
                Ok(()) => return Ok(()),
                // Said again only when it is something else.
                Err(other) if other != obstacle => {
                    tracing::warn!(service = S::NAME, obstacle = other, "not ready");
                    obstacle = other;
                }
                Err(_) => {}
            }
        }
    }
}

async fn pending<S: Service>(database: &DatabaseConfig) -> Result<Vec<String>, BoxError> {
    tokio::time::timeout(PENDING_LIMIT, cqm_db::pending(&database.url, S::MIGRATIONS)).await?
}

/// Gives the service's events their positions, for as long as the process lives.
fn sequence(db: Db, supervisor: &Supervisor) {
    let stop = supervisor.stopping();
    supervisor.spawn("sequencer", move || {
        let (db, stop) = (db.clone(), stop.clone());
        async move {
            while !stop.is_cancelled() {
                let call = Call::internal("sequence_events", TURN_BUDGET);
                let moved = Sequencer::turn(&db, &call).await?;
                if Sequencer::is_full(moved) {
                    continue;
                }
                let pause = crate::tasks::jittered(db.events().poll);
                tokio::select! {
                    () = db.appended().notified() => {}
                    () = tokio::time::sleep(pause) => {}
                    () = stop.cancelled() => {}
                }
            }
            Ok(())
        }
    });
}

/// Forgets the answers of requests that nobody repeats any more.
fn forget(base: Base, supervisor: &Supervisor) {
    let ticks = supervisor.every(FORGET_EVERY);
    supervisor.spawn("forget answers", move || {
        let (base, mut ticks) = (base.clone(), ticks.clone());
        async move {
            while ticks.next().await {
                let before = base.clock.now() - base.db.events().remember;
                loop {
                    let call = Call::internal("forget_answers", TURN_BUDGET);
                    let forgotten = base
                        .db
                        .tx_without_events(&call, "forget_answers", async |tx| {
                            idempotency::forget(tx, before, FORGET_BATCH).await
                        })
                        .await?;
                    if (forgotten as i64) < FORGET_BATCH {
                        break;
                    }
                }
            }
            Ok(())
        }
    });
}

/// A token that the first SIGTERM or SIGINT cancels. Must run inside a runtime.
pub fn shutdown_on_signal() -> std::io::Result<CancellationToken> {
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = shutdown.clone();
    detached(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("asked to stop");
        token.cancel();
    });
    Ok(shutdown)
}

/// The whole `main` of a service: `serve`, `migrate` or `check`.
pub fn main<S: Service>() -> ExitCode {
    let command = std::env::args().nth(1).unwrap_or_default();
    let Some(command) = Command::parse(&command) else {
        eprintln!("usage: {} serve | migrate | check", S::NAME);
        return ExitCode::from(2);
    };
    let settings: Settings<S::Config> = match config::load(S::NAME, S::DEFAULTS) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(async {
        match command {
            Command::Serve => serve::<S>(settings).await,
            Command::Migrate => migrate::<S>(settings).await,
            Command::Check => check::<S>(settings).await,
        }
    });
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", S::NAME);
            ExitCode::FAILURE
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Serve,
    Migrate,
    Check,
}

impl Command {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "serve" => Some(Self::Serve),
            "migrate" => Some(Self::Migrate),
            "check" => Some(Self::Check),
            _ => None,
        }
    }
}

async fn serve<S: Service>(settings: Settings<S::Config>) -> Result<(), BoxError> {
    let mut guard = telemetry::init(&settings.telemetry, S::NAME)?;
    let shutdown = shutdown_on_signal()?;
    let running = start::<S>(settings, Clock::system(), shutdown).await?;
    tracing::info!(service = S::NAME, address = %running.address(), "listening");
    running.join().await;
    tokio::task::spawn_blocking(move || guard.flush()).await?;
    Ok(())
}

async fn migrate<S: Service>(settings: Settings<S::Config>) -> Result<(), BoxError> {
    for name in cqm_db::run(&settings.database.url, S::MIGRATIONS).await? {
        eprintln!("applied {name}");
    }
    Ok(())
}

/// Says everything that is wrong, not only the first thing.
async fn check<S: Service>(settings: Settings<S::Config>) -> Result<(), BoxError> {
    let mut wrong = 0;
    match pending::<S>(&settings.database).await {
        Ok(pending) if pending.is_empty() => eprintln!("database: reachable, no migration pending"),
        Ok(pending) => {
            wrong += 1;
            eprintln!("database: migrations are pending, run `migrate`: {}", pending.join(", "));
        }
        Err(error) => {
            wrong += 1;
            eprintln!("database: {error}");
        }
    }
    match Cache::new(&settings.cache, S::NAME)?.check().await {
        Ok(()) => eprintln!("cache: in order"),
        // The service runs without it, only slower; still, somebody meant it to be there.
        Err(error) => {
            wrong += 1;
            eprintln!("cache: {error}");
        }
    }
    if wrong == 0 { Ok(()) } else { Err(format!("{wrong} of 2 checks failed").into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn background_work_gets_a_fifth_and_nobody_gets_none() {
        assert_eq!(shares(10, 1), (2, 8));
        assert_eq!(shares(10, 2), (2, 4));
        assert_eq!(shares(8, 2), (1, 3));
        assert_eq!(shares(1, 4), (1, 1));
    }
}
