//! A member's statement: what there was, what happened, what there is, and that it comes to the same.

use super::book::{Book, Books};
use super::entry::Kind;
use super::turnover::{Balances, Moved};

/// A member's points in a period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The sum of all entries before the period.
    pub opening: Balances,
    /// What the account has now, less all entries since the period.
    pub closing: Balances,
    pub totals: Totals,
    /// How far the closing is from what the opening and the entries come to, over all accounts and in the totals;
    /// anything but 0 is a fault.
    pub difference: i128,
}

/// What happened to the points that a member has, available, pending or held: each 0 or more but for `adjusted` and what
/// was merged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub earned: i128,
    /// Corrections, those downwards below 0.
    pub adjusted: i128,
    pub redeemed: i128,
    pub expired: i128,
    /// Earned points taken back of what the member had.
    pub reversed: i128,
    /// Spent points given back.
    pub restored: i128,
    /// Points of the member that paid off a debt.
    pub repaid: i128,
    /// Within what the member has: set aside, given back, become available.
    pub held: i128,
    pub released: i128,
    pub matured: i128,
    pub debt_incurred: i128,
    /// By points of the member, and by spent ones that were given back.
    pub debt_repaid: i128,
    /// What came from other names of the member, or went to one: points, and what is owed.
    pub merged: i128,
    pub debt_merged: i128,
    pub entries: i128,
}

impl Totals {
    pub fn of(moved: &[Moved]) -> Self {
        let mut totals = Self::default();
        for moved in moved {
            let alone = Balances::default().plus([moved]);
            let change = alone.outstanding();
            let total = match moved.kind {
                Kind::Earn => &mut totals.earned,
                Kind::Adjust => &mut totals.adjusted,
                Kind::ReverseSpend => &mut totals.restored,
                Kind::Redeem | Kind::Commit => &mut totals.redeemed,
                Kind::Expire => &mut totals.expired,
                Kind::ReverseEarn => &mut totals.reversed,
                Kind::Repay => &mut totals.repaid,
                Kind::Hold => &mut totals.held,
                Kind::Release => &mut totals.released,
                Kind::Mature => &mut totals.matured,
                Kind::Merge => &mut totals.merged,
            };
            *total += match moved.kind {
                Kind::Earn | Kind::Adjust | Kind::ReverseSpend | Kind::Merge => change,
                Kind::Redeem | Kind::Commit | Kind::Expire | Kind::ReverseEarn | Kind::Repay => -change,
                Kind::Hold | Kind::Release | Kind::Mature => moved.points,
            };
            let debt = alone.of(Book::ClawbackDebt);
            if moved.kind == Kind::Merge {
                totals.debt_merged += debt;
            } else {
                totals.debt_incurred += debt.max(0);
                totals.debt_repaid += (-debt).max(0);
            }
            totals.entries += moved.entries;
        }
        totals
    }

    /// By how much the points that the member has have changed.
    pub fn change(&self) -> i128 {
        self.earned + self.adjusted + self.restored + self.merged
            - self.redeemed
            - self.expired
            - self.reversed
            - self.repaid
    }
}

impl Statement {
    /// Of what was moved before the period, within it and after it, and of what the account has now. The opening comes
    /// from the one end of the history and the closing from the other, so that they prove each other.
    pub fn of(before: &[Moved], within: &[Moved], after: &[Moved], now: &Books) -> Self {
        let mut stored = Balances::default();
        Book::ALL.iter().for_each(|book| stored.set(*book, i128::from(now.of(*book))));
        let opening = Balances::default().plus(before);
        let closing = stored.minus(after);
        let summed = opening.plus(within);
        let totals = Totals::of(within);
        let apart: i128 = Book::ALL.iter().map(|book| (closing.of(*book) - summed.of(*book)).abs()).sum();
        let change = closing.outstanding() - opening.outstanding();
        Self { opening, closing, totals, difference: apart + (change - totals.change()).abs() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every movement that the ledger knows, with what it is on a statement.
    const EVERY: &[(Kind, Book, Book)] = &[
        (Kind::Earn, Book::Issued, Book::Available),
        (Kind::Earn, Book::Issued, Book::Pending),
        (Kind::Adjust, Book::Issued, Book::Available),
        (Kind::Adjust, Book::Available, Book::Issued),
        (Kind::Repay, Book::Available, Book::ClawbackDebt),
        (Kind::Repay, Book::Pending, Book::ClawbackDebt),
        (Kind::Repay, Book::Held, Book::ClawbackDebt),
        (Kind::Repay, Book::Redeemed, Book::ClawbackDebt),
        (Kind::Redeem, Book::Available, Book::Redeemed),
        (Kind::Commit, Book::Held, Book::Redeemed),
        (Kind::Hold, Book::Available, Book::Held),
        (Kind::Release, Book::Held, Book::Available),
        (Kind::Mature, Book::Pending, Book::Available),
        (Kind::Expire, Book::Available, Book::Expired),
        (Kind::Expire, Book::Pending, Book::Expired),
        (Kind::Expire, Book::Held, Book::Expired),
        (Kind::ReverseEarn, Book::Available, Book::Issued),
        (Kind::ReverseEarn, Book::Pending, Book::Issued),
        (Kind::ReverseEarn, Book::Expired, Book::Issued),
        (Kind::ReverseEarn, Book::ClawbackDebt, Book::Issued),
        (Kind::ReverseSpend, Book::Redeemed, Book::Available),
        (Kind::ReverseSpend, Book::Redeemed, Book::Expired),
        (Kind::Merge, Book::Issued, Book::Available),
        (Kind::Merge, Book::Issued, Book::Pending),
        (Kind::Merge, Book::Issued, Book::Held),
        (Kind::Merge, Book::Issued, Book::Redeemed),
        (Kind::Merge, Book::Issued, Book::Expired),
        (Kind::Merge, Book::ClawbackDebt, Book::Issued),
        (Kind::Merge, Book::Redeemed, Book::ClawbackDebt),
        (Kind::Merge, Book::ClawbackDebt, Book::Redeemed),
        (Kind::Merge, Book::Issued, Book::ClawbackDebt),
        (Kind::Merge, Book::Available, Book::Issued),
        (Kind::Merge, Book::Pending, Book::Issued),
        (Kind::Merge, Book::Held, Book::Issued),
        (Kind::Merge, Book::Redeemed, Book::Issued),
        (Kind::Merge, Book::Expired, Book::Issued),
    ];

    fn every() -> Vec<Moved> {
        let moved = |(place, (kind, debit, credit)): (usize, &(Kind, Book, Book))| Moved {
            kind: *kind,
            debit: *debit,
            credit: *credit,
            // Each in a place of its own: a sum tells what it is of.
            points: 1 << place,
            entries: 1,
        };
        EVERY.iter().enumerate().map(moved).collect()
    }

    /// The books of a member who has so much of everything that nothing runs out.
    fn books(moved: &[Moved]) -> Books {
        let balances = Balances::default().plus(moved);
        let mut books = Books::default();
        for book in Book::ALL {
            books.set(*book, i64::try_from(balances.of(*book)).unwrap());
        }
        books
    }

    #[test]
    fn every_movement_has_its_line_and_the_lines_come_to_the_closing() {
        let within = every();
        let before = [Moved {
            kind: Kind::Earn,
            debit: Book::Issued,
            credit: Book::Available,
            points: 1 << 40,
            entries: 1,
        }];
        let all: Vec<Moved> = before.iter().chain(&within).chain(&before).copied().collect();
        let statement = Statement::of(&before, &within, &before, &books(&all));
        assert_eq!(statement.difference, 0);
        let totals = statement.totals;
        let bits = |places: &[usize]| places.iter().map(|place| 1_i128 << place).sum::<i128>();
        assert_eq!(totals.earned, bits(&[0, 1]));
        assert_eq!(totals.adjusted, bits(&[2]) - bits(&[3]));
        assert_eq!(totals.repaid, bits(&[4, 5, 6]));
        assert_eq!(totals.redeemed, bits(&[8, 9]));
        assert_eq!((totals.held, totals.released, totals.matured), (bits(&[10]), bits(&[11]), bits(&[12])));
        assert_eq!(totals.expired, bits(&[13, 14, 15]));
        assert_eq!(totals.reversed, bits(&[16, 17]));
        assert_eq!(totals.restored, bits(&[20]));
        assert_eq!((totals.debt_incurred, totals.debt_repaid), (bits(&[19]), bits(&[4, 5, 6, 7])));
        assert_eq!(totals.merged, bits(&[22, 23, 24]) - bits(&[31, 32, 33]));
        assert_eq!(totals.debt_merged, bits(&[27, 29]) - bits(&[28, 30]));
        assert_eq!(totals.entries, 36);
        let (opening, closing) = (statement.opening, statement.closing);
        assert_eq!(closing.outstanding(), opening.outstanding() + totals.change());
        let debt = closing.of(Book::ClawbackDebt) - opening.of(Book::ClawbackDebt);
        assert_eq!(debt, totals.debt_incurred - totals.debt_repaid + totals.debt_merged);
    }

    #[test]
    fn a_balance_that_its_entries_do_not_come_to_shows_in_the_difference() {
        let within = every();
        let mut now = books(&within);
        now.set(Book::Held, now.of(Book::Held) + 3);
        assert_eq!(Statement::of(&[], &within, &[], &now).difference, 6);
    }
}
