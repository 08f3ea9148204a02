//! Points are given.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::draft::{Draft, Move};
use super::{Account, Change, Policy};
use crate::domain::book::Book;
use crate::domain::entry::{Cause, Kind, Reason};
use crate::domain::lot::Lot;
use crate::domain::{Fact, Refusal};

/// Points that one rule gives: a lot of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Award {
    /// Over 0.
    pub points: i64,
    pub rule: Option<Uuid>,
    /// When they count as earned, for the order of spending.
    pub earned_at: DateTime<Utc>,
    /// In the future: they are pending until then.
    pub available_at: DateTime<Utc>,
    /// After `available_at`. `None`: never.
    pub expires_at: Option<DateTime<Utc>>,
}

impl Account {
    /// Gives points, a lot for each award; at least one. What the member owes is paid off first, if the policy says so.
    pub fn earn(
        &self,
        awards: &[Award],
        policy: &Policy,
        cause: &Cause,
        new_id: impl FnMut() -> Uuid,
    ) -> Result<Change, Refusal> {
        let mut draft = Draft::of(self, cause, new_id);
        let kind = if cause.reason == Reason::Adjustment { Kind::Adjust } else { Kind::Earn };
        let (mut total, mut last) = (0_i64, Uuid::nil());
        for award in awards {
            total = total.checked_add(award.points).ok_or(Refusal::Overflow)?;
            let id = draft.new_id();
            last = id;
            let owed = if policy.repay_debt { draft.member.books.of(Book::ClawbackDebt) } else { 0 };
            let repaid = award.points.min(owed);
            let pending = award.available_at > cause.time;
            let mut lot = Lot {
                id,
                amount: award.points,
                remaining: award.points,
                held: 0,
                spent: 0,
                expired: 0,
                reversed: 0,
                pending,
                earned_at: award.earned_at,
                available_at: award.available_at,
                expires_at: award.expires_at,
            };
            let credit = if pending { Book::Pending } else { Book::Available };
            // The lot's name is that of its first entry, whatever that entry does.
            draft.post_as(
                id,
                Move { rule: award.rule, ..Move::new(kind, Book::Issued, credit, id, award.points) },
            )?;
            lot.remaining -= repaid;
            lot.spent = repaid;
            draft.post(Move::new(Kind::Repay, credit, Book::ClawbackDebt, id, repaid))?;
            draft.put_lot(lot)?;
            draft.count(cause.reason, award.earned_at, award.points);
            if pending {
                draft.member.due_by(award.available_at);
            }
            draft.member.due_for(award.expires_at, policy.notice, cause.time);
        }
        let fact = Fact::Earned {
            entry: last,
            points: total,
            reason: cause.reason,
            source: cause.source.clone(),
            balance: draft.available(),
        };
        draft.tell(fact);
        draft.climb();
        // What earns nothing is no purchase that anybody is rewarded for.
        if cause.reason == Reason::Purchase
            && let Some(referrer) = draft.member.reward_to.take()
        {
            draft.tell(Fact::ReferralQualified { referrer });
        }
        Ok(draft.finish())
    }
}
