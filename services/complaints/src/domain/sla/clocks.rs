//! The clocks of one complaint, and what moves them.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{Policy, Timer, Told};
use crate::domain::{Severity, What};

cqm_rpc::words! {
    /// What is measured of the handling of a complaint.
    pub enum Clock {
        /// From the registration until somebody takes note of it.
        FirstResponse = "FIRST_RESPONSE",
        /// From the registration until it is settled, without the times in which it was.
        Resolution = "RESOLUTION",
    }
}

/// The clocks of a complaint, and the policy that it was registered under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clocks {
    pub policy: Arc<Policy>,
    pub first_response: Timer,
    pub resolution: Timer,
}

impl Clocks {
    /// Both begin to run.
    pub fn start(policy: Arc<Policy>, severity: Severity, now: DateTime<Utc>) -> Self {
        let timer = |clock| Timer::start(&policy, policy.target(severity, clock), now);
        let (first_response, resolution) = (timer(Clock::FirstResponse), timer(Clock::Resolution));
        Self { policy, first_response, resolution }
    }

    pub const fn timer(&self, clock: Clock) -> &Timer {
        match clock {
            Clock::FirstResponse => &self.first_response,
            Clock::Resolution => &self.resolution,
        }
    }

    /// What a step of the handling does to them.
    pub fn follow(&mut self, step: &What, now: DateTime<Utc>) {
        match step {
            What::Acknowledged => self.first_response.end(&self.policy, now),
            What::Resolved { .. } => self.resolution.end(&self.policy, now),
            What::Reopened { .. } => self.resolution.resume(&self.policy, now),
            _ => {}
        }
    }

    /// What is to be told of them now and has not been.
    pub fn tell(&mut self, now: DateTime<Utc>) -> Vec<What> {
        let timers =
            [(Clock::FirstResponse, &mut self.first_response), (Clock::Resolution, &mut self.resolution)];
        let told = timers.into_iter().filter_map(|(clock, timer)| {
            let due_time = timer.due_time;
            match timer.tell(now)? {
                Told::Nothing => None,
                Told::Warning => Some(What::SlaWarned { clock, due_time }),
                Told::Breach => Some(What::SlaBreached { clock, due_time }),
            }
        });
        told.collect()
    }
}

#[cfg(test)]
mod tests;
