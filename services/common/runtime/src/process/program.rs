//! What every program of the suite is around its work: a command, a configuration, a runtime, an exit code.

use std::fmt::Display;
use std::process::ExitCode;

use cqm_rpc::BoxError;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::descriptors;
use crate::config::ConfigError;
use crate::tasks::{chain, detached};
use crate::telemetry::{self, TelemetryConfig};

/// The whole `main` of a program that has `commands`: reads which one is meant, loads what that is configured by
/// and works on a runtime. Exits with 2 when command or configuration are not understood, with 1 when the work failed.
pub fn run<C: Copy, S>(
    name: &str,
    commands: &[(&str, C)],
    load: impl FnOnce(C) -> Result<S, ConfigError>,
    work: impl AsyncFnOnce(S) -> Result<(), BoxError>,
) -> ExitCode {
    let given = std::env::args().nth(1).unwrap_or_default();
    let Some((_, command)) = commands.iter().find(|(word, _)| *word == given) else {
        let words: Vec<&str> = commands.iter().map(|(word, _)| *word).collect();
        eprintln!("usage: {name} {}", words.join(" | "));
        return ExitCode::from(2);
    };
    let settings = match load(*command) {
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
    let outcome = runtime.block_on(work(settings));
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// Serves until the first SIGTERM or SIGINT cancels the token: telemetry is set up before, and what is still on its
/// way to the collector is sent after.
pub async fn serving(
    telemetry: &TelemetryConfig,
    name: &str,
    serve: impl AsyncFnOnce(CancellationToken) -> Result<(), BoxError>,
) -> Result<(), BoxError> {
    let mut guard = telemetry::init(telemetry, name)?;
    descriptors::raise();
    let outcome = serve(shutdown_on_signal()?).await;
    tokio::task::spawn_blocking(move || guard.flush()).await?;
    outcome
}

fn shutdown_on_signal() -> std::io::Result<CancellationToken> {
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

/// What `check` finds. It says everything that is wrong, not only the first thing.
#[derive(Debug, Default)]
pub struct Findings {
    all: usize,
    wrong: usize,
}

impl Findings {
    /// Says on stderr what was found.
    pub fn add(&mut self, what: &str, found: Result<impl Display, impl Display>) {
        self.all += 1;
        match found {
            Ok(good) => eprintln!("{what}: {good}"),
            Err(wrong) => {
                self.wrong += 1;
                eprintln!("{what}: {wrong}");
            }
        }
    }

    /// The outcome of all of it.
    pub fn conclude(self) -> Result<(), BoxError> {
        if self.wrong == 0 {
            return Ok(());
        }
        Err(format!("{} of {} checks failed", self.wrong, self.all).into())
    }
}
