//! In what time complaints are to be handled.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Calendar, Clock};
use crate::domain::Severity;

/// The longest target, in weeks of the calendar: it is always reached.
const MOST_WEEKS: i32 = 52;

/// One version of what the company has promised. Never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// From 1.
    pub version: i64,
    pub calendar: Calendar,
    /// In the order of the severities.
    pub targets: [Targets; Severity::ALL.len()],
    /// How much of a target is consumed when its breach is near, 1 to 100.
    pub warning_percent: i32,
    pub create_time: DateTime<Utc>,
}

/// The open time that the handling of one severity may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Targets {
    pub first_response: TimeDelta,
    pub resolution: TimeDelta,
}

impl Policy {
    pub fn target(&self, severity: Severity, clock: Clock) -> TimeDelta {
        let targets = self.targets[usize::from(severity.code().unsigned_abs()) - 1];
        match clock {
            Clock::FirstResponse => targets.first_response,
            Clock::Resolution => targets.resolution,
        }
    }

    /// How much of a target is consumed when its breach is near.
    pub fn warning(&self, target: TimeDelta) -> TimeDelta {
        // Times first: a target of some minutes has no hundredth of whole seconds.
        target * self.warning_percent / 100
    }

    /// What a target may be at most.
    pub fn longest_target(calendar: &Calendar) -> TimeDelta {
        calendar.weekly() * MOST_WEEKS
    }
}
