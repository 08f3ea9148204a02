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
        now >= self.expire_time && self.end(now)
    }

    /// Ends it before its time; `false` when there is nothing to end.
    pub fn end(&mut self, now: DateTime<Utc>) -> bool {
        let waits = self.state == State::Pending;
        if waits {
            self.state = State::Expired;
            self.touch(now);
        }
        waits
    }

    /// Whether the two ask the same, so that one person gets one of them.
    fn asks_the_same(&self, other: &Self) -> bool {
        (self.questionnaire_id, &self.subject) == (other.questionnaire_id, &other.subject)
    }

    fn touch(&mut self, now: DateTime<Utc>) {
        self.version += 1;
        self.update_time = now;
    }
}

/// What becomes of the invitations of one person who was asked under two names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Of the name that goes: those that go to the name that stays.
    pub moved: Vec<Uuid>,
    /// Of either name: those that ended before their time.
    pub ended: Vec<Invitation>,
}

/// Decides about what was asked under the name that goes and what under the one that stays. Nobody is asked the same
/// twice: where both names were, the invitation of the one that goes stays behind, and what could still be answered is
/// the other one at most, unless the person has answered.
pub fn merge(asked: Vec<Invitation>, kept: Vec<Invitation>, now: DateTime<Utc>) -> Merged {
    let mut merged = Merged::default();
    for invitation in asked {
        let Some(same) = kept.iter().find(|other| other.asks_the_same(&invitation)) else {
            merged.moved.push(invitation.id);
            continue;
        };
        let mut last = if invitation.state == State::Answered { same.clone() } else { invitation };
        if last.end(now) {
            merged.ended.push(last);
        }
    }
    merged
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
    #[test]
    fn of_two_that_ask_the_same_one_waits_at_most_and_none_when_the_person_has_answered() {
        let (gone, stays) = (Uuid::from_u128(1), Uuid::from_u128(2));
        for (asked, kept, ended) in [
            (State::Pending, State::Pending, Some(gone)),
            (State::Pending, State::Answered, Some(gone)),
            (State::Pending, State::Expired, Some(gone)),
            (State::Answered, State::Pending, Some(stays)),
            (State::Answered, State::Answered, None),
            (State::Answered, State::Expired, None),
            (State::Expired, State::Pending, None),
            (State::Expired, State::Answered, None),
            (State::Expired, State::Expired, None),
        ] {
            let one = Invitation { id: gone, ..invitation(asked) };
            let other = Invitation { id: stays, ..invitation(kept) };
            let merged = merge(vec![one], vec![other], at(30));
            assert!(merged.moved.is_empty(), "{asked:?} and {kept:?}");
            let found: Vec<_> = merged.ended.iter().map(|it| (it.id, it.state, it.version)).collect();
            let expected: Vec<_> = ended.into_iter().map(|id| (id, State::Expired, 2)).collect();
            assert_eq!(found, expected, "{asked:?} and {kept:?}");
        }
    }

    #[test]
    fn what_one_name_alone_was_asked_moves_as_it_is() {
        let other_round = Subject { version: 2, ..Subject::default() };
        let other_matter = Subject { name: "complaints/1".to_owned(), ..Subject::default() };
        let kept = vec![invitation(State::Pending)];
        for (state, different) in [
            (State::Pending, Invitation { subject: other_round.clone(), ..invitation(State::Pending) }),
            (State::Answered, Invitation { subject: other_matter, ..invitation(State::Pending) }),
            (State::Expired, Invitation { questionnaire_id: Uuid::max(), ..invitation(State::Pending) }),
        ] {
            let asked = Invitation { id: Uuid::max(), state, ..different };
            let merged = merge(vec![asked], kept.clone(), at(30));
            assert_eq!(merged, Merged { moved: vec![Uuid::max()], ended: Vec::new() }, "{state:?}");
        }
    }
}
