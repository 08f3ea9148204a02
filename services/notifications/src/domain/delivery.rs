//! The way of a message: its steps, and how long anything is waited for.

use std::time::Duration;

use chrono::{DateTime, Utc};

cqm_rpc::words! {
    /// How an attempt went.
    pub enum Outcome {
        /// The other side took it.
        Accepted = "ACCEPTED",
        /// It may go better later.
        TransientFailure = "TRANSIENT_FAILURE",
        /// The other side refused it for good.
        PermanentFailure = "PERMANENT_FAILURE",
    }
}

cqm_rpc::words! {
    /// What was decided about a message.
    pub enum Decision {
        /// The call that asked for it was accepted.
        Accepted = "ACCEPTED",
        /// How to reach the customer is not known yet.
        WaitForContact = "WAIT_FOR_CONTACT",
        /// It became known.
        ContactFound = "CONTACT_FOUND",
        /// The customer is known under another name now, and reached under that one.
        RecipientMerged = "RECIPIENT_MERGED",
        /// The customer has no address on the channel.
        ChannelSkipped = "CHANNEL_SKIPPED",
        /// The text was written in the language that the detail names.
        LocaleChosen = "LOCALE_CHOSEN",
        /// An attempt was written down, and begins.
        AttemptStarted = "ATTEMPT_STARTED",
        /// It is tried again.
        Retry = "RETRY",
        /// It reached the customer's side. The end.
        Delivered = "DELIVERED",
        /// It did not and will not; the detail is the reason. The end.
        GiveUp = "GIVE_UP",
    }
}

/// What a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Decided(Decision),
    /// The attempt with this number ended.
    Attempted(i32, Outcome),
}

/// One decision or attempt. Never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub time: DateTime<Utc>,
    pub event: Event,
    /// No personal data: codes, languages, numbers.
    pub detail: String,
    pub next_attempt_time: Option<DateTime<Utc>>,
}

impl Step {
    pub fn decided(time: DateTime<Utc>, decision: Decision, detail: impl Into<String>) -> Self {
        Self { time, event: Event::Decided(decision), detail: detail.into(), next_attempt_time: None }
    }

    pub fn attempted(time: DateTime<Utc>, attempt: i32, outcome: Outcome, detail: impl Into<String>) -> Self {
        Self {
            time,
            event: Event::Attempted(attempt, outcome),
            detail: detail.into(),
            next_attempt_time: None,
        }
    }

    /// The same step, after which the message is looked at again at `next`.
    pub fn then_at(self, next: DateTime<Utc>) -> Self {
        Self { next_attempt_time: Some(next), ..self }
    }
}

/// How long and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long a message waits for its customer's contact.
    pub patience: Duration,
    /// After which an attempt that nobody told the outcome of is taken for lost.
    pub lease: Duration,
    /// The most attempts.
    pub attempts: i32,
    /// Between the first attempt and the second; four times as long each time after.
    pub first: Duration,
    /// The longest time between two attempts.
    pub longest: Duration,
}

impl Policy {
    /// The pause after attempt `attempt` (from 1), times `jitter`: what failed together shall not come back together.
    pub fn pause(&self, attempt: i32, jitter: f64) -> Duration {
        let exponent = u32::try_from(attempt - 1).unwrap_or(0);
        self.first.saturating_mul(4_u32.saturating_pow(exponent)).min(self.longest).mul_f64(jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_fourfold_up_to_the_longest() {
        let policy = Policy {
            patience: Duration::from_secs(1),
            lease: Duration::from_secs(1),
            attempts: 50,
            first: Duration::from_secs(30),
            longest: Duration::from_secs(3600),
        };
        for (attempt, jitter, expected) in [
            (1, 1.0, 30),
            (2, 1.0, 120),
            (3, 1.0, 480),
            (4, 1.0, 1920),
            (5, 1.0, 3600),
            (50, 1.0, 3600),
            (1, 1.2, 36),
        ] {
            assert_eq!(policy.pause(attempt, jitter), Duration::from_secs(expected), "{attempt}");
        }
    }
}
