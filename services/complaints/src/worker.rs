//! What time does to the clocks of complaints: that one is about to run out, or has, is written down and told once.
//!
//! Nothing is decided by it: what a clock shows is so from its moment on, whoever asks. Any replica may tell; complaints
//! that another one or a caller works on are skipped until the next look.

use std::collections::BTreeSet;
use std::time::Duration;

use cqm_db::{Conn, log};
use cqm_rpc::{BoxError, Call, Error};
use cqm_runtime::tasks::Supervisor;
use uuid::Uuid;

use crate::grpc::convert;
use crate::{App, store};

/// Clocks of one transaction: many enough to catch up after an outage, few enough to keep the locks of their complaints
/// short.
const BATCH: i64 = 100;
/// What one batch may take.
const BUDGET: Duration = Duration::from_secs(10);

pub(crate) fn start(app: &App, supervisor: &Supervisor) {
    let (app, stopping) = (app.clone(), supervisor.stopping());
    let ticks = supervisor.every(app.config.sla_interval);
    supervisor.spawn("tell service levels", move || {
        let (app, mut ticks, stopping) = (app.clone(), ticks.clone(), stopping.clone());
        async move {
            while ticks.next().await {
                while tell_batch(&app).await? > 0 && !stopping.is_cancelled() {}
            }
            Ok::<_, BoxError>(())
        }
    });
}

/// Tells what is to be told of the clocks that wait longest for it, and returns how much it was.
async fn tell_batch(app: &App) -> Result<usize, Error> {
    let call = Call::internal("tell_service_levels", BUDGET);
    let count = app.db.tx(&call, "tell_service_levels", async |tx| turn(app, tx, &call).await).await?;
    if count > 0 {
        tracing::info!(count, "warnings and breaches of service levels told");
    }
    Ok(count)
}

async fn turn(app: &App, tx: &mut Conn, call: &Call) -> Result<usize, Error> {
    let due = store::clocks::find_due(tx, app.clock.now(), BATCH).await?;
    if due.is_empty() {
        return Ok(0);
    }
    let ids: Vec<Uuid> = due.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
    let mut complaints = store::complaint::lock_free(tx, &app.policies, &ids).await?;
    // Under the locks, as where a caller moves a complaint: times grow with versions.
    let now = app.clock.now();
    let (mut lines, mut events) = (Vec::new(), Vec::new());
    complaints.retain_mut(|complaint| {
        let told = complaint.tell_clocks(now);
        for event in &told {
            lines.push((complaint.name(), event.entry(&call.caller.subject)));
            events.push(convert::event(complaint, event));
        }
        !told.is_empty()
    });
    if events.is_empty() {
        return Ok(0);
    }
    store::complaint::update_versions(tx, &complaints).await?;
    store::timeline::append_all(tx, &lines).await?;
    store::clocks::save(tx, &complaints).await?;
    log::append(tx, &call.trace, &events).await?;
    Ok(events.len())
}
