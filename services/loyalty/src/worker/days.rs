//! The sums of days that are over, which reports read instead of the history.
//!
//! Any replica may write them: one has the lock and the others leave it to that one. A transaction writes one day and
//! that it is written, in order and without a gap, so that a crash between two days, or within one, is gone on from where
//! it was, and no day is written twice.

use std::time::Duration;

use chrono::{Days, NaiveDate, TimeDelta};
use cqm_rpc::{BoxError, Call, Error};
use cqm_runtime::tasks::Supervisor;

use crate::{App, store};

/// How long after a day its sums are written. Longer than any transaction runs and any two clocks differ: an entry that
/// was made on the day and is committed after its sums would be missing in them. Too long: reports read more entries.
const SETTLED: TimeDelta = TimeDelta::hours(1);
/// What one day may take: all of its entries are read.
const BUDGET: Duration = Duration::from_secs(15 * 60);

pub(super) fn start(app: &App, supervisor: &Supervisor) {
    let (app, ticks) = (app.clone(), supervisor.every(app.config.poll));
    supervisor.spawn("close days", move || {
        let (app, mut ticks) = (app.clone(), ticks.clone());
        async move {
            while ticks.next().await {
                while close_next(&app).await?.is_some() {}
            }
            Ok::<_, BoxError>(())
        }
    });
}

/// Writes the sums of the next day that is over and returns which it was; `None` when there is none, or another replica
/// is at it.
pub async fn close_next(app: &App) -> Result<Option<NaiveDate>, Error> {
    let call = Call::internal("close_day", BUDGET);
    // A look without the lock: there is something to do once a day.
    if app.db.read(&call, "next_day", async |conn| next(app, conn, None).await).await?.is_none() {
        return Ok(None);
    }
    app.db
        .tx_without_events(&call, "close_day", async |tx| {
            let Some(closed) = store::lock_closed(tx).await? else {
                return Ok(None);
            };
            let Some(day) = next(app, tx, Some(closed)).await? else {
                return Ok(None);
            };
            store::close_day(tx, day).await?;
            Ok(Some(day))
        })
        .await
}

/// The next day whose sums may be written.
async fn next(
    app: &App,
    conn: &mut cqm_db::Conn,
    closed: Option<store::Closed>,
) -> Result<Option<NaiveDate>, Error> {
    let closed = match closed {
        Some(closed) => closed,
        None => store::find_closed(conn).await?,
    };
    let day = match closed.through {
        Some(last) => last.checked_add_days(Days::new(1)),
        // The day before, in case that two clocks differ at midnight.
        None => {
            let joined = store::first_joining(conn).await?;
            joined.and_then(|time| time.date_naive().checked_sub_days(Days::new(1)))
        }
    };
    Ok(day.filter(|day| store::end_of(*day) + SETTLED <= app.posting.clock.now()))
}
