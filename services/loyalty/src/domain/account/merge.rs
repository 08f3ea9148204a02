//! A member turns out to be another one: everything becomes that of the name that stays.
//!
//! The entries of the name that goes stay where they are, and its lots with them, emptied. The other name gets the same
//! lots, by the same ids and with the same times: what remains, what is held, what was spent and what has ended of each,
//! but for what was taken back. So whatever comes later is decided as if it had been one member all along: a hold finds
//! the points that it is pinned to, and a refund the lots that a spend took from. The points come out of the account of
//! what was issued and go back into it, so that over both members every account has what it had.
//!
//! Neither name's debt is paid off by the other's points: debts are paid off by what is earned and given back, and the
//! next of that does.

use uuid::Uuid;

use super::draft::{Draft, Move};
use super::{Account, Change};
use crate::domain::book::{Book, Books};
use crate::domain::entry::{Cause, Kind};
use crate::domain::lot::Lot;
use crate::domain::member::State;
use crate::domain::standing::Standing;
use crate::domain::{Fact, Refusal};

/// A merge, as each of the two members tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct Merge {
    pub from: Change,
    pub into: Change,
    /// How many lots went.
    pub lots: i64,
}

/// What an account owes, as it came to be: what was taken back after it had been spent, and what of that was paid off.
struct Debt {
    incurred: i64,
    repaid: i64,
    /// Debts are of no lot, and every entry is.
    lot: Uuid,
}

impl Account {
    /// Gives everything to the account of the name that stays. All lots of this one are loaded. `names` are those that
    /// went into this one, itself among them. Holds and vouchers follow by themselves: what they are pinned to is there.
    pub fn merge(
        &self,
        into: &Self,
        names: &[Uuid],
        from_cause: &Cause,
        into_cause: &Cause,
        mut new_id: impl FnMut() -> Uuid,
    ) -> Result<Merge, Refusal> {
        let mut lots: Vec<&Lot> = self.lots.values().filter(|lot| lot.kept() > 0).collect();
        lots.sort_by_key(|lot| lot.place());
        let debt = self.debt(&lots)?;
        let balance = |book| self.balance(book);
        let points = [Book::Available, Book::Pending, Book::Held]
            .into_iter()
            .try_fold(0_i64, |sum, book| sum.checked_add(balance(book)))
            .ok_or(Refusal::Overflow)?;
        let owed = balance(Book::ClawbackDebt);
        let other = into.member.customer;

        let mut from = Draft::of(self, from_cause, &mut new_id);
        // Backwards what the other side does: no account falls below nothing on the way.
        from.move_by(&debt, Book::ClawbackDebt, Book::Redeemed, debt.repaid)?;
        from.move_by(&debt, Book::Issued, Book::ClawbackDebt, debt.incurred)?;
        for lot in &lots {
            for (book, part) in parts(lot) {
                from.post(Move::new(Kind::Merge, book, Book::Issued, lot.id, part))?;
            }
            from.put_lot(Lot { remaining: 0, held: 0, spent: 0, expired: 0, reversed: lot.amount, ..**lot })?;
        }
        if from.member.books != Books::default() {
            return Err(Refusal::OutOfBalance);
        }
        from.member.state = State::Merged;
        from.member.standing = Standing::default();
        from.member.next_due = None;
        from.member.reward_to = None;
        from.tell(Fact::Moved { other, points: -points, debt: -owed, balance: 0 });
        let from = from.finish();

        let mut came = Draft::of(into, into_cause, new_id);
        for lot in &lots {
            for (book, part) in parts(lot) {
                came.post(Move::new(Kind::Merge, Book::Issued, book, lot.id, part))?;
            }
            came.put_lot(Lot { amount: lot.kept(), reversed: 0, ..**lot })?;
        }
        came.move_by(&debt, Book::ClawbackDebt, Book::Issued, debt.incurred)?;
        came.move_by(&debt, Book::Redeemed, Book::ClawbackDebt, debt.repaid)?;
        let balance = came.available();
        came.tell(Fact::Moved { other: self.member.customer, points, debt: owed, balance });
        if self.member.state == State::Frozen && came.member.state == State::Active {
            came.member.state = State::Frozen;
            came.tell(Fact::Frozen);
        }
        if let Some(due) = self.member.next_due {
            came.member.due_by(due);
        }
        let told = self.member.notice_until;
        // Of two members: rather told twice that points end than never.
        came.member.notice_until = if into.is_new { told } else { came.member.notice_until.min(told) };
        // Whoever was a member is no newcomer whom somebody could bring in, and nobody brings in themselves.
        let reward_to = if into.is_new { self.member.reward_to } else { into.member.reward_to };
        came.member.reward_to = reward_to.filter(|to| *to != other && !names.contains(to));
        came.join(&self.member.standing);
        Ok(Merge { from, into: came.finish(), lots: lots.len() as i64 })
    }

    /// What is owed, of these lots: all that something is left of. Lots say what was spent, be it on a debt; the account
    /// of what was redeemed does not have what paid off a debt.
    fn debt(&self, lots: &[&Lot]) -> Result<Debt, Refusal> {
        let spent =
            lots.iter().try_fold(0_i64, |sum, lot| sum.checked_add(lot.spent)).ok_or(Refusal::Overflow)?;
        let repaid = spent - self.balance(Book::Redeemed);
        let incurred = self.balance(Book::ClawbackDebt).checked_add(repaid).ok_or(Refusal::Overflow)?;
        if repaid < 0 || (lots.is_empty() && incurred > 0) {
            return Err(Refusal::OutOfBalance);
        }
        Ok(Debt { incurred, repaid, lot: lots.first().map_or(Uuid::nil(), |lot| lot.id) })
    }
}

impl<F: FnMut() -> Uuid> Draft<'_, F> {
    fn move_by(&mut self, debt: &Debt, debit: Book, credit: Book, points: i64) -> Result<(), Refusal> {
        self.post(Move::new(Kind::Merge, debit, credit, debt.lot, points))
    }
}

/// Where the points of a lot stand that have not been taken back.
fn parts(lot: &Lot) -> [(Book, i64); 4] {
    let open = if lot.pending { Book::Pending } else { Book::Available };
    [(open, lot.remaining), (Book::Held, lot.held), (Book::Redeemed, lot.spent), (Book::Expired, lot.expired)]
}
