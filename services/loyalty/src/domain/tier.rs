//! Tiers: what members are by the points that they have qualified with, and what they get for it.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::entry::Reason;
use super::standing::Window;
use super::text::Text;

/// As many as a few people can tell apart, several times over. All of them are in memory.
pub const MOST_TIERS: usize = 50;

/// One thing that members of a tier get, as data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Benefit {
    pub code: String,
    pub text: Text,
    pub value: String,
}

/// A tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    pub id: Uuid,
    pub code: String,
    /// Over 0; a higher one is better.
    pub rank: i32,
    pub display_name: Text,
    /// The qualifying points that it takes, 0 or more.
    pub threshold: i64,
    pub benefits: Vec<Benefit>,
    pub version: i64,
    pub create_time: DateTime<Utc>,
    pub update_time: DateTime<Utc>,
}

/// Why a tier does not fit among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// This one has its code or its rank.
    Taken(Uuid),
    /// This one has a higher rank and takes no more points, or a lower one and takes no fewer.
    Order(Uuid),
    /// There are as many as there may be.
    TooMany,
}

impl Tier {
    /// Checks that the tier fits among the others: each has its own code and rank, and a higher rank takes more points.
    pub fn fit(&self, all: &[Self]) -> Result<(), Misfit> {
        let others = || all.iter().filter(|other| other.id != self.id);
        if others().count() >= MOST_TIERS {
            return Err(Misfit::TooMany);
        }
        if let Some(taken) = others().find(|other| other.code == self.code || other.rank == self.rank) {
            return Err(Misfit::Taken(taken.id));
        }
        match others().find(|other| self.rank.cmp(&other.rank) != self.threshold.cmp(&other.threshold)) {
            Some(beside) => Err(Misfit::Order(beside.id)),
            None => Ok(()),
        }
    }
}

/// A set of reasons that points are given for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reasons(u16);

impl Reasons {
    pub const fn of(reasons: &[Reason]) -> Self {
        let (mut set, mut next) = (0, 0);
        // `for` is not for constants.
        while next < reasons.len() {
            set |= 1 << reasons[next] as u16;
            next += 1;
        }
        Self(set)
    }

    pub const fn has(self, reason: Reason) -> bool {
        self.0 & (1 << reason as u16) != 0
    }
}

/// What the programme has decided about tiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheme {
    pub window: Window,
    /// The reasons that points must be given for to qualify.
    pub qualifying: Reasons,
    /// How long before a tier is lost it is announced.
    pub notice: TimeDelta,
}

/// A tier, as far as it is decided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rung {
    pub id: Uuid,
    pub rank: i32,
    pub threshold: i64,
}

/// All tiers, and how they are reached and lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ladder {
    pub scheme: Scheme,
    /// By rank, so that the thresholds grow.
    rungs: Vec<Rung>,
}

impl Ladder {
    pub fn new(scheme: Scheme, mut rungs: Vec<Rung>) -> Self {
        rungs.sort_by_key(|rung| rung.rank);
        Self { scheme, rungs }
    }

    pub fn find(&self, tier: Option<Uuid>) -> Option<&Rung> {
        self.rungs.iter().find(|rung| Some(rung.id) == tier)
    }

    /// The best tier that so many points suffice for.
    pub fn best(&self, points: i64) -> Option<&Rung> {
        self.rungs.iter().rev().find(|rung| rung.threshold <= points)
    }

    /// The tier above one, or the lowest when there is none.
    pub fn above(&self, tier: Option<Uuid>) -> Option<&Rung> {
        let rank = self.find(tier).map(|rung| rung.rank);
        self.rungs.iter().find(|rung| rank.is_none_or(|rank| rung.rank > rank))
    }
}

/// Without any tier.
impl Default for Ladder {
    fn default() -> Self {
        let scheme = Scheme {
            window: Window::Rolling { months: 12 },
            qualifying: Reasons::of(&[Reason::Purchase]),
            notice: TimeDelta::zero(),
        };
        Self::new(scheme, Vec::new())
    }
}

cqm_rpc::words! {
    /// Why a member went from one tier to another.
    #[derive(Hash)]
    pub enum Why {
        /// They have the points that it takes.
        Qualified = "QUALIFIED",
        /// A cycle ended, and what still counts does not suffice for the tier before.
        CycleEnded = "CYCLE_ENDED",
        /// They held it under another name.
        Merged = "MERGED",
    }
}

/// A member went from one tier to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    pub from: Option<Uuid>,
    pub to: Option<Uuid>,
    pub why: Why,
    /// The qualifying points at that moment.
    pub points: i64,
    /// When: the end of a cycle may be written down later.
    pub at: DateTime<Utc>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tier(id: u128, code: &str, rank: i32, threshold: i64) -> Tier {
        Tier {
            id: Uuid::from_u128(id),
            code: code.into(),
            rank,
            display_name: Text { zh: code.into(), en: String::new() },
            threshold,
            benefits: vec![],
            version: 1,
            create_time: DateTime::UNIX_EPOCH,
            update_time: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_higher_rank_takes_more_points_and_nothing_is_there_twice() {
        let all = [tier(1, "silver", 10, 100), tier(2, "gold", 20, 500)];
        let [silver, gold] = [1, 2].map(Uuid::from_u128);
        for (tier, fits) in [
            (tier(3, "base", 5, 0), Ok(())),
            (tier(3, "between", 15, 300), Ok(())),
            (tier(3, "top", 30, 501), Ok(())),
            (tier(3, "gold", 30, 900), Err(Misfit::Taken(gold))),
            (tier(3, "other", 10, 50), Err(Misfit::Taken(silver))),
            (tier(3, "low", 5, 100), Err(Misfit::Order(silver))),
            (tier(3, "high", 30, 500), Err(Misfit::Order(gold))),
            (tier(3, "between", 15, 99), Err(Misfit::Order(silver))),
            (tier(3, "between", 15, 500), Err(Misfit::Order(gold))),
            // The one that it replaces is not in its way.
            (tier(2, "gold", 10, 500), Err(Misfit::Taken(silver))),
            (tier(2, "gold", 20, 101), Ok(())),
            (tier(2, "gold", 5, 500), Err(Misfit::Order(silver))),
        ] {
            assert_eq!(tier.fit(&all), fits, "{tier:?}");
        }
        let many: Vec<Tier> = (1..=50).map(|n| tier(n as u128, &n.to_string(), n, i64::from(n))).collect();
        assert_eq!(tier(51, "one more", 51, 51).fit(&many), Err(Misfit::TooMany));
        assert_eq!(tier(50, "50", 50, 99).fit(&many), Ok(()));
    }

    #[test]
    fn the_best_tier_is_the_highest_that_the_points_suffice_for() {
        let [base, silver, gold] = [1, 2, 3].map(Uuid::from_u128);
        let rung = |id, rank, threshold| Rung { id, rank, threshold };
        let ladder = Ladder::new(
            Ladder::default().scheme,
            vec![rung(gold, 30, 500), rung(base, 10, 0), rung(silver, 20, 100)],
        );
        for (points, best) in
            [(0, base), (99, base), (100, silver), (499, silver), (500, gold), (i64::MAX, gold)]
        {
            assert_eq!(ladder.best(points).map(|rung| rung.id), Some(best), "{points}");
        }
        let above = |tier| ladder.above(tier).map(|rung| rung.id);
        assert_eq!([above(None), above(Some(base)), above(Some(gold))], [Some(base), Some(silver), None]);
        assert_eq!(Ladder::default().best(i64::MAX), None);
    }

    #[test]
    fn a_set_has_the_reasons_that_it_was_made_of() {
        let set = Reasons::of(&[Reason::Purchase, Reason::Referral]);
        let found: Vec<_> = Reason::ALL.iter().copied().filter(|reason| set.has(*reason)).collect();
        assert_eq!(found, [Reason::Purchase, Reason::Referral]);
    }
}
