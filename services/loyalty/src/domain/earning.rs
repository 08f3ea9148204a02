//! How many points what happened is worth. The rules of the programme live here and nowhere else: whoever reports
//! what happened reports facts.

use chrono::{DateTime, TimeDelta, Utc};

use super::Refusal;
use super::account::Award;
use super::entry::Reason;

/// The programme's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Points for each whole unit of money of a purchase, whatever the currency; a fraction of a unit earns nothing.
    pub points_per_unit: i64,
    /// Points for an answered survey.
    pub survey_points: i64,
    /// Points for having brought in a customer who bought something.
    pub referral_points: i64,
    /// How long the points of a purchase are pending: as long as it may be returned.
    pub purchase_delay: TimeDelta,
    /// How long points can be spent once they are available; `None`: for ever.
    pub lifetime: Option<TimeDelta>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The customer bought something for so many whole units of money.
    Purchase { units: i64, time: DateTime<Utc> },
    /// The customer answered a survey.
    Survey,
    /// The customer brought in another one, who bought something.
    Referral,
    /// The customer is compensated by the points that were promised, over 0.
    Compensation { points: i64 },
    /// A member of staff corrects the points, up or down.
    Adjustment { points: i64 },
    /// The customer has a birthday. Only the programmes' rules give something for it.
    Birthday,
}

impl Basis {
    /// The points that it is worth; only an adjustment may be below 0.
    pub fn points(&self, rules: &Rules) -> Result<i64, Refusal> {
        match self {
            Self::Purchase { units, .. } => units.checked_mul(rules.points_per_unit).ok_or(Refusal::Overflow),
            Self::Survey => Ok(rules.survey_points),
            Self::Referral => Ok(rules.referral_points),
            Self::Compensation { points } | Self::Adjustment { points } => Ok(*points),
            Self::Birthday => Ok(0),
        }
    }

    /// Why the points change.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Purchase { .. } => Reason::Purchase,
            Self::Survey => Reason::SurveyAnswered,
            Self::Referral => Reason::Referral,
            Self::Compensation { .. } => Reason::Compensation,
            Self::Adjustment { .. } => Reason::Adjustment,
            Self::Birthday => Reason::Birthday,
        }
    }

    /// What is given for it, at `now`: nothing when the rules say so.
    pub fn award(&self, rules: &Rules, now: DateTime<Utc>) -> Result<Option<Award>, Refusal> {
        let points = self.points(rules)?;
        let available_at = now + self.delay(rules);
        Ok((points > 0).then(|| Award {
            points,
            rule: None,
            earned_at: self.earned_at(now),
            available_at,
            expires_at: rules.lifetime.map(|lifetime| available_at + lifetime),
        }))
    }

    /// How long the points are pending.
    pub fn delay(&self, rules: &Rules) -> TimeDelta {
        if matches!(self, Self::Purchase { .. }) { rules.purchase_delay } else { TimeDelta::zero() }
    }

    /// When the points count as earned. A purchase that is reported late counts from when it was made, so that the
    /// order in which points are spent is not that of the reports; one from a clock that runs ahead counts from now.
    pub fn earned_at(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::Purchase { time, .. } => now.min(*time),
            _ => now,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn purchase(units: i64) -> Basis {
        Basis::Purchase { units, time: NOW }
    }

    #[test]
    fn what_happened_is_worth_what_the_rules_say() {
        let plain = Rules {
            points_per_unit: 1,
            survey_points: 50,
            referral_points: 100,
            purchase_delay: TimeDelta::zero(),
            lifetime: None,
        };
        let double = Rules { points_per_unit: 2, survey_points: 0, ..plain };
        for (basis, rules, points) in [
            (purchase(0), plain, Ok(0)),
            (purchase(11), plain, Ok(11)),
            (purchase(11), double, Ok(22)),
            (purchase(i64::MAX), plain, Ok(i64::MAX)),
            (purchase(i64::MAX), double, Err(Refusal::Overflow)),
            (Basis::Survey, plain, Ok(50)),
            (Basis::Survey, double, Ok(0)),
            (Basis::Referral, plain, Ok(100)),
            (Basis::Compensation { points: 300 }, double, Ok(300)),
            (Basis::Adjustment { points: -7 }, double, Ok(-7)),
        ] {
            assert_eq!(basis.points(&rules), points, "{basis:?} by {rules:?}");
        }
    }

    #[test]
    fn purchases_wait_as_long_as_they_may_be_returned_and_points_end_a_lifetime_later() {
        let rules = Rules {
            points_per_unit: 1,
            survey_points: 50,
            referral_points: 100,
            purchase_delay: TimeDelta::days(14),
            lifetime: Some(TimeDelta::days(365)),
        };
        let bought = purchase(10).award(&rules, NOW).unwrap().unwrap();
        assert_eq!(bought.available_at, NOW + TimeDelta::days(14));
        assert_eq!(bought.expires_at, Some(NOW + TimeDelta::days(379)));
        let answered = Basis::Survey.award(&rules, NOW).unwrap().unwrap();
        assert_eq!((answered.points, answered.available_at), (50, NOW));
        assert_eq!(answered.expires_at, Some(NOW + TimeDelta::days(365)));
        assert_eq!(purchase(0).award(&rules, NOW), Ok(None));
    }

    #[test]
    fn a_purchase_counts_from_when_it_was_made_but_never_from_the_future() {
        let second = Duration::from_secs(1);
        for (time, earned) in [(NOW - second, NOW - second), (NOW, NOW), (NOW + second, NOW)] {
            assert_eq!(Basis::Purchase { units: 1, time }.earned_at(NOW), earned);
        }
        assert_eq!(Basis::Survey.earned_at(NOW), NOW);
    }
}
