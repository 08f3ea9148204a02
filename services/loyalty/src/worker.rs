//! What happens by itself: points become available and expire, holds run out, tiers end; [`days`] that are over are summed
//! up.
//!
//! Any replica may write it down; members whom another one works on are skipped. A transaction takes some members and
//! commits, so that a crash loses nothing and the next turn goes on where it was.

pub mod days;
pub mod vouchers;

use std::time::Duration;

use cqm_db::{Conn, Patience, log};
use cqm_rpc::{BoxError, Call, Error, TraceContext};
use cqm_runtime::tasks::Supervisor;

use crate::App;
use crate::domain::account::Account;
use crate::grpc::{self, convert::event};
use crate::store::{self, Wants};

/// What one transaction may take.
const BUDGET: Duration = Duration::from_secs(10);
/// Members that one transaction takes: their locks are held until it commits.
const BATCH: i64 = 100;

pub(crate) fn start(app: &App, supervisor: &Supervisor) {
    grpc::verify::faults().add(0, &[]);
    days::start(app, supervisor);
    vouchers::start(app, supervisor);
    let (app, ticks) = (app.clone(), supervisor.every(app.config.poll));
    supervisor.spawn("let time pass", move || {
        let (app, mut ticks) = (app.clone(), ticks.clone());
        async move {
            while ticks.next().await {
                while let_time_pass(&app).await? > 0 {}
            }
            Ok::<_, BoxError>(())
        }
    });
}

/// Writes down what time has changed for the members who wait longest for it, and returns for how many it did.
pub async fn let_time_pass(app: &App) -> Result<usize, Error> {
    let call = Call::internal("let_time_pass", BUDGET);
    app.db.tx(&call, "let_time_pass", async |tx| turn(app, tx, &call).await).await
}

async fn turn(app: &App, tx: &mut Conn, call: &Call) -> Result<usize, Error> {
    let posting = &app.posting;
    let due = store::find_due_members(tx, posting.clock.now(), BATCH).await?;
    if due.is_empty() {
        return Ok(0);
    }
    let wants = Wants { customers: due.into_iter().collect(), ..Wants::default() };
    let loaded =
        store::load(tx, &wants, Patience::Skip, &posting.policy, &posting.tiers, || posting.clock.now())
            .await?;
    let accounts: Vec<&Account> = loaded.accounts.values().filter(|account| account.is_changed()).collect();
    store::save(tx, &accounts).await.inspect_err(|_| posting.tiers.forget())?;
    let events: Vec<(TraceContext, log::NewEvent)> =
        loaded.events.iter().map(|event| (call.trace, event::logged(event))).collect();
    log::append_all(tx, &events).await?;
    Ok(accounts.len())
}
