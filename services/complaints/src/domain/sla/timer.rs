//! One clock of one complaint.

use chrono::{DateTime, TimeDelta, Utc};

use super::Policy;
use crate::domain::ClockState;

cqm_rpc::words! {
    /// What the others have been told about a due time.
    pub enum Told {
        Nothing = "NOTHING",
        /// Its breach is near.
        Warning = "WARNING",
        /// It has come.
        Breach = "BREACH",
    }
}

/// A clock: how much open time it has taken, and until when it may run. Its due time is the first moment that is too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    pub target: TimeDelta,
    /// What was consumed when it last began to run or, once it has ended, until its end.
    pub consumed: TimeDelta,
    /// When it last began to run.
    pub resume_time: DateTime<Utc>,
    /// From when on its breach is near.
    pub warn_time: DateTime<Utc>,
    pub due_time: DateTime<Utc>,
    /// `None`: it runs.
    pub end_time: Option<DateTime<Utc>>,
    pub told: Told,
}

impl Timer {
    pub fn start(policy: &Policy, target: TimeDelta, now: DateTime<Utc>) -> Self {
        Self {
            target,
            consumed: TimeDelta::zero(),
            resume_time: now,
            warn_time: policy.calendar.deadline(now, policy.warning(target)),
            due_time: policy.calendar.deadline(now, target),
            end_time: None,
            told: Told::Nothing,
        }
    }

    pub fn state(&self, now: DateTime<Utc>) -> ClockState {
        match self.end_time {
            Some(end) if end < self.due_time => ClockState::Met,
            Some(_) => ClockState::Missed,
            None if now >= self.due_time => ClockState::Breached,
            None if now >= self.warn_time => ClockState::NearBreach,
            None => ClockState::Running,
        }
    }

    /// The open time that it has taken so far.
    pub fn consumed(&self, policy: &Policy, now: DateTime<Utc>) -> TimeDelta {
        match self.end_time {
            Some(_) => self.consumed,
            None => self.consumed + policy.calendar.elapsed(self.resume_time, now),
        }
    }

    pub fn end(&mut self, policy: &Policy, now: DateTime<Utc>) {
        self.consumed = self.consumed(policy, now);
        self.end_time = Some(now);
    }

    /// Goes on from where it ended. What was left of its target gives it a new due time, of which nothing has been told; a
    /// clock that had run out keeps the one that it missed.
    pub fn resume(&mut self, policy: &Policy, now: DateTime<Utc>) {
        self.end_time = None;
        self.resume_time = now;
        if self.consumed < self.target {
            let calendar = &policy.calendar;
            self.warn_time = calendar.deadline(now, policy.warning(self.target) - self.consumed);
            self.due_time = calendar.deadline(now, self.target - self.consumed);
            self.told = Told::Nothing;
        }
    }

    /// When the next thing is to be told about it; `None`: nothing is.
    pub fn tell_time(&self) -> Option<DateTime<Utc>> {
        match (self.told, self.end_time) {
            (Told::Breach, _) => None,
            // It was too late before anybody came by to tell.
            (_, Some(end)) => (end >= self.due_time).then_some(self.due_time),
            (Told::Nothing, None) => Some(self.warn_time),
            (Told::Warning, None) => Some(self.due_time),
        }
    }

    /// What is to be told now and has not been; it counts as told from now on. A breach that has come is not warned of.
    pub fn tell(&mut self, now: DateTime<Utc>) -> Option<Told> {
        if self.tell_time()? > now {
            return None;
        }
        self.told = if self.due_time <= now { Told::Breach } else { Told::Warning };
        Some(self.told)
    }
}
