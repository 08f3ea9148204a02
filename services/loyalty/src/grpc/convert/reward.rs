//! Rewards.

use chrono::TimeDelta;
use cqm_proto::google::r#type::Money as WireMoney;
use cqm_proto::loyalty::v1 as proto;
use cqm_proto::loyalty::v1::coupon_terms::Discount as WireDiscount;
use cqm_rpc::{Error, Etag, Mask, PageRequest, ResourceName, Violations, text, time};
use uuid::Uuid;

use super::REWARDS;
use crate::domain::reward::{Coupon, Discount, Kind, Money, Offer, Reward, State, Text};

const NAME_LIMIT: usize = 100;
const DESCRIPTION_LIMIT: usize = 2000;
/// More than this is a slip of the finger.
const MOST: i64 = 1_000_000_000;
const MOST_PER_MEMBER: i32 = 1_000_000;
const LONGEST_DAYS: i64 = 3660;
const MOST_NANOS: i32 = 999_999_999;
const CHINESE: &str = "zh-CN";
const ENGLISH: &str = "en";

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
    if let (Some(start), Some(end)) = (offer.start, offer.end)
        && end <= start
    {
        violations.order("reward.end_time", "after start_time");
    }
    match kind {
        Kind::Coupon if !coupon => violations.required("reward.coupon"),
        Kind::Gift if coupon => violations.format("reward.coupon", "absent from a gift"),
        Kind::Coupon | Kind::Gift => {}
    }
}

fn offer(reward: &proto::Reward, has: impl Fn(&str) -> bool, violations: &mut Violations) -> Offer {
    let mut offer = Offer::default();
    if has("display_name") {
        offer.display_name = localized("reward.display_name", reward.display_name.as_ref(), true, violations);
    }
    if has("description") {
        offer.description = localized("reward.description", reward.description.as_ref(), false, violations);
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
        offer.voucher_lifetime = reward.voucher_lifetime.as_ref().and_then(|lifetime| {
            let whole = Some(lifetime.seconds).filter(|_| lifetime.nanos == 0);
            let read = whole.and_then(TimeDelta::try_seconds);
            let read =
                read.filter(|read| (TimeDelta::seconds(1)..=TimeDelta::days(LONGEST_DAYS)).contains(read));
            if read.is_none() {
                let expected = format!("1 s to {LONGEST_DAYS} days in whole seconds");
                violations.range("reward.voucher_lifetime", &expected);
            }
            read
        });
    }
    if has("coupon") {
        offer.coupon = reward.coupon.as_ref().and_then(|terms| coupon(terms, violations));
    }
    offer
}

/// Reads a text in the suite's languages. Where it may be left out it is left out whole.
fn localized(
    field: &str,
    given: Option<&proto::LocalizedText>,
    is_name: bool,
    violations: &mut Violations,
) -> Text {
    let empty = proto::LocalizedText::default();
    let texts = &given.unwrap_or(&empty).texts;
    if texts.is_empty() {
        if is_name {
            violations.required(field);
        }
        return Text::default();
    }
    let mut read = Text::default();
    for (locale, content) in texts {
        let at = format!("{field}.texts.{}", text::printable(locale, 64));
        let into = match locale.as_str() {
            CHINESE => &mut read.zh,
            ENGLISH => &mut read.en,
            _ => {
                violations.format(&at, "of one of the suite's languages, \"zh-CN\" and \"en\"");
                continue;
            }
        };
        *into = if is_name {
            text::line(&at, content, NAME_LIMIT, violations)
        } else {
            text::block(&at, content, DESCRIPTION_LIMIT, violations)
        };
        if into.is_empty() {
            violations.required(&at);
        }
    }
    if !texts.contains_key(CHINESE) {
        violations.required(&format!("{field}.texts.{CHINESE}"));
    }
    read
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
    let currency = money.currency_code.as_bytes();
    if currency.is_empty() {
        violations.required(&format!("{field}.currency_code"));
    } else if currency.len() != 3 || !currency.iter().all(u8::is_ascii_uppercase) {
        violations.format(&format!("{field}.currency_code"), "the three letters of ISO 4217");
    }
    if !(0..=MOST_NANOS).contains(&money.nanos) {
        violations.range(&format!("{field}.nanos"), &format!("0 to {MOST_NANOS}"));
    }
    if money.units < 0 || (money.units == 0 && money.nanos == 0) {
        violations.range(&format!("{field}.units"), "over 0 with nanos");
    }
    let read = Money { currency: money.currency_code.clone(), units: money.units, nanos: money.nanos };
    (violations.len() == before).then_some(read)
}

/// Reads which reward is asked for.
pub fn get(message: &proto::GetRewardRequest) -> Result<Uuid, Error> {
    let mut violations = Violations::default();
    let name = ResourceName::parse(REWARDS, "name", &message.name, &mut violations);
    violations.finish()?;
    Ok(name.expect("no violations, so there is a name").id())
}

/// A reward is to be turned to another state.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    pub id: Uuid,
    pub etag: Option<Etag>,
}

impl Turn {
    pub fn activate(message: &proto::ActivateRewardRequest) -> Result<Self, Error> {
        Self::parse(&message.name, &message.etag, &message.request_id)
    }

    pub fn archive(message: &proto::ArchiveRewardRequest) -> Result<Self, Error> {
        Self::parse(&message.name, &message.etag, &message.request_id)
    }

    fn parse(name: &str, etag: &str, request_id: &str) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let name = ResourceName::parse(REWARDS, "name", name, &mut violations);
        let etag = Etag::parse("etag", etag, &mut violations);
        violations.optional_request_id(request_id);
        violations.finish()?;
        Ok(Self { id: name.expect("no violations, so there is a name").id(), etag })
    }
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
        display_name: write_text(&offer.display_name),
        description: write_text(&offer.description),
        price: offer.price,
        stock: offer.stock,
        start_time: offer.start.map(time::wire),
        end_time: offer.end.map(time::wire),
        most_per_member: offer.most_per_member.unwrap_or_default(),
        voucher_lifetime: offer
            .voucher_lifetime
            .map(|lifetime| prost_types::Duration { seconds: lifetime.num_seconds(), nanos: 0 }),
        coupon: offer.coupon.as_ref().map(write_coupon),
        state: state.into(),
        taken: reward.taken,
        create_time: Some(time::wire(reward.create_time)),
        update_time: Some(time::wire(reward.update_time)),
        etag: Etag::of(reward.version).to_string(),
    }
}

fn write_text(text: &Text) -> Option<proto::LocalizedText> {
    let texts = [(CHINESE, &text.zh), (ENGLISH, &text.en)].into_iter();
    let texts = texts.filter(|(_, text)| !text.is_empty());
    let texts: std::collections::BTreeMap<_, _> =
        texts.map(|(locale, text)| (locale.to_owned(), text.clone())).collect();
    (!texts.is_empty()).then_some(proto::LocalizedText { texts })
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
