//! One transaction for many calls, without anybody waiting for it.
//!
//! A commit waits for the disk. While one is on its way, the requests that arrive meanwhile form the next batch, and
//! one transaction carries them all: one set of statements and one wait for the disk for hundreds of callers. No timer
//! makes batches: a request that arrives alone goes alone and at once.
//!
//! What a batch does is a [`Batch`] of the service: `load` reads and locks the rows of all requests, `decide` is pure
//! and is asked for one request after another in the order of their arrival, `write` writes everything. The statements
//! of a phase travel together, so that a transaction takes three round trips, whatever it does: BEGIN with all that is
//! read, all that is written, COMMIT.
//!
//! What callers may rely on:
//! - each gets an answer of its own, and a refused request changes nothing, also not for its neighbours;
//! - equal request ids have one effect and equal answers, in one batch as over many;
//! - a batch that fails is tried again, then taken apart until the one that fails it is alone: nothing is lost, and
//!   nothing doubled, because the batch that failed has been rolled back as a whole;
//! - a row that somebody else has locked holds up its own requests only: they wait in a lane of their own.

mod turn;

use std::sync::Arc;

use cqm_proto::Mutation;
use cqm_rpc::{Call, Error, reason};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Histogram;
use prost::Message;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::idempotency::RequestKey;
use crate::lane::{Lane, Leading, Waits};
use crate::pool::Conn;
use crate::tx::Db;

/// What the requests of one kind have in common: how their rows are read, decided over and written.
pub trait Batch: Clone + Send + Sync + 'static {
    type Command: Send + Sync + 'static;
    /// The rows that a transaction is about.
    type State: Send;
    /// Names the transaction in metrics and logs.
    const NAME: &'static str;

    /// What a request is mainly about: the row that others may have locked.
    fn about(command: &Self::Command) -> Uuid;

    /// Reads and locks, in one order everywhere. Statements that do not depend on each other are joined, not awaited
    /// one by one: they travel together and are carried out in the order of the join.
    fn load<'c>(
        &'c self,
        conn: &'c Conn,
        requests: &'c [&'c Request<Self::Command>],
        patience: Patience,
    ) -> impl Future<Output = Result<Self::State, Error>> + Send + 'c;

    /// Decides about one request over what the ones before have left, and keeps what follows in `state`. Pure. A
    /// refusal leaves `state` as it was.
    fn decide(&self, state: &mut Self::State, request: &Request<Self::Command>) -> Verdict;

    /// Writes what was decided, by arrays. An error must be returned: one that is swallowed leaves a transaction that
    /// cannot be committed, and the whole batch fails.
    fn write<'c>(
        &'c self,
        conn: &'c Conn,
        state: &'c Self::State,
    ) -> impl Future<Output = Result<(), Error>> + Send + 'c;
}

/// What to do about a row that somebody else has locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Leave it out: [`Verdict::Busy`] for whom it is about.
    Skip,
    /// Wait for it.
    Wait,
}

/// One caller's request.
#[derive(Debug)]
pub struct Request<C> {
    pub call: Call,
    pub command: C,
    key: RequestKey,
}

/// A request with the caller who waits for its answer.
#[derive(Debug)]
struct Waiting<C> {
    request: Request<C>,
    answer: oneshot::Sender<Result<Vec<u8>, Error>>,
}

impl<C> Waiting<C> {
    fn tell(self, answer: Result<Vec<u8>, Error>) {
        // A caller who has hung up does not hear it; what is done is done.
        let _ = self.answer.send(answer);
    }
}

impl<C> Waits for Waiting<C> {
    fn refuse(self, error: Error) {
        self.tell(Err(error));
    }
}

/// What became of a request.
#[derive(Debug)]
pub enum Verdict {
    /// Its answer, encoded.
    Done(Vec<u8>),
    /// It changed nothing.
    Refused(Error),
    /// Its row was locked by somebody else; only under [`Patience::Skip`].
    Busy,
}

/// Where requests of one kind meet. Clones are the same place; there is one for each process.
#[derive(Debug)]
pub struct Coalescer<C> {
    inner: Arc<Inner<C>>,
}

#[derive(Debug)]
struct Inner<C> {
    /// Where everything goes.
    swift: Arc<Lane<Waiting<C>>>,
    /// Where requests go whose rows are locked by others.
    patient: Arc<Lane<Waiting<C>>>,
    sizes: Histogram<u64>,
}

impl<C> Clone for Coalescer<C> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<C> Default for Coalescer<C> {
    fn default() -> Self {
        let sizes = opentelemetry::global::meter("cqm-db")
            .u64_histogram("cqm.coalescer.batch.size")
            .with_unit("{request}")
            .with_description("How many requests one transaction carried.")
            .with_boundaries((0..10).map(|power| f64::from(1 << power)).collect())
            .build();
        let inner = Inner { swift: Arc::default(), patient: Arc::default(), sizes };
        Self { inner: Arc::new(inner) }
    }
}

impl<C: Send + Sync + 'static> Coalescer<C> {
    /// Has a mutation of the contract carried out with those that wait beside it, and returns its answer. A repeat of
    /// an answered request gets the first answer, byte for byte.
    ///
    /// `message` must have a request id: without one, a caller who was told `OUTCOME_UNKNOWN` could never find out.
    /// A caller who hangs up does not stop what has begun.
    pub async fn submit<B, M, A>(
        &self,
        db: &Db,
        batch: &B,
        call: &Call,
        message: &M,
        command: C,
    ) -> Result<A, Error>
    where
        B: Batch<Command = C>,
        M: Mutation,
        A: Message + Default,
    {
        let key = RequestKey::of(call, message)?
            .ok_or_else(|| Error::invalid("request_id", reason::REQUEST_ID_REQUIRED, "is required"))?;
        let request = Request { call: call.clone(), command, key };
        let (answer, answered) = oneshot::channel();
        self.enter(db, batch, Patience::Skip, vec![Waiting { request, answer }]);
        // Gone without a word: the leader panicked or its runtime was shut down, perhaps in the middle of the commit.
        let bytes = answered
            .await
            .map_err(|_| Error::Unavailable { reason: reason::OUTCOME_UNKNOWN, source: None })??;
        A::decode(bytes.as_slice()).map_err(Error::internal)
    }

    /// Puts requests into a lane, and sees to it that somebody takes them out again.
    fn enter<B: Batch<Command = C>>(
        &self,
        db: &Db,
        batch: &B,
        patience: Patience,
        requests: Vec<Waiting<C>>,
    ) {
        let lane = match patience {
            Patience::Skip => &self.inner.swift,
            Patience::Wait => &self.inner.patient,
        };
        if !lane.push(requests) {
            return;
        }
        // Made here and not in the task: a runtime that shuts down drops a task that has not begun.
        let leading = lane.leading();
        let (coalescer, db, batch) = (self.clone(), db.clone(), batch.clone());
        #[expect(
            clippy::disallowed_methods,
            reason = "ends when nobody waits any more; every caller awaits its outcome"
        )]
        tokio::spawn(async move { coalescer.lead(&db, &batch, patience, leading).await });
    }

    /// Takes batches out of a lane until it is empty.
    async fn lead<B: Batch<Command = C>>(
        &self,
        db: &Db,
        batch: &B,
        patience: Patience,
        mut leading: Leading<Waiting<C>>,
    ) {
        let together = |first: &Waiting<C>, next: &Waiting<C>| match patience {
            Patience::Skip => true,
            // One row at a time: who waits for it in vain takes nobody else along.
            Patience::Wait => B::about(&first.request.command) == B::about(&next.request.command),
        };
        while let Some(requests) = leading.take(together) {
            self.inner.sizes.record(requests.len() as u64, &[KeyValue::new("cqm.coalescer", B::NAME)]);
            let busy = turn::run(db, batch, patience, requests).await;
            if !busy.is_empty() {
                self.enter(db, batch, Patience::Wait, busy);
            }
        }
    }
}
