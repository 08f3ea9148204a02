//! Streams of rows: whatever has arrived is one batch, one batch is one transaction, every row has its answer.

use std::sync::Arc;
use std::time::Duration;

use cqm_rpc::{Call, Deadline, Error};
use cqm_runtime::tasks::{Backoff, detached};
use futures::{StreamExt, stream};
use tonic::{Status, Streaming};

use super::Answers;
use crate::App;

/// How long one batch may take, repeats included. A stream lives for minutes; its transactions may not.
const BATCH_BUDGET: Duration = Duration::from_secs(10);

/// Writes a batch and returns an answer per row, in the order of the rows. Writing a batch again must do no harm.
pub trait Batch<Q, A>:
    Fn(App, Call, Arc<Vec<Q>>) -> <Self as Batch<Q, A>>::Written + Copy + Send + 'static
{
    type Written: Future<Output = Result<Vec<A>, Error>> + Send + 'static;
}

impl<Q, A, F, W> Batch<Q, A> for F
where
    F: Fn(App, Call, Arc<Vec<Q>>) -> W + Copy + Send + 'static,
    W: Future<Output = Result<Vec<A>, Error>> + Send + 'static,
{
    type Written = W;
}

/// Answers a stream row by row. While a batch is being written the next rows arrive and become the next batch:
/// nothing waits for a batch to fill, and under load one commit carries many rows.
///
/// A batch that fails ends the stream with its error; the rows before it are written and answered, and every row
/// has its own key, so that the caller repeats from there.
pub fn answer<Q, A>(app: &App, call: Call, rows: Streaming<Q>, write: impl Batch<Q, A>) -> Answers<A>
where
    Q: Send + Sync + 'static,
    A: Send + 'static,
{
    let app = app.clone();
    let batches = Some(rows.ready_chunks(app.config.batch_rows));
    let answers = stream::unfold(batches, move |batches| {
        let (app, call) = (app.clone(), call.clone());
        async move {
            let mut batches = batches?;
            let (rows, broken) = split(batches.next().await?);
            let written =
                if rows.is_empty() { Ok(Vec::new()) } else { write_batch(app, call, rows, write).await };
            let (answers, end) = match written {
                Ok(answers) => (answers, broken),
                Err(error) => (Vec::new(), Some(Status::from(error))),
            };
            let batches = end.is_none().then_some(batches);
            Some((stream::iter(answers.into_iter().map(Ok).chain(end.map(Err))), batches))
        }
    });
    Box::pin(answers.flatten())
}

/// The rows before the first that could not be read, and why it could not.
fn split<Q>(arrived: Vec<Result<Q, Status>>) -> (Vec<Q>, Option<Status>) {
    let mut rows = Vec::with_capacity(arrived.len());
    for row in arrived {
        match row {
            Ok(row) => rows.push(row),
            Err(status) => return (rows, Some(status)),
        }
    }
    (rows, None)
}

/// Writes a batch, again when the service is only busy: an import of an hour must not fail over a short queue.
async fn write_batch<Q, A>(
    app: App,
    call: Call,
    rows: Vec<Q>,
    write: impl Batch<Q, A>,
) -> Result<Vec<A>, Error>
where
    Q: Send + Sync + 'static,
    A: Send + 'static,
{
    let rows = Arc::new(rows);
    let call = Call { deadline: call.deadline.min(Deadline::after(BATCH_BUDGET)), ..call };
    // On a task of its own: a caller who hangs up must not cut a transaction in two.
    let written = detached(async move {
        let mut backoff = Backoff::default();
        loop {
            let error = match write(app.clone(), call.clone(), Arc::clone(&rows)).await {
                Err(error) if error.is_transient() => error,
                outcome => return outcome,
            };
            let pause = backoff.next_delay();
            if pause >= call.deadline.remaining() {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
        }
    });
    written.await.map_err(Error::internal)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_before_a_broken_one_are_kept() {
        let (rows, broken) = split(vec![Ok(1), Ok(2), Err(Status::internal("x")), Ok(3)]);
        assert_eq!(rows, [1, 2]);
        assert!(broken.is_some());
        let (rows, broken) = split::<i32>(vec![Ok(1)]);
        assert_eq!(rows, [1]);
        assert!(broken.is_none());
    }
}
