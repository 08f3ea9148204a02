//! Rewards: what members take for points, and whether they may.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::text::Text;
use super::voucher;

cqm_rpc::words! {
    /// What a reward is.
    pub enum Kind {
        /// Handed over against the voucher.
        Gift = "GIFT",
        /// A discount on an order.
        Coupon = "COUPON",
    }
}

cqm_rpc::words! {
    /// Where a reward is.
    pub enum State {
        Draft = "DRAFT",
        /// Members can take it within its time.
        Active = "ACTIVE",
        /// Nobody can take it any more; its vouchers stay good.
        Archived = "ARCHIVED",
    }
}

/// Why a reward is not given, not changed, or a voucher is no good. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The reward's state does not allow the action.
    State { state: State, action: &'static str },
    /// It is not the reward's time.
    NotOpen { start: Option<DateTime<Utc>>, end: Option<DateTime<Utc>> },
    /// The member has taken as many as one may: this many.
    Limit { most: i32 },
    /// All pieces are taken.
    OutOfStock,
    /// More is taken than the stock would be: this many.
    StockBelowTaken { taken: i64 },
    /// The voucher's state does not allow the action.
    Voucher { state: voucher::State, action: &'static str },
}

/// An amount, over 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Money {
    /// The three letters of ISO 4217.
    pub currency: String,
    pub units: i64,
    pub nanos: i32,
}

/// What is taken off an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discount {
    /// A share, 1 to 10000.
    BasisPoints(i32),
    Amount(Money),
}

/// What a coupon is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coupon {
    pub discount: Discount,
    /// The least that the order must come to.
    pub minimum: Option<Money>,
}

/// What the keepers of the catalogue say of a reward.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    pub display_name: Text,
    pub description: Text,
    /// In points; 0: it is a present.
    pub price: i64,
    /// How many there are in all; `None`: any number.
    pub stock: Option<i64>,
    /// From when on it can be taken.
    pub start: Option<DateTime<Utc>>,
    /// From when on it no longer can.
    pub end: Option<DateTime<Utc>>,
    /// How many one member may take, over 0.
    pub most_per_member: Option<i32>,
    /// How long a voucher is good; `None`: for ever.
    pub voucher_lifetime: Option<TimeDelta>,
    /// A coupon's, and no gift's.
    pub coupon: Option<Coupon>,
}

/// Something of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reward {
    pub id: Uuid,
    pub kind: Kind,
    pub offer: Offer,
    pub state: State,
    /// How many of the stock are taken.
    pub taken: i64,
    /// Grows by one with each change; taking from the stock is none.
    pub version: i64,
    pub create_time: DateTime<Utc>,
    pub update_time: DateTime<Utc>,
}

impl Reward {
    /// A draft.
    pub fn draft(id: Uuid, kind: Kind, offer: Offer, now: DateTime<Utc>) -> Self {
        Self {
            id,
            kind,
            offer,
            state: State::Draft,
            taken: 0,
            version: 1,
            create_time: now,
            update_time: now,
        }
    }

    /// Opens a draft, or what was archived again.
    pub fn activate(&mut self, now: DateTime<Utc>) -> Result<(), Refusal> {
        self.turn(State::Active, "activate", now)
    }

    /// Closes it for good or for a while.
    pub fn archive(&mut self, now: DateTime<Utc>) -> Result<(), Refusal> {
        self.turn(State::Archived, "archive", now)
    }

    fn turn(&mut self, to: State, action: &'static str, now: DateTime<Utc>) -> Result<(), Refusal> {
        if self.state == to {
            return Err(Refusal::State { state: self.state, action });
        }
        self.state = to;
        self.changed(now);
        Ok(())
    }

    /// Says something else of it. Vouchers do not carry a coupon's terms, they point to them: the terms are fixed from
    /// when somebody may hold one.
    pub fn change(&mut self, offer: Offer, now: DateTime<Utc>) -> Result<(), Refusal> {
        if self.state != State::Draft && offer.coupon != self.offer.coupon {
            return Err(Refusal::State { state: self.state, action: "change the coupon's terms" });
        }
        if offer.stock.is_some_and(|stock| stock < self.taken) {
            return Err(Refusal::StockBelowTaken { taken: self.taken });
        }
        self.offer = offer;
        self.changed(now);
        Ok(())
    }

    fn changed(&mut self, now: DateTime<Utc>) {
        self.version += 1;
        self.update_time = now;
    }

    /// Whether a member who has taken it `had` times may take it now. What is left of the stock is asked here as well,
    /// so that nobody waits for a piece that is not there; that nobody gets one too many is decided when it is taken.
    pub fn check_redeemable(&self, had: i64, now: DateTime<Utc>) -> Result<(), Refusal> {
        let Offer { start, end, .. } = self.offer;
        if self.state != State::Active {
            return Err(Refusal::State { state: self.state, action: "redeem" });
        }
        if start.is_some_and(|start| now < start) || end.is_some_and(|end| end <= now) {
            return Err(Refusal::NotOpen { start, end });
        }
        if let Some(most) = self.offer.most_per_member.filter(|most| had >= i64::from(*most)) {
            return Err(Refusal::Limit { most });
        }
        if self.offer.stock.is_some_and(|stock| stock <= self.taken) {
            return Err(Refusal::OutOfStock);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn coupon(points: i32) -> Option<Coupon> {
        Some(Coupon { discount: Discount::BasisPoints(points), minimum: None })
    }

    fn active(offer: Offer) -> Reward {
        let mut reward = Reward::draft(Uuid::nil(), Kind::Coupon, offer, NOW);
        reward.activate(NOW).unwrap();
        reward
    }

    #[test]
    fn a_draft_is_opened_closed_and_opened_again() {
        let later = NOW + TimeDelta::seconds(1);
        let mut reward = Reward::draft(Uuid::nil(), Kind::Gift, Offer::default(), NOW);
        assert_eq!(
            reward.check_redeemable(0, NOW),
            Err(Refusal::State { state: State::Draft, action: "redeem" })
        );
        reward.activate(later).unwrap();
        assert_eq!((reward.state, reward.version, reward.update_time), (State::Active, 2, later));
        let again = reward.activate(NOW);
        assert_eq!(again, Err(Refusal::State { state: State::Active, action: "activate" }));
        assert_eq!((reward.version, reward.update_time), (2, later), "a refusal changes nothing");
        reward.archive(later).unwrap();
        let again = reward.archive(later);
        assert_eq!(again, Err(Refusal::State { state: State::Archived, action: "archive" }));
        assert!(reward.check_redeemable(0, later).is_err());
        reward.activate(later).unwrap();
        assert_eq!((reward.version, reward.check_redeemable(0, later)), (4, Ok(())));
    }

    #[test]
    fn a_coupons_terms_are_fixed_once_somebody_may_hold_one() {
        let offer = |points| Offer { coupon: coupon(points), ..Offer::default() };
        let mut reward = Reward::draft(Uuid::nil(), Kind::Coupon, offer(100), NOW);
        reward.change(offer(200), NOW).unwrap();
        reward.activate(NOW).unwrap();
        reward.change(Offer { price: 5, ..offer(200) }, NOW).unwrap();
        let fixed = |state| Err(Refusal::State { state, action: "change the coupon's terms" });
        assert_eq!(reward.change(offer(300), NOW), fixed(State::Active));
        reward.archive(NOW).unwrap();
        assert_eq!(reward.change(offer(300), NOW), fixed(State::Archived));
        assert_eq!((reward.offer.price, reward.offer.coupon), (5, coupon(200)));
    }

    #[test]
    fn it_is_taken_within_its_time_by_those_who_may_while_there_is_some() {
        let at = |seconds| NOW + TimeDelta::seconds(seconds);
        let window = Offer { start: Some(at(10)), end: Some(at(20)), ..Offer::default() };
        let early_or_late = Err(Refusal::NotOpen { start: Some(at(10)), end: Some(at(20)) });
        for (now, outcome) in [(9, &early_or_late), (10, &Ok(())), (19, &Ok(())), (20, &early_or_late)] {
            assert_eq!(&active(window.clone()).check_redeemable(0, at(now)), outcome, "{now}");
        }
        let twice = active(Offer { most_per_member: Some(2), ..Offer::default() });
        assert_eq!(twice.check_redeemable(1, NOW), Ok(()));
        assert_eq!(twice.check_redeemable(2, NOW), Err(Refusal::Limit { most: 2 }));
        let mut one = active(Offer { stock: Some(1), ..Offer::default() });
        assert_eq!(one.check_redeemable(0, NOW), Ok(()));
        one.taken = 1;
        assert_eq!(one.check_redeemable(0, NOW), Err(Refusal::OutOfStock));
    }

    #[test]
    fn a_stock_is_not_set_below_what_is_taken() {
        let stock = |stock| Offer { stock, ..Offer::default() };
        let mut reward = active(stock(Some(10)));
        reward.taken = 4;
        assert_eq!(reward.change(stock(Some(3)), NOW), Err(Refusal::StockBelowTaken { taken: 4 }));
        reward.change(stock(Some(4)), NOW).unwrap();
        assert_eq!(reward.check_redeemable(0, NOW), Err(Refusal::OutOfStock));
        reward.change(stock(None), NOW).unwrap();
        assert_eq!(reward.check_redeemable(0, NOW), Ok(()));
    }
}
