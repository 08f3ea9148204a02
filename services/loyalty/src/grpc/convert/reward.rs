//! Rewards.

use chrono::TimeDelta;
use cqm_proto::google::r#type::Money as WireMoney;
use cqm_proto::loyalty::v1 as proto;
use cqm_proto::loyalty::v1::coupon_terms::Discount as WireDiscount;
use cqm_rpc::{Error, Etag, Mask, PageRequest, ResourceName, Violations, time};
use uuid::Uuid;

use super::programme::check_order;
use super::{REWARDS, check_currency, localized, seconds, show_seconds};
use crate::domain::programme::Window;
use crate::domain::reward::{Coupon, Discount, Kind, Money, Offer, Reward, State};

const NAME_LIMIT: usize = 100;
const DESCRIPTION_LIMIT: usize = 2000;
/// More than this is a slip of the finger.
const MOST: i64 = 1_000_000_000;
const MOST_PER_MEMBER: i32 = 1_000_000;
const LIFETIMES: std::ops::RangeInclusive<TimeDelta> = TimeDelta::seconds(1)..=TimeDelta::days(3660);
const MOST_NANOS: i32 = 999_999_999;

const MUTABLE: [&str; 9] = [
    "display_name",
    "description",
    "price",
    "stock",
    "start_time",
    "end_time",
    "most_per_member",
    "voucher_lifetime",
    "coupon",
];

/// A reward is to be added to the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Create {
    pub kind: Kind,
    pub offer: Offer,
}

impl Create {
    pub fn parse(message: &proto::CreateRewardRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        violations.optional_request_id(&message.request_id);
        let Some(reward) = &message.reward else {
            violations.required("reward");
            return Err(Error::Invalid(violations));
        };
        let kind = violations.choice("reward.kind", reward.kind).map(|kind| match kind {
            proto::reward::Kind::Coupon => Kind::Coupon,
            // Unspecified is no choice.
            proto::reward::Kind::Gift | proto::reward::Kind::Unspecified => Kind::Gift,
        });
        let offer = offer(reward, |_| true, &mut violations);
        if let Some(kind) = kind {
            check(kind, &offer, reward.coupon.is_some(), &mut violations);
        }
        violations.finish()?;
        Ok(Self { kind: kind.expect("no violations, so there is a kind"), offer })
    }
}

/// A reward is to be changed.
#[derive(Clone, Debug)]
pub struct Update {
    pub id: Uuid,
    pub etag: Option<Etag>,
    /// What the mask names; the rest is empty.
    offer: Offer,
    mask: Mask,
}

impl Update {
    pub fn parse(message: &proto::UpdateRewardRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        violations.optional_request_id(&message.request_id);
        let etag = Etag::parse("etag", &message.etag, &mut violations);
        let Some(reward) = &message.reward else {
            violations.required("reward");
            return Err(Error::Invalid(violations));
        };
        let name = ResourceName::parse(REWARDS, "reward.name", &reward.name, &mut violations);
        let populated = |path: &str| match path {
            "display_name" => reward.display_name.is_some(),
            "description" => reward.description.is_some(),
            "price" => reward.price != 0,
            "stock" => reward.stock.is_some(),
            "start_time" => reward.start_time.is_some(),
            "end_time" => reward.end_time.is_some(),
            "most_per_member" => reward.most_per_member != 0,
            "voucher_lifetime" => reward.voucher_lifetime.is_some(),
            _ => reward.coupon.is_some(),
        };
        let paths = message.update_mask.as_ref().map(|mask| mask.paths.as_slice());
        let mask = Mask::parse(paths, &MUTABLE, populated, &mut violations);
        let offer = offer(reward, |field| mask.has(field), &mut violations);
        violations.finish()?;
        Ok(Self { id: name.expect("no violations, so there is a name").id(), etag, offer, mask })
    }

    /// What is said of the reward after it, if that makes sense together with what was said before.
    pub fn apply(&self, before: &Reward) -> Result<Offer, Error> {
        let (mut after, new) = (before.offer.clone(), self.offer.clone());
        for field in MUTABLE.into_iter().filter(|field| self.mask.has(field)) {
            match field {
                "display_name" => after.display_name = new.display_name.clone(),
                "description" => after.description = new.description.clone(),
                "price" => after.price = new.price,
                "stock" => after.stock = new.stock,
                "start_time" => after.start = new.start,
                "end_time" => after.end = new.end,
                "most_per_member" => after.most_per_member = new.most_per_member,
                "voucher_lifetime" => after.voucher_lifetime = new.voucher_lifetime,
                _ => after.coupon = new.coupon.clone(),
            }
        }
        let mut violations = Violations::default();
        check(before.kind, &after, after.coupon.is_some(), &mut violations);
        violations.finish()?;
        Ok(after)
    }
}

/// What must fit together.
fn check(kind: Kind, offer: &Offer, coupon: bool, violations: &mut Violations) {
    check_order("reward", &Window { start: offer.start, end: offer.end }, violations);
    match kind {
        Kind::Coupon if !coupon => violations.required("reward.coupon"),
        Kind::Gift if coupon => violations.format("reward.coupon", "absent from a gift"),
        Kind::Coupon | Kind::Gift => {}
    }
}

fn offer(reward: &proto::Reward, has: impl Fn(&str) -> bool, violations: &mut Violations) -> Offer {
    let mut offer = Offer::default();
    if has("display_name") {
        let given = reward.display_name.as_ref();
        offer.display_name = localized::required("reward.display_name", given, NAME_LIMIT, violations);
    }
    if has("description") {
        let given = reward.description.as_ref();
        offer.description = localized::block("reward.description", given, DESCRIPTION_LIMIT, violations);
    }
    if has("price") {
        if !(0..=MOST).contains(&reward.price) {
            violations.range("reward.price", &format!("0 to {MOST}"));
        }
        offer.price = reward.price;
    }
    if has("stock") {
        if reward.stock.is_some_and(|stock| !(0..=MOST).contains(&stock)) {
            violations.range("reward.stock", &format!("0 to {MOST}"));
        }
        offer.stock = reward.stock;
    }
    if has("start_time") {
        offer.start = time::optional("reward.start_time", reward.start_time.as_ref(), violations);
    }
    if has("end_time") {
        offer.end = time::optional("reward.end_time", reward.end_time.as_ref(), violations);
    }
    if has("most_per_member") {
        if !(0..=MOST_PER_MEMBER).contains(&reward.most_per_member) {
            violations.range("reward.most_per_member", &format!("0 to {MOST_PER_MEMBER}"));
        }
        offer.most_per_member = Some(reward.most_per_member).filter(|most| *most > 0);
    }
    if has("voucher_lifetime") {
        let given = reward.voucher_lifetime.as_ref();
        offer.voucher_lifetime = seconds("reward.voucher_lifetime", given, &LIFETIMES, violations);
    }
    if has("coupon") {
        offer.coupon = reward.coupon.as_ref().and_then(|terms| coupon(terms, violations));
    }
    offer
}

fn coupon(terms: &proto::CouponTerms, violations: &mut Violations) -> Option<Coupon> {
    let discount = match &terms.discount {
        None => {
            violations.required("reward.coupon.discount");
            None
        }
        Some(WireDiscount::BasisPoints(points)) => {
            if !(1..=10_000).contains(points) {
                violations.range("reward.coupon.basis_points", "1 to 10000");
            }
            Some(Discount::BasisPoints(*points))
        }
        Some(WireDiscount::AmountOff(amount)) => {
            money("reward.coupon.amount_off", amount, violations).map(Discount::Amount)
        }
    };
    let given = terms.minimum_order.as_ref();
    let minimum = given.and_then(|least| money("reward.coupon.minimum_order", least, violations));
    if let (Some(Discount::Amount(off)), Some(least)) = (&discount, &minimum)
        && off.currency != least.currency
    {
        violations.format("reward.coupon.minimum_order.currency_code", "the currency of amount_off");
    }
    Some(Coupon { discount: discount?, minimum })
}

/// Reads an amount over 0.
fn money(field: &str, money: &WireMoney, violations: &mut Violations) -> Option<Money> {
    let before = violations.len();
    check_currency(field, &money.currency_code, violations);
    if !(0..=MOST_NANOS).contains(&money.nanos) {
        violations.range(&format!("{field}.nanos"), &format!("0 to {MOST_NANOS}"));
    }
    if money.units < 0 || (money.units == 0 && money.nanos == 0) {
        violations.range(&format!("{field}.units"), "over 0 with nanos");
    }
    let read = Money { currency: money.currency_code.clone(), units: money.units, nanos: money.nanos };
    (violations.len() == before).then_some(read)
}

/// A page of rewards is asked for.
#[derive(Clone, Debug)]
pub struct List {
    pub state: Option<State>,
    /// By id, the newest first.
    pub page: PageRequest<Uuid>,
}

impl List {
    pub fn parse(message: &proto::ListRewardsRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let state = violations.optional_choice("state", message.state).map(|state| match state {
            proto::reward::State::Active => State::Active,
            proto::reward::State::Archived => State::Archived,
            // Unspecified is no choice.
            proto::reward::State::Draft | proto::reward::State::Unspecified => State::Draft,
        });
        let query = ["rewards", state.map_or("", State::name)];
        let page = PageRequest::parse(message.page_size, &message.page_token, &query, &mut violations);
        violations.finish()?;
        Ok(Self { state, page })
    }

    pub fn answer(&self, rewards: &[Reward]) -> proto::ListRewardsResponse {
        let wire: Vec<proto::Reward> = rewards.iter().map(reward).collect();
        // Two hundred long descriptions would not fit into one message.
        let mut page = self.page.clone();
        page.shorten(&wire);
        let page = page.page(rewards.iter().zip(wire).collect(), |(reward, _)| reward.id);
        proto::ListRewardsResponse {
            rewards: page.items.into_iter().map(|(_, wire)| wire).collect(),
            next_page_token: page.next_page_token,
        }
    }
}

/// A reward is to be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redeem {
    pub customer: Uuid,
    pub reward: Uuid,
    pub request_id: Uuid,
    pub etag: Option<Etag>,
}

impl Redeem {
    pub fn parse(message: &proto::RedeemRewardRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let customer = super::customer(&message.customer, &mut violations);
        let reward = ResourceName::parse(REWARDS, "reward", &message.reward, &mut violations);
        let request_id = violations.request_id(&message.request_id);
        let etag = Etag::parse("etag", &message.etag, &mut violations);
        violations.finish()?;
        Ok(Self {
            customer: customer.expect("no violations, so there is a customer"),
            reward: reward.expect("no violations, so there is a reward").id(),
            request_id: request_id.expect("no violations, so there is a request id"),
            etag,
        })
    }
}

pub const fn name(id: Uuid) -> ResourceName {
    ResourceName::new(REWARDS, id)
}

pub fn reward(reward: &Reward) -> proto::Reward {
    let offer = &reward.offer;
    let kind = match reward.kind {
        Kind::Gift => proto::reward::Kind::Gift,
        Kind::Coupon => proto::reward::Kind::Coupon,
    };
    let state = match reward.state {
        State::Draft => proto::reward::State::Draft,
        State::Active => proto::reward::State::Active,
        State::Archived => proto::reward::State::Archived,
    };
    proto::Reward {
        name: name(reward.id).to_string(),
        kind: kind.into(),
        display_name: localized::write(&offer.display_name),
        description: localized::write(&offer.description),
        price: offer.price,
        stock: offer.stock,
        start_time: offer.start.map(time::wire),
        end_time: offer.end.map(time::wire),
        most_per_member: offer.most_per_member.unwrap_or_default(),
        voucher_lifetime: offer.voucher_lifetime.map(show_seconds),
        coupon: offer.coupon.as_ref().map(write_coupon),
        state: state.into(),
        taken: reward.taken,
        create_time: Some(time::wire(reward.create_time)),
        update_time: Some(time::wire(reward.update_time)),
        etag: Etag::of(reward.version).to_string(),
    }
}

fn write_coupon(coupon: &Coupon) -> proto::CouponTerms {
    let discount = match &coupon.discount {
        Discount::BasisPoints(points) => WireDiscount::BasisPoints(*points),
        Discount::Amount(money) => WireDiscount::AmountOff(write_money(money)),
    };
    proto::CouponTerms { discount: Some(discount), minimum_order: coupon.minimum.as_ref().map(write_money) }
}

fn write_money(money: &Money) -> WireMoney {
    WireMoney { currency_code: money.currency.clone(), units: money.units, nanos: money.nanos }
}

#[cfg(test)]
mod tests;
