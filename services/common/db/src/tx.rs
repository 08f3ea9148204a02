//! Transactions: named, bounded by the call's deadline, safe against callers who hang up.

use std::sync::Arc;
use std::time::Duration;

use cqm_proto::Mutation;
use cqm_rpc::{BoxError, Call, Clock, Error, reason};
use diesel_async::SimpleAsyncConnection;
use prost::Message;
use tokio::sync::Notify;
use tokio::time::timeout_at;

use crate::idempotency::{self, Claim, RequestKey};
use crate::pool::{Conn, Connections, Lease};
use crate::{DatabaseConfig, EventsConfig};

const TRIES: u32 = 3;
/// What the client's own clock allows beyond the deadline before it gives a statement up: Postgres cancels
/// it at the deadline by itself and says so, which is the better answer.
const GRACE: Duration = Duration::from_millis(500);

/// The SELECT fails in a transaction that a swallowed error has aborted; a bare COMMIT would answer "ROLLBACK" there,
/// and the caller would be told of a write that never was.
pub(crate) const COMMIT: &str = "SELECT 1; COMMIT";

/// One service's database, as one runtime of the process sees it. Clones share the pool.
#[derive(Clone)]
pub struct Db {
    connections: Connections,
    config: Arc<DatabaseConfig>,
    events: Arc<EventsConfig>,
    clock: Clock,
    appended: Arc<Notify>,
    sequenced: Arc<Notify>,
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Db").field("pool", &self.pool_status()).finish_non_exhaustive()
    }
}

/// Which errors of a transaction mean "the same again may succeed": the closure runs once more.
pub trait Retryable {
    fn is_retryable(&self) -> bool;
}

impl Retryable for Error {
    /// Serialization failures and deadlocks, and nothing else: a lock timeout has waited long enough already.
    fn is_retryable(&self) -> bool {
        let Self::Conflict { reason: reason::TRANSACTION_CONFLICT, source } = self else {
            return false;
        };
        !source.as_ref().is_some_and(|source| source.to_string().contains("lock timeout"))
    }
}

/// Spells out that an async closure's future is `Send`, which `AsyncFnMut` alone cannot say.
pub trait Work<'r, T, E>:
    AsyncFnMut(&'r mut Conn) -> Result<T, E> + FnMut(&'r mut Conn) -> <Self as Work<'r, T, E>>::Fut
{
    type Fut: Future<Output = Result<T, E>>;
}

impl<'r, F, Fut, T, E> Work<'r, T, E> for F
where
    F: AsyncFnMut(&'r mut Conn) -> Result<T, E> + FnMut(&'r mut Conn) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    type Fut = Fut;
}

impl Db {
    /// Opens nothing yet: connections are made when they are needed, on the runtime that needs them.
    pub fn new(config: DatabaseConfig, events: EventsConfig, clock: Clock) -> Result<Self, BoxError> {
        Ok(Self {
            connections: Connections::new(&config)?,
            config: Arc::new(config),
            events: Arc::new(events),
            clock,
            appended: Arc::default(),
            sequenced: Arc::default(),
        })
    }

    /// The same database for another runtime: a pool of its own of `share` connections, the same wake-ups.
    pub fn sibling(&self, share: usize) -> Result<Self, BoxError> {
        let config = DatabaseConfig { max_connections: share.max(1), ..(*self.config).clone() };
        Ok(Self { connections: self.connections.beside(&config)?, config: Arc::new(config), ..self.clone() })
    }

    pub fn config(&self) -> &DatabaseConfig {
        &self.config
    }

    pub fn events(&self) -> &EventsConfig {
        &self.events
    }

    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Woken after a commit that may have appended events: the sequencer waits on it.
    pub fn appended(&self) -> &Notify {
        &self.appended
    }

    /// Woken after events got their positions: long polls wait on it.
    pub fn sequenced(&self) -> &Notify {
        &self.sequenced
    }

    /// Connections open, idle and waited for.
    pub fn pool_status(&self) -> deadpool::Status {
        self.connections.status()
    }

    /// Runs statements that write nothing, outside a transaction. Cancelled with its caller.
    pub async fn read<T, E, F>(&self, call: &Call, name: &'static str, mut work: F) -> Result<T, E>
    where
        F: for<'r> Work<'r, T, E, Fut: Send> + Send,
        E: From<Error> + Send,
        T: Send,
    {
        let mut lease = self.lease(call).await?;
        match timeout_at(call.deadline.instant().into(), work(lease.conn())).await {
            Ok(outcome) => {
                // An error of a single statement leaves the connection usable; a broken one is found on recycle.
                lease.put_back();
                outcome
            }
            Err(_) => {
                tracing::debug!(read = name, "read gave up at the deadline");
                Err(Error::DeadlinePassed.into())
            }
        }
    }

    /// Runs `work` in one transaction and commits when it returns `Ok`.
    ///
    /// The closure has no effect outside the database: it is run again, up to three times in all, after a
    /// serialization failure or a deadlock. `OUTCOME_UNKNOWN` when the connection was lost during COMMIT.
    pub async fn tx<T, E, F>(&self, call: &Call, name: &'static str, work: F) -> Result<T, E>
    where
        F: for<'r> Work<'r, T, E, Fut: Send> + Send,
        E: From<Error> + Retryable + Send,
        T: Send,
    {
        let outcome = self.tx_without_events(call, name, work).await;
        if outcome.is_ok() {
            self.appended.notify_one();
        }
        outcome
    }

    /// [`Db::tx`] for a transaction that appends no event, and so wakes nobody. The sequencer's own is one: it
    /// would wake itself for ever.
    pub async fn tx_without_events<T, E, F>(
        &self,
        call: &Call,
        name: &'static str,
        mut work: F,
    ) -> Result<T, E>
    where
        F: for<'r> Work<'r, T, E, Fut: Send> + Send,
        E: From<Error> + Retryable + Send,
        T: Send,
    {
        let mut tries = 1;
        loop {
            match self.attempt(call, &mut work).await {
                Err(error) if error.is_retryable() && tries < TRIES => {
                    tracing::debug!(
                        transaction = name,
                        tries,
                        "transaction met another one, running it again"
                    );
                    tries += 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// [`Db::tx`] around a mutation of the contract: a request that was answered before gets the same answer
    /// again, byte for byte, and `work` does not run.
    pub async fn mutate<M, A, F>(
        &self,
        call: &Call,
        name: &'static str,
        message: &M,
        mut work: F,
    ) -> Result<A, Error>
    where
        M: Mutation + Sync,
        A: Message + Default,
        F: for<'r> Work<'r, A, Error, Fut: Send> + Send,
    {
        let Some(key) = RequestKey::of(call, message)? else {
            return self.tx(call, name, work).await;
        };
        let key = &key;
        let now = self.clock.now();
        let remember = self.events.remember;
        let work = &mut work;
        let mut tries = 1;
        loop {
            // Written out rather than nested into `tx`: a closure that lends `work` out again could not
            // promise `Send`.
            let outcome = async {
                let mut lease = self.begin(call).await?;
                let result = async {
                    match idempotency::claim(lease.conn(), key, now, remember).await? {
                        Claim::Answered(bytes) => A::decode(bytes.as_slice()).map_err(Error::internal),
                        Claim::New => {
                            let answer = work(lease.conn()).await?;
                            idempotency::keep(lease.conn(), key, &answer.encode_to_vec()).await?;
                            Ok(answer)
                        }
                    }
                };
                let result = bounded(call, result).await;
                finish(call, lease, result).await
            }
            .await;
            match outcome {
                Err(error) if error.is_retryable() && tries < TRIES => tries += 1,
                outcome => {
                    if outcome.is_ok() {
                        self.appended.notify_one();
                    }
                    return outcome;
                }
            }
        }
    }

    async fn attempt<T, E, F>(&self, call: &Call, work: &mut F) -> Result<T, E>
    where
        F: for<'r> Work<'r, T, E, Fut: Send> + Send,
        E: From<Error> + Send,
        T: Send,
    {
        let mut lease = self.begin(call).await?;
        let result = bounded(call, work(lease.conn())).await;
        finish(call, lease, result).await
    }

    pub(crate) async fn lease(&self, call: &Call) -> Result<Lease, Error> {
        if call.deadline.remaining().is_zero() {
            return Err(Error::DeadlinePassed);
        }
        timeout_at(call.deadline.instant().into(), self.connections.lease())
            .await
            .map_err(|_| Error::DeadlinePassed)?
    }

    async fn begin(&self, call: &Call) -> Result<Lease, Error> {
        let mut lease = self.lease(call).await?;
        // At least one millisecond: zero would mean "no limit".
        let left = call.deadline.remaining().as_millis().max(1);
        let begin = format!("BEGIN; SET LOCAL statement_timeout = {left}");
        bounded(call, async { Ok::<_, Error>(lease.conn().batch_execute(&begin).await?) }).await?;
        Ok(lease)
    }
}

async fn bounded<T, E: From<Error>>(call: &Call, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    timeout_at((call.deadline.instant() + GRACE).into(), work)
        .await
        .unwrap_or_else(|_| Err(Error::DeadlinePassed.into()))
}

/// Commits or rolls back, and gives the connection back only if that went through.
async fn finish<T, E: From<Error>>(call: &Call, mut lease: Lease, result: Result<T, E>) -> Result<T, E> {
    match result {
        Ok(value) => {
            let commit =
                timeout_at((call.deadline.instant() + GRACE).into(), lease.conn().batch_execute(COMMIT));
            match commit.await {
                Ok(Ok(())) => {
                    lease.put_back();
                    Ok(value)
                }
                Ok(Err(error)) => {
                    let error = Error::from(error);
                    Err(match error {
                        Error::Unavailable { source, .. } => {
                            Error::Unavailable { reason: reason::OUTCOME_UNKNOWN, source }
                        }
                        other => other,
                    }
                    .into())
                }
                Err(_) => Err(Error::Unavailable { reason: reason::OUTCOME_UNKNOWN, source: None }.into()),
            }
        }
        Err(error) => {
            let rollback = tokio::time::timeout(GRACE, lease.conn().batch_execute("ROLLBACK"));
            if let Ok(Ok(())) = rollback.await {
                lease.put_back();
            }
            Err(error)
        }
    }
}
