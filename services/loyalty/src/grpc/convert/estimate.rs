//! Versions of what is expected of the points.

use chrono::{DateTime, Days, NaiveDate, Utc};
use cqm_proto::google::r#type::Money;
use cqm_proto::loyalty::v1 as proto;
use cqm_rpc::{Error, PageRequest, ResourceName, Violations, text, time};
use uuid::Uuid;

use super::report::{date, day};
use super::{BREAKAGE_ESTIMATES, check_currency};
use crate::domain::liability::{Estimate, WHOLE};

const REASON_LIMIT: usize = 500;
/// In millionths.
const MOST_POINT: i64 = 1_000 * 1_000_000;
const MOST_SALE: i64 = 100_000 * 1_000_000;
const NANOS: i32 = 1_000_000_000;
/// The first day of an estimate, and how many days ahead of today the last is.
const FIRST: NaiveDate = NaiveDate::from_ymd_opt(2000, 1, 1).expect("a day");
const AHEAD: Days = Days::new(366);

/// A new version is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Create {
    effective: NaiveDate,
    redemption_rate: i32,
    pub currency: String,
    stand_alone_price: i64,
    sale_price: Option<i64>,
    reason: String,
}

impl Create {
    pub fn parse(message: &proto::CreateBreakageEstimateRequest, now: DateTime<Utc>) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let given = message.breakage_estimate.as_ref();
        if given.is_none() {
            violations.required("breakage_estimate");
        }
        let create = given.and_then(|estimate| Self::read(estimate, now, &mut violations));
        violations.optional_request_id(&message.request_id);
        violations.finish()?;
        Ok(create.expect("no violations, so there is an estimate"))
    }

    fn read(
        message: &proto::BreakageEstimate,
        now: DateTime<Utc>,
        violations: &mut Violations,
    ) -> Option<Self> {
        let field = "breakage_estimate.effective_date";
        if message.effective_date.is_none() {
            violations.required(field);
        }
        let effective = day(field, message.effective_date.as_ref(), violations);
        let latest = now.date_naive() + AHEAD;
        if effective.is_some_and(|day| !(FIRST..=latest).contains(&day)) {
            violations.range(field, "from the year 2000 to a year from today");
        }
        let redemption_rate = message.redemption_rate_bp;
        if !(0..=WHOLE).contains(&redemption_rate) {
            violations.range("breakage_estimate.redemption_rate_bp", &format!("0 to {WHOLE}"));
        }
        let field = "breakage_estimate.stand_alone_price";
        if message.stand_alone_price.is_none() {
            violations.required(field);
        }
        let point = message.stand_alone_price.as_ref();
        let point_price = point.and_then(|money| price(field, money, MOST_POINT, violations));
        let field = "breakage_estimate.sale_price";
        let sale = message.sale_price.as_ref();
        let sale_price = sale.and_then(|money| price(field, money, MOST_SALE, violations));
        if let (Some(point), Some(sale)) = (point, sale)
            && point.currency_code != sale.currency_code
        {
            violations.format(&format!("{field}.currency_code"), "that of the stand_alone_price");
        }
        let reason = text::required("breakage_estimate.reason", &message.reason, REASON_LIMIT, violations);
        Some(Self {
            effective: effective?,
            redemption_rate,
            currency: point?.currency_code.clone(),
            stand_alone_price: point_price?,
            sale_price,
            reason,
        })
    }

    /// The version after `last`.
    pub fn follow(self, last: Option<&Estimate>, actor: &str, now: DateTime<Utc>) -> Estimate {
        Estimate {
            id: Uuid::now_v7(),
            version: last.map_or(0, |last| last.version) + 1,
            effective: self.effective,
            redemption_rate: self.redemption_rate,
            currency: self.currency,
            stand_alone_price: self.stand_alone_price,
            sale_price: self.sale_price,
            reason: self.reason,
            actor: actor.to_owned(),
            create_time: now,
        }
    }
}

/// Reads a price over 0 in millionths of the currency's unit.
fn price(field: &str, money: &Money, most: i64, violations: &mut Violations) -> Option<i64> {
    let before = violations.len();
    check_currency(field, &money.currency_code, violations);
    if !(0..NANOS).contains(&money.nanos) || money.nanos % 1000 != 0 {
        violations.range(&format!("{field}.nanos"), "0 to 999999000 in whole thousands");
    } else {
        let micros = i128::from(money.units) * 1_000_000 + i128::from(money.nanos / 1000);
        if !(1..=i128::from(most)).contains(&micros) {
            violations.range(field, &format!("0.000001 to {}", most / 1_000_000));
        }
    }
    (violations.len() == before).then(|| money.units * 1_000_000 + i64::from(money.nanos / 1000))
}

/// A page of versions is asked for.
#[derive(Clone, Debug)]
pub struct List {
    /// By version, the latest first.
    pub page: PageRequest<i64>,
}

impl List {
    pub fn parse(message: &proto::ListBreakageEstimatesRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let query = [BREAKAGE_ESTIMATES];
        let page = PageRequest::parse(message.page_size, &message.page_token, &query, &mut violations);
        violations.finish()?;
        Ok(Self { page })
    }

    pub fn answer(&self, estimates: Vec<Estimate>) -> proto::ListBreakageEstimatesResponse {
        let page = self.page.page(estimates, |estimate| estimate.version);
        proto::ListBreakageEstimatesResponse {
            breakage_estimates: page.items.iter().map(estimate).collect(),
            next_page_token: page.next_page_token,
        }
    }
}

pub const fn name(id: Uuid) -> ResourceName {
    ResourceName::new(BREAKAGE_ESTIMATES, id)
}

pub fn estimate(estimate: &Estimate) -> proto::BreakageEstimate {
    let money = |micros: i64| Money {
        currency_code: estimate.currency.clone(),
        units: micros / 1_000_000,
        nanos: i32::try_from(micros % 1_000_000 * 1000).expect("less than a unit"),
    };
    proto::BreakageEstimate {
        name: name(estimate.id).to_string(),
        effective_date: Some(date(estimate.effective)),
        redemption_rate_bp: estimate.redemption_rate,
        stand_alone_price: Some(money(estimate.stand_alone_price)),
        sale_price: estimate.sale_price.map(money),
        reason: estimate.reason.clone(),
        version: estimate.version,
        actor: estimate.actor.clone(),
        create_time: Some(time::wire(estimate.create_time)),
    }
}
