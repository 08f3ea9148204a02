//! A customer's erasure across all services: asked for, restricted, carried out, receipted.
//!
//! Two rounds. First every service stops taking new data and says what stands in the way; only when nothing does
//! anywhere, every service erases. So a customer whose complaint is open is still reached about it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::receipt::{Holder, Receipt};

cqm_rpc::words! {
    pub enum State {
        /// Not every service has stopped taking new data.
        Requested = "REQUESTED",
        /// Something stands in the way.
        Restricted = "RESTRICTED",
        /// Nothing does; not every service has given its receipt.
        Erasing = "ERASING",
        Erased = "ERASED",
        /// Called off before anything was erased.
        Cancelled = "CANCELLED",
    }

    /// Why a customer is erased: PIPL art. 47, GDPR art. 17.
    pub enum Ground {
        Request = "REQUEST",
        ConsentWithdrawn = "CONSENT_WITHDRAWN",
        PurposeEnded = "PURPOSE_ENDED",
        RetentionOver = "RETENTION_OVER",
        Unlawful = "UNLAWFUL",
    }
}

/// What one service has answered last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Grows with each answer of the service.
    pub version: i64,
    pub erased: bool,
    /// What stands in the way, as words.
    pub blockers: Vec<String>,
    /// How many records were erased.
    pub receipt: Receipt,
    pub time: DateTime<Utc>,
}

/// What is told to the services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    Requested,
    Cancelled,
    Cleared,
    Erased,
}

/// The services erase already, or have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun(pub State);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasure {
    pub customer: Uuid,
    pub state: State,
    pub ground: Ground,
    pub forfeit_points: bool,
    pub requester: String,
    /// Grows by one with every change.
    pub version: i64,
    /// The version with which it was asked for, so that each request has another; 0: by somebody who did not count.
    pub round: i64,
    pub steps: BTreeMap<Holder, Step>,
    pub create_time: DateTime<Utc>,
    pub update_time: DateTime<Utc>,
    pub finish_time: Option<DateTime<Utc>>,
}

impl Erasure {
    /// Its event is [`Happened::Requested`].
    pub fn request(
        customer: Uuid,
        ground: Ground,
        forfeit_points: bool,
        requester: String,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            customer,
            state: State::Requested,
            ground,
            forfeit_points,
            requester,
            version: 1,
            round: 1,
            steps: BTreeMap::new(),
            create_time: now,
            update_time: now,
            finish_time: None,
        }
    }

    /// Asks again for what was called off; `None` when it was not.
    pub fn request_again(
        &mut self,
        ground: Ground,
        forfeit_points: bool,
        requester: String,
        now: DateTime<Utc>,
    ) -> Option<Happened> {
        if self.state != State::Cancelled {
            return None;
        }
        let version = self.version + 1;
        let request = Self::request(self.customer, ground, forfeit_points, requester, now);
        *self = Self { version, round: version, ..request };
        Some(Happened::Requested)
    }

    /// Calls it off; `None` when it is off already.
    pub fn cancel(&mut self, now: DateTime<Utc>) -> Result<Option<Happened>, Begun> {
        self.check_not_begun()?;
        if self.state == State::Cancelled {
            return Ok(None);
        }
        self.state = State::Cancelled;
        // What the services still say of this request does not count for the next one, see `is_about`.
        self.steps.clear();
        self.version += 1;
        self.update_time = now;
        Ok(Some(Happened::Cancelled))
    }

    /// Refuses what must come before the services erase.
    pub fn check_not_begun(&self) -> Result<(), Begun> {
        match self.state {
            State::Erasing | State::Erased => Err(Begun(self.state)),
            State::Requested | State::Restricted | State::Cancelled => Ok(()),
        }
    }

    /// Whether a service that was told of this round answers the present request. It answers a former one when its answer
    /// has waited while that was called off and this one made. A service or a coordinator that knows no rounds says 0.
    pub fn is_about(&self, round: i64) -> bool {
        round == 0 || round == self.round
    }

    /// Takes a service's answer, unless a newer one is there: `None` then. Otherwise what is to be told now. It does not
    /// begin while something `stands_in_the_way` here, whatever the answers say: one that tells of it is on its way.
    pub fn record(
        &mut self,
        holder: Holder,
        step: Step,
        stands_in_the_way: bool,
        now: DateTime<Utc>,
    ) -> Option<Option<Happened>> {
        let known = self.steps.get(&holder).is_some_and(|known| known.version >= step.version);
        if known || self.state == State::Cancelled {
            return None;
        }
        self.steps.insert(holder, step);
        self.version += 1;
        self.update_time = now;
        Some(self.advance(stands_in_the_way, now))
    }

    fn advance(&mut self, stands_in_the_way: bool, now: DateTime<Utc>) -> Option<Happened> {
        let all =
            |done: fn(&Step) -> bool| self.steps.len() == Holder::ALL.len() && self.steps.values().all(done);
        match self.state {
            State::Requested | State::Restricted
                if !stands_in_the_way && all(|step| step.blockers.is_empty()) =>
            {
                self.state = State::Erasing;
                Some(Happened::Cleared)
            }
            State::Requested if all(|_| true) => {
                self.state = State::Restricted;
                None
            }
            State::Erasing if all(|step| step.erased) => {
                self.state = State::Erased;
                self.finish_time = Some(now);
                Some(Happened::Erased)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn erasure() -> Erasure {
        Erasure::request(Uuid::nil(), Ground::Request, false, "staff-7".into(), NOW)
    }

    fn step(version: i64, blockers: &[&str]) -> Step {
        let blockers = blockers.iter().map(|&word| word.to_owned()).collect();
        Step { version, erased: false, blockers, receipt: Receipt::new(), time: NOW }
    }

    fn erased(version: i64) -> Step {
        Step { erased: true, ..step(version, &[]) }
    }

    #[test]
    fn nobody_erases_before_nothing_stands_in_the_way_anywhere() {
        let mut it = erasure();
        for holder in [Holder::CustomerData, Holder::Loyalty, Holder::Notifications, Holder::Surveys] {
            assert_eq!(it.record(holder, step(1, &[]), false, NOW), Some(None));
            assert_eq!(it.state, State::Requested);
        }
        assert_eq!(it.record(Holder::Complaints, step(1, &["OPEN_COMPLAINT"]), false, NOW), Some(None));
        assert_eq!(it.state, State::Restricted);
        // Another obstacle while the first one is there.
        assert_eq!(it.record(Holder::CustomerData, step(2, &["LEGAL_HOLD"]), false, NOW), Some(None));
        assert_eq!(it.record(Holder::Complaints, step(2, &[]), false, NOW), Some(None));
        assert_eq!(it.state, State::Restricted);
        assert_eq!(it.record(Holder::CustomerData, step(3, &[]), false, NOW), Some(Some(Happened::Cleared)));
        assert_eq!(it.state, State::Erasing);
    }

    /// The hold is placed while the last answer is on its way.
    #[test]
    fn it_does_not_begin_while_something_stands_in_the_way_that_is_not_told_yet() {
        let mut it = erasure();
        for holder in Holder::ALL {
            it.record(*holder, step(1, &[]), true, NOW);
        }
        assert_eq!(it.state, State::Restricted);
        assert_eq!(it.check_not_begun(), Ok(()));
        assert_eq!(it.record(Holder::CustomerData, step(2, &["LEGAL_HOLD"]), true, NOW), Some(None));
        assert_eq!(it.record(Holder::CustomerData, step(3, &[]), false, NOW), Some(Some(Happened::Cleared)));
        assert_eq!(it.check_not_begun(), Err(Begun(State::Erasing)));
    }

    #[test]
    fn it_is_done_with_the_last_receipt_and_told_once() {
        let mut it = erasure();
        for holder in Holder::ALL {
            it.record(*holder, step(1, &[]), false, NOW);
        }
        let mut told = Vec::new();
        for holder in Holder::ALL {
            assert_eq!((it.state, it.finish_time), (State::Erasing, None));
            told.push(it.record(*holder, erased(2), false, NOW));
        }
        assert_eq!(told.pop(), Some(Some(Some(Happened::Erased))));
        assert_eq!(told, [Some(None); 4]);
        assert_eq!((it.state, it.finish_time), (State::Erased, Some(NOW)));
        assert_eq!(it.record(Holder::Surveys, erased(2), false, NOW), None);
    }

    #[test]
    fn it_is_called_off_before_it_begins_and_can_be_asked_for_again() {
        let mut it = erasure();
        it.record(Holder::Complaints, step(1, &["OPEN_COMPLAINT"]), false, NOW);
        assert_eq!(it.cancel(NOW), Ok(Some(Happened::Cancelled)));
        assert_eq!(it.cancel(NOW), Ok(None));
        assert_eq!(it.record(Holder::Loyalty, step(1, &[]), false, NOW), None, "nobody asks any more");
        assert_eq!(
            it.request_again(Ground::Unlawful, true, "staff-8".into(), NOW),
            Some(Happened::Requested)
        );
        assert_eq!((it.state, it.version, it.ground), (State::Requested, 4, Ground::Unlawful));
        for holder in Holder::ALL {
            it.record(*holder, step(3, &[]), false, NOW);
        }
        assert_eq!(it.cancel(NOW), Err(Begun(State::Erasing)));
        assert_eq!(it.request_again(Ground::Request, true, "staff-8".into(), NOW), None);
    }

    #[test]
    fn an_answer_to_a_request_that_was_called_off_is_not_about_the_next() {
        let mut it = erasure();
        let first = it.round;
        assert!(it.is_about(first));
        it.cancel(NOW).unwrap();
        it.request_again(Ground::Request, false, "staff-8".into(), NOW);
        assert!(it.round > first && it.is_about(it.round) && !it.is_about(first));
        assert!(it.is_about(0), "from a service of the version before");
    }

    #[test]
    fn an_answer_that_comes_late_changes_nothing() {
        let mut it = erasure();
        it.record(Holder::Loyalty, step(3, &["UNREDEEMED_POINTS"]), false, NOW);
        let before = it.clone();
        for version in 1..=3 {
            assert_eq!(it.record(Holder::Loyalty, step(version, &[]), false, NOW), None);
        }
        assert_eq!(it, before);
    }
}
