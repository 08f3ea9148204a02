//! The ledger: what a member has, and the entries and postings that change it.
//!
//! Append-only, double entry, in whole points. A change of points is a transaction; it consists of entries, one for
//! each lot that it touches, and each entry of two postings that add up to zero.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::book::{Book, Books};
use super::chain::Hash;
use super::lot::{self, Lot, Take};
use super::member::{Member, State};
use super::{Event, Fact, Refusal};

cqm_rpc::words! {
    /// What an entry does.
    #[derive(Hash, PartialOrd, Ord)]
    pub enum Kind {
        Earn = "EARN",
        Redeem = "REDEEM",
        Adjust = "ADJUST",
    }
}

cqm_rpc::words! {
    /// Why points change.
    #[derive(Hash, PartialOrd, Ord)]
    pub enum Reason {
        Purchase = "PURCHASE",
        SurveyAnswered = "SURVEY_ANSWERED",
        Compensation = "COMPENSATION",
        Adjustment = "ADJUSTMENT",
        Redemption = "REDEMPTION",
    }
}

impl Reason {
    /// Whether one source gives points only once for it: a purchase, an answer and a promise happen once, a
    /// correction may follow another.
    pub const fn is_once(self) -> bool {
        matches!(self, Self::Purchase | Self::SurveyAnswered | Self::Compensation)
    }
}

/// Who changes points, for what, and by which call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The caller's subject.
    pub actor: String,
    pub request_id: Uuid,
    pub reason: Reason,
    /// The name of the resource that it is for; empty: none.
    pub source: String,
    pub time: DateTime<Utc>,
}

/// One change of what a member has available, of one lot. Never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub customer: Uuid,
    /// 1, 2, 3 and so on for each member.
    pub sequence: i64,
    pub id: Uuid,
    /// Shared by the entries that were made together.
    pub transaction: Uuid,
    pub kind: Kind,
    pub reason: Reason,
    pub source: String,
    pub lot: Uuid,
    /// Below 0 when points go.
    pub points: i64,
    /// What is available after it.
    pub balance_after: i64,
    pub actor: String,
    pub request_id: Uuid,
    pub create_time: DateTime<Utc>,
}

/// One side of an entry on one account. Never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posting {
    pub customer: Uuid,
    pub book: Book,
    /// 1, 2, 3 and so on for each account of each member.
    pub sequence: i64,
    pub transaction: Uuid,
    pub entry_sequence: i64,
    /// Over 0: credit; below 0: debit.
    pub amount: i64,
    pub balance_after: i64,
    pub hash: Hash,
}

/// A member with what they have: the state that a decision is made over, loaded under the member's lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub member: Member,
    pub books: Books,
}

/// All that a decision writes, but the account itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// One for each lot, in order; at least one.
    pub entries: Vec<Entry>,
    /// Two for each entry.
    pub postings: Vec<Posting>,
    /// The lot of points that were earned.
    pub lot: Option<Lot>,
    /// What was taken out of lots.
    pub takes: Vec<Take>,
    pub event: Event,
}

impl Account {
    /// The account of a customer who just became a member.
    pub fn open(customer: Uuid, now: DateTime<Utc>) -> (Self, Event) {
        let (member, event) = Member::enrol(customer, now);
        (Self { member, books: Books::default() }, event)
    }

    /// Gives points (over 0) as a new lot that can be spent at once and never ends.
    pub fn earn(
        &mut self,
        points: i64,
        earned_at: DateTime<Utc>,
        cause: &Cause,
        new_id: impl FnMut() -> Uuid,
    ) -> Result<Change, Refusal> {
        let kind = if cause.reason == Reason::Adjustment { Kind::Adjust } else { Kind::Earn };
        let mut draft = Draft::of(self, kind, cause, new_id);
        let lot = Lot {
            id: (draft.new_id)(),
            amount: points,
            remaining: points,
            earned_at,
            available_at: cause.time,
            expires_at: None,
        };
        let (entry, balance) = draft.write(lot.id, points, Book::Issued)?;
        let fact =
            Fact::Earned { entry, points, reason: cause.reason, source: cause.source.clone(), balance };
        Ok(Change { lot: Some(lot), ..draft.commit(self, Vec::new(), fact) })
    }

    /// Spends points (over 0) out of `lots`. Refuses a frozen member.
    pub fn redeem(
        &mut self,
        points: i64,
        lots: &[Lot],
        cause: &Cause,
        new_id: impl FnMut() -> Uuid,
    ) -> Result<Change, Refusal> {
        if self.member.state == State::Frozen {
            return Err(Refusal::Frozen);
        }
        self.take(Kind::Redeem, Book::Redeemed, points, lots, cause, new_id, |entry, source, balance| {
            Fact::Redeemed { entry, points, source, balance }
        })
    }

    /// Takes points (over 0) back out of `lots`, as a correction: as if they had never been issued. A frozen member
    /// is corrected like any other.
    pub fn deduct(
        &mut self,
        points: i64,
        lots: &[Lot],
        cause: &Cause,
        new_id: impl FnMut() -> Uuid,
    ) -> Result<Change, Refusal> {
        self.take(Kind::Adjust, Book::Issued, points, lots, cause, new_id, |entry, source, balance| {
            Fact::Deducted { entry, points, source, balance }
        })
    }

    #[expect(clippy::too_many_arguments, reason = "two callers, right above")]
    fn take(
        &mut self,
        kind: Kind,
        against: Book,
        points: i64,
        lots: &[Lot],
        cause: &Cause,
        new_id: impl FnMut() -> Uuid,
        fact: impl FnOnce(Uuid, String, i64) -> Fact,
    ) -> Result<Change, Refusal> {
        let takes = lot::spend(lots, points, cause.time)?;
        let mut draft = Draft::of(self, kind, cause, new_id);
        let mut last = (Uuid::nil(), 0);
        for take in &takes {
            last = draft.write(take.lot, -take.points, against)?;
        }
        let (entry, balance) = last;
        Ok(draft.commit(self, takes, fact(entry, cause.source.clone(), balance)))
    }
}

/// A transaction being written, beside the account: a refusal half way leaves the account as it was.
struct Draft<'a, F> {
    account: Account,
    kind: Kind,
    cause: &'a Cause,
    transaction: Uuid,
    new_id: F,
    entries: Vec<Entry>,
    postings: Vec<Posting>,
}

impl<'a, F: FnMut() -> Uuid> Draft<'a, F> {
    fn of(account: &Account, kind: Kind, cause: &'a Cause, mut new_id: F) -> Self {
        let transaction = new_id();
        let account = account.clone();
        Self { account, kind, cause, transaction, new_id, entries: Vec::new(), postings: Vec::new() }
    }

    /// Adds an entry and its two postings; returns the entry's id and what is available after it.
    fn write(&mut self, lot: Uuid, points: i64, against: Book) -> Result<(Uuid, i64), Refusal> {
        let Account { member, books } = &mut self.account;
        let balance_after = books.balance(Book::Available).checked_add(points).ok_or(Refusal::Overflow)?;
        if balance_after < 0 {
            return Err(Refusal::OutOfBalance);
        }
        member.entry_count += 1;
        let entry = Entry {
            customer: member.customer,
            sequence: member.entry_count,
            id: (self.new_id)(),
            transaction: self.transaction,
            kind: self.kind,
            reason: self.cause.reason,
            source: self.cause.source.clone(),
            lot,
            points,
            balance_after,
            actor: self.cause.actor.clone(),
            request_id: self.cause.request_id,
            create_time: self.cause.time,
        };
        for (book, amount) in [(Book::Available, points), (against, -points)] {
            self.postings.push(books.head_mut(book).post(book, amount, &entry)?);
        }
        let id = entry.id;
        self.entries.push(entry);
        Ok((id, balance_after))
    }

    fn commit(mut self, account: &mut Account, takes: Vec<Take>, fact: Fact) -> Change {
        let event = self.account.member.happened(self.cause.time, fact);
        *account = self.account;
        Change { entries: self.entries, postings: self.postings, lot: None, takes, event }
    }
}

#[cfg(test)]
mod tests;
