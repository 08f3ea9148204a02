//! Invitations: one customer is asked one questionnaire about one thing, once.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

/// How long an invitation can be answered when nobody says.
pub const DEFAULT_TTL: TimeDelta = TimeDelta::days(14);
pub const MIN_TTL: TimeDelta = TimeDelta::minutes(1);
pub const MAX_TTL: TimeDelta = TimeDelta::days(366);

cqm_rpc::words! {
    pub enum State {
        Pending = "PENDING",
        Answered = "ANSWERED",
        Expired = "EXPIRED",
    }
}

/// What the questions are about. Empty and 0 are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    pub name: String,
    pub version: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    pub id: Uuid,
    pub customer_id: Uuid,
    pub questionnaire_id: Uuid,
    /// Of the questionnaire's version.
    pub number: i32,
    pub subject: Subject,
    pub state: State,
    pub expire_time: DateTime<Utc>,
    pub response_id: Option<Uuid>,
    pub answer_time: Option<DateTime<Utc>>,
    pub version: i64,
    pub create_time: DateTime<Utc>,
    pub update_time: DateTime<Utc>,
}

/// Why an invitation cannot be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    Answered,
    Expired,
}

impl Invitation {
    pub fn new(
        id: Uuid,
        customer_id: Uuid,
        questionnaire: (Uuid, i32),
        subject: Subject,
        ttl: TimeDelta,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            id,
            customer_id,
            questionnaire_id: questionnaire.0,
            number: questionnaire.1,
            subject,
            state: State::Pending,
            expire_time: now + ttl,
            response_id: None,
            answer_time: None,
            version: 1,
            create_time: now,
            update_time: now,
        }
    }

    /// Whether it can be answered. Time decides, whether or not the expiry has come by.
    pub fn check_open(&self, now: DateTime<Utc>) -> Result<(), Closed> {
        match self.state {
            State::Answered => Err(Closed::Answered),
            State::Expired => Err(Closed::Expired),
            State::Pending if now >= self.expire_time => Err(Closed::Expired),
            State::Pending => Ok(()),
        }
    }

    pub fn answer(&mut self, response_id: Uuid, now: DateTime<Utc>) -> Result<(), Closed> {
        self.check_open(now)?;
        self.state = State::Answered;
        self.response_id = Some(response_id);
        self.answer_time = Some(now);
        self.touch(now);
        Ok(())
    }

    /// Marks that its time ran out; `false` when it did not, or when there is nothing to mark.
    pub fn expire(&mut self, now: DateTime<Utc>) -> bool {
        let due = self.state == State::Pending && now >= self.expire_time;
        if due {
            self.state = State::Expired;
            self.touch(now);
        }
        due
    }

    fn touch(&mut self, now: DateTime<Utc>) {
        self.version += 1;
        self.update_time = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    /// Expires at 60.
    fn invitation(state: State) -> Invitation {
        let mut it =
            Invitation::new(Uuid::nil(), Uuid::nil(), (Uuid::nil(), 1), Subject::default(), MIN_TTL, at(0));
        it.state = state;
        it
    }

    #[test]
    fn answering_in_every_state_before_at_and_after_the_end() {
        let table = [
            (State::Pending, 59, Ok(())),
            (State::Pending, 60, Err(Closed::Expired)),
            (State::Pending, 61, Err(Closed::Expired)),
            (State::Answered, 59, Err(Closed::Answered)),
            (State::Answered, 61, Err(Closed::Answered)),
            (State::Expired, 59, Err(Closed::Expired)),
            (State::Expired, 61, Err(Closed::Expired)),
        ];
        for (state, second, expected) in table {
            let mut it = invitation(state);
            assert_eq!(it.check_open(at(second)), expected, "{state:?} at {second}");
            assert_eq!(it.answer(Uuid::max(), at(second)), expected, "{state:?} at {second}");
            let answered = (State::Answered, Some(Uuid::max()), Some(at(second)), 2);
            let after = (it.state, it.response_id, it.answer_time, it.version);
            assert_eq!(after == answered, expected.is_ok(), "{state:?} at {second}");
        }
    }

    #[test]
    fn only_what_waits_and_is_over_expires() {
        for (state, second, expected) in [
            (State::Pending, 59, false),
            (State::Pending, 60, true),
            (State::Answered, 60, false),
            (State::Expired, 60, false),
        ] {
            let mut it = invitation(state);
            assert_eq!(it.expire(at(second)), expected, "{state:?} at {second}");
            assert_eq!(it.version, if expected { 2 } else { 1 });
        }
    }
}
