//! The delivery: a loop that takes messages that are due and sends them.
//!
//! Any replica may; what another one works on is skipped. An attempt is written down before it begins and its outcome
//! after it, in a transaction each, and none is open while a mail server is waited for. Whoever dies in between leaves
//! an attempt whose lease runs out, and the next attempt carries the same Message-ID.

use std::error::Error as _;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cqm_db::{Conn, log};
use cqm_rpc::{BoxError, Call, Error, ResourceName, TraceContext};
use cqm_runtime::tasks::{Backoff, Periodic, Supervisor};
use cqm_runtime::telemetry::late::LateSpan;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;
use rand::Rng;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::domain::delivery::{Outcome, Policy};
use crate::domain::inbox::InboxItem;
use crate::domain::message::{Message, Todo};
use crate::grpc::convert::event;
use crate::mailer::{Attempt, Letter, Mailer};
use crate::store::{contacts, inbox, messages, steps, templates};
use crate::{App, MESSAGES};

/// What one transaction may take.
const BUDGET: Duration = Duration::from_secs(10);

pub(crate) fn start(app: &App, supervisor: &Supervisor) {
    let (app, stopping) = (app.clone(), supervisor.stopping());
    let ticks = supervisor.every(app.config.poll).woken_by(Arc::clone(&app.config.wake));
    supervisor.spawn("deliver messages", move || {
        let (app, ticks, stopping) = (app.clone(), ticks.clone(), stopping.clone());
        async move {
            let mailer = Mailer::open(&app.config, &app.trust)?;
            Delivery { policy: app.config.policy(), app, mailer }.run(ticks, &stopping).await
        }
    });
}

/// An attempt that is in flight, and the message as it was when it began.
struct Flight {
    attempt: i32,
    /// Of the call that asked for the message.
    trace: TraceContext,
    letter: Letter,
}

/// How an attempt went, to be written down.
struct Landed {
    message_id: Uuid,
    attempt: i32,
    outcome: Attempt,
}

struct Delivery {
    app: App,
    policy: Policy,
    mailer: Mailer,
}

impl Delivery {
    async fn run(&self, mut ticks: Periodic, stopping: &CancellationToken) -> Result<(), BoxError> {
        let mut flights = FuturesUnordered::new();
        let mut landed: Vec<Landed> = Vec::new();
        let mut backoff = Backoff::default();
        let mut more = true;
        loop {
            while let Some(Some(next)) = flights.next().now_or_never() {
                landed.push(next);
            }
            // What happened comes before anything new: every moment in which it is not written down, a crash sends a
            // mail twice. So does a claim, once the lease has run out.
            if !landed.is_empty() {
                let told = std::mem::take(&mut landed);
                match beside(self.record(&told), &mut flights, &mut landed).await {
                    Ok(()) => backoff.reset(),
                    Err(error) if error.is_transient() => {
                        tracing::warn!(error = %error, cause = cause(&error), "outcomes of attempts are not written down yet");
                        landed.extend(told);
                        rest(backoff.next_delay(), &mut flights, &mut landed).await;
                    }
                    Err(error) => {
                        // Trying the same again would hold up everything behind it; the leases run out.
                        tracing::error!(
                            error = %error,
                            cause = cause(&error),
                            "outcomes of attempts cannot be written down, their messages will be sent again"
                        );
                    }
                }
                continue;
            }
            if stopping.is_cancelled() && flights.is_empty() {
                return Ok(());
            }
            let free = self.app.config.concurrency.saturating_sub(flights.len());
            if more && free > 0 && !stopping.is_cancelled() {
                match beside(self.claim(free), &mut flights, &mut landed).await {
                    Ok((taken, begun)) => {
                        more = taken == free;
                        flights.extend(begun.into_iter().map(|flight| self.fly(flight)));
                        backoff.reset();
                    }
                    Err(error) => {
                        tracing::warn!(error = %error, cause = cause(&error), "due messages cannot be taken");
                        if landed.is_empty() {
                            let pause = rest(backoff.next_delay(), &mut flights, &mut landed);
                            stopping.run_until_cancelled(pause).await;
                        }
                    }
                }
                continue;
            }
            tokio::select! {
                biased;
                Some(first) = flights.next() => landed.push(first),
                tick = ticks.next(), if !stopping.is_cancelled() => more = tick,
            }
        }
    }

    /// Takes up to `limit` due messages. Decides about all of them, finishes those that need no mail server, and
    /// writes an attempt down for the others. Tells how many it took.
    async fn claim(&self, limit: usize) -> Result<(usize, Vec<Flight>), Error> {
        let call = Call::internal("claim_messages", BUDGET);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.app.db.tx(&call, "claim_messages", async |tx| self.work(tx, limit).await).await
    }

    async fn work(&self, tx: &mut Conn, limit: i64) -> Result<(usize, Vec<Flight>), Error> {
        let now = self.app.clock.now();
        let mut due = messages::lock_due(tx, now, limit).await?;
        if due.is_empty() {
            return Ok((0, Vec::new()));
        }
        let customers: Vec<Uuid> = due.iter().map(|message| message.customer_id).collect();
        // Not locked: whoever changes a contact locks it first and its messages then, the other way round than here.
        let known = contacts::find_all(tx, &customers).await?;
        let versions: Vec<_> =
            due.iter().map(|message| (&message.template, message.template_version)).collect();
        let texts = templates::texts(tx, &versions).await?;
        let (mut taken, mut items, mut flights) = (Vec::new(), Vec::new(), Vec::new());
        for message in &mut due {
            let text = texts.get(&(message.template.clone(), message.template_version));
            let text = text.ok_or_else(|| Error::internal("the text of a message's template is gone"))?;
            let (passed, todo) = message.work(known.get(&message.customer_id), text, &self.policy, now);
            taken.extend(passed.into_iter().map(|step| (message.id, step)));
            match todo {
                Todo::Nothing => {}
                Todo::Shelve(text) => items.push(InboxItem::new(message, text, now)),
                Todo::Send { address, display_name, text } => {
                    let letter = Letter {
                        message_id: message.id,
                        template: message.template.clone(),
                        create_time: message.create_time,
                        address,
                        display_name,
                        text,
                    };
                    flights.push(Flight { attempt: message.attempts, trace: message.trace, letter });
                }
            }
        }
        messages::save(tx, &due).await?;
        steps::append(tx, &taken).await?;
        inbox::insert(tx, &items).await?;
        tell(tx, &due).await?;
        Ok((due.len(), flights))
    }

    async fn fly(&self, Flight { attempt, trace, letter }: Flight) -> Landed {
        let started = Instant::now();
        let outcome = self.mailer.send(&letter, self.app.clock.now()).await;
        if trace.sampled {
            let span = LateSpan {
                name: "send mail".to_owned(),
                kind: SpanKind::Client,
                parent: Some(trace),
                own: trace.child(),
                took: started.elapsed(),
                failed: outcome.0 != Outcome::Accepted,
                attributes: vec![
                    KeyValue::new("cqm.message", ResourceName::new(MESSAGES, letter.message_id).to_string()),
                    KeyValue::new("cqm.outcome", outcome.0.name()),
                ],
            };
            span.export();
        }
        if outcome.0 != Outcome::Accepted {
            let name = ResourceName::new(MESSAGES, letter.message_id);
            tracing::info!(name = %name, attempt, outcome = outcome.0.name(), detail = outcome.1, "attempt failed");
        }
        Landed { message_id: letter.message_id, attempt, outcome }
    }

    /// Writes down how attempts went.
    async fn record(&self, landed: &[Landed]) -> Result<(), Error> {
        let call = Call::internal("record_attempts", BUDGET);
        let ids: Vec<Uuid> = landed.iter().map(|landed| landed.message_id).collect();
        self.app
            .db
            .tx(&call, "record_attempts", async |tx| {
                let mut flown = messages::lock_all(tx, &ids).await?;
                let now = self.app.clock.now();
                let mut taken = Vec::new();
                flown.retain_mut(|message| {
                    let Some(Landed { attempt, outcome: (outcome, detail), .. }) =
                        landed.iter().find(|landed| landed.message_id == message.id)
                    else {
                        return false;
                    };
                    let jitter = rand::rng().random_range(0.8..=1.2);
                    let passed = message.attempted(*attempt, (*outcome, detail), &self.policy, jitter, now);
                    let ours = passed.is_some();
                    taken.extend(passed.into_iter().flatten().map(|step| (message.id, step)));
                    ours
                });
                messages::save(tx, &flown).await?;
                steps::append(tx, &taken).await?;
                tell(tx, &flown).await
            })
            .await
    }
}

/// Waits for `work` while the flights go on: no mail server waits because the database does.
async fn beside<T>(
    work: impl Future<Output = T>,
    flights: &mut FuturesUnordered<impl Future<Output = Landed>>,
    landed: &mut Vec<Landed>,
) -> T {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            biased;
            Some(next) = flights.next() => landed.push(next),
            done = &mut work => return done,
        }
    }
}

/// Waits, but not longer than until a flight has landed, which is to be written down at once.
async fn rest(
    pause: Duration,
    flights: &mut FuturesUnordered<impl Future<Output = Landed>>,
    landed: &mut Vec<Landed>,
) {
    tokio::select! {
        biased;
        Some(next) = flights.next() => landed.push(next),
        () = tokio::time::sleep(pause) => {}
    }
}

/// Appends the events of the messages that are finished now, each in the trace of the call that asked for it.
async fn tell(tx: &mut Conn, all: &[Message]) -> Result<(), Error> {
    // The messages of one call mostly come together.
    for same_trace in all.chunk_by(|a, b| a.trace == b.trace) {
        let events: Vec<_> = same_trace.iter().filter_map(event::of_message).collect();
        if let (Some(first), false) = (same_trace.first(), events.is_empty()) {
            log::append(tx, &first.trace.child(), &events).await?;
        }
    }
    Ok(())
}

/// What is behind an error that only says what the caller can do.
fn cause(error: &Error) -> Option<String> {
    error.source().map(ToString::to_string)
}
