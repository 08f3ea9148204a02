//! Members of the programme.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::book::Books;
use super::chain::{GENESIS, Hash};
use super::referral::ReferralCode;
use super::standing::Standing;
use super::{Event, Fact, Refusal};

cqm_rpc::words! {
    /// Whether a member's points can be used.
    #[derive(Hash, PartialOrd, Ord)]
    pub enum State {
        /// Points are earned and spent.
        Active = "ACTIVE",
        /// Points are earned, not spent.
        Frozen = "FROZEN",
        /// The member is another one, who has everything.
        Merged = "MERGED",
    }
}

/// A customer who collects points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub customer: Uuid,
    pub state: State,
    /// Grows by one with each event, those of the ledger among them.
    pub version: i64,
    /// How many entries the ledger has for the member; the last one's sequence.
    pub entry_count: i64,
    /// The last entry's hash.
    pub hash: Hash,
    /// What stands on each account.
    pub books: Books,
    /// When the passing of time next changes something; `None`: never. May be too early, never too late.
    pub next_due: Option<DateTime<Utc>>,
    /// Points that expire up to then have been announced.
    pub notice_until: DateTime<Utc>,
    pub create_time: DateTime<Utc>,
    pub update_time: DateTime<Utc>,
    /// The tier, and what counts for it.
    pub standing: Standing,
    /// How others say that the member brought them in.
    pub referral_code: ReferralCode,
    /// Who is rewarded when the member first buys something; `None`: nobody, or they have been.
    pub reward_to: Option<Uuid>,
}

impl Member {
    /// A customer becomes a member.
    pub fn enrol(customer: Uuid, referral_code: ReferralCode, now: DateTime<Utc>) -> (Self, Event) {
        let mut member = Self {
            customer,
            state: State::Active,
            version: 0,
            entry_count: 0,
            hash: GENESIS,
            books: Books::default(),
            next_due: None,
            notice_until: now,
            create_time: now,
            update_time: now,
            standing: Standing::default(),
            referral_code,
            reward_to: None,
        };
        let event = member.happened(now, Fact::Enrolled);
        (member, event)
    }

    /// Stops the spending of points.
    pub fn freeze(&mut self, now: DateTime<Utc>) -> Result<Event, Refusal> {
        self.turn(State::Active, State::Frozen, "freeze")?;
        Ok(self.happened(now, Fact::Frozen))
    }

    /// Allows the spending of points again.
    pub fn unfreeze(&mut self, now: DateTime<Utc>) -> Result<Event, Refusal> {
        self.turn(State::Frozen, State::Active, "unfreeze")?;
        Ok(self.happened(now, Fact::Unfrozen))
    }

    fn turn(&mut self, from: State, to: State, action: &'static str) -> Result<(), Refusal> {
        if self.state != from {
            return Err(Refusal::State { state: self.state, action });
        }
        self.state = to;
        Ok(())
    }

    /// Sees to it that the member is looked at again by then.
    pub fn due_by(&mut self, time: DateTime<Utc>) {
        self.next_due = Some(self.next_due.map_or(time, |due| due.min(time)));
    }

    /// [`Self::due_by`] for points that end, and for the announcement of it.
    pub fn due_for(&mut self, expires_at: Option<DateTime<Utc>>, notice: TimeDelta, now: DateTime<Utc>) {
        if let Some(expires_at) = expires_at {
            let announced = expires_at - notice;
            self.due_by(if announced > now { announced } else { expires_at });
        }
    }

    pub(super) fn happened(&mut self, now: DateTime<Utc>, fact: Fact) -> Event {
        self.version += 1;
        self.update_time = now;
        Event { customer: self.customer, version: self.version, time: now, fact }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_turned_by_events_and_nothing_else() {
        let now = DateTime::UNIX_EPOCH;
        let (mut member, enrolled) = Member::enrol(Uuid::nil(), ReferralCode::of(Uuid::nil()), now);
        assert_eq!((enrolled.version, enrolled.fact), (1, Fact::Enrolled));

        let refused = member.unfreeze(now);
        assert_eq!(refused, Err(Refusal::State { state: State::Active, action: "unfreeze" }));
        assert_eq!(member.version, 1, "a refusal changes nothing");

        let later = now + std::time::Duration::from_secs(1);
        let frozen = member.freeze(later).unwrap();
        assert_eq!((frozen.version, frozen.fact, member.update_time), (2, Fact::Frozen, later));
        assert_eq!(member.freeze(now), Err(Refusal::State { state: State::Frozen, action: "freeze" }));

        assert_eq!(member.unfreeze(later).unwrap().fact, Fact::Unfrozen);
        assert_eq!((member.state, member.version), (State::Active, 3));
    }

    #[test]
    fn every_name_is_found_again() {
        for state in State::ALL {
            assert_eq!(State::find(state.name()), Some(*state));
        }
        assert_eq!(State::find("active"), None);
    }
}
