//! What was moved between accounts over a time, by all members or by one.

use super::book::Book;
use super::entry::Kind;

/// The sum of the entries of one kind between two accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    pub kind: Kind,
    pub debit: Book,
    pub credit: Book,
    /// Wider than that of one entry, because those of all members together need not fit into 64 bits.
    pub points: i128,
    pub entries: i128,
}

/// What stands on each account, on the account's own side. Sums over a part of the history, too, so that it may be below
/// 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balances([i128; Book::ALL.len()]);

impl Balances {
    pub fn of(&self, book: Book) -> i128 {
        self.0[book as usize]
    }

    pub fn set(&mut self, book: Book, points: i128) {
        self.0[book as usize] = points;
    }

    /// The points that members have, whether they can be spent or not.
    pub fn outstanding(&self) -> i128 {
        [Book::Available, Book::Pending, Book::Held].into_iter().map(|book| self.of(book)).sum()
    }

    /// Debits less credits; anything but 0 is a fault.
    pub fn difference(&self) -> i128 {
        let signed = |book: &Book| if book.is_debit() { self.of(*book) } else { -self.of(*book) };
        Book::ALL.iter().map(signed).sum()
    }

    pub fn post(&mut self, moved: &Moved) {
        self.0[moved.debit as usize] += if moved.debit.is_debit() { moved.points } else { -moved.points };
        self.0[moved.credit as usize] += if moved.credit.is_debit() { -moved.points } else { moved.points };
    }

    pub fn plus<'a>(mut self, moved: impl IntoIterator<Item = &'a Moved>) -> Self {
        moved.into_iter().for_each(|moved| self.post(moved));
        self
    }

    pub fn minus<'a>(self, moved: impl IntoIterator<Item = &'a Moved>) -> Self {
        let back = |moved: &Moved| Moved { points: -moved.points, ..*moved };
        let back: Vec<Moved> = moved.into_iter().map(back).collect();
        self.plus(&back)
    }
}

/// One account over a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turnover {
    pub book: Book,
    pub opening: i128,
    pub debits: i128,
    pub credits: i128,
    pub closing: i128,
}

/// The trial balance of a period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeriodBalance {
    /// In the order of [`Book::ALL`].
    pub turnovers: Vec<Turnover>,
    /// Closing debits less closing credits; anything but 0 is a fault.
    pub difference: i128,
    /// How many entries were made in the period.
    pub entries: i128,
}

impl PeriodBalance {
    pub fn of(before: &[Moved], within: &[Moved]) -> Self {
        let opening = Balances::default().plus(before);
        let closing = opening.plus(within);
        // What a merge moves is debited to one name and credited to the other at once: nothing was earned or spent.
        let sum = |side: fn(&Moved) -> Book, book: Book| -> i128 {
            let turned = within.iter().filter(|moved| moved.kind != Kind::Merge && side(moved) == book);
            turned.map(|moved| moved.points).sum()
        };
        let turnover = |book: &Book| Turnover {
            book: *book,
            opening: opening.of(*book),
            debits: sum(|moved| moved.debit, *book),
            credits: sum(|moved| moved.credit, *book),
            closing: closing.of(*book),
        };
        Self {
            turnovers: Book::ALL.iter().map(turnover).collect(),
            difference: closing.difference(),
            entries: within.iter().map(|moved| moved.entries).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn moved(kind: Kind, debit: Book, credit: Book, points: i128) -> Moved {
        Moved { kind, debit, credit, points, entries: 1 }
    }

    #[test]
    fn closings_are_openings_with_what_was_debited_and_credited_on_the_accounts_own_side() {
        let before = [moved(Kind::Earn, Book::Issued, Book::Available, 100)];
        let within = [
            moved(Kind::Redeem, Book::Available, Book::Redeemed, 30),
            moved(Kind::ReverseEarn, Book::ClawbackDebt, Book::Issued, 20),
            moved(Kind::ReverseEarn, Book::Available, Book::Issued, 5),
        ];
        let balance = PeriodBalance::of(&before, &within);
        let of = |book: Book| {
            let turnover = balance.turnovers.iter().find(|turnover| turnover.book == book).unwrap();
            (turnover.opening, turnover.debits, turnover.credits, turnover.closing)
        };
        assert_eq!(of(Book::Issued), (100, 0, 25, 75));
        assert_eq!(of(Book::Available), (100, 35, 0, 65));
        assert_eq!(of(Book::Redeemed), (0, 0, 30, 30));
        assert_eq!(of(Book::ClawbackDebt), (0, 20, 0, 20));
        assert_eq!((balance.difference, balance.entries), (0, 3));
    }

    #[test]
    fn sums_of_all_members_may_be_more_than_one_may_have() {
        let most = i128::from(i64::MAX);
        let balances = Balances::default()
            .plus(&[moved(Kind::Earn, Book::Issued, Book::Available, most)])
            .plus(&[moved(Kind::Earn, Book::Issued, Book::Pending, most)]);
        assert_eq!((balances.outstanding(), balances.difference()), (2 * most, 0));
    }
}
