//! What the programmes' rules give for what happened, beside the base rule.
//!
//! [`evaluate`] holds each rule in force against the facts and says what it gives, or why it gives nothing. It is the
//! same over the same facts and the same [`Usage`], and changes nothing; [`Usage::take`] notes what was given, so that
//! the next request is held against what this one has left.

mod period;
mod usage;

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::Refusal;
use super::account::Award;
use super::earning::{Basis, Rules as BaseRules};
use super::programme::{Beside, Programme, State, Window};
use super::text::Text;

pub use period::Period;
pub use usage::{Counter, Key as UsageKey, Pot, Slice, Usage};

/// What basis points are parts of.
const WHOLE: i128 = 10_000;

cqm_rpc::words! {
    /// What a rule gives points for.
    pub enum Trigger {
        Purchase = "PURCHASE",
        SurveyAnswered = "SURVEY_ANSWERED",
        /// The first purchase that gave points.
        FirstPurchase = "FIRST_PURCHASE",
        Birthday = "BIRTHDAY",
        Referral = "REFERRAL",
    }
}

/// When a rule applies: all of it must hold, an empty list holds for everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    pub channels: Vec<String>,
    pub products: Vec<String>,
    pub tiers: Vec<Uuid>,
    pub segments: Vec<String>,
    /// In whole units of money; 0: any amount.
    pub minimum_units: i64,
}

/// How many points a rule gives, rounded down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// For each whole unit of money, in basis points.
    PerUnit(i64),
    Fixed(i64),
    /// What the points of the base rule are multiplied by, in basis points, over 10000; what is beyond them is given.
    Multiplier(i64),
}

/// The most in a period: points, or awards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    pub most: i64,
    pub period: Period,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub id: Uuid,
    pub programme: Uuid,
    pub display_name: Text,
    pub trigger: Trigger,
    pub window: Window,
    pub conditions: Conditions,
    pub effect: Effect,
    /// How long its points are pending; `None`: as those of the base rule.
    pub delay: Option<TimeDelta>,
    /// How long its points can be spent; zero: for ever, `None`: as those of the base rule.
    pub lifetime: Option<TimeDelta>,
    /// The most that it gives in all; over 0.
    pub budget: Option<i64>,
    /// The most points for one member.
    pub cap: Option<Limit>,
    /// The most awards for one member.
    pub velocity: Option<Limit>,
    pub version: i64,
    pub create_time: DateTime<Utc>,
    pub update_time: DateTime<Utc>,
}

/// A rule with its programme, which is active or paused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    pub programme: Arc<Programme>,
    pub rule: Rule,
}

/// What happened, to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub customer: Uuid,
    pub basis: Basis,
    /// Whether it has a source.
    pub sourced: bool,
    /// Empty: not told.
    pub channel: String,
    pub products: Vec<String>,
    pub segments: Vec<String>,
    /// The member's tier.
    pub tier: Option<Uuid>,
    /// A purchase has given points before.
    pub bought_before: bool,
}

cqm_rpc::words! {
    /// Why a rule gives nothing: the first of these that holds.
    pub enum Why {
        ProgrammePaused = "PROGRAMME_PAUSED",
        ProgrammeNotStarted = "PROGRAMME_NOT_STARTED",
        ProgrammeOver = "PROGRAMME_OVER",
        NotStarted = "NOT_STARTED",
        Over = "OVER",
        OtherTrigger = "OTHER_TRIGGER",
        SourceMissing = "SOURCE_MISSING",
        SalesChannel = "SALES_CHANNEL",
        Product = "PRODUCT",
        Segment = "SEGMENT",
        BelowMinimum = "BELOW_MINIMUM",
        Tier = "TIER",
        NotFirstPurchase = "NOT_FIRST_PURCHASE",
        NoPoints = "NO_POINTS",
        VelocityReached = "VELOCITY_REACHED",
        CapReached = "CAP_REACHED",
        BudgetExhausted = "BUDGET_EXHAUSTED",
        ProgrammeBudgetExhausted = "PROGRAMME_BUDGET_EXHAUSTED",
    }
}

/// What a rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Over 0.
    Applied {
        points: i64,
    },
    NotApplied {
        why: Why,
    },
}

/// What each rule says, in their order. `base` is what the base rule gives, `now` the time of the report.
pub fn evaluate(
    rules: &[InForce],
    facts: &Facts,
    base: i64,
    usage: &Usage,
    now: DateTime<Utc>,
) -> Result<Vec<Verdict>, Refusal> {
    // What rules before have taken of the programmes' budgets.
    let mut taken: HashMap<Uuid, i64> = HashMap::new();
    let mut verdicts = Vec::with_capacity(rules.len());
    for in_force in rules {
        let verdict = match in_force.before_limits(facts, base, now)? {
            Err(why) => Verdict::NotApplied { why },
            Ok(points) => match in_force.within_limits(points, facts.customer, usage, &taken, now) {
                Err(why) => Verdict::NotApplied { why },
                Ok(points) => {
                    *taken.entry(in_force.programme.id).or_default() += points;
                    Verdict::Applied { points }
                }
            },
        };
        verdicts.push(verdict);
    }
    Ok(verdicts)
}

impl InForce {
    /// The most that it may give for what happened, as far as that can be known without the member: what is to be
    /// locked of the budgets. `None`: nothing in any case.
    pub fn may_give(&self, facts: &Facts, base: i64, now: DateTime<Utc>) -> Option<i64> {
        if self.occasion(facts, now).is_err() {
            return None;
        }
        let points = self.rule.effect.points(&facts.basis, base).ok()?;
        Some(self.rule.whole(points)).filter(|points| *points > 0)
    }

    /// Those that its points are taken of: its own and its programme's.
    pub fn budgets(&self) -> impl Iterator<Item = Uuid> {
        let (rule, programme) = (&self.rule, &self.programme);
        [rule.budget.map(|_| rule.id), programme.budget.map(|_| programme.id)].into_iter().flatten()
    }

    /// The award, once it is known what it gives.
    pub fn award(&self, points: i64, basis: &Basis, base: &BaseRules, now: DateTime<Utc>) -> Award {
        let rule = &self.rule;
        let available_at = now + rule.delay.unwrap_or_else(|| basis.delay(base));
        let lifetime =
            rule.lifetime.map_or(base.lifetime, |lifetime| Some(lifetime).filter(|it| !it.is_zero()));
        Award {
            points,
            rule: Some(rule.id),
            earned_at: basis.earned_at(now),
            available_at,
            expires_at: lifetime.map(|lifetime| available_at + lifetime),
        }
    }

    /// What it would give if nobody had had anything of it.
    fn before_limits(
        &self,
        facts: &Facts,
        base: i64,
        now: DateTime<Utc>,
    ) -> Result<Result<i64, Why>, Refusal> {
        if let Err(why) = self.occasion(facts, now).and_then(|()| self.member(facts)) {
            return Ok(Err(why));
        }
        let points = self.rule.effect.points(&facts.basis, base)?;
        Ok(Some(points).filter(|points| *points > 0).ok_or(Why::NoPoints))
    }

    /// Whether it is for what happened, then and there.
    fn occasion(&self, facts: &Facts, now: DateTime<Utc>) -> Result<(), Why> {
        let (rule, conditions) = (&self.rule, &self.rule.conditions);
        if self.programme.state != State::Active {
            return Err(Why::ProgrammePaused);
        }
        // By when it happened, not by when it is reported: who buys on the last day has bought in time.
        let time = facts.basis.earned_at(now);
        match self.programme.window.beside(time) {
            Beside::Before => return Err(Why::ProgrammeNotStarted),
            Beside::After => return Err(Why::ProgrammeOver),
            Beside::Within => {}
        }
        match rule.window.beside(time) {
            Beside::Before => return Err(Why::NotStarted),
            Beside::After => return Err(Why::Over),
            Beside::Within => {}
        }
        let units = match (rule.trigger, &facts.basis) {
            (Trigger::Purchase | Trigger::FirstPurchase, Basis::Purchase { units, .. }) => *units,
            (Trigger::SurveyAnswered, Basis::Survey)
            | (Trigger::Birthday, Basis::Birthday)
            | (Trigger::Referral, Basis::Referral) => 0,
            _ => return Err(Why::OtherTrigger),
        };
        if rule.trigger == Trigger::FirstPurchase && !facts.sourced {
            return Err(Why::SourceMissing);
        }
        if !conditions.channels.is_empty() && !conditions.channels.contains(&facts.channel) {
            return Err(Why::SalesChannel);
        }
        if !meets(&conditions.products, &facts.products) {
            return Err(Why::Product);
        }
        if !meets(&conditions.segments, &facts.segments) {
            return Err(Why::Segment);
        }
        if units < conditions.minimum_units {
            return Err(Why::BelowMinimum);
        }
        Ok(())
    }

    /// Whether it is for this member.
    fn member(&self, facts: &Facts) -> Result<(), Why> {
        let tiers = &self.rule.conditions.tiers;
        if !tiers.is_empty() && !facts.tier.is_some_and(|tier| tiers.contains(&tier)) {
            return Err(Why::Tier);
        }
        if self.rule.trigger == Trigger::FirstPurchase && facts.bought_before {
            return Err(Why::NotFirstPurchase);
        }
        Ok(())
    }

    /// What of it is left to be given.
    fn within_limits(
        &self,
        points: i64,
        customer: Uuid,
        usage: &Usage,
        taken: &HashMap<Uuid, i64>,
        now: DateTime<Utc>,
    ) -> Result<i64, Why> {
        let rule = &self.rule;
        let had = |limit: &Limit| usage.had(customer, rule.id, limit.period, self.start(limit.period, now));
        if rule.velocity.is_some_and(|limit| had(&limit).awards >= limit.most) {
            return Err(Why::VelocityReached);
        }
        let whole = rule.whole(points);
        let points = rule.cap.map_or(whole, |cap| whole.min(cap.most.saturating_sub(had(&cap).points)));
        if points <= 0 {
            return Err(Why::CapReached);
        }
        // Against the whole award, also when a cap leaves a part of it: so it is known without the member whether a
        // budget is at its end, and nobody waits for the lock of one that is.
        if rule.budget.is_some() && usage.left(rule.id) < whole {
            return Err(Why::BudgetExhausted);
        }
        let programme = self.programme.id;
        let left = || usage.left(programme).saturating_sub(taken.get(&programme).copied().unwrap_or(0));
        if self.programme.budget.is_some() && left() < whole {
            return Err(Why::ProgrammeBudgetExhausted);
        }
        Ok(points)
    }

    /// When the period began that `now` is in.
    fn start(&self, period: Period, now: DateTime<Utc>) -> DateTime<Utc> {
        period.start(now, self.programme.utc_offset_minutes)
    }
}

impl Rule {
    /// The most that one award is: no more than the cap, whatever was had of it.
    fn whole(&self, points: i64) -> i64 {
        self.cap.map_or(points, |cap| points.min(cap.most))
    }
}

impl Effect {
    fn points(self, basis: &Basis, base: i64) -> Result<i64, Refusal> {
        let parts = |of: i64, basis_points: i128| i128::from(of) * basis_points / WHOLE;
        let points = match (self, basis) {
            (Self::Fixed(points), _) => i128::from(points),
            (Self::PerUnit(rate), Basis::Purchase { units, .. }) => parts(*units, i128::from(rate)),
            (Self::PerUnit(_), _) => 0,
            (Self::Multiplier(factor), _) => parts(base, i128::from(factor)) - i128::from(base),
        };
        i64::try_from(points).map_err(|_| Refusal::Overflow)
    }
}

/// Whether there is one of the wanted among those that are there; nothing is wanted: yes.
fn meets(wanted: &[String], there: &[String]) -> bool {
    wanted.is_empty() || wanted.iter().any(|one| there.contains(one))
}

#[cfg(test)]
mod tests;
