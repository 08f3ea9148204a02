//! The loop that gives a service's events their positions, and wakes those who wait for them.

use std::time::Duration;

use cqm_db::Db;
use cqm_db::log::Sequencer;
use cqm_rpc::Call;

use crate::tasks::{Supervisor, jittered};

/// What one look and one turn may take.
const BUDGET: Duration = Duration::from_secs(10);

/// How long a turn that moved something rests. Under load, what commits meanwhile goes into one turn and not into a
/// hundred; an event that comes alone is not kept waiting, and nobody's call waits for its position.
const REST: Duration = Duration::from_millis(20);

/// Sequences for as long as the process lives. Woken by this process's own commits; the poll is the backstop, for
/// what a replica left behind that died before its turn, and for what another replica has sequenced: readers that
/// wait here are told of it. One cheap look a poll, however many readers wait.
pub fn sequencer(db: Db, supervisor: &Supervisor) {
    let stop = supervisor.stopping();
    supervisor.spawn("sequencer", move || {
        let (db, stop) = (db.clone(), stop.clone());
        async move {
            // Not known at the start, also after a failure: the first look tells the readers to look too.
            let mut told = None;
            while !stop.is_cancelled() {
                let call = Call::internal("sequence_events", BUDGET);
                let look = Sequencer::look(&db, &call).await?;
                if told != Some(look.head) {
                    db.sequenced().notify_waiters();
                }
                // A turn tells of what it has moved by itself.
                let moved = if look.waiting { Sequencer::turn(&db, &call).await? } else { 0 };
                told = Some(look.head + moved as i64);
                if Sequencer::is_full(moved) {
                    continue;
                }
                if moved > 0 {
                    tokio::time::sleep(REST).await;
                }
                let pause = jittered(db.events().poll);
                tokio::select! {
                    () = db.appended().notified() => {}
                    () = tokio::time::sleep(pause) => {}
                    () = stop.cancelled() => {}
                }
            }
            Ok(())
        }
    });
}
