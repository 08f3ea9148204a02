//! Vouchers run out of time. That they have is so from its moment on, whoever asks; here it is written down and told.

use cqm_db::{Conn, log};
use cqm_rpc::{BoxError, Call, Error, TraceContext};
use cqm_runtime::tasks::Supervisor;

use super::{BATCH, BUDGET};
use crate::domain::voucher::Voucher;
use crate::grpc::convert::voucher;
use crate::{App, store};

pub(super) fn start(app: &App, supervisor: &Supervisor) {
    let (app, ticks) = (app.clone(), supervisor.every(app.config.poll));
    supervisor.spawn("let vouchers expire", move || {
        let (app, mut ticks) = (app.clone(), ticks.clone());
        async move {
            while ticks.next().await {
                while let_vouchers_expire(&app).await? > 0 {}
            }
            Ok::<_, BoxError>(())
        }
    });
}

/// Writes down that vouchers' time is over, for those who wait longest for it, and returns for how many it did. Those
/// that another replica or a caller works on are skipped.
pub async fn let_vouchers_expire(app: &App) -> Result<usize, Error> {
    let call = Call::internal("let_vouchers_expire", BUDGET);
    app.db.tx(&call, "let_vouchers_expire", async |tx| turn(app, tx, &call).await).await
}

async fn turn(app: &App, tx: &mut Conn, call: &Call) -> Result<usize, Error> {
    let now = app.posting.clock.now();
    let mut due = store::lock_due_vouchers(tx, now, BATCH).await?;
    let expired = due.iter_mut().filter_map(|voucher: &mut Voucher| voucher.expire(now));
    let events: Vec<(TraceContext, log::NewEvent)> =
        expired.map(|event| (call.trace, voucher::logged(&event))).collect();
    store::update_vouchers(tx, &due).await?;
    log::append_all(tx, &events).await?;
    Ok(due.len())
}
