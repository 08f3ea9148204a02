//! The rules in force, as every earn needs them: a copy in the process, at most a second old.
//!
//! What is changed of a programme or a rule counts at once in the process that changed it, and in the others when their
//! copy has become too old: a paused programme stops within a second everywhere. Budgets and limits are not part of the
//! copy; they are read under their locks, and cannot be overrun by an old one.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cqm_db::Conn;
use cqm_rpc::Error;
use uuid::Uuid;

use crate::domain::rules::InForce;
use crate::store;

/// How long a copy is good for. Too short: the rules are read for every batch. Too long: a paused programme goes on.
const FRESH: Duration = Duration::from_secs(1);

/// Clones are the same copy; there is one for each process.
#[derive(Clone, Debug, Default)]
pub struct RuleBook(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    copy: Option<(Instant, Arc<[InForce]>)>,
    /// Grows when the rules are changed here: what was read before is not kept.
    changes: u64,
    /// Budgets of which a few slices no longer suffice.
    low: HashSet<Uuid>,
    /// Turns round the slices, so that two batches rarely want the same ones.
    turn: i16,
}

impl RuleBook {
    /// The rules of the programmes that are active or paused, in the order of their ids.
    pub async fn read(&self, conn: &Conn) -> Result<Arc<[InForce]>, Error> {
        let (asked, changes) = {
            let inner = self.inner();
            match &inner.copy {
                Some((read, rules)) if read.elapsed() < FRESH => return Ok(Arc::clone(rules)),
                _ => (Instant::now(), inner.changes),
            }
        };
        let rules: Arc<[InForce]> = store::rules_in_force(conn).await?.into();
        let mut inner = self.inner();
        if inner.changes == changes {
            let known = |id: &Uuid| rules.iter().any(|it| it.rule.id == *id || it.programme.id == *id);
            inner.low.retain(known);
            inner.copy = Some((asked, Arc::clone(&rules)));
        }
        Ok(rules)
    }

    /// Rules were changed: the next who asks reads them.
    pub fn forget(&self) {
        let mut inner = self.inner();
        inner.changes += 1;
        inner.copy = None;
    }

    pub fn is_low(&self, budget: Uuid) -> bool {
        self.inner().low.contains(&budget)
    }

    pub fn set_low(&self, budget: Uuid, low: bool) {
        let mut inner = self.inner();
        if low {
            inner.low.insert(budget);
        } else {
            inner.low.remove(&budget);
        }
    }

    /// Which slice to look at first.
    pub fn next_turn(&self) -> i16 {
        let mut inner = self.inner();
        inner.turn = (inner.turn + 5) % store::SLICES;
        inner.turn
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
