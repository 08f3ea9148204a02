//! What was earned or spent is taken back, whole or in parts that add up.

use uuid::Uuid;

use super::draft::{Draft, Move};
use super::{Account, Change, Policy};
use crate::domain::book::Book;
use crate::domain::entry::{Cause, Kind, Reason};
use crate::domain::lot::Lot;
use crate::domain::split;
use crate::domain::{Fact, Refusal};

/// A transaction of the past, as far as it can be taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    pub transaction: Uuid,
    /// Whose it was, when it was made under a name that was merged into this one.
    pub of: Option<Uuid>,
    /// Of its first entry.
    pub kind: Kind,
    pub reason: Reason,
    /// In the order of its entries. The lots are loaded into the account.
    pub lots: Vec<PastLot>,
}

/// What a transaction did to one lot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PastLot {
    pub lot: Uuid,
    /// Of the first entry about it: what reversals refer to.
    pub sequence: i64,
    pub points: i64,
    /// What was taken back of it before.
    pub reversed: i64,
    /// The part of that which had been spent, and was owed.
    pub owed: i64,
}

/// How much is to be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All that is left.
    Rest,
    /// So many points more, over 0.
    Points(i64),
    /// So many more that, with those taken back before, it is this part of the whole (0 ≤ part ≤ whole, whole > 0),
    /// rounded down. Refunds in parts add up to the whole when the last of them reaches it, whatever their number.
    UpTo { part: i64, whole: i64 },
}

impl Past {
    pub fn points(&self) -> i64 {
        self.lots.iter().map(|lot| lot.points).sum()
    }
}

impl Extent {
    /// How many points are to be taken back now, of so many, of which so many are left.
    fn of(self, points: i64, left: i64) -> Result<i64, Refusal> {
        if left == 0 {
            return Err(Refusal::AlreadyReversed);
        }
        let wanted = match self {
            Self::Rest => left,
            Self::Points(points) => points,
            Self::UpTo { part, whole } => {
                let target = i128::from(points) * i128::from(part) / i128::from(whole);
                // Never over the points, which fit. Below what was taken back: nothing more is due.
                i64::try_from(target).map_err(|_| Refusal::Overflow)?.saturating_sub(points - left).max(0)
            }
        };
        if wanted > left { Err(Refusal::ReversalExceeded { left }) } else { Ok(wanted) }
    }
}

impl Account {
    /// Takes points back that a transaction gave or took, split over its lots by the largest remainder.
    pub fn reverse(
        &self,
        past: &Past,
        extent: Extent,
        policy: &Policy,
        cause: &Cause,
        new_id: impl FnMut() -> Uuid,
    ) -> Result<Change, Refusal> {
        let earned = match past.kind {
            Kind::Earn => true,
            // A correction upwards made a lot. One downwards is corrected by another.
            Kind::Adjust if past.lots.first().is_some_and(|first| first.lot == past.transaction) => true,
            Kind::Redeem | Kind::Commit => false,
            kind => return Err(Refusal::NotReversible { kind }),
        };
        let left = self.left_to_reverse(past)?;
        let wanted = extent.of(past.points(), left.iter().sum())?;
        let parts = split::by_largest_remainder(wanted, &left).ok_or(Refusal::OutOfBalance)?;
        let mut draft = Draft::of(self, cause, new_id);
        let (mut aside, reason, of) = (0, past.reason, past.of);
        for (past, part) in past.lots.iter().zip(parts).filter(|(_, part)| *part > 0) {
            aside += if earned {
                let earned_at = draft.lot(past.lot)?.earned_at;
                draft.count(reason, earned_at, -part);
                take_back(&mut draft, of, past, part)?
            } else {
                restore(&mut draft, of, past, part, policy)?
            };
        }
        let (transaction, balance) = (past.transaction, draft.available());
        if wanted > 0 {
            draft.tell(if earned {
                Fact::EarningReversed { transaction, points: wanted, debt: aside, balance }
            } else {
                Fact::SpendingReversed { transaction, points: wanted, repaid: aside, balance }
            });
            if earned {
                draft.climb();
            }
        }
        Ok(draft.finish())
    }
}

impl Account {
    /// What is left to take back of a transaction, for each of its lots. Points that a correction took out of a lot are
    /// gone from the earn that made it, too: they were not spent, and nobody owes them.
    pub fn left_to_reverse(&self, past: &Past) -> Result<Vec<i64>, Refusal> {
        let earned = matches!(past.kind, Kind::Earn | Kind::Adjust);
        past.lots
            .iter()
            .map(|part| {
                let kept = match self.lot(part.lot) {
                    Some(lot) => lot.kept(),
                    // What was merged has left those lots behind of which everything was taken back.
                    None if past.of.is_some() => 0,
                    None => return Err(Refusal::OutOfBalance),
                };
                // Of the lot that the transaction made: a lot that came with a merge came without what was gone.
                let gone = part.points - kept;
                let corrected = if earned { gone - (part.reversed - part.owed) } else { 0 };
                Ok((part.points - part.reversed - corrected).max(0))
            })
            .collect()
    }
}

/// Takes points of an earn back out of its own lot: what remains, then what has expired, which is none of the
/// member's, and the rest becomes a debt: it was spent, or is promised to something under way. Returns the debt.
fn take_back<F: FnMut() -> Uuid>(
    draft: &mut Draft<'_, F>,
    of: Option<Uuid>,
    past: &PastLot,
    points: i64,
) -> Result<i64, Refusal> {
    let lot = draft.lot(past.lot)?;
    let remaining = points.min(lot.remaining);
    let expired = (points - remaining).min(lot.expired);
    let debt = points - remaining - expired;
    draft.put_lot(Lot {
        remaining: lot.remaining - remaining,
        expired: lot.expired - expired,
        reversed: lot.reversed + remaining + expired,
        ..lot
    })?;
    let from = if lot.pending { Book::Pending } else { Book::Available };
    for (debit, part) in [(from, remaining), (Book::Expired, expired), (Book::ClawbackDebt, debt)] {
        draft.post(Move {
            reverses: Some(past.sequence),
            reverses_of: of,
            ..Move::new(Kind::ReverseEarn, debit, Book::Issued, lot.id, part)
        })?;
    }
    Ok(debt)
}

/// Gives points of a spend back to the lot that they came from. Where its time is over, they can be spent for the
/// policy's grace, or end at once without one. Returns what paid off a debt.
fn restore<F: FnMut() -> Uuid>(
    draft: &mut Draft<'_, F>,
    of: Option<Uuid>,
    past: &PastLot,
    points: i64,
    policy: &Policy,
) -> Result<i64, Refusal> {
    let now = draft.now();
    let lot = draft.lot(past.lot)?;
    let owed = if policy.repay_debt { draft.member.books.of(Book::ClawbackDebt) } else { 0 };
    let repaid = points.min(owed);
    let returned = points - repaid;
    let over = lot.is_over(now);
    let ends = over && policy.grace <= chrono::TimeDelta::zero();
    // The lot is the original one. Only its end moves, and only when it has passed: nothing of it was left then.
    let expires_at = if over && !ends && returned > 0 { Some(now + policy.grace) } else { lot.expires_at };
    let lot = Lot { spent: lot.spent - returned, expires_at, ..lot };
    let reverses = Some(past.sequence);
    draft.post(Move {
        reverses,
        reverses_of: of,
        ..Move::new(Kind::Repay, Book::Redeemed, Book::ClawbackDebt, lot.id, repaid)
    })?;
    let (credit, lot) = if ends {
        (Book::Expired, Lot { expired: lot.expired + returned, ..lot })
    } else {
        draft.member.due_for(lot.expires_at, policy.notice, now);
        (Book::Available, Lot { remaining: lot.remaining + returned, ..lot })
    };
    draft.post(Move {
        reverses,
        reverses_of: of,
        ..Move::new(Kind::ReverseSpend, Book::Redeemed, credit, lot.id, returned)
    })?;
    draft.put_lot(lot)?;
    Ok(repaid)
}
