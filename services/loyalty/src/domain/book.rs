//! The ledger's accounts, and what stands on each of a member's.

use super::Refusal;

cqm_rpc::words! {
    /// The accounts of the ledger. All of them are kept for each member: the programme's are the sums over the
    /// members' parts, so that nobody waits for a row that everybody writes.
    #[derive(Hash, PartialOrd, Ord)]
    pub enum Book {
        /// Points that were brought into being; a debit.
        Issued = "programme:issued",
        /// Points that were spent.
        Redeemed = "programme:redeemed",
        /// Points that ended unspent: breakage.
        Expired = "programme:expired",
        /// Points that were taken back after they had been spent: the member owes them. A debit.
        ClawbackDebt = "programme:clawback_debt",
        /// Points that can be spent.
        Available = "member:available",
        /// Points that can be spent later.
        Pending = "member:pending",
        /// Points that are set aside.
        Held = "member:held",
    }
}

impl Book {
    /// Whether what stands there is a debit: what it says of the others is what they say of it.
    pub const fn is_debit(self) -> bool {
        matches!(self, Self::Issued | Self::ClawbackDebt)
    }
}

/// What stands on each account of a member, 0 or more, on the account's own side. The debits are always as much as the
/// credits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Books([i64; Book::ALL.len()]);

impl Books {
    pub fn of(&self, book: Book) -> i64 {
        self.0[book as usize]
    }

    /// For what was stored.
    pub fn set(&mut self, book: Book, points: i64) {
        self.0[book as usize] = points;
    }

    /// Moves points (over 0) by a debit of one account and a credit of the other. A refusal leaves both as they were.
    pub fn post(&mut self, debit: Book, credit: Book, points: i64) -> Result<(), Refusal> {
        let mut next = *self;
        for (book, grows) in [(debit, debit.is_debit()), (credit, !credit.is_debit())] {
            let balance = &mut next.0[book as usize];
            *balance = balance.checked_add(if grows { points } else { -points }).ok_or(Refusal::Overflow)?;
            if *balance < 0 {
                return Err(Refusal::OutOfBalance);
            }
        }
        *self = next;
        Ok(())
    }

    /// Debits less credits; anything but 0 is a fault.
    pub fn difference(&self) -> i128 {
        let signed = |book: &Book| {
            let points = i128::from(self.of(*book));
            if book.is_debit() { points } else { -points }
        };
        Book::ALL.iter().map(signed).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_move_between_accounts_and_none_falls_below_nothing() {
        let mut books = Books::default();
        books.post(Book::Issued, Book::Available, 10).unwrap();
        books.post(Book::Available, Book::Redeemed, 4).unwrap();
        books.post(Book::ClawbackDebt, Book::Issued, 3).unwrap();
        let found: Vec<_> = Book::ALL.iter().map(|book| books.of(*book)).collect();
        assert_eq!((found, books.difference()), (vec![7, 4, 0, 3, 6, 0, 0], 0));

        let before = books;
        assert_eq!(books.post(Book::Available, Book::Held, 7), Err(Refusal::OutOfBalance));
        assert_eq!(books.post(Book::Issued, Book::Available, i64::MAX), Err(Refusal::Overflow));
        assert_eq!(books, before);
    }
}
