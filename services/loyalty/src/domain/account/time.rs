//! Time passes: points become available, expire or are about to, holds run out.
//!
//! What time changes is true from its moment on, whether or not somebody has written it down. Every transaction writes
//! it down first for the members that it is about, and a worker for those whom nobody asks about, so that no answer
//! depends on when the worker ran.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::draft::{Draft, Move};
use super::hold::give_back;
use super::{Account, Change, Policy};
use crate::domain::book::Book;
use crate::domain::entry::{Cause, Kind};
use crate::domain::hold::State;
use crate::domain::lot::Lot;
use crate::domain::{Fact, Refusal};

/// What of a member time has caught up with; all of it is loaded into the account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Lots that become available or end, and those whose end is announced.
    pub lots: Vec<Uuid>,
    /// Holds that run out.
    pub holds: Vec<Uuid>,
    /// There is more than was loaded.
    pub more: bool,
    pub horizon: Horizon,
}

/// When something comes next of what is stored, after now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Horizon {
    /// The first lot that ends.
    pub expiry: Option<DateTime<Utc>>,
    /// The first lot whose end has not been announced.
    pub unannounced: Option<DateTime<Utc>>,
    /// The first pending lot.
    pub maturity: Option<DateTime<Utc>>,
    /// The first open hold that runs out.
    pub hold: Option<DateTime<Utc>>,
}

/// Something that time has done, in the order of one moment: points end before a hold gives some back to them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Passed {
    Matured(Uuid),
    Expired(Uuid),
    HoldRanOut(Uuid),
}

impl Account {
    /// Whether time has caught up with something.
    pub fn is_due(&self, now: DateTime<Utc>) -> bool {
        self.member.next_due.is_some_and(|due| due <= now)
    }

    /// Writes down what time has changed.
    pub fn settle(
        &self,
        due: &Due,
        policy: &Policy,
        now: DateTime<Utc>,
        new_id: impl FnMut() -> Uuid,
    ) -> Result<Change, Refusal> {
        // Each thing that time changes has a key of its own, by the first of them.
        let first = due.holds.first().or(due.lots.first()).copied().unwrap_or(self.member.customer);
        let cause = Cause::time(first, &self.member.version.to_string(), now);
        let mut draft = Draft::of(self, &cause, new_id);
        draft.member.next_due = if due.more { self.member.next_due } else { due.horizon.next(policy) };

        // In the order in which it happened, so that it does not matter when it is written down: points that a hold gave
        // back may have ended since, or paid off what was owed then.
        let mut passed = Vec::new();
        let mut lots = due.lots.clone();
        for id in &due.holds {
            let hold = self.holds.get(id).ok_or(Refusal::OutOfBalance)?;
            passed.push((hold.expires_at, Passed::HoldRanOut(*id)));
            lots.extend(hold.lots.iter().map(|pin| pin.lot).filter(|lot| !due.lots.contains(lot)));
        }
        for id in &lots {
            let lot = draft.lot(*id)?;
            if lot.pending && lot.available_at <= now {
                passed.push((lot.available_at, Passed::Matured(*id)));
            }
            if let Some(expires_at) = lot.expires_at.filter(|expires_at| *expires_at <= now) {
                passed.push((expires_at, Passed::Expired(*id)));
            }
        }
        passed.sort();
        let (mut matured, mut expired) = (0, 0);
        for (at, passed) in passed {
            match passed {
                Passed::Matured(id) => {
                    let lot = draft.lot(id)?;
                    draft.put_lot(Lot { pending: false, ..lot })?;
                    draft.post(Move::new(Kind::Mature, Book::Pending, Book::Available, id, lot.remaining))?;
                    matured += lot.remaining;
                }
                Passed::Expired(id) => {
                    let lot = draft.lot(id)?;
                    let debit = if lot.pending { Book::Pending } else { Book::Available };
                    draft.put_lot(Lot { remaining: 0, expired: lot.expired + lot.remaining, ..lot })?;
                    draft.post(Move::new(Kind::Expire, debit, Book::Expired, id, lot.remaining))?;
                    expired += lot.remaining;
                }
                Passed::HoldRanOut(id) => {
                    let mut hold = self.holds.get(&id).ok_or(Refusal::OutOfBalance)?.clone();
                    give_back(&mut draft, &mut hold, policy, at, true)?;
                    hold.state = State::Expired;
                    hold.update_time = now;
                    draft.put_hold(hold);
                }
            }
        }

        let mut ending: Vec<(DateTime<Utc>, i64)> = Vec::new();
        let announced = now + policy.notice;
        for id in &due.lots {
            let lot = draft.lot(*id)?;
            let ends = lot.expires_at.filter(|time| *time > self.member.notice_until && *time <= announced);
            if let (Some(expires_at), true) = (ends, lot.remaining > 0) {
                ending.push((expires_at, lot.remaining));
            }
        }
        let balance = draft.available();
        if matured > 0 {
            draft.tell(Fact::Matured { points: matured, balance });
        }
        if expired > 0 {
            draft.tell(Fact::Expired { points: expired, balance });
        }
        if let (Some(first), Some(last)) = (ending.iter().min(), ending.iter().max()) {
            let points = ending.iter().map(|(_, points)| points).sum();
            draft.tell(Fact::ExpiringSoon { points, first: first.0, last: last.0 });
        }
        if !due.more {
            draft.member.notice_until = draft.member.notice_until.max(announced);
        }
        draft.pass_cycles();
        Ok(draft.finish())
    }
}

impl Horizon {
    fn next(&self, policy: &Policy) -> Option<DateTime<Utc>> {
        let notice = self.unannounced.map(|expires_at| expires_at - policy.notice);
        [self.expiry, notice, self.maturity, self.hold].into_iter().flatten().min()
    }
}
