//! What points are worth that have not been spent: IFRS 15, B39 to B44.
//!
//! A point is a right to something later, for which a part of today's price is paid. The price of a sale is split between
//! what is sold and the points in the ratio of their stand-alone selling prices, those of the points weighed by how many
//! of them will be spent (B42). The part of the points is a liability, and becomes revenue in proportion to what is spent
//! of what is expected to be spent in all (B46): what is expected to end unspent, the breakage, becomes revenue with it.
//! When another number is expected, what should have been revenue by then is made up for at once: the cumulative
//! catch-up.
//!
//! Amounts are whole millionths of the currency's unit. Ratios are never written down: each amount is rounded once from
//! whole numbers, half away from 0, and what is left of another amount is a difference, so that parts add up.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

use super::Refusal;
use super::book::Book;
use super::turnover::Balances;

/// Millionths of the currency's unit.
pub type Micros = i128;

/// All of something, in basis points.
pub const WHOLE: i32 = 10_000;

/// What is expected of points. Never changes; another expectation is a new version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Estimate {
    pub id: Uuid,
    /// 1, 2, 3 and so on.
    pub version: i64,
    /// Reports about this day and later ones are measured by it.
    pub effective: NaiveDate,
    /// How many of the points that are issued will be spent, in basis points, 0 to [`WHOLE`].
    pub redemption_rate: i32,
    /// ISO 4217.
    pub currency: String,
    /// Of one point, before the redemption rate; over 0.
    pub stand_alone_price: i64,
    /// Of what is sold for each point that is given; over 0. `None`: points come without a sale.
    pub sale_price: Option<i64>,
    pub reason: String,
    pub actor: String,
    pub create_time: DateTime<Utc>,
}

/// What the points of one month of earning have come to by a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Given, less taken back.
    pub issued: i128,
    /// Spent; those that are owed left out, those that paid off what was owed counted in. Below 0 only where points on
    /// hold were taken back.
    pub used: i128,
    pub expired: i128,
    /// What members have: `issued - used - expired`.
    pub outstanding: i128,
}

/// [`Standing`] in money.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measure {
    /// The part of the price that belongs to the points.
    pub allocated: Micros,
    /// The revenue of it so far.
    pub recognized: Micros,
}

/// The figures of one cohort, or of several summed up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub standing: Standing,
    /// How many of the outstanding points are expected to be spent. The rest is breakage.
    pub expected: i128,
    pub measure: Measure,
    /// The revenue since an earlier day.
    pub recognized_since: Micros,
    /// The part of it that comes from another estimate and not from another number of points.
    pub catch_up_since: Micros,
}

/// The liability of one cohort.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cohort {
    pub month: NaiveDate,
    /// The months before it are among it.
    pub and_earlier: bool,
    /// What the price was split by; `None`: nothing was expected yet, or by several.
    pub allocation: Option<Uuid>,
    pub figures: Figures,
}

/// The liability of all points after a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Liability {
    pub total: Figures,
    /// The latest first.
    pub cohorts: Vec<Cohort>,
}

/// What was known of the points' future at a time.
#[derive(Clone, Copy, Debug)]
pub struct Knowledge<'a> {
    /// In any order.
    estimates: &'a [Estimate],
    /// Those made later are not known.
    time: DateTime<Utc>,
}

impl<'a> Knowledge<'a> {
    pub fn at(time: DateTime<Utc>, estimates: &'a [Estimate]) -> Self {
        Self { estimates, time }
    }

    fn known(self) -> impl Iterator<Item = &'a Estimate> {
        self.estimates.iter().filter(move |estimate| estimate.create_time <= self.time)
    }

    /// The estimate in force on a day: the latest for it or a day before it, and of two for one day the later version.
    pub fn in_force(self, day: NaiveDate) -> Option<&'a Estimate> {
        let started = self.known().filter(|estimate| estimate.effective <= day);
        started.max_by_key(|estimate| (estimate.effective, estimate.version))
    }

    /// The estimate that the price is split by of points that were earned in a month: that of its beginning, and it stays
    /// so whatever is expected later. What was earned before anything was expected is split by the first.
    pub fn at_inception(self, month: NaiveDate) -> Option<&'a Estimate> {
        self.in_force(month)
            .or_else(|| self.known().min_by_key(|estimate| (estimate.effective, -estimate.version)))
    }
}

/// Splits a price by relative stand-alone selling prices: the part of the first, rounded, and the rest, so that the parts
/// add up. `None` when it does not fit into 128 bits.
pub fn allocate(price: Micros, first: Micros, other: Micros) -> Option<(Micros, Micros)> {
    let part = share(price, first, first.checked_add(other)?)?;
    Some((part, price - part))
}

/// The revenue of an allocated amount so far: in proportion to what was used of what is expected to be used in all, never
/// more than there is. `None` when it does not fit into 128 bits.
pub fn recognize(allocated: Micros, used: i128, expected_in_all: i128) -> Option<Micros> {
    let used = used.max(0);
    if used >= expected_in_all { Some(allocated) } else { share(allocated, used, expected_in_all) }
}

/// `amount * part / whole` for numbers of 0 or more (whole > 0), half a unit rounded up; 0 of nothing.
fn share(amount: i128, part: i128, whole: i128) -> Option<i128> {
    if whole == 0 {
        return Some(0);
    }
    Some((amount.checked_mul(part)?.checked_mul(2)?.checked_add(whole)?) / whole.checked_mul(2)?)
}

impl Standing {
    /// Of what stands on the accounts for the cohort's lots.
    pub fn of(balances: &Balances) -> Self {
        Self {
            issued: balances.of(Book::Issued),
            used: balances.of(Book::Redeemed) - balances.of(Book::ClawbackDebt),
            expired: balances.of(Book::Expired),
            outstanding: balances.outstanding(),
        }
    }

    /// How many points of it will have been used in the end: no fewer than have been, and no more than have been or still
    /// can be, whatever is expected. When nothing is left, what was used is all.
    pub fn expected_in_all(&self, rate: i32) -> Option<i128> {
        let expected = share(self.issued.max(0), i128::from(rate), i128::from(WHOLE))?;
        let used = self.used.max(0);
        Some(expected.clamp(used, used + self.outstanding.max(0)))
    }

    /// In money: split by one estimate, measured by another.
    pub fn measure(&self, inception: &Estimate, current: &Estimate) -> Option<Measure> {
        let allocated = inception.allocation(self.issued.max(0))?;
        let expected = self.expected_in_all(current.redemption_rate)?;
        Some(Measure { allocated, recognized: recognize(allocated, self.used, expected)? })
    }

    fn plus(self, other: Self) -> Self {
        Self {
            issued: self.issued + other.issued,
            used: self.used + other.used,
            expired: self.expired + other.expired,
            outstanding: self.outstanding + other.outstanding,
        }
    }
}

impl Estimate {
    /// The part of the price of sales that belongs to the points that were given with them. Without a sale: what the
    /// points sell for by themselves, as far as they will be spent.
    pub fn allocation(&self, points: i128) -> Option<Micros> {
        let (rate, whole) = (i128::from(self.redemption_rate), i128::from(WHOLE));
        let point = i128::from(self.stand_alone_price);
        match self.sale_price {
            None => share(points.checked_mul(point)?, rate, whole),
            // Of one point and its sale, in ten-thousandths of a millionth, so that the rate is exact.
            Some(sale) => {
                let sale = i128::from(sale);
                let price = points.checked_mul(sale)?;
                allocate(price, point.checked_mul(rate)?, sale.checked_mul(whole)?).map(|(part, _)| part)
            }
        }
    }
}

impl Measure {
    pub fn deferred(&self) -> Micros {
        self.allocated - self.recognized
    }
}

impl Figures {
    pub fn breakage(&self) -> i128 {
        self.standing.outstanding - self.expected
    }

    fn plus(self, other: Self) -> Self {
        Self {
            standing: self.standing.plus(other.standing),
            expected: self.expected + other.expected,
            measure: Measure {
                allocated: self.measure.allocated + other.measure.allocated,
                recognized: self.measure.recognized + other.measure.recognized,
            },
            recognized_since: self.recognized_since + other.recognized_since,
            catch_up_since: self.catch_up_since + other.catch_up_since,
        }
    }
}

/// A day with what was known of it.
#[derive(Clone, Copy, Debug)]
pub struct AsOf<'a> {
    pub day: NaiveDate,
    pub knowledge: Knowledge<'a>,
}

impl AsOf<'_> {
    fn measure(self, month: NaiveDate, standing: &Standing) -> Result<Measure, Refusal> {
        match (self.knowledge.at_inception(month), self.knowledge.in_force(self.day)) {
            (Some(inception), Some(current)) => standing.measure(inception, current).ok_or(Refusal::Overflow),
            _ => Ok(Measure::default()),
        }
    }
}

impl Liability {
    /// Of what stood on the accounts of each cohort after the earlier day, and after the day. No more than `most` cohorts
    /// are told one by one.
    pub fn of(
        cohorts: &BTreeMap<NaiveDate, (Balances, Balances)>,
        since: Option<AsOf<'_>>,
        now: AsOf<'_>,
        most: usize,
    ) -> Result<Self, Refusal> {
        let current = now.knowledge.in_force(now.day);
        let (mut total, mut told) = (Figures::default(), Vec::<Cohort>::new());
        for (month, (before, after)) in cohorts.iter().rev() {
            let (before, after) = (Standing::of(before), Standing::of(after));
            let measure = now.measure(*month, &after)?;
            // Without an estimate all points are expected to be spent: none is called breakage without a reason.
            let rate = current.map_or(WHOLE, |estimate| estimate.redemption_rate);
            let expected = after.expected_in_all(rate).ok_or(Refusal::Overflow)? - after.used.max(0);
            let mut figures =
                Figures { standing: after, expected, measure, recognized_since: 0, catch_up_since: 0 };
            if let Some(since) = since {
                let then = since.measure(*month, &before)?;
                figures.recognized_since = measure.recognized - then.recognized;
                // What would have been revenue then, had the estimate been that of now.
                figures.catch_up_since = now.measure(*month, &before)?.recognized - then.recognized;
            }
            total = total.plus(figures);
            if told.len() == most
                && let Some(last) = told.last_mut()
            {
                *last = Cohort {
                    month: last.month,
                    and_earlier: true,
                    allocation: None,
                    figures: last.figures.plus(figures),
                };
                continue;
            }
            told.push(Cohort {
                month: *month,
                and_earlier: false,
                allocation: now.knowledge.at_inception(*month).map(|estimate| estimate.id),
                figures,
            });
        }
        Ok(Self { total, cohorts: told })
    }
}

#[cfg(test)]
mod tests;
