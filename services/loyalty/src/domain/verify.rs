//! Whether what is stored of a member is what the ledger's rules allow.
//!
//! Entries come in order, a chunk at a time, and are followed by what they must have come to. Nothing is trusted: the
//! balances are added up again, the lots' parts are made up again from the entries about them, every hash is computed
//! again.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::book::{Book, Books};
use super::chain::{self, GENESIS, Hash};
use super::entry::{Entry, Kind};
use super::hold::{Hold, State};
use super::lot::Lot;
use super::member::Member;

cqm_rpc::words! {
    /// What is checked.
    #[derive(Hash, PartialOrd, Ord)]
    pub enum Check {
        /// Entries follow each other without a gap.
        Sequence = "SEQUENCE",
        /// Each entry's hash is that of its fields and the entry before; the member holds the last one's.
        Chain = "CHAIN",
        /// Debits and credits are the same.
        SumZero = "SUM_ZERO",
        /// What stands on an account is the sum of its entries, and was never below zero.
        Balance = "BALANCE",
        /// Where a lot's points are is what the entries about it say.
        Lot = "LOT",
        /// What is held of a lot is what open holds have of it.
        Hold = "HOLD",
        /// What gives points once is kept as having given them, and nothing else is.
        Source = "SOURCE",
    }
}

/// Something that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub customer: Uuid,
    pub check: Check,
    /// The entry that it was found at; 0: none.
    pub sequence: i64,
    /// The lot or hold that it is about.
    pub about: Option<Uuid>,
    /// For a person, without anything personal.
    pub detail: String,
}

/// One member's entries being read again.
#[derive(Debug)]
pub struct Audit {
    customer: Uuid,
    sequence: i64,
    hash: Hash,
    books: Books,
    lots: HashMap<Uuid, Parts>,
    /// How many sources have given what they give once.
    sources: i64,
    faults: Vec<Fault>,
}

/// Where the points of a lot are, by the entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Parts {
    amount: i64,
    remaining: i64,
    held: i64,
    spent: i64,
    expired: i64,
    reversed: i64,
}

impl Audit {
    pub fn new(customer: Uuid) -> Self {
        Self {
            customer,
            sequence: 0,
            hash: GENESIS,
            books: Books::default(),
            lots: HashMap::new(),
            sources: 0,
            faults: Vec::new(),
        }
    }

    /// Reads the next entries, in order; `sourced` are the sequences of those whose sources are kept.
    pub fn read(&mut self, entries: &[Entry], sourced: &HashSet<i64>) {
        for entry in entries {
            self.sequence += 1;
            if entry.sequence != self.sequence {
                let detail = format!("entry {} stands where {} is expected", entry.sequence, self.sequence);
                self.fault(Check::Sequence, entry.sequence, None, detail);
                self.sequence = entry.sequence;
            }
            if chain::link(&self.hash, entry) != entry.hash {
                let detail = "the hash is not that of the entry and the one before it".to_owned();
                self.fault(Check::Chain, entry.sequence, None, detail);
            }
            // The stored one: the entries behind an altered one are judged by themselves.
            self.hash = entry.hash;
            if entry.points <= 0 || self.books.post(entry.debit, entry.credit, entry.points).is_err() {
                let detail = format!("{} cannot be moved", entry.points);
                self.fault(Check::Balance, entry.sequence, None, detail);
            } else if entry.balance_after != self.books.of(Book::Available) {
                let detail = format!(
                    "{} are said to be available after it, {} are",
                    entry.balance_after,
                    self.books.of(Book::Available)
                );
                self.fault(Check::Balance, entry.sequence, None, detail);
            }
            self.lots.entry(entry.lot).or_default().follow(entry);
            if entry.is_once() {
                self.sources += 1;
                if !sourced.contains(&entry.sequence) {
                    let detail = "nothing keeps its source from giving points again".to_owned();
                    self.fault(Check::Source, entry.sequence, None, detail);
                }
            }
        }
    }

    /// Compares what the entries have come to with what is stored.
    pub fn close(mut self, member: &Member, lots: &[Lot], open_holds: &[Hold], sources: i64) -> Vec<Fault> {
        if sources != self.sources {
            let detail = format!("{sources} sources are kept, {} have given points", self.sources);
            self.fault(Check::Source, 0, None, detail);
        }
        if member.entry_count != self.sequence {
            let detail = format!("{} entries are counted, the last is {}", member.entry_count, self.sequence);
            self.fault(Check::Sequence, self.sequence, None, detail);
        }
        if member.hash != self.hash {
            self.fault(Check::Chain, self.sequence, None, "the chain ends in another hash".to_owned());
        }
        if member.books.difference() != 0 {
            let detail = format!("debits less credits are {}", member.books.difference());
            self.fault(Check::SumZero, 0, None, detail);
        }
        for book in Book::ALL.iter().copied() {
            let (stored, summed) = (member.books.of(book), self.books.of(book));
            if stored != summed {
                let detail = format!("{} has {stored}, its entries come to {summed}", book.name());
                self.fault(Check::Balance, 0, None, detail);
            }
        }
        let mut pinned: HashMap<Uuid, i64> = HashMap::new();
        for hold in open_holds {
            let parts: i64 = hold.lots.iter().map(|pin| pin.left()).sum();
            if hold.state != State::Open || parts != hold.left() {
                let detail = format!("{} are held, its lots hold {parts}", hold.left());
                self.fault(Check::Hold, 0, Some(hold.id), detail);
            }
            for pin in &hold.lots {
                *pinned.entry(pin.lot).or_default() += pin.left();
            }
        }
        for lot in lots {
            let expected = self.lots.remove(&lot.id).unwrap_or_default();
            if Parts::of(lot) != expected {
                let detail = format!("{:?} are stored, the entries say {expected:?}", Parts::of(lot));
                self.fault(Check::Lot, 0, Some(lot.id), detail);
            }
            let pinned = pinned.remove(&lot.id).unwrap_or(0);
            if lot.held != pinned {
                let detail = format!("{} of the lot are held, open holds have {pinned}", lot.held);
                self.fault(Check::Hold, 0, Some(lot.id), detail);
            }
        }
        let lost: Vec<Uuid> = self.lots.keys().chain(pinned.keys()).copied().collect();
        for id in lost {
            self.fault(Check::Lot, 0, Some(id), "the lot is not there".to_owned());
        }
        let (pending, open): (Vec<&Lot>, Vec<&Lot>) = lots.iter().partition(|lot| lot.pending);
        for (book, lots) in [(Book::Pending, pending), (Book::Available, open)] {
            let (stored, summed) = (member.books.of(book), lots.iter().map(|lot| lot.remaining).sum::<i64>());
            if stored != summed {
                let detail = format!("{} has {stored}, the lots hold {summed}", book.name());
                self.fault(Check::Lot, 0, None, detail);
            }
        }
        self.faults
    }

    fn fault(&mut self, check: Check, sequence: i64, about: Option<Uuid>, detail: String) {
        self.faults.push(Fault { customer: self.customer, check, sequence, about, detail });
    }
}

impl Parts {
    fn of(lot: &Lot) -> Self {
        let Lot { amount, remaining, held, spent, expired, reversed, .. } = *lot;
        Self { amount, remaining, held, spent, expired, reversed }
    }

    fn follow(&mut self, entry: &Entry) {
        let points = entry.points;
        // What leaves or reaches an account of the member leaves or reaches that part of the lot.
        for (book, sign) in [(entry.debit, -1), (entry.credit, 1)] {
            match book {
                Book::Available | Book::Pending => self.remaining += sign * points,
                Book::Held => self.held += sign * points,
                Book::Expired => self.expired += sign * points,
                Book::Issued | Book::Redeemed | Book::ClawbackDebt => {}
            }
        }
        match (entry.kind, entry.debit, entry.credit) {
            // What is owed is the account's and no lot's, and so is what of it was paid off.
            (Kind::Merge, Book::ClawbackDebt, _) | (Kind::Merge, _, Book::ClawbackDebt) => {}
            // A lot comes as it is, or goes.
            (Kind::Merge, Book::Issued, credit) => {
                self.amount += points;
                self.spent += if credit == Book::Redeemed { points } else { 0 };
            }
            (Kind::Merge, debit, Book::Issued) => {
                self.reversed += points;
                self.spent -= if debit == Book::Redeemed { points } else { 0 };
            }
            (Kind::Earn | Kind::Adjust, Book::Issued, _) => self.amount += points,
            (
                Kind::Adjust | Kind::ReverseEarn,
                Book::Available | Book::Pending | Book::Expired,
                Book::Issued,
            ) => {
                self.reversed += points;
            }
            // Spent, be it on what the member owes. A debt for points that were spent leaves them spent, and so does a
            // debt that is paid off by a spend that is taken back.
            (_, Book::Available | Book::Pending | Book::Held, Book::ClawbackDebt) => self.spent += points,
            (_, _, Book::Redeemed) => self.spent += points,
            (Kind::ReverseSpend, Book::Redeemed, _) => self.spent -= points,
            _ => {}
        }
    }
}
