//! Where a member stands: the points that count for a tier, and the tier.
//!
//! Points are counted by the month that they were earned in, and months are those of UTC: a programme has members in
//! many time zones and one calendar. A month is as fine as it gets, so that a member's row holds a few numbers and not
//! every earn.
//!
//! A tier is reached at once, and lost at the end of a cycle only:
//! - [`Window::Rolling`]: what was earned in this month and the months before it counts, so many in all. A cycle is a
//!   month.
//! - [`Window::CalendarYear`]: what was earned in this year counts for the next tier, and a tier that was reached by it
//!   is kept to the end of the next year. A cycle is a year. Otherwise everybody would lose everything at midnight of
//!   every New Year.
//!
//! What is taken back no longer counts, and is no reason to take a tier before its cycle ends.

use chrono::{DateTime, Datelike, TimeDelta, TimeZone, Utc};
use uuid::Uuid;

use super::Fact;
use super::tier::{Ladder, Turn, Why};

/// A month of UTC: its year * 12 + (its number - 1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Month(pub i32);

impl Month {
    pub fn of(time: DateTime<Utc>) -> Self {
        Self(time.year() * 12 + time.month0() as i32)
    }

    /// Its first moment.
    pub fn start(self) -> DateTime<Utc> {
        let (year, month) = (self.0.div_euclid(12), self.0.rem_euclid(12) as u32 + 1);
        Utc.with_ymd_and_hms(year, month, 1, 0, 0, 0).single().expect("every month of UTC has a first moment")
    }

    const fn plus(self, months: i32) -> Self {
        Self(self.0 + months)
    }

    /// The first month of its year.
    const fn january(self) -> Self {
        Self(self.0 - self.0.rem_euclid(12))
    }
}

/// Points by month: those of `first`, then those of the months behind it. None below 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Months {
    first: Month,
    points: Vec<i64>,
}

impl Months {
    /// For what was stored.
    pub fn stored(first: Month, points: Vec<i64>) -> Self {
        Self { first, points }
    }

    /// The month of the first of [`Self::points`].
    pub fn begin(&self) -> Month {
        self.first
    }

    pub fn points(&self) -> &[i64] {
        &self.points
    }

    /// The sum over the months from one to another, both among them. More than 64 bits hold is as good as the most that
    /// they hold: no threshold is higher.
    pub fn between(&self, from: Month, to: Month) -> i64 {
        let months = (self.first.0..).map(Month).zip(&self.points);
        months
            .filter(|(month, _)| (from..=to).contains(month))
            .fold(0, |sum, (_, points)| sum.saturating_add(*points))
    }

    /// Adds points to a month, or takes them from it when they are below 0, and drops the months before `oldest`. What
    /// is for one of those is dropped, too.
    fn add(&mut self, month: Month, points: i64, oldest: Month) {
        let gone = usize::try_from(oldest.0 - self.first.0).unwrap_or(0).min(self.points.len());
        if gone > 0 {
            self.points.drain(..gone);
            self.first = self.first.plus(gone as i32);
        }
        if month < oldest {
            return;
        }
        if self.points.is_empty() {
            self.first = month;
        }
        if let Ok(missing @ 1..) = usize::try_from(self.first.0 - month.0) {
            self.points.splice(..0, std::iter::repeat_n(0, missing));
            self.first = month;
        }
        let place = usize::try_from(month.0 - self.first.0).expect("not before the first");
        if place >= self.points.len() {
            self.points.resize(place + 1, 0);
        }
        // Below 0 when a reason counts no longer: what was given for it before was not counted, or is gone.
        self.points[place] = self.points[place].saturating_add(points).max(0);
    }
}

/// Which points count, and when a cycle ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// This month and those before it, so many in all; over 0.
    Rolling { months: i32 },
    /// This year; the last one for keeping a tier.
    CalendarYear,
}

impl Window {
    /// What counts towards the next tier in a month.
    pub fn counted(self, months: &Months, month: Month) -> i64 {
        match self {
            Self::Rolling { months: length } => months.between(month.plus(1 - length), month),
            Self::CalendarYear => months.between(month.january(), month),
        }
    }

    /// What a tier is kept by in a month.
    pub fn kept(self, months: &Months, month: Month) -> i64 {
        let counted = self.counted(months, month);
        match self {
            Self::Rolling { .. } => counted,
            Self::CalendarYear => {
                let january = month.january();
                counted.max(months.between(january.plus(-12), january.plus(-1)))
            }
        }
    }

    /// The oldest month that still counts for something.
    fn oldest(self, month: Month) -> Month {
        match self {
            Self::Rolling { months } => month.plus(1 - months),
            Self::CalendarYear => month.january().plus(-12),
        }
    }

    /// The month that the next cycle begins with.
    fn next_cycle(self, month: Month) -> Month {
        match self {
            Self::Rolling { .. } => month.plus(1),
            Self::CalendarYear => month.january().plus(12),
        }
    }

    /// The first cycle, after the one of `month`, in which a tier of this threshold is not kept unless more is earned.
    fn end(self, months: &Months, month: Month, threshold: i64) -> Option<Month> {
        if threshold <= 0 {
            return None;
        }
        let mut cycle = self.next_cycle(month);
        // Ends: nothing counts for ever.
        while self.kept(months, cycle) >= threshold {
            cycle = self.next_cycle(cycle);
        }
        Some(cycle)
    }
}

/// A member's tier and the points that count for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub tier: Option<Uuid>,
    /// Since when they hold it.
    pub since: Option<DateTime<Utc>>,
    /// The end of the cycle at which it is lost if nothing more is earned. `None`: never.
    pub until: Option<DateTime<Utc>>,
    /// That has been told.
    pub announced: bool,
    pub months: Months,
}

impl Standing {
    /// Counts points that were earned at a time, or no longer counts them when they are below 0.
    pub fn count(&mut self, ladder: &Ladder, earned_at: DateTime<Utc>, points: i64, now: DateTime<Utc>) {
        let oldest = ladder.scheme.window.oldest(Month::of(now));
        self.months.add(Month::of(earned_at), points, oldest);
    }

    /// Joins what another name of the same person has: all points count, and the better tier is kept, since when it was
    /// held under either. How long it is kept is as ever for the points that count now: no shorter than under either name.
    pub fn join(&mut self, other: &Self, ladder: &Ladder, now: DateTime<Utc>) -> Vec<Fact> {
        let oldest = ladder.scheme.window.oldest(Month::of(now));
        for (month, points) in (other.months.first.0..).map(Month).zip(&other.months.points) {
            self.months.add(month, *points, oldest);
        }
        let rank = |tier| ladder.find(tier).map(|rung| rung.rank);
        let mut facts = Vec::new();
        if rank(other.tier) > rank(self.tier) {
            let points = ladder.scheme.window.kept(&self.months, Month::of(now));
            facts.extend(self.turn(other.tier, Why::Merged, points, now));
            self.since = other.since;
        } else if self.tier == other.tier {
            self.since = self.since.min(other.since);
        }
        facts.extend(self.climb(ladder, now));
        facts
    }

    /// Raises the member to the best tier that the points suffice for, and sees how long it will be kept. The cycles
    /// that have ended were passed before.
    pub fn climb(&mut self, ladder: &Ladder, now: DateTime<Utc>) -> Vec<Fact> {
        let month = Month::of(now);
        let points = ladder.scheme.window.kept(&self.months, month);
        let mut facts = Vec::new();
        if let Some(best) = ladder.best(points)
            && ladder.find(self.tier).is_none_or(|held| held.rank < best.rank)
        {
            facts.extend(self.turn(Some(best.id), Why::Qualified, points, now));
        }
        self.look_ahead(ladder, month);
        facts.extend(self.announce(ladder, now));
        facts
    }

    /// Passes the ends of cycles up to now, each as of its own moment.
    pub fn pass(&mut self, ladder: &Ladder, now: DateTime<Utc>) -> Vec<Fact> {
        let mut facts = Vec::new();
        while let Some(until) = self.until.filter(|until| *until <= now) {
            let month = Month::of(until);
            let points = ladder.scheme.window.kept(&self.months, month);
            let tier = ladder.best(points).map(|rung| rung.id);
            facts.extend(self.turn(tier, Why::CycleEnded, points, until));
            self.look_ahead(ladder, month);
        }
        facts.extend(self.announce(ladder, now));
        facts
    }

    /// When time next changes something; nothing that is due has been left out.
    pub fn next_due(&self, notice: TimeDelta) -> Option<DateTime<Utc>> {
        self.until.map(|until| if self.announced { until } else { until - notice })
    }

    fn turn(&mut self, to: Option<Uuid>, why: Why, points: i64, at: DateTime<Utc>) -> Option<Fact> {
        if to == self.tier {
            return None;
        }
        let from = std::mem::replace(&mut self.tier, to);
        self.since = to.map(|_| at);
        Some(Fact::TierChanged(Turn { from, to, why, points, at }))
    }

    fn look_ahead(&mut self, ladder: &Ladder, month: Month) {
        let end = |threshold| ladder.scheme.window.end(&self.months, month, threshold);
        let until = ladder.find(self.tier).and_then(|held| end(held.threshold)).map(Month::start);
        if until != self.until {
            self.until = until;
            self.announced = false;
        }
    }

    fn announce(&mut self, ladder: &Ladder, now: DateTime<Utc>) -> Option<Fact> {
        let at = self.until.filter(|until| !self.announced && *until - ladder.scheme.notice <= now)?;
        let left = ladder.scheme.window.kept(&self.months, Month::of(at));
        let missing = ladder.find(self.tier)?.threshold - left;
        self.announced = true;
        let to = ladder.best(left).map(|rung| rung.id);
        // The threshold may have been lowered since: then nothing is about to be lost.
        (missing > 0).then_some(Fact::TierDowngradeAnnounced { from: self.tier?, to, at, missing })
    }
}

#[cfg(test)]
mod tests;
