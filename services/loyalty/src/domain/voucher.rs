//! Vouchers: the right to one piece of a reward, used once.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::reward::{Refusal, Reward};

cqm_rpc::words! {
    /// Where a voucher is.
    pub enum State {
        /// It can be used.
        Issued = "ISSUED",
        Consumed = "CONSUMED",
        /// Taken back, its points given back; or given up, see [`Voucher::give_up`].
        Cancelled = "CANCELLED",
        /// It ran out of time unused.
        Expired = "EXPIRED",
    }
}

/// What a member holds who took a reward. Its code is no part of it: see [`super::code`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voucher {
    pub id: Uuid,
    pub customer: Uuid,
    pub reward: Uuid,
    /// As it is written down; [`Self::state_at`] is what it is.
    pub state: State,
    /// What was paid for it; 0: it was a present.
    pub points: i64,
    /// The ledger's transaction that paid for it.
    pub transaction: Option<Uuid>,
    /// A piece of the reward's stock was taken for it.
    pub from_stock: bool,
    /// The name of the order that it was used on; empty: none.
    pub order: String,
    /// From when on it is no longer good; `None`: never.
    pub expires_at: Option<DateTime<Utc>>,
    /// Grows by one with each event.
    pub version: i64,
    pub create_time: DateTime<Utc>,
    pub update_time: DateTime<Utc>,
}

/// What happened to a voucher, and the version that it led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub voucher: Uuid,
    pub customer: Uuid,
    pub reward: Uuid,
    pub version: i64,
    pub time: DateTime<Utc>,
    pub fact: Fact,
}

/// The facts of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    Issued {
        points: i64,
        expires_at: Option<DateTime<Utc>>,
    },
    Consumed {
        order: String,
    },
    /// How much was given back for it.
    Cancelled {
        points: i64,
    },
    Expired,
}

impl Voucher {
    /// A voucher for a reward that was paid for by the transaction; `None`: it cost nothing.
    pub fn issue(
        id: Uuid,
        customer: Uuid,
        reward: &Reward,
        transaction: Option<Uuid>,
        now: DateTime<Utc>,
    ) -> (Self, Event) {
        let mut voucher = Self {
            id,
            customer,
            reward: reward.id,
            state: State::Issued,
            points: reward.offer.price,
            transaction,
            from_stock: reward.offer.stock.is_some(),
            order: String::new(),
            expires_at: reward.offer.voucher_lifetime.map(|lifetime| now + lifetime),
            version: 0,
            create_time: now,
            update_time: now,
        };
        let fact = Fact::Issued { points: voucher.points, expires_at: voucher.expires_at };
        let event = voucher.happened(now, fact);
        (voucher, event)
    }

    /// Where it is at a time, whether or not somebody has written down that its time is over.
    pub fn state_at(&self, now: DateTime<Utc>) -> State {
        let over = self.expires_at.is_some_and(|expires_at| expires_at <= now);
        if self.state == State::Issued && over { State::Expired } else { self.state }
    }

    /// Uses it.
    pub fn consume(&mut self, order: String, now: DateTime<Utc>) -> Result<Event, Refusal> {
        self.turn(State::Consumed, "consume", now)?;
        self.order.clone_from(&order);
        Ok(self.happened(now, Fact::Consumed { order }))
    }

    /// Takes it back. What it cost is the ledger's to give back.
    pub fn cancel(&mut self, now: DateTime<Utc>) -> Result<Event, Refusal> {
        self.turn(State::Cancelled, "cancel", now)?;
        Ok(self.happened(now, Fact::Cancelled { points: self.points }))
    }

    /// Ends it with the erasure of who holds it and has given it up: nothing is given back. `None` when it had ended before;
    /// one whose time was over has run out of it.
    pub fn give_up(&mut self, now: DateTime<Utc>) -> Option<Event> {
        if self.state_at(now) != State::Issued {
            return self.expire(now);
        }
        self.state = State::Cancelled;
        Some(self.happened(now, Fact::Cancelled { points: 0 }))
    }

    /// Writes down that its time is over; `None` when it is not, or somebody was first.
    pub fn expire(&mut self, now: DateTime<Utc>) -> Option<Event> {
        if self.state != State::Issued || self.state_at(now) != State::Expired {
            return None;
        }
        self.state = State::Expired;
        Some(self.happened(now, Fact::Expired))
    }

    fn turn(&mut self, to: State, action: &'static str, now: DateTime<Utc>) -> Result<(), Refusal> {
        match self.state_at(now) {
            State::Issued => {
                self.state = to;
                Ok(())
            }
            state => Err(Refusal::Voucher { state, action }),
        }
    }

    fn happened(&mut self, now: DateTime<Utc>, fact: Fact) -> Event {
        self.version += 1;
        self.update_time = now;
        Event {
            voucher: self.id,
            customer: self.customer,
            reward: self.reward,
            version: self.version,
            time: now,
            fact,
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::super::reward::{Kind, Offer};
    use super::*;

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn issued() -> Voucher {
        let offer = Offer { price: 100, voucher_lifetime: Some(TimeDelta::seconds(10)), ..Offer::default() };
        let reward = Reward::draft(Uuid::from_u128(7), Kind::Gift, offer, NOW);
        let (voucher, event) = Voucher::issue(Uuid::from_u128(1), Uuid::nil(), &reward, None, NOW);
        let fact = Fact::Issued { points: 100, expires_at: Some(NOW + TimeDelta::seconds(10)) };
        assert_eq!((event.version, event.fact, event.reward), (1, fact, Uuid::from_u128(7)));
        voucher
    }

    #[test]
    fn a_voucher_is_used_once_or_taken_back_once() {
        let mut voucher = issued();
        let event = voucher.consume("orders/1".into(), NOW).unwrap();
        assert_eq!((event.version, voucher.order.as_str()), (2, "orders/1"));
        let used = voucher.clone();
        let refused = |action| Refusal::Voucher { state: State::Consumed, action };
        assert_eq!(voucher.consume("orders/2".into(), NOW), Err(refused("consume")));
        assert_eq!(voucher.cancel(NOW), Err(refused("cancel")));
        assert_eq!(voucher.expire(NOW + TimeDelta::days(1)), None);
        assert_eq!(voucher, used, "a refusal changes nothing");

        let mut voucher = issued();
        assert_eq!(voucher.cancel(NOW).unwrap().fact, Fact::Cancelled { points: 100 });
        let refused = Refusal::Voucher { state: State::Cancelled, action: "consume" };
        assert_eq!(voucher.consume(String::new(), NOW), Err(refused));
    }

    #[test]
    fn a_vouchers_time_is_over_from_its_moment_on_whoever_writes_it_down() {
        let (mut voucher, end) = (issued(), NOW + TimeDelta::seconds(10));
        let before = end - TimeDelta::microseconds(1);
        assert_eq!((voucher.state_at(before), voucher.expire(before)), (State::Issued, None));
        assert_eq!((voucher.state_at(end), voucher.state), (State::Expired, State::Issued));
        let refused = |action| Refusal::Voucher { state: State::Expired, action };
        assert_eq!(voucher.consume(String::new(), end), Err(refused("consume")));
        assert_eq!(voucher.cancel(end), Err(refused("cancel")));
        assert_eq!(voucher.expire(end).unwrap().fact, Fact::Expired);
        assert_eq!((voucher.state, voucher.version, voucher.expire(end)), (State::Expired, 2, None));
    }

    #[test]
    fn what_is_given_up_ends_once_and_gives_nothing_back() {
        let mut voucher = issued();
        assert_eq!(voucher.give_up(NOW).unwrap().fact, Fact::Cancelled { points: 0 });
        let refused = Refusal::Voucher { state: State::Cancelled, action: "consume" };
        assert_eq!(voucher.consume(String::new(), NOW), Err(refused));
        assert_eq!(voucher.give_up(NOW), None);
        let mut late = issued();
        assert_eq!(late.give_up(NOW + TimeDelta::seconds(10)).unwrap().fact, Fact::Expired);
    }

    #[test]
    fn without_a_lifetime_it_is_good_for_ever() {
        let mut voucher = Voucher { expires_at: None, ..issued() };
        let late = NOW + TimeDelta::days(100_000);
        assert_eq!((voucher.state_at(late), voucher.expire(late)), (State::Issued, None));
    }
}
