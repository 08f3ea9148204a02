//! Points are set aside, and what becomes of them.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::draft::{Draft, Move};
use super::{Account, Change, Policy};
use crate::domain::book::Book;
use crate::domain::entry::{Cause, Kind};
use crate::domain::hold::{Hold, Pin, State};
use crate::domain::lot::Lot;
use crate::domain::{Fact, Refusal};

impl Account {
    /// Sets points (over 0) aside until `expires_at`, out of the lots that spending would take. Refuses a frozen member.
    pub fn hold(
        &self,
        points: i64,
        expires_at: DateTime<Utc>,
        cause: &Cause,
        new_id: impl FnMut() -> Uuid,
    ) -> Result<(Uuid, Change), Refusal> {
        self.may_spend()?;
        let mut draft = Draft::of(self, cause, new_id);
        let id = draft.new_id();
        let mut lots = Vec::new();
        for take in self.choose(points)? {
            let lot = draft.lot(take.lot)?;
            draft.put_lot(Lot {
                remaining: lot.remaining - take.points,
                held: lot.held + take.points,
                ..lot
            })?;
            draft.post(Move {
                hold: Some(id),
                ..Move::new(Kind::Hold, Book::Available, Book::Held, lot.id, take.points)
            })?;
            lots.push(Pin { lot: lot.id, points: take.points, committed: 0, released: 0 });
        }
        draft.put_hold(Hold {
            id,
            state: State::Open,
            points,
            committed: 0,
            released: 0,
            source: cause.source.clone(),
            expires_at,
            create_time: cause.time,
            update_time: cause.time,
            lots,
        });
        draft.member.due_by(expires_at);
        let fact = Fact::Held {
            hold: id,
            points,
            source: cause.source.clone(),
            balance: draft.available(),
            expires_at,
        };
        draft.tell(fact);
        Ok((id, draft.finish()))
    }

    // The hold comes as an argument: whoever asks has found it, and it is cloned here anyway.
    /// Spends points of a hold (over 0; `None`: all that is left), in the order of its lots; `last` gives the rest back.
    /// A member who was frozen meanwhile may: the points were promised. So are points whose time is over meanwhile.
    pub fn commit(
        &self,
        hold: &Hold,
        points: Option<i64>,
        last: bool,
        policy: &Policy,
        cause: &Cause,
        new_id: impl FnMut() -> Uuid,
    ) -> Result<Change, Refusal> {
        if hold.state != State::Open {
            return Err(Refusal::HoldState { state: hold.state, action: "commit" });
        }
        let points = points.unwrap_or(hold.left());
        if points > hold.left() {
            return Err(Refusal::HoldExceeded { held: hold.left() });
        }
        let mut draft = Draft::of(self, cause, new_id);
        let (mut hold, mut wanted) = (hold.clone(), points);
        for pin in &mut hold.lots {
            let part = pin.left().min(wanted);
            if part == 0 {
                continue;
            }
            let lot = draft.lot(pin.lot)?;
            draft.put_lot(Lot { held: lot.held - part, spent: lot.spent + part, ..lot })?;
            draft.post(Move {
                hold: Some(hold.id),
                ..Move::new(Kind::Commit, Book::Held, Book::Redeemed, lot.id, part)
            })?;
            pin.committed += part;
            wanted -= part;
        }
        hold.committed += points;
        let fact = Fact::Redeemed {
            entry: draft.last(),
            points,
            source: cause.source.clone(),
            balance: draft.available(),
            hold: Some(hold.id),
        };
        draft.tell(fact);
        if last {
            give_back(&mut draft, &mut hold, policy, false)?;
        }
        if hold.left() == 0 {
            hold.state = State::Committed;
        }
        hold.update_time = cause.time;
        draft.put_hold(hold);
        Ok(draft.finish())
    }

    /// Gives back what is left of a hold.
    pub fn release(
        &self,
        hold: &Hold,
        policy: &Policy,
        cause: &Cause,
        new_id: impl FnMut() -> Uuid,
    ) -> Result<Change, Refusal> {
        if hold.state != State::Open {
            return Err(Refusal::HoldState { state: hold.state, action: "release" });
        }
        let mut draft = Draft::of(self, cause, new_id);
        let mut hold = hold.clone();
        give_back(&mut draft, &mut hold, policy, false)?;
        hold.state = if hold.committed > 0 { State::Committed } else { State::Released };
        hold.update_time = cause.time;
        draft.put_hold(hold);
        Ok(draft.finish())
    }
}

/// Gives back what is left of a hold: to its lots, and to nobody where a lot's time is over.
pub(super) fn give_back<F: FnMut() -> Uuid>(
    draft: &mut Draft<'_, F>,
    hold: &mut Hold,
    policy: &Policy,
    ran_out: bool,
) -> Result<(), Refusal> {
    let points = hold.left();
    if points == 0 {
        return Ok(());
    }
    let now = draft.now();
    let mut expired = 0;
    for pin in &mut hold.lots {
        let part = pin.left();
        if part == 0 {
            continue;
        }
        let lot = draft.lot(pin.lot)?;
        let step = |kind, credit, points| Move {
            hold: Some(hold.id),
            ..Move::new(kind, Book::Held, credit, lot.id, points)
        };
        if lot.is_over(now) {
            expired += part;
            draft.put_lot(Lot { held: lot.held - part, expired: lot.expired + part, ..lot })?;
            draft.post(step(Kind::Expire, Book::Expired, part))?;
        } else {
            let owed = if policy.repay_debt { draft.member.books.of(Book::ClawbackDebt) } else { 0 };
            let repaid = part.min(owed);
            draft.put_lot(Lot {
                held: lot.held - part,
                remaining: lot.remaining + part - repaid,
                spent: lot.spent + repaid,
                ..lot
            })?;
            draft.post(step(Kind::Repay, Book::ClawbackDebt, repaid))?;
            draft.post(step(Kind::Release, Book::Available, part - repaid))?;
            draft.member.due_for(lot.expires_at, policy.notice, now);
        }
        pin.released += part;
    }
    hold.released += points;
    let balance = draft.available();
    draft.tell(Fact::HoldReleased { hold: hold.id, points, ran_out, balance });
    if expired > 0 {
        draft.tell(Fact::Expired { points: expired, balance });
    }
    Ok(())
}
