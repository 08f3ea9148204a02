//! A change being written, beside the account: a refusal half way leaves the account as it was.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Account, Change};
use crate::domain::book::Book;
use crate::domain::chain::{self, GENESIS};
use crate::domain::entry::{Cause, Entry, Kind, Reason};
use crate::domain::hold::Hold;
use crate::domain::lot::Lot;
use crate::domain::member::Member;
use crate::domain::standing::Standing;
use crate::domain::{Fact, Refusal};

pub(super) struct Draft<'a, F> {
    account: &'a Account,
    pub cause: &'a Cause,
    pub member: Member,
    new_id: F,
    entries: Vec<Entry>,
    lots: Vec<Lot>,
    holds: Vec<Hold>,
    facts: Vec<Fact>,
}

/// One movement of points.
#[derive(Clone, Copy)]
pub(super) struct Move {
    pub kind: Kind,
    pub debit: Book,
    pub credit: Book,
    pub points: i64,
    pub lot: Uuid,
    pub hold: Option<Uuid>,
    pub reverses: Option<i64>,
    pub reverses_of: Option<Uuid>,
    pub rule: Option<Uuid>,
}

impl Move {
    pub fn new(kind: Kind, debit: Book, credit: Book, lot: Uuid, points: i64) -> Self {
        Self { kind, debit, credit, points, lot, hold: None, reverses: None, reverses_of: None, rule: None }
    }
}

impl<'a, F: FnMut() -> Uuid> Draft<'a, F> {
    pub fn of(account: &'a Account, cause: &'a Cause, new_id: F) -> Self {
        let member = account.member.clone();
        Self { account, cause, member, new_id, entries: vec![], lots: vec![], holds: vec![], facts: vec![] }
    }

    pub fn now(&self) -> DateTime<Utc> {
        self.cause.time
    }

    pub fn new_id(&mut self) -> Uuid {
        (self.new_id)()
    }

    /// A lot as this change has left it.
    pub fn lot(&self, id: Uuid) -> Result<Lot, Refusal> {
        let changed = self.lots.iter().find(|lot| lot.id == id);
        changed.or_else(|| self.account.lots.get(&id)).copied().ok_or(Refusal::OutOfBalance)
    }

    pub fn put_lot(&mut self, lot: Lot) -> Result<(), Refusal> {
        if !lot.is_whole() {
            return Err(Refusal::OutOfBalance);
        }
        match self.lots.iter_mut().find(|changed| changed.id == lot.id) {
            Some(changed) => *changed = lot,
            None => self.lots.push(lot),
        }
        Ok(())
    }

    pub fn put_hold(&mut self, hold: Hold) {
        self.holds.push(hold);
    }

    /// Writes an entry; without points there is none.
    pub fn post(&mut self, step: Move) -> Result<(), Refusal> {
        let id = self.new_id();
        self.post_as(id, step)
    }

    pub fn post_as(&mut self, id: Uuid, step: Move) -> Result<(), Refusal> {
        if step.points == 0 {
            return Ok(());
        }
        self.member.books.post(step.debit, step.credit, step.points)?;
        self.member.entry_count += 1;
        let mut entry = Entry {
            customer: self.member.customer,
            sequence: self.member.entry_count,
            id,
            transaction: self.entries.first().map_or(id, |first| first.id),
            kind: step.kind,
            reason: self.cause.reason,
            source: self.cause.source.clone(),
            debit: step.debit,
            credit: step.credit,
            points: step.points,
            balance_after: self.available(),
            lot: step.lot,
            hold: step.hold,
            reverses: step.reverses,
            reverses_of: step.reverses_of,
            rule: step.rule,
            actor: self.cause.actor.clone(),
            request_id: self.cause.request_id,
            create_time: self.cause.time,
            hash: GENESIS,
        };
        entry.hash = chain::link(&self.member.hash, &entry);
        self.member.hash = entry.hash;
        self.entries.push(entry);
        Ok(())
    }

    /// Counts points for the member's tier that were earned for a reason at a time; no longer, when they are below 0.
    pub fn count(&mut self, reason: Reason, earned_at: DateTime<Utc>, points: i64) {
        let ladder = &self.account.ladder;
        if ladder.scheme.qualifying.has(reason) {
            self.member.standing.count(ladder, earned_at, points, self.cause.time);
        }
    }

    /// Sees what the points that count have come to.
    pub fn climb(&mut self) {
        let facts = self.member.standing.climb(&self.account.ladder, self.cause.time);
        self.stand(facts);
    }

    /// Lets the cycles end that have.
    pub fn pass_cycles(&mut self) {
        let facts = self.member.standing.pass(&self.account.ladder, self.cause.time);
        self.stand(facts);
    }

    /// Joins what counts for the tier of another name of the member.
    pub fn join(&mut self, other: &Standing) {
        let facts = self.member.standing.join(other, &self.account.ladder, self.cause.time);
        self.stand(facts);
    }

    fn stand(&mut self, facts: Vec<Fact>) {
        self.facts.extend(facts);
        if let Some(due) = self.member.standing.next_due(self.account.ladder.scheme.notice) {
            self.member.due_by(due);
        }
    }

    pub fn available(&self) -> i64 {
        self.member.books.of(Book::Available)
    }

    /// The id of the last entry, for events.
    pub fn last(&self) -> Uuid {
        self.entries.last().map_or(Uuid::nil(), |entry| entry.id)
    }

    pub fn tell(&mut self, fact: Fact) {
        self.facts.push(fact);
    }

    pub fn finish(mut self) -> Change {
        let now = self.cause.time;
        let events = self.facts.into_iter().map(|fact| self.member.happened(now, fact)).collect();
        Change { entries: self.entries, events, member: self.member, lots: self.lots, holds: self.holds }
    }
}
