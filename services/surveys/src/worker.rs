//! The expiry: invitations whose time ran out are marked, and the others are told.
//!
//! It decides nothing about answers: they are refused by time, whether or not the expiry has come by.

use std::time::Duration;

use cqm_rpc::{Call, Error};
use cqm_runtime::tasks::Supervisor;
use uuid::Uuid;

use crate::App;
use crate::grpc::events;
use crate::store;

/// Invitations of one transaction: many enough to catch up after an outage, few enough to keep their locks short.
const BATCH: usize = 500;
/// What one batch may take.
const BUDGET: Duration = Duration::from_secs(10);

pub(crate) fn start(app: &App, supervisor: &Supervisor) {
    let (app, stopping) = (app.clone(), supervisor.stopping());
    let ticks = supervisor.every(app.expiry_interval);
    supervisor.spawn("expire invitations", move || {
        let (app, mut ticks, stopping) = (app.clone(), ticks.clone(), stopping.clone());
        async move {
            while ticks.next().await {
                while expire_batch(&app).await? == BATCH && !stopping.is_cancelled() {}
            }
            Ok(())
        }
    });
}

/// Marks one batch and tells how many it held. Any replica may: what another one works on is skipped.
async fn expire_batch(app: &App) -> Result<usize, Error> {
    let call = Call::internal("expire_invitations", BUDGET);
    let count = app
        .db
        .tx(&call, "expire_invitations", async |tx| {
            let now = app.clock.now();
            let mut due = store::invitations::lock_due(tx, now, BATCH as i64).await?;
            due.retain_mut(|invitation| invitation.expire(now));
            if due.is_empty() {
                return Ok::<_, Error>(0);
            }
            let ids: Vec<Uuid> = due.iter().map(|invitation| invitation.id).collect();
            store::invitations::mark_expired(tx, &ids, now).await?;
            let events: Vec<_> = due.iter().map(events::invitation_expired).collect();
            cqm_db::log::append(tx, &call.trace, &events).await?;
            Ok(due.len())
        })
        .await?;
    if count > 0 {
        tracing::info!(count, "invitations expired");
    }
    Ok(count)
}
