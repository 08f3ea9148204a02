//! The coordinator: what happened in one service, told to the others.
//!
//! For each source of events one reader works through the log in order. What follows from an event stands in
//! `coordinator/reactions.rs`; the executor sends it and sees that it is answered, or parks the aggregate. The position moves
//! when everything before it is done, and every command has an id that belongs to its event and reaction: reading again,
//! from the last position or from the first, changes nothing.

mod batch;
mod command;
mod executor;
mod handle;
mod metrics;
mod reactions;
mod source;
mod starts;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cqm_proto::events::v1::event_feed_client::EventFeedClient;
use cqm_rpc::{BoxError, Clock};
use cqm_runtime::config::Validate;
use cqm_runtime::pass::{Mint, SigningConfig};
use cqm_runtime::tasks::{Backoff, Supervisor, detached};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::backend::{Backend, Backends};
use crate::config::{ReadingConfig, Settings};
use executor::Executor;
use metrics::Metrics;
use source::Reader;

/// The coordinator's name as a consumer of the feeds.
pub const CONSUMER: &str = "coordinator";

/// Between two lines in the log about the same outage.
const SAY_AGAIN: Duration = Duration::from_secs(60);
/// What the readers may take to notice that their drain is over.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What a coordinator is made of.
#[derive(Clone, Debug)]
pub struct CoordinatorConfig {
    pub backends: Backends,
    pub passes: SigningConfig,
    pub reading: ReadingConfig,
}

impl From<&Settings> for CoordinatorConfig {
    fn from(settings: &Settings) -> Self {
        let service = &settings.service;
        Self {
            backends: service.backends.clone(),
            passes: service.passes.clone(),
            reading: service.coordinator.clone(),
        }
    }
}

/// A coordinator at work.
#[derive(Debug)]
pub struct Running {
    ended: JoinHandle<()>,
    reached: watch::Receiver<BTreeSet<Backend>>,
}

impl Running {
    /// Returns when every source has answered once, so that this coordinator reads it or stands by for who does; or when
    /// it never will because it has been stopped. It stays ready: a source that goes away later is not helped by anything
    /// that could be done to its reader.
    pub async fn ready(&mut self) {
        let _ = self.reached.wait_for(|reached| reached.len() == Backend::ALL.len()).await;
    }

    /// Returns when every reader has stopped.
    pub async fn join(self) {
        let _ = self.ended.await;
    }
}

/// Starts a coordinator on the current runtime. Any number of them may run: each source is read by one at a time, and by
/// another one at once when it ends, a lease later when it has gone silent. Cancel `shutdown` to end it.
pub fn start(
    config: CoordinatorConfig,
    clock: Clock,
    shutdown: CancellationToken,
) -> Result<Running, BoxError> {
    config.backends.validate()?;
    config.passes.validate()?;
    config.reading.validate()?;
    config.backends.open()?;
    let mint = Mint::new(&config.passes, clock.clone())?;
    let name: Arc<str> = match &config.reading.reader {
        Some(name) => name.as_str().into(),
        None => format!("coordinator-{}", Uuid::new_v4().simple()).into(),
    };
    let drain = config.reading.drain + LAST_WORDS;
    let reading = Arc::new(config.reading);
    let executor = Executor::new(&config.backends, &mint, reading.command_deadline)?;
    let supervisor = Supervisor::under(&shutdown);
    let (tell_reached, reached) = watch::channel(BTreeSet::new());
    for backend in Backend::ALL {
        let reader = Reader {
            backend,
            feed: EventFeedClient::new(executor::connect(&config.backends, backend, &mint)?),
            executor: executor.clone(),
            config: Arc::clone(&reading),
            name: Arc::clone(&name),
            metrics: Metrics::new(backend.name(), clock.clone()),
            stopping: supervisor.stopping(),
            reached: tell_reached.clone(),
        };
        supervisor.spawn(backend.name(), move || reader.clone().run());
    }
    let ended = detached(async move {
        shutdown.cancelled().await;
        supervisor.shutdown(drain).await;
    });
    Ok(Running { ended, reached })
}

/// What the coordinator does about events of this type, as the ids of its reactions, in their order.
pub(crate) fn reactions_to(event_type: &str) -> Vec<String> {
    reactions::of(event_type).into_iter().flatten().map(|reaction| reaction.id.to_owned()).collect()
}

/// Waiting for what may come by itself: longer and longer, without an end, and without filling the log.
struct Patience {
    backoff: Backoff,
    said: Option<Instant>,
}

impl Patience {
    fn new(config: &ReadingConfig) -> Self {
        Self { backoff: Backoff::new(config.outage_pause, config.outage_pause_cap), said: None }
    }

    /// Waits for the next try. `say` is called at the first failure and then rarely.
    async fn wait(&mut self, say: impl FnOnce()) {
        if self.said.is_none_or(|said| said.elapsed() >= SAY_AGAIN) {
            say();
            self.said = Some(Instant::now());
        }
        tokio::time::sleep(self.backoff.next_delay()).await;
    }
}
