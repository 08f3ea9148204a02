//! One batch: carried out in one transaction, tried again, taken apart.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use cqm_rpc::{Call, Error, reason};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use futures::future::{BoxFuture, join, join3};
use tokio::time::timeout;

use super::{Batch, Patience, Request, Verdict, Waiting};
use crate::idempotency::many::{Known, find_many, keep_many};
use crate::idempotency::{Claim, RequestKey, reused};
use crate::pool::{Conn, Lease};
use crate::statement::statement;
use crate::tx::{COMMIT, Db, Retryable};

const TRIES: u32 = 3;
/// What one transaction may take. Too high: a stuck disk holds every caller. Too low: a slow one is taken for stuck,
/// and nobody knows the outcome. The callers' own deadlines are watched by the server.
const BUDGET: Duration = Duration::from_secs(5);

/// Carries requests out and tells their callers; returns those whose rows are locked by others.
pub(super) async fn run<B: Batch>(
    db: &Db,
    batch: &B,
    patience: Patience,
    requests: Vec<Waiting<B::Command>>,
) -> Vec<Waiting<B::Command>> {
    // Nobody waits for these any more; they have not begun.
    let (mut live, late): (Vec<_>, Vec<_>) =
        requests.into_iter().partition(|waiting| !waiting.request.call.deadline.remaining().is_zero());
    late.into_iter().for_each(|waiting| waiting.tell(Err(Error::DeadlinePassed)));
    let mut busy = Vec::new();
    while !live.is_empty() {
        let outcome = with_retries(db, batch, patience, &live).await;
        let mut again = Vec::new();
        match outcome {
            Ok(verdicts) => {
                for (waiting, verdict) in live.into_iter().zip(verdicts) {
                    match verdict {
                        Fate::Known(Verdict::Done(answer)) => waiting.tell(Ok(answer)),
                        Fate::Known(Verdict::Refused(error)) => waiting.tell(Err(error)),
                        Fate::Known(Verdict::Busy) => busy.push(waiting),
                        Fate::Again => again.push(waiting),
                    }
                }
            }
            Err(error) => busy.extend(apart(db, batch, patience, live, error).await),
        }
        live = again;
    }
    busy
}

/// After a batch has failed and was rolled back: who is to blame is found by halves, the others go on.
fn apart<'a, B: Batch>(
    db: &'a Db,
    batch: &'a B,
    patience: Patience,
    mut requests: Vec<Waiting<B::Command>>,
    error: Error,
) -> BoxFuture<'a, Vec<Waiting<B::Command>>> {
    Box::pin(async move {
        let locked = matches!(error, Error::Conflict { .. });
        // Halves would fare no better without a database, and those who wait for one row all wait for the same one.
        let alike = matches!(error, Error::Unavailable { .. } | Error::DeadlinePassed)
            || (locked && patience == Patience::Wait);
        if alike || requests.len() == 1 {
            tracing::debug!(batch = B::NAME, requests = requests.len(), error = %error, "batch failed");
            let mut first = Some(error);
            for waiting in requests {
                let told = first.take().unwrap_or_else(|| Error::Unavailable {
                    reason: reason::STORAGE_UNAVAILABLE,
                    source: None,
                });
                let next = copy(&told);
                waiting.tell(Err(told));
                first = Some(next);
            }
            return Vec::new();
        }
        let second = requests.split_off(requests.len() / 2);
        let mut busy = run(db, batch, patience, requests).await;
        busy.extend(run(db, batch, patience, second).await);
        busy
    })
}

/// The same for the next caller. The source goes to the first one, whose call logs it.
fn copy(error: &Error) -> Error {
    match error {
        Error::Unavailable { reason, .. } => Error::Unavailable { reason: *reason, source: None },
        Error::Conflict { reason, .. } => Error::Conflict { reason: *reason, source: None },
        Error::DeadlinePassed => Error::DeadlinePassed,
        _ => Error::internal("the batch failed, see the first of its calls"),
    }
}

/// What one turn came to for one request.
enum Fate {
    Known(Verdict),
    /// It is the same request as one that was refused: decided anew, on its own.
    Again,
}

async fn with_retries<B: Batch>(
    db: &Db,
    batch: &B,
    patience: Patience,
    waiting: &[Waiting<B::Command>],
) -> Result<Vec<Fate>, Error> {
    let requests: Vec<&Request<B::Command>> = waiting.iter().map(|waiting| &waiting.request).collect();
    let mut tries = 1;
    loop {
        match turn(db, batch, patience, &requests).await {
            Err(error) if error.is_retryable() && tries < TRIES => tries += 1,
            outcome => return outcome,
        }
    }
}

async fn turn<B: Batch>(
    db: &Db,
    batch: &B,
    patience: Patience,
    requests: &[&Request<B::Command>],
) -> Result<Vec<Fate>, Error> {
    let call = Call::internal(B::NAME, BUDGET);
    let mut lease = db.lease(&call).await?;
    let keys: Vec<&RequestKey> = requests.iter().map(|request| &request.key).collect();

    let conn = &*lease.conn();
    // All by prepared statements: they reach the server in the order of the join, which a simple query could overtake.
    let reading = join3(execute(conn, "BEGIN"), find_many(conn, &keys), batch.load(conn, requests, patience));
    let Ok((begun, known, state)) = timeout(BUDGET, reading).await else {
        return Err(Error::DeadlinePassed);
    };
    let read = begun.and_then(|()| Ok((known?, state?)));
    let (known, mut state) = match read {
        Ok(read) => read,
        Err(error) => {
            give_up(lease).await;
            return Err(error);
        }
    };

    let decided = catch_unwind(AssertUnwindSafe(|| decide(db, batch, &known, &mut state, requests)));
    let Ok(mut decided) = decided else {
        give_up(lease).await;
        return Err(Error::internal("a decision panicked"));
    };
    if let Err(error) = look_again(db, conn, &keys, &mut decided).await {
        give_up(lease).await;
        return Err(error);
    }
    if decided.keep.is_empty() {
        give_up(lease).await;
        return Ok(decided.fates);
    }

    let keep: Vec<(&RequestKey, &[u8])> =
        decided.keep.iter().map(|(place, answer)| (keys[*place], answer.as_slice())).collect();
    // COMMIT waits for them: whoever writes may need an answer before the next statement, and finds out by counting rows
    // that something is not as it should be. Sent along, it would commit what was there by then.
    let writing = join(batch.write(conn, &state), keep_many(conn, &keep, db.clock().now()));
    let Ok((written, kept)) = timeout(BUDGET, writing).await else {
        return Err(Error::DeadlinePassed);
    };
    if let Err(error) = written.and(kept) {
        give_up(lease).await;
        return Err(error);
    }
    let unknown = |source| Error::Unavailable { reason: reason::OUTCOME_UNKNOWN, source };
    match timeout(BUDGET, lease.conn().batch_execute(COMMIT)).await.map(|done| done.map_err(Error::from)) {
        Ok(Ok(())) => {
            lease.put_back();
            db.appended().notify_one();
            Ok(decided.fates)
        }
        // Lost with the connection: nobody knows whether it arrived.
        Ok(Err(Error::Unavailable { source, .. })) => Err(unknown(source)),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(unknown(None)),
    }
}

/// Looks once more for requests that were refused. The first look came before the rows' locks were waited for, and whoever
/// held them may have carried out the same request: the refusal would be due to the request's own effect. Who writes finds
/// that out by the key of the remembered answer, and who is refused writes nothing.
async fn look_again(db: &Db, conn: &Conn, keys: &[&RequestKey], decided: &mut Decided) -> Result<(), Error> {
    if decided.refused.is_empty() {
        return Ok(());
    }
    let refused: Vec<&RequestKey> = decided.refused.iter().map(|place| keys[*place]).collect();
    let known = timeout(BUDGET, find_many(conn, &refused)).await.map_err(|_| Error::DeadlinePassed)??;
    for place in &decided.refused {
        if let Some(verdict) = remembered(db, &known, keys[*place]) {
            decided.fates[*place] = Fate::Known(verdict);
        }
    }
    Ok(())
}

/// Rolls back, and gives the connection back only if that went through.
async fn give_up(mut lease: Lease) {
    if let Ok(Ok(())) = timeout(BUDGET, execute(lease.conn(), "ROLLBACK")).await {
        lease.put_back();
    }
}

async fn execute(mut conn: &Conn, sql: &'static str) -> Result<(), Error> {
    statement(sql).execute(&mut conn).await?;
    Ok(())
}

struct Decided {
    fates: Vec<Fate>,
    /// The answers to remember, with the place of their request.
    keep: Vec<(usize, Vec<u8>)>,
    /// The places of the requests that were decided about and refused.
    refused: Vec<usize>,
}

fn decide<B: Batch>(
    db: &Db,
    batch: &B,
    known: &Known,
    state: &mut B::State,
    requests: &[&Request<B::Command>],
) -> Decided {
    let mut decided =
        Decided { fates: Vec::with_capacity(requests.len()), keep: Vec::new(), refused: Vec::new() };
    let mut first: std::collections::HashMap<_, usize> = std::collections::HashMap::new();
    for (place, request) in requests.iter().enumerate() {
        let twin = *first.entry(request.key.identity()).or_insert(place);
        let fate = if twin < place {
            same_again(&requests[twin].key, &request.key, &decided.fates[twin])
        } else {
            Fate::Known(remembered(db, known, &request.key).unwrap_or_else(|| {
                let verdict = batch.decide(state, request);
                match &verdict {
                    Verdict::Done(answer) => decided.keep.push((place, answer.clone())),
                    Verdict::Refused(_) => decided.refused.push(place),
                    Verdict::Busy => {}
                }
                verdict
            }))
        };
        decided.fates.push(fate);
    }
    decided
}

/// What is told without a decision, because the request or its id is known; `None` when it is new.
fn remembered(db: &Db, known: &Known, key: &RequestKey) -> Option<Verdict> {
    match known.claim(db, key) {
        Ok(Claim::New) => None,
        Ok(Claim::Answered(answer)) => Some(Verdict::Done(answer)),
        Err(error) => Some(Verdict::Refused(error)),
    }
}

/// What becomes of a request whose id stood in the batch before.
fn same_again(first: &RequestKey, key: &RequestKey, fate: &Fate) -> Fate {
    match fate {
        Fate::Known(Verdict::Done(_)) if first != key => Fate::Known(Verdict::Refused(reused(key))),
        Fate::Known(Verdict::Done(answer)) => Fate::Known(Verdict::Done(answer.clone())),
        Fate::Known(Verdict::Busy) => Fate::Known(Verdict::Busy),
        // A refusal is not remembered.
        Fate::Known(Verdict::Refused(_)) | Fate::Again => Fate::Again,
    }
}
