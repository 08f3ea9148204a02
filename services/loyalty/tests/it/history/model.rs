//! The ledger as it is meant, in as few lines as it takes: balances and lots in memory, time that passes step by step.
//! Written apart from the domain, so that the same mistake would have to be made twice.

use std::collections::{BTreeMap, BTreeSet};

/// Seconds since the story began.
pub type Time = i64;

pub const DAY: Time = 24 * 60 * 60;
pub const DELAY: Time = 2 * DAY;
pub const LIFETIME: Time = 10 * DAY;
pub const GRACE: Time = 5 * DAY;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lot {
    /// As the service named it.
    pub id: String,
    pub amount: i64,
    pub remaining: i64,
    pub held: i64,
    pub spent: i64,
    pub expired: i64,
    pub reversed: i64,
    /// The part of that which a correction took.
    pub corrected: i64,
    pub pending: bool,
    earned: Time,
    available: Time,
    expires: Time,
}

#[derive(Clone, Debug)]
pub struct Hold {
    pub expires: Time,
    pub open: bool,
    /// What is held of each lot, by its place in the member's list.
    pub pins: Vec<(usize, i64)>,
}

impl Hold {
    pub fn left(&self) -> i64 {
        self.pins.iter().map(|pin| pin.1).sum()
    }
}

/// What a transaction did, to be taken back.
#[derive(Clone, Debug)]
pub struct Done {
    pub earned: bool,
    /// The place of the lot, the points, and what was taken back of them.
    pub parts: Vec<(usize, i64, i64)>,
}

#[derive(Clone, Debug, Default)]
pub struct Member {
    pub lots: Vec<Lot>,
    pub holds: BTreeMap<String, Hold>,
    pub done: BTreeMap<String, Done>,
    /// Those brought in who were rewarded.
    pub referred: BTreeSet<usize>,
    pub debt: i64,
    pub issued: i64,
    pub redeemed: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum No {
    Insufficient(i64),
    HoldState,
    HoldExceeded(i64),
    AlreadyReversed,
    ReversalExceeded(i64),
}

impl Member {
    pub fn available(&self) -> i64 {
        self.lots.iter().filter(|lot| !lot.pending).map(|lot| lot.remaining).sum()
    }

    pub fn pending(&self) -> i64 {
        self.lots.iter().filter(|lot| lot.pending).map(|lot| lot.remaining).sum()
    }

    pub fn held(&self) -> i64 {
        self.lots.iter().map(|lot| lot.held).sum()
    }

    pub fn expired(&self) -> i64 {
        self.lots.iter().map(|lot| lot.expired).sum()
    }

    /// Everything that happens up to `now`, one moment after the other.
    pub fn pass(&mut self, now: Time) {
        loop {
            let lots = self.lots.iter().flat_map(|lot| {
                let matures = (lot.pending && lot.remaining > 0).then_some(lot.available);
                let ends = (lot.remaining > 0).then_some(lot.expires);
                [matures, ends]
            });
            let holds = self.holds.values().map(|hold| hold.open.then_some(hold.expires));
            let Some(moment) = lots.chain(holds).flatten().filter(|time| *time <= now).min() else {
                return;
            };
            for lot in &mut self.lots {
                if lot.pending && lot.available <= moment {
                    lot.pending = false;
                }
                if lot.expires <= moment {
                    lot.expired += std::mem::take(&mut lot.remaining);
                }
            }
            let over: Vec<String> = self
                .holds
                .iter()
                .filter(|(_, hold)| hold.open && hold.expires <= moment)
                .map(|(name, _)| name.clone())
                .collect();
            for name in over {
                self.give_back(&name, moment);
            }
        }
    }

    fn repay(&mut self, points: i64) -> i64 {
        let repaid = points.min(self.debt);
        self.debt -= repaid;
        repaid
    }

    pub fn earn(&mut self, id: &str, transaction: &str, points: i64, pending: bool, now: Time) {
        let available = if pending { now + DELAY } else { now };
        let repaid = self.repay(points);
        self.issued += points;
        self.lots.push(Lot {
            id: id.into(),
            amount: points,
            remaining: points - repaid,
            spent: repaid,
            pending,
            earned: now,
            available,
            expires: available + LIFETIME,
            ..Lot::default()
        });
        let parts = vec![(self.lots.len() - 1, points, 0)];
        self.done.insert(transaction.into(), Done { earned: true, parts });
    }

    /// Everything of a name that goes: what was taken back is not among it. Names of holds and transactions are those of
    /// the member from then on.
    pub fn merge(&mut self, gone: Self, from: &str, into: &str) {
        let places = self.lots.len();
        let named = |name: String| name.replace(from, into);
        self.lots.extend(gone.lots.into_iter().map(|lot| Lot {
            amount: lot.amount - lot.reversed,
            reversed: 0,
            ..lot
        }));
        self.holds.extend(gone.holds.into_iter().map(|(name, mut hold)| {
            hold.pins.iter_mut().for_each(|pin| pin.0 += places);
            (named(name), hold)
        }));
        self.done.extend(gone.done.into_iter().map(|(name, mut done)| {
            done.parts.iter_mut().for_each(|part| part.0 += places);
            (named(name), done)
        }));
        self.referred.extend(gone.referred);
        self.debt += gone.debt;
        self.issued += gone.issued;
        self.redeemed += gone.redeemed;
    }

    /// Which lots are taken from: what ends first goes first.
    fn choose(&self, points: i64) -> Result<Vec<(usize, i64)>, No> {
        if points > self.available() {
            return Err(No::Insufficient(self.available()));
        }
        let mut order: Vec<usize> = (0..self.lots.len())
            .filter(|at| !self.lots[*at].pending && self.lots[*at].remaining > 0)
            .collect();
        order.sort_by_key(|at| (self.lots[*at].expires, self.lots[*at].earned, self.lots[*at].id.clone()));
        let (mut left, mut taken) = (points, Vec::new());
        for at in order {
            let part = left.min(self.lots[at].remaining);
            if part > 0 {
                taken.push((at, part));
                left -= part;
            }
        }
        Ok(taken)
    }

    pub fn can_spend(&self, points: i64) -> Result<(), No> {
        self.choose(points).map(|_| ())
    }

    pub fn redeem(&mut self, transaction: &str, points: i64) {
        let taken = self.choose(points).expect("asked before");
        for (at, part) in &taken {
            self.lots[*at].remaining -= part;
            self.lots[*at].spent += part;
        }
        self.redeemed += points;
        let parts = taken.into_iter().map(|(at, part)| (at, part, 0)).collect();
        self.done.insert(transaction.into(), Done { earned: false, parts });
    }

    pub fn deduct(&mut self, points: i64) {
        for (at, part) in self.choose(points).expect("asked before") {
            self.lots[at].remaining -= part;
            self.lots[at].reversed += part;
            self.lots[at].corrected += part;
        }
        self.issued -= points;
    }

    pub fn hold(&mut self, name: &str, points: i64, expires: Time) {
        let pins = self.choose(points).expect("asked before");
        for (at, part) in &pins {
            self.lots[*at].remaining -= part;
            self.lots[*at].held += part;
        }
        self.holds.insert(name.into(), Hold { expires, open: true, pins });
    }

    pub fn can_commit(&self, name: &str, points: i64) -> Result<(), No> {
        let hold = &self.holds[name];
        match hold.open {
            false => Err(No::HoldState),
            true if points > hold.left() => Err(No::HoldExceeded(hold.left())),
            true => Ok(()),
        }
    }

    /// 0: all of it.
    pub fn commit(&mut self, name: &str, transaction: &str, points: i64, last: bool, now: Time) {
        let hold = self.holds.get_mut(name).expect("asked before");
        let mut left = if points == 0 { hold.left() } else { points };
        self.redeemed += left;
        let mut parts = Vec::new();
        for (at, held) in &mut hold.pins {
            let part = left.min(*held);
            if part > 0 {
                *held -= part;
                left -= part;
                self.lots[*at].held -= part;
                self.lots[*at].spent += part;
                parts.push((*at, part, 0));
            }
        }
        self.done.insert(transaction.into(), Done { earned: false, parts });
        if last {
            self.give_back(name, now);
        } else if self.holds[name].left() == 0 {
            self.holds.get_mut(name).expect("it is there").open = false;
        }
    }

    pub fn give_back(&mut self, name: &str, at_time: Time) {
        let hold = self.holds.get_mut(name).expect("it is there");
        hold.open = false;
        for (at, part) in std::mem::take(&mut hold.pins) {
            self.lots[at].held -= part;
            if self.lots[at].expires <= at_time {
                self.lots[at].expired += part;
            } else {
                let repaid = self.repay(part);
                self.lots[at].spent += repaid;
                self.lots[at].remaining += part - repaid;
            }
        }
    }

    /// What is left to take back of each part.
    pub fn left(&self, transaction: &str) -> Vec<i64> {
        let done = &self.done[transaction];
        let corrected = |at: usize| if done.earned { self.lots[at].corrected } else { 0 };
        done.parts.iter().map(|part| part.1 - part.2 - corrected(part.0)).collect()
    }

    /// What is to be taken back of each part; `None`: all that is left.
    pub fn split(&self, transaction: &str, points: Option<i64>) -> Result<Vec<i64>, No> {
        let left = self.left(transaction);
        let sum: i64 = left.iter().sum();
        let wanted = points.unwrap_or(sum);
        if sum == 0 {
            return Err(No::AlreadyReversed);
        }
        if wanted > sum {
            return Err(No::ReversalExceeded(sum));
        }
        // Whole shares first, then one more to those with the largest fractions.
        let mut parts: Vec<i64> = left.iter().map(|one| wanted * one / sum).collect();
        let mut order: Vec<usize> = (0..left.len()).collect();
        order.sort_by_key(|at| -(wanted * left[*at] % sum));
        let missing = wanted - parts.iter().sum::<i64>();
        order.into_iter().take(missing as usize).for_each(|at| parts[at] += 1);
        Ok(parts)
    }

    pub fn reverse(&mut self, transaction: &str, points: Option<i64>, now: Time) {
        let split = self.split(transaction, points).expect("asked before");
        let done = self.done.get_mut(transaction).expect("asked before");
        let earned = done.earned;
        let mut places = Vec::new();
        for (part, back) in done.parts.iter_mut().zip(split) {
            part.2 += back;
            places.push((part.0, back));
        }
        for (at, points) in places.into_iter().filter(|(_, points)| *points > 0) {
            if earned {
                let lot = &mut self.lots[at];
                let remaining = points.min(lot.remaining);
                let expired = (points - remaining).min(lot.expired);
                lot.remaining -= remaining;
                lot.expired -= expired;
                lot.reversed += remaining + expired;
                self.debt += points - remaining - expired;
                self.issued -= points;
            } else {
                let repaid = self.repay(points);
                let returned = points - repaid;
                self.redeemed -= points;
                let lot = &mut self.lots[at];
                lot.spent -= returned;
                lot.remaining += returned;
                if returned > 0 && lot.expires <= now {
                    lot.expires = now + GRACE;
                }
            }
        }
    }
}
