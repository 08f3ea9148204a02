//! Points are spent, or taken as a correction.

use uuid::Uuid;

use super::draft::{Draft, Move};
use super::{Account, Change};
use crate::domain::book::Book;
use crate::domain::entry::{Cause, Kind};
use crate::domain::lot::Lot;
use crate::domain::member::State;
use crate::domain::{Fact, Refusal};

/// The most lots that one transaction takes from: each is a row to read and to write, under the member's lock.
pub(super) const MOST_LOTS: usize = 1000;

/// Points that are taken out of one lot, over 0.
pub(super) struct Take {
    pub lot: Uuid,
    pub points: i64,
}

impl Account {
    /// Spends points (over 0), those first that expire first. Refuses a frozen member.
    pub fn redeem(
        &self,
        points: i64,
        cause: &Cause,
        new_id: impl FnMut() -> Uuid,
    ) -> Result<Change, Refusal> {
        self.may_spend()?;
        let mut draft = Draft::of(self, cause, new_id);
        for take in self.choose(points)? {
            let lot = draft.lot(take.lot)?;
            draft.put_lot(Lot {
                remaining: lot.remaining - take.points,
                spent: lot.spent + take.points,
                ..lot
            })?;
            draft.post(Move::new(Kind::Redeem, Book::Available, Book::Redeemed, lot.id, take.points))?;
        }
        let fact = Fact::Redeemed {
            entry: draft.last(),
            points,
            source: cause.source.clone(),
            balance: draft.available(),
            hold: None,
        };
        draft.tell(fact);
        Ok(draft.finish())
    }

    /// Takes points (over 0) as a correction: as if they had never been issued. A frozen member is corrected like any
    /// other.
    pub fn deduct(
        &self,
        points: i64,
        cause: &Cause,
        new_id: impl FnMut() -> Uuid,
    ) -> Result<Change, Refusal> {
        let mut draft = Draft::of(self, cause, new_id);
        for take in self.choose(points)? {
            let lot = draft.lot(take.lot)?;
            draft.put_lot(Lot {
                remaining: lot.remaining - take.points,
                reversed: lot.reversed + take.points,
                ..lot
            })?;
            draft.post(Move::new(Kind::Adjust, Book::Available, Book::Issued, lot.id, take.points))?;
        }
        let fact = Fact::Deducted {
            entry: draft.last(),
            points,
            source: cause.source.clone(),
            balance: draft.available(),
        };
        draft.tell(fact);
        Ok(draft.finish())
    }

    /// Refuses a frozen member.
    pub fn may_spend(&self) -> Result<(), Refusal> {
        if self.member.state == State::Frozen { Err(Refusal::Frozen) } else { Ok(()) }
    }

    /// Chooses the lots that `points` are taken from, in the order of spending. Refuses when they do not suffice.
    ///
    /// Spending takes from lots, never from a sum: a balance kept as credits less debits would let expired points be
    /// counted against later ones.
    pub(super) fn choose(&self, points: i64) -> Result<Vec<Take>, Refusal> {
        let available = self.balance(Book::Available);
        if points > available {
            return Err(Refusal::Insufficient { available });
        }
        let (mut takes, mut wanted) = (Vec::new(), points);
        for id in self.open.values() {
            if wanted == 0 {
                break;
            }
            if takes.len() == MOST_LOTS {
                return Err(Refusal::TooManyLots { points: points - wanted });
            }
            let lot = &self.lots[id];
            let points = wanted.min(lot.remaining);
            takes.push(Take { lot: lot.id, points });
            wanted -= points;
        }
        if wanted > 0 { Err(Refusal::OutOfBalance) } else { Ok(takes) }
    }
}
