//! A member with what they have, and what can be decided about it.
//!
//! An [`Account`] is what a transaction has loaded under the member's lock: the member, those lots and holds that the
//! decisions need, and nothing of the history. A decision reads it, writes a [`Change`] beside it, and either the whole
//! change is applied or, when it is refused, nothing. Many decisions may follow each other over one account; what they
//! came to is written down together.

mod draft;
mod earn;
mod hold;
mod merge;
mod reverse;
mod spend;
mod time;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::book::Book;
use super::entry::Entry;
use super::hold::Hold;
use super::lot::{Lot, Place};
use super::member::Member;
use super::referral::ReferralCode;
use super::tier::{Ladder, Turn};
use super::{Event, Fact, Refusal};

pub use earn::Award;
pub use merge::Merge;
pub use reverse::{Extent, Past, PastLot};
pub use time::{Due, Horizon};

/// What the programme has decided for everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What a member owes is paid off from what they earn and are given back. Otherwise it stays until somebody
    /// decides about it.
    pub repay_debt: bool,
    /// How long points can be spent that come back to a lot whose time is over. Zero: they end at once.
    pub grace: chrono::TimeDelta,
    /// How long before points expire it is announced.
    pub notice: chrono::TimeDelta,
}

/// A member with what they have: the state that a decision is made over, loaded under the member's lock.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    pub member: Member,
    /// The tiers that the member climbs.
    ladder: Arc<Ladder>,
    /// Not stored before.
    is_new: bool,
    changed: bool,
    /// The version before time was written down, while nothing else has changed: who read the account since read the
    /// same, as it is now.
    before_time: Option<i64>,
    lots: HashMap<Uuid, Lot>,
    /// Those that something can be spent of, in the order of spending.
    open: BTreeMap<Place, Uuid>,
    holds: HashMap<Uuid, Hold>,
    journal: Journal,
}

/// What decisions have changed, to be written down.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Journal {
    pub entries: Vec<Entry>,
    pub new_lots: BTreeSet<Uuid>,
    pub changed_lots: BTreeSet<Uuid>,
    pub new_holds: BTreeSet<Uuid>,
    pub changed_holds: BTreeSet<Uuid>,
    /// With the version of the event that tells it.
    pub turns: Vec<(i64, Turn)>,
}

/// All that one decision comes to.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "nothing has changed before it is applied"]
pub struct Change {
    /// In order; none when nothing was to be done.
    pub entries: Vec<Entry>,
    pub events: Vec<Event>,
    member: Member,
    lots: Vec<Lot>,
    holds: Vec<Hold>,
}

impl Account {
    /// The account of a customer who just became a member, with the tier that members begin with.
    pub fn open(
        customer: Uuid,
        code: ReferralCode,
        ladder: Arc<Ladder>,
        now: DateTime<Utc>,
    ) -> (Self, Vec<Event>) {
        let (mut member, enrolled) = Member::enrol(customer, code, now);
        let facts = member.standing.climb(&ladder, now);
        let mut events = vec![enrolled];
        events.extend(facts.into_iter().map(|fact| member.happened(now, fact)));
        let mut account = Self { is_new: true, ..Self::stored(member).on(ladder) };
        account.journal.keep(&events);
        (account, events)
    }

    /// The account of a member as it is stored, nothing of it loaded yet.
    pub fn stored(member: Member) -> Self {
        Self {
            member,
            ladder: Arc::default(),
            is_new: false,
            changed: false,
            before_time: None,
            lots: HashMap::new(),
            open: BTreeMap::new(),
            holds: HashMap::new(),
            journal: Journal::default(),
        }
    }

    /// The account with the tiers that the member climbs; without, there are none.
    pub fn on(self, ladder: Arc<Ladder>) -> Self {
        Self { ladder, ..self }
    }

    pub fn ladder(&self) -> &Ladder {
        &self.ladder
    }

    /// Somebody else brought the member in, who has just been enrolled.
    pub fn refer(&mut self, referrer: Uuid, now: DateTime<Utc>) -> Event {
        self.changed = true;
        self.member.reward_to = Some(referrer);
        self.member.happened(now, Fact::Referred { referrer })
    }

    /// Makes a change so that is of the member alone and not of what they have.
    pub fn turn(
        &mut self,
        decide: impl FnOnce(&mut Member) -> Result<Event, Refusal>,
    ) -> Result<Event, Refusal> {
        let event = decide(&mut self.member)?;
        self.before_time = None;
        self.changed = true;
        Ok(event)
    }

    /// Adds a lot as it is stored. One that is there already may have been changed since and stays.
    pub fn load_lot(&mut self, lot: Lot) {
        if !self.lots.contains_key(&lot.id) {
            self.keep(lot);
        }
    }

    /// Adds a hold as it is stored, its lots having been loaded.
    pub fn load_hold(&mut self, hold: Hold) {
        self.holds.entry(hold.id).or_insert(hold);
    }

    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Whether there is something to write.
    pub fn is_changed(&self) -> bool {
        self.is_new || self.changed
    }

    pub fn balance(&self, book: Book) -> i64 {
        self.member.books.of(book)
    }

    pub fn lot(&self, id: Uuid) -> Option<&Lot> {
        self.lots.get(&id)
    }

    pub fn find_hold(&self, id: Uuid) -> Option<&Hold> {
        self.holds.get(&id)
    }

    /// What has changed since it was loaded.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The points of the lots that are loaded and can be spent.
    pub fn loaded_points(&self) -> i128 {
        self.open.values().map(|id| i128::from(self.lots[id].remaining)).sum()
    }

    /// The versions that an etag may name.
    pub fn versions(&self) -> [i64; 2] {
        [self.member.version, self.before_time.unwrap_or(self.member.version)]
    }

    /// [`Self::apply`] for what time has changed.
    pub fn apply_time(&mut self, change: Change) -> (Vec<Entry>, Vec<Event>) {
        let before = self.before_time.unwrap_or(self.member.version);
        let applied = self.apply(change);
        self.before_time = Some(before);
        applied
    }

    /// Makes a change so.
    pub fn apply(&mut self, change: Change) -> (Vec<Entry>, Vec<Event>) {
        self.before_time = None;
        self.changed = true;
        self.member = change.member;
        for lot in change.lots {
            if !self.lots.contains_key(&lot.id) {
                self.journal.new_lots.insert(lot.id);
            } else if !self.journal.new_lots.contains(&lot.id) {
                self.journal.changed_lots.insert(lot.id);
            }
            self.keep(lot);
        }
        for hold in change.holds {
            if !self.holds.contains_key(&hold.id) {
                self.journal.new_holds.insert(hold.id);
            } else if !self.journal.new_holds.contains(&hold.id) {
                self.journal.changed_holds.insert(hold.id);
            }
            self.holds.insert(hold.id, hold);
        }
        self.journal.entries.extend_from_slice(&change.entries);
        self.journal.keep(&change.events);
        (change.entries, change.events)
    }

    fn keep(&mut self, lot: Lot) {
        if let Some(before) = self.lots.insert(lot.id, lot) {
            self.open.remove(&before.place());
        }
        if lot.remaining > 0 && !lot.pending {
            self.open.insert(lot.place(), lot.id);
        }
    }
}

impl Journal {
    fn keep(&mut self, events: &[Event]) {
        self.turns.extend(events.iter().filter_map(|event| match event.fact {
            Fact::TierChanged(turn) => Some((event.version, turn)),
            _ => None,
        }));
    }
}

#[cfg(test)]
mod tests;
