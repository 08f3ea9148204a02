//! What has been given: by member and period, and of budgets.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{InForce, Limit, Period};

/// What a member has had by a rule in the period that began at `start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    pub start: DateTime<Utc>,
    pub points: i64,
    pub awards: i64,
}

/// A part of a budget that this transaction has locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    pub number: i16,
    pub remaining: i64,
}

/// What of a budget can be given by this transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pot {
    slices: Vec<Slice>,
    changed: HashSet<i16>,
}

impl Pot {
    pub fn of(slices: Vec<Slice>) -> Self {
        Self { slices, changed: HashSet::new() }
    }

    pub fn left(&self) -> i64 {
        self.slices.iter().map(|slice| slice.remaining).fold(0, i64::saturating_add)
    }

    /// The slices that something was taken of.
    pub fn changed(&self) -> impl Iterator<Item = &Slice> {
        self.slices.iter().filter(|slice| self.changed.contains(&slice.number))
    }

    /// At most what is left.
    fn take(&mut self, points: i64) {
        let mut points = points;
        for slice in &mut self.slices {
            let part = points.min(slice.remaining);
            if part > 0 {
                slice.remaining -= part;
                points -= part;
                self.changed.insert(slice.number);
            }
        }
        debug_assert_eq!(points, 0, "no more is given than is left");
    }
}

/// By whom, by which rule, in which kind of period.
pub type Key = (Uuid, Uuid, Period);

/// What the requests of a transaction are held against.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    counters: HashMap<Key, Counter>,
    counted: HashSet<Key>,
    /// By the id of the rule or the programme.
    pots: HashMap<Uuid, Pot>,
}

impl Usage {
    /// As it is stored.
    pub fn of(counters: HashMap<Key, Counter>, pots: HashMap<Uuid, Pot>) -> Self {
        Self { counters, counted: HashSet::new(), pots }
    }

    /// What is left of a budget. Nothing of one that nobody has loaded.
    pub fn left(&self, budget: Uuid) -> i64 {
        self.pots.get(&budget).map_or(0, Pot::left)
    }

    /// Notes that a rule has given points (over 0, as [`super::evaluate`] found them) to a customer.
    pub fn take(&mut self, in_force: &InForce, customer: Uuid, points: i64, now: DateTime<Utc>) {
        let rule = &in_force.rule;
        let periods: HashSet<Period> =
            [rule.cap, rule.velocity].into_iter().flatten().map(|Limit { period, .. }| period).collect();
        for period in periods {
            let had = self.had(customer, rule.id, period, in_force.start(period, now));
            let has = Counter {
                start: had.start,
                points: had.points.saturating_add(points),
                awards: had.awards.saturating_add(1),
            };
            let key = (customer, rule.id, period);
            self.counters.insert(key, has);
            self.counted.insert(key);
        }
        for budget in in_force.budgets() {
            if let Some(pot) = self.pots.get_mut(&budget) {
                pot.take(points);
            }
        }
    }

    /// The counters that have changed.
    pub fn counted(&self) -> impl Iterator<Item = (&Key, &Counter)> {
        self.counted.iter().map(|key| (key, &self.counters[key]))
    }

    /// The slices that have changed, each with its budget.
    pub fn taken(&self) -> impl Iterator<Item = (Uuid, &Slice)> {
        self.pots.iter().flat_map(|(budget, pot)| pot.changed().map(|slice| (*budget, slice)))
    }

    /// What a customer has had in the period that began at `start`: nothing when the last one that is known of is over.
    /// One that a replica has begun whose clock is ahead of ours goes on.
    pub(super) fn had(&self, customer: Uuid, rule: Uuid, period: Period, start: DateTime<Utc>) -> Counter {
        let known = self.counters.get(&(customer, rule, period)).copied();
        known.filter(|known| known.start >= start).unwrap_or(Counter { start, points: 0, awards: 0 })
    }
}
