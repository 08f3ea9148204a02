//! Writing releases down, in batches.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SubsecRound, Utc};
use cqm_rpc::{Call, Error, Release, ReleaseLog, ResourceName, reason};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use tokio::sync::oneshot;

use super::Released;
use crate::lane::{Lane, Leading, Waits};
use crate::pool::Conn;
use crate::schema::{audit_head, audit_release};
use crate::tx::Db;

/// What one batch may take. Too long: callers whose own time is over wait for nothing. They go by their own deadline.
const BUDGET: Duration = Duration::from_secs(5);

/// Where the releases of a process meet. Clones are the same place; there is one for each process.
#[derive(Clone, Default)]
pub struct ReleaseLane(Arc<Lane<Waiting>>);

/// Writes releases down on one runtime.
#[derive(Clone)]
pub struct Auditor {
    db: Db,
    lane: ReleaseLane,
}

/// A release with the caller who waits until it is on the disk.
struct Waiting {
    release: Release,
    written: oneshot::Sender<Result<(), Error>>,
}

impl Waits for Waiting {
    fn refuse(self, error: Error) {
        // A caller who has hung up gets no answer either way.
        let _ = self.written.send(Err(error));
    }
}

impl Auditor {
    pub fn new(db: Db, lane: ReleaseLane) -> Self {
        Self { db, lane }
    }

    async fn append(&self, release: Release) -> Result<(), Error> {
        let (tell, told) = oneshot::channel();
        if self.lane.0.push(vec![Waiting { release, written: tell }]) {
            // Made here and not in the task: a runtime that shuts down drops a task that has not begun.
            let leading = self.lane.0.leading();
            let auditor = self.clone();
            #[expect(
                clippy::disallowed_methods,
                reason = "ends when nobody waits any more; every caller awaits its outcome"
            )]
            tokio::spawn(async move { auditor.lead(leading).await });
        }
        // Gone without a word: the leader's runtime was shut down. Nothing has been told yet, so that the call may be
        // repeated.
        told.await.map_err(|_| Error::Unavailable { reason: reason::DRAINING, source: None })?
    }

    async fn lead(&self, mut leading: Leading<Waiting>) {
        while let Some(batch) = leading.take(|_, _| true) {
            let call = &Call::internal("write_releases", BUDGET);
            let releases: &Vec<&Release> = &batch.iter().map(|waiting| &waiting.release).collect();
            let now = self.db.clock().now();
            let written =
                self.db.tx_without_events(call, "write_releases", async |tx| write(tx, releases, now).await);
            match written.await {
                Ok(()) => batch.into_iter().for_each(|waiting| {
                    let _ = waiting.written.send(Ok(()));
                }),
                Err(error) => {
                    let again = matches!(error, Error::Unavailable { .. } | Error::Conflict { .. });
                    let reason = error.reason();
                    let mut first = Some(error);
                    for waiting in batch {
                        waiting.refuse(first.take().unwrap_or_else(|| {
                            if again {
                                Error::Unavailable { reason: reason::STORAGE_UNAVAILABLE, source: None }
                            } else {
                                Error::internal(format!("the batch of releases failed with {}", reason.name))
                            }
                        }));
                    }
                }
            }
        }
    }
}

impl ReleaseLog for Auditor {
    fn write(&self, release: Release) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send + '_>> {
        Box::pin(self.append(release))
    }
}

async fn write(tx: &mut Conn, releases: &[&Release], now: DateTime<Utc>) -> Result<(), Error> {
    let (mut sequence, mut hash) = audit_head::table
        .select((audit_head::sequence, audit_head::hash))
        .for_update()
        .first::<(i64, Vec<u8>)>(tx)
        .await?;
    let mut rows = Vec::with_capacity(releases.len());
    for release in releases {
        sequence += 1;
        let mut row = row(release, sequence, now);
        row.hash = row.chained(&hash);
        hash.clone_from(&row.hash);
        rows.push(row);
    }
    diesel::insert_into(audit_release::table).values(&rows).execute(tx).await?;
    diesel::update(audit_head::table)
        .set((audit_head::sequence.eq(sequence), audit_head::hash.eq(&hash)))
        .execute(tx)
        .await?;
    Ok(())
}

fn row(release: &Release, sequence: i64, now: DateTime<Utc>) -> Released {
    let Release { call, purpose, kinds, subjects } = release;
    let customers = subjects.customers.iter().filter_map(|name| ResourceName::find("customers", name));
    Released {
        sequence,
        // As the database keeps it, or the hash would not be found again.
        time: now.trunc_subsecs(6),
        caller: call.caller.subject.to_string(),
        roles: call.caller.roles.iter().map(|role| i32::from(*role)).collect(),
        purpose: purpose.code.into(),
        reference: purpose.reference.to_string(),
        method: call.path.trim_start_matches('/').to_owned(),
        kinds: kinds.iter().map(i32::from).collect(),
        customers: customers.map(|name| name.id()).collect(),
        resources: subjects.resources.iter().cloned().collect(),
        trace_id: call.trace.trace_id_hex(),
        hash: Vec::new(),
    }
}
