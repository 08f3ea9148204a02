//! The gateway's process: its command line, its start, its end.

use std::process::ExitCode;
use std::time::Duration;

use cqm_rpc::{BoxError, Clock};
use cqm_runtime::{config, process, telemetry};
use tokio::net::TcpStream;

use crate::backend::{Backend, authority};
use crate::config::{DEFAULTS, Settings};
use crate::coordinator::CoordinatorConfig;
use crate::edge::{EdgeConfig, Identity};
use crate::{coordinator, edge};

const NAME: &str = "cqm-gateway";
/// How long `check` waits for a service.
const REACH: Duration = Duration::from_secs(1);

/// The whole `main`: `serve`, `coordinate` or `check`.
pub fn main() -> ExitCode {
    let command = std::env::args().nth(1).unwrap_or_default();
    let Some(command) = Command::parse(&command) else {
        eprintln!("usage: {NAME} serve | coordinate | check");
        return ExitCode::from(2);
    };
    let settings: Settings = match config::load("gateway", DEFAULTS) {
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
            Command::Serve => serve(&settings).await,
            Command::Coordinate => coordinate(&settings).await,
            Command::Check => check(&settings).await,
        }
    });
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{NAME}: {error}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Serve,
    Coordinate,
    Check,
}

impl Command {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "serve" => Some(Self::Serve),
            "coordinate" => Some(Self::Coordinate),
            "check" => Some(Self::Check),
            _ => None,
        }
    }
}

async fn serve(settings: &Settings) -> Result<(), BoxError> {
    let mut guard = telemetry::init(&settings.telemetry, "gateway")?;
    let shutdown = process::shutdown_on_signal()?;
    if settings.service.identity.issuers.is_empty() {
        tracing::warn!("no issuer is configured: only methods that are open to customers can be called");
    }
    let running = edge::start(EdgeConfig::from(settings), Clock::system(), shutdown).await?;
    tracing::info!(address = %running.address(), "serving");
    running.join().await;
    tokio::task::spawn_blocking(move || guard.flush()).await?;
    Ok(())
}

async fn coordinate(settings: &Settings) -> Result<(), BoxError> {
    let mut guard = telemetry::init(&settings.telemetry, "coordinator")?;
    let shutdown = process::shutdown_on_signal()?;
    coordinator::start(CoordinatorConfig::from(settings), Clock::system(), shutdown)?.join().await;
    tokio::task::spawn_blocking(move || guard.flush()).await?;
    Ok(())
}

/// Says everything that is wrong, not only the first thing.
async fn check(settings: &Settings) -> Result<(), BoxError> {
    let mut wrong = 0;
    match Identity::new(&settings.service.identity, Clock::system()) {
        Ok(_) => {
            eprintln!("identity: {} issuers, their keys can be read", settings.service.identity.issuers.len())
        }
        Err(error) => {
            wrong += 1;
            eprintln!("identity: {error}");
        }
    }
    for backend in Backend::ALL {
        match reach(settings.service.backends.address(backend)).await {
            Ok(()) => eprintln!("{}: accepts connections", backend.name()),
            Err(error) => {
                wrong += 1;
                eprintln!("{}: {error}", backend.name());
            }
        }
    }
    let all = Backend::ALL.len() + 1;
    if wrong == 0 { Ok(()) } else { Err(format!("{wrong} of {all} checks failed").into()) }
}

async fn reach(address: &str) -> Result<(), BoxError> {
    let authority = authority(address).ok_or("the address must be http://host:port")?;
    let host = authority.host().trim_matches(['[', ']']);
    let port = authority.port_u16().unwrap_or_default();
    tokio::time::timeout(REACH, TcpStream::connect((host, port))).await??;
    Ok(())
}
