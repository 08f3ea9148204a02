//! Reports: which period is asked about, and what is answered.

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, TimeDelta, Utc};
use cqm_proto::google::r#type::{Date, Money};
use cqm_proto::loyalty::v1 as proto;
use cqm_proto::loyalty::v1::get_statement_request::Period as WirePeriod;
use cqm_rpc::{Error, Violations, time};
use uuid::Uuid;

use super::estimate;
use super::member::name;
use crate::domain::Refusal;
use crate::domain::book::Book;
use crate::domain::liability::{self, Estimate, Figures, Micros};
use crate::domain::statement::Statement;
use crate::domain::turnover::{Balances, PeriodBalance};
use crate::store::{self, Closed, Expiring, Span};

/// The longest period of a statement, and of a trial balance.
const LONGEST_STATEMENT: TimeDelta = TimeDelta::days(366);
const LONGEST_BALANCE: u64 = 3660;

/// A statement is asked for: from `start` up to, but not including, `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GetStatement {
    pub customer: Uuid,
    pub start: DateTime<Utc>,
    pub end: DateTime<Utc>,
}

impl GetStatement {
    pub fn parse(message: &proto::GetStatementRequest, now: DateTime<Utc>) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let customer = super::customer(&message.customer, &mut violations);
        let period = match &message.period {
            None => {
                violations.required("period");
                None
            }
            Some(WirePeriod::Month(date)) => month(date, now, &mut violations),
            Some(WirePeriod::Range(range)) => span_of_time(range, now, &mut violations),
        };
        violations.finish()?;
        let (start, end) = period.expect("no violations, so there is a period");
        Ok(Self { customer: customer.expect("no violations, so there is a customer"), start, end })
    }
}

fn month(
    date: &Date,
    now: DateTime<Utc>,
    violations: &mut Violations,
) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
    let first = Some(date)
        .filter(|date| date.day == 0)
        .and_then(|date| calendar(&Date { day: 1, ..*date }))
        .and_then(|first| Some((first, first.checked_add_months(Months::new(1))?)));
    let Some((first, next)) = first else {
        violations.format("month", "a year of 1 to 9999 and a month of 1 to 12, with the day 0");
        return None;
    };
    if store::start_of(first) > now {
        violations.range("month", "a month that has begun");
    }
    Some((store::start_of(first), store::start_of(next)))
}

fn span_of_time(
    range: &proto::TimeRange,
    now: DateTime<Utc>,
    violations: &mut Violations,
) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
    let start = time::required("range.start_time", range.start_time.as_ref(), violations);
    let end = match &range.end_time {
        // With what happens at this very moment.
        None => Some(now + TimeDelta::microseconds(1)),
        end => time::past("range.end_time", end.as_ref(), now, violations),
    };
    let (start, end) = (start?, end?);
    if start >= end && range.end_time.is_none() {
        violations.range("range.start_time", "a time that has come");
    } else if start >= end {
        violations.order("range.end_time", "after the start_time");
    } else if end - start > LONGEST_STATEMENT + TimeDelta::microseconds(1) {
        violations.range("range", "366 days at most");
    }
    Some((start, end))
}

/// A trial balance is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GetPeriodTrialBalance {
    pub first: NaiveDate,
    pub last: NaiveDate,
}

impl GetPeriodTrialBalance {
    pub fn parse(message: &proto::GetPeriodTrialBalanceRequest, now: DateTime<Utc>) -> Result<Self, Error> {
        let mut violations = Violations::default();
        if message.last_date.is_none() {
            violations.required("last_date");
        }
        let last = past_day("last_date", message.last_date.as_ref(), now, &mut violations);
        let first = match &message.first_date {
            None => last,
            first => day("first_date", first.as_ref(), &mut violations),
        };
        if let (Some(first), Some(last)) = (first, last) {
            if first > last {
                violations.order("first_date", "the last_date at the latest");
            } else if last.checked_sub_days(Days::new(LONGEST_BALANCE)).is_some_and(|limit| first < limit) {
                violations.range("first_date", "3660 days before the last_date at most");
            }
        }
        violations.finish()?;
        Ok(Self {
            first: first.expect("no violations, so there is a first day"),
            last: last.expect("no violations, so there is a last day"),
        })
    }

    /// The days from the beginning of the ledger.
    pub fn span(&self, closed: Closed) -> Span {
        Span { before: self.first.pred_opt(), last: self.last, closed }
    }

    pub fn answer(
        &self,
        balance: &PeriodBalance,
        closed: Closed,
        now: DateTime<Utc>,
    ) -> Result<proto::GetPeriodTrialBalanceResponse, Error> {
        let accounts = balance.turnovers.iter().map(|turnover| {
            Ok(proto::AccountTurnover {
                account: turnover.book.name().to_owned(),
                opening: fit(turnover.opening)?,
                debits: fit(turnover.debits)?,
                credits: fit(turnover.credits)?,
                closing: fit(turnover.closing)?,
            })
        });
        Ok(proto::GetPeriodTrialBalanceResponse {
            accounts: accounts.collect::<Result<_, Refusal>>()?,
            difference: fit(balance.difference)?,
            entries: fit(balance.entries)?,
            first_date: Some(date(self.first)),
            last_date: Some(date(self.last)),
            closed_through_date: closed.through.map(|through| date(through.min(self.last))),
            read_time: Some(time::wire(now)),
        })
    }
}

/// The liability is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GetLiability {
    pub day: NaiveDate,
    pub since: Option<NaiveDate>,
    /// What was known then counts.
    pub known: DateTime<Utc>,
}

impl GetLiability {
    pub fn parse(message: &proto::GetLiabilityRequest, now: DateTime<Utc>) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let date = match &message.date {
            None => Some(now.date_naive()),
            date => past_day("date", date.as_ref(), now, &mut violations),
        };
        let since = day("since_date", message.since_date.as_ref(), &mut violations);
        if let (Some(since), Some(date)) = (since, date)
            && since >= date
        {
            violations.order("since_date", "before the date");
        }
        let known = time::past("known_time", message.known_time.as_ref(), now, &mut violations);
        violations.finish()?;
        let day = date.expect("no violations, so there is a day");
        Ok(Self { day, since, known: known.unwrap_or_else(|| last_moment(day)).min(now) })
    }

    pub fn span(&self, closed: Closed) -> Span {
        Span { before: self.since, last: self.day, closed }
    }

    /// `estimate` is that of the day, `since_estimate` that of the earlier one.
    pub fn answer(
        &self,
        liability: &liability::Liability,
        current: Option<&Estimate>,
        earlier: Option<&Estimate>,
        now: DateTime<Utc>,
    ) -> Result<proto::Liability, Error> {
        let wire = |figures: &Figures| self.figures(figures, current);
        let cohorts = liability.cohorts.iter().map(|cohort| {
            Ok(proto::LiabilityCohort {
                month: Some(Date { day: 0, ..date(cohort.month) }),
                and_earlier: cohort.and_earlier,
                allocation_estimate: cohort
                    .allocation
                    .map(|id| estimate::name(id).to_string())
                    .unwrap_or_default(),
                figures: Some(wire(&cohort.figures)?),
            })
        });
        Ok(proto::Liability {
            date: Some(date(self.day)),
            since_date: self.since.map(date),
            known_time: Some(time::wire(self.known)),
            estimate: current.map(estimate::estimate),
            since_estimate: earlier.map(estimate::estimate),
            cohorts: cohorts.collect::<Result<_, Refusal>>()?,
            total: Some(wire(&liability.total)?),
            read_time: Some(time::wire(now)),
        })
    }

    fn figures(
        &self,
        figures: &Figures,
        current: Option<&Estimate>,
    ) -> Result<proto::LiabilityFigures, Refusal> {
        let amount = |micros: Micros| current.map(|estimate| money(&estimate.currency, micros)).transpose();
        let since = |micros: Micros| if self.since.is_some() { amount(micros) } else { Ok(None) };
        let standing = &figures.standing;
        Ok(proto::LiabilityFigures {
            issued: fit(standing.issued)?,
            redeemed: fit(standing.used)?,
            expired: fit(standing.expired)?,
            outstanding: fit(standing.outstanding)?,
            expected_redemptions: fit(figures.expected)?,
            expected_breakage: fit(figures.breakage())?,
            allocated: amount(figures.measure.allocated)?,
            recognized: amount(figures.measure.recognized)?,
            deferred: amount(figures.measure.deferred())?,
            recognized_since: since(figures.recognized_since)?,
            catch_up_since: since(figures.catch_up_since)?,
        })
    }
}

/// The last moment of a day, in the microseconds that times are kept in.
pub fn last_moment(day: NaiveDate) -> DateTime<Utc> {
    store::end_of(day) - TimeDelta::microseconds(1)
}

pub fn statement(
    query: &GetStatement,
    statement: &Statement,
    expiring: &[Expiring],
    now: DateTime<Utc>,
) -> Result<proto::Statement, Error> {
    let totals = &statement.totals;
    let next = expiring.iter().map(|next| {
        let points = fit(next.points)?;
        Ok(proto::ExpiringPoints { points, expire_time: Some(time::wire(next.expires_at)) })
    });
    Ok(proto::Statement {
        member: name(query.customer).to_string(),
        start_time: Some(time::wire(query.start)),
        end_time: Some(time::wire(query.end)),
        opening: Some(balance(&statement.opening)?),
        closing: Some(balance(&statement.closing)?),
        earned: fit(totals.earned)?,
        adjusted: fit(totals.adjusted)?,
        redeemed: fit(totals.redeemed)?,
        expired: fit(totals.expired)?,
        reversed: fit(totals.reversed)?,
        restored: fit(totals.restored)?,
        repaid: fit(totals.repaid)?,
        held: fit(totals.held)?,
        released: fit(totals.released)?,
        matured: fit(totals.matured)?,
        debt_incurred: fit(totals.debt_incurred)?,
        debt_repaid: fit(totals.debt_repaid)?,
        merged: fit(totals.merged)?,
        debt_merged: fit(totals.debt_merged)?,
        difference: fit(statement.difference)?,
        entry_count: fit(totals.entries)?,
        expiring_next: next.collect::<Result<_, Refusal>>()?,
        read_time: Some(time::wire(now)),
    })
}

fn balance(balances: &Balances) -> Result<proto::StatementBalance, Refusal> {
    Ok(proto::StatementBalance {
        points: fit(balances.outstanding())?,
        available: fit(balances.of(Book::Available))?,
        pending: fit(balances.of(Book::Pending))?,
        held: fit(balances.of(Book::Held))?,
        debt: fit(balances.of(Book::ClawbackDebt))?,
    })
}

fn fit(sum: i128) -> Result<i64, Refusal> {
    i64::try_from(sum).map_err(|_| Refusal::Overflow)
}

/// An amount as messages carry it.
pub fn money(currency: &str, micros: Micros) -> Result<Money, Refusal> {
    let nanos = i32::try_from(micros % 1_000_000 * 1000).map_err(|_| Refusal::Overflow)?;
    Ok(Money { currency_code: currency.to_owned(), units: fit(micros / 1_000_000)?, nanos })
}

/// A day as messages carry it.
pub fn date(day: NaiveDate) -> Date {
    let number = |part: u32| i32::try_from(part).expect("no month and no day has so many");
    Date { year: day.year(), month: number(day.month()), day: number(day.day()) }
}

/// Reads a day that may be left out.
pub fn day(field: &str, date: Option<&Date>, violations: &mut Violations) -> Option<NaiveDate> {
    let date = date?;
    let day = calendar(date);
    if day.is_none() {
        violations.format(field, "a day of the calendar, of the years 1 to 9999");
    }
    day
}

fn past_day(
    field: &str,
    date: Option<&Date>,
    now: DateTime<Utc>,
    violations: &mut Violations,
) -> Option<NaiveDate> {
    let day = day(field, date, violations)?;
    if day > now.date_naive() {
        violations.range(field, "a day that has begun");
        return None;
    }
    Some(day)
}

fn calendar(date: &Date) -> Option<NaiveDate> {
    if !(1..=9999).contains(&date.year) {
        return None;
    }
    NaiveDate::from_ymd_opt(date.year, u32::try_from(date.month).ok()?, u32::try_from(date.day).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_keep_their_millionths_and_their_sign() {
        for (micros, units, nanos) in [
            (0, 0, 0),
            (8_842_297_174, 8842, 297_174_000),
            (-84_351_453, -84, -351_453_000),
            (-1, 0, -1000),
            (Micros::from(i64::MAX) * 1_000_000 + 999_999, i64::MAX, 999_999_000),
        ] {
            let money = money("USD", micros).unwrap();
            assert_eq!((money.units, money.nanos), (units, nanos), "{micros}");
        }
        assert_eq!(money("USD", (Micros::from(i64::MAX) + 1) * 1_000_000), Err(Refusal::Overflow));
    }
}
