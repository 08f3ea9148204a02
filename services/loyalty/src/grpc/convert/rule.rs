//! Earning rules.

use chrono::{DateTime, TimeDelta, Utc};
use cqm_proto::loyalty::v1 as proto;
use cqm_proto::loyalty::v1::earning_rule as wire;
use cqm_rpc::{Error, Etag, Mask, PageRequest, ResourceName, Violations, reason, time};
use prost_types::{Duration, Timestamp};
use uuid::Uuid;

use super::earning::codes;
use super::programme::{NAME_LIMIT, budget, check_order, merge, window};
use super::{EARNING_RULES, PROGRAMMES, TIERS, localized, seconds, show_seconds};
use crate::domain::rules::{Conditions, Effect, Limit, Period, Rule, Trigger};
use crate::domain::text::Text;

const MOST_CODES: usize = 50;
const MOST_PRODUCTS: usize = 100;
const MOST_FIXED: i64 = 1_000_000;
const MOST_PER_UNIT: i64 = 1_000_000_000;
const MULTIPLIERS: std::ops::RangeInclusive<i64> = 10_001..=1_000_000;
const MOST_CAP: i64 = 1_000_000_000_000;
const MOST_AWARDS: i64 = 1_000_000;
/// A hundred years at most, as for the base rule.
const SPANS: std::ops::RangeInclusive<TimeDelta> = TimeDelta::zero()..=TimeDelta::days(36_500);
const MUTABLE: [&str; 10] = [
    "display_name",
    "start_time",
    "end_time",
    "conditions",
    "effect",
    "delay",
    "lifetime",
    "budget",
    "cap",
    "velocity_limit",
];

pub fn name(id: Uuid) -> String {
    ResourceName::new(EARNING_RULES, id).to_string()
}

/// Reads a rule that is to be created; the id is the service's to give.
pub fn create(
    message: &proto::CreateEarningRuleRequest,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<Rule, Error> {
    let mut violations = Violations::default();
    let Some(given) = &message.earning_rule else {
        violations.required("earning_rule");
        return Err(Error::Invalid(violations));
    };
    let programme =
        ResourceName::parse(PROGRAMMES, "earning_rule.programme", &given.programme, &mut violations);
    let display_name = display_name(given, &mut violations);
    let trigger = violations.choice("earning_rule.trigger", given.trigger).and_then(read_trigger);
    let window = window("earning_rule", given.start_time.as_ref(), given.end_time.as_ref(), &mut violations);
    let conditions = conditions(given.conditions.as_ref(), &mut violations);
    let effect = effect(given.effect, &mut violations);
    let delay = span("earning_rule.delay", given.delay.as_ref(), &mut violations);
    let lifetime = span("earning_rule.lifetime", given.lifetime.as_ref(), &mut violations);
    let budget = budget("earning_rule.budget", given.budget, &mut violations);
    let cap = cap(given.cap, &mut violations);
    let velocity = velocity(given.velocity_limit, &mut violations);
    if let (Some(trigger), Some(effect)) = (trigger, effect) {
        check_trigger(trigger, effect, &conditions, &mut violations);
    }
    violations.optional_request_id(&message.request_id);
    violations.finish()?;
    Ok(Rule {
        id,
        programme: programme.expect("no violations, so there is a programme").id(),
        display_name,
        trigger: trigger.expect("no violations, so there is a trigger"),
        window,
        conditions,
        effect: effect.expect("no violations, so there is an effect"),
        delay,
        lifetime,
        budget,
        cap,
        velocity,
        version: 1,
        create_time: now,
        update_time: now,
    })
}

/// What is to be written of a rule. What is `None` stays.
#[derive(Clone, Debug)]
pub struct Update {
    pub name: ResourceName,
    pub etag: Option<Etag>,
    display_name: Option<Text>,
    start: Option<Option<DateTime<Utc>>>,
    end: Option<Option<DateTime<Utc>>>,
    conditions: Option<Conditions>,
    effect: Option<Effect>,
    delay: Option<Option<TimeDelta>>,
    lifetime: Option<Option<TimeDelta>>,
    budget: Option<Option<i64>>,
    cap: Option<Option<Limit>>,
    velocity: Option<Option<Limit>>,
}

impl Update {
    pub fn parse(message: &proto::UpdateEarningRuleRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let it = &mut violations;
        let Some(given) = &message.earning_rule else {
            it.required("earning_rule");
            return Err(Error::Invalid(violations));
        };
        let name = ResourceName::parse(EARNING_RULES, "earning_rule.name", &given.name, it);
        let populated = |path: &str| match path {
            "display_name" => given.display_name.is_some(),
            "start_time" => given.start_time.is_some(),
            "end_time" => given.end_time.is_some(),
            "conditions" => given.conditions.is_some(),
            "effect" => given.effect.is_some(),
            "delay" => given.delay.is_some(),
            "lifetime" => given.lifetime.is_some(),
            "budget" => given.budget != 0,
            "cap" => given.cap.is_some(),
            _ => given.velocity_limit.is_some(),
        };
        let paths = message.update_mask.as_ref().map(|mask| mask.paths.as_slice());
        let mask = Mask::parse(paths, &MUTABLE, populated, it);
        let at = |path: &str, given: Option<&Timestamp>, it: &mut Violations| {
            mask.has(path).then(|| time::optional(&format!("earning_rule.{path}"), given, it))
        };
        let update = Self {
            display_name: mask.has("display_name").then(|| display_name(given, it)),
            start: at("start_time", given.start_time.as_ref(), it),
            end: at("end_time", given.end_time.as_ref(), it),
            conditions: mask.has("conditions").then(|| conditions(given.conditions.as_ref(), it)),
            effect: if mask.has("effect") { effect(given.effect, it) } else { None },
            delay: mask.has("delay").then(|| span("earning_rule.delay", given.delay.as_ref(), it)),
            lifetime: mask
                .has("lifetime")
                .then(|| span("earning_rule.lifetime", given.lifetime.as_ref(), it)),
            budget: mask.has("budget").then(|| budget("earning_rule.budget", given.budget, it)),
            cap: mask.has("cap").then(|| cap(given.cap, it)),
            velocity: mask.has("velocity_limit").then(|| velocity(given.velocity_limit, it)),
            etag: Etag::parse("etag", &message.etag, it),
            // Until it is known that there is one.
            name: name.unwrap_or(ResourceName::new(EARNING_RULES, Uuid::nil())),
        };
        it.optional_request_id(&message.request_id);
        violations.finish()?;
        Ok(update)
    }

    /// The rule with what is to be written of it; refused when the parts do not fit together.
    pub fn apply(&self, before: &Rule) -> Result<Rule, Error> {
        let mut rule = before.clone();
        if let Some(display_name) = &self.display_name {
            rule.display_name.clone_from(display_name);
        }
        if let Some(conditions) = &self.conditions {
            rule.conditions.clone_from(conditions);
        }
        rule.window = merge(before.window, self.start, self.end);
        rule.effect = self.effect.unwrap_or(before.effect);
        rule.delay = self.delay.unwrap_or(before.delay);
        rule.lifetime = self.lifetime.unwrap_or(before.lifetime);
        rule.budget = self.budget.unwrap_or(before.budget);
        rule.cap = self.cap.unwrap_or(before.cap);
        rule.velocity = self.velocity.unwrap_or(before.velocity);
        let mut violations = Violations::default();
        check_order("earning_rule", &rule.window, &mut violations);
        check_trigger(rule.trigger, rule.effect, &rule.conditions, &mut violations);
        violations.finish()?;
        Ok(rule)
    }
}

/// A page of rules is asked for, the newest first.
pub fn list(message: &proto::ListEarningRulesRequest) -> Result<(PageRequest<Uuid>, Option<Uuid>), Error> {
    let mut violations = Violations::default();
    let programme =
        ResourceName::parse_optional(PROGRAMMES, "programme", &message.programme, &mut violations);
    let query = ["earningRules", &message.programme];
    let page = PageRequest::parse(message.page_size, &message.page_token, &query, &mut violations);
    violations.finish()?;
    Ok((page, programme.map(|programme| programme.id())))
}

pub fn answer(it: &Rule, budget_left: i64) -> proto::EarningRule {
    let tiers = it.conditions.tiers.iter().map(|tier| ResourceName::new(TIERS, *tier).to_string());
    let kind = match it.effect {
        Effect::PerUnit(rate) => wire::effect::Kind::PointsPerUnit(rate),
        Effect::Fixed(points) => wire::effect::Kind::FixedPoints(points),
        Effect::Multiplier(factor) => wire::effect::Kind::Multiplier(factor),
    };
    proto::EarningRule {
        name: name(it.id),
        programme: super::programme::name(it.programme).to_string(),
        display_name: localized::write(&it.display_name),
        trigger: show_trigger(it.trigger).into(),
        start_time: it.window.start.map(time::wire),
        end_time: it.window.end.map(time::wire),
        conditions: (it.conditions != Conditions::default()).then(|| wire::Conditions {
            sales_channels: it.conditions.channels.clone(),
            product_codes: it.conditions.products.clone(),
            tiers: tiers.collect(),
            segments: it.conditions.segments.clone(),
            minimum_units: it.conditions.minimum_units,
        }),
        effect: Some(wire::Effect { kind: Some(kind) }),
        delay: it.delay.map(show_seconds),
        lifetime: it.lifetime.map(show_seconds),
        budget: it.budget.unwrap_or(0),
        cap: it.cap.map(|cap| wire::PointsCap { points: cap.most, period: show_period(cap.period).into() }),
        velocity_limit: it.velocity.map(|velocity| wire::VelocityLimit {
            awards: velocity.most,
            period: show_period(velocity.period).into(),
        }),
        budget_left,
        create_time: Some(time::wire(it.create_time)),
        update_time: Some(time::wire(it.update_time)),
        etag: Etag::of(it.version).to_string(),
    }
}

fn display_name(given: &proto::EarningRule, violations: &mut Violations) -> Text {
    localized::required("earning_rule.display_name", given.display_name.as_ref(), NAME_LIMIT, violations)
}

fn conditions(given: Option<&wire::Conditions>, violations: &mut Violations) -> Conditions {
    let Some(given) = given else {
        return Conditions::default();
    };
    let of = "earning_rule.conditions";
    let minimum_units = given.minimum_units;
    if minimum_units < 0 {
        violations.range(&format!("{of}.minimum_units"), "0 or more");
    }
    Conditions {
        channels: codes(&format!("{of}.sales_channels"), &given.sales_channels, MOST_CODES, violations),
        products: codes(&format!("{of}.product_codes"), &given.product_codes, MOST_PRODUCTS, violations),
        tiers: tiers(&format!("{of}.tiers"), &given.tiers, violations),
        segments: codes(&format!("{of}.segments"), &given.segments, MOST_CODES, violations),
        minimum_units,
    }
}

fn tiers(field: &str, given: &[String], violations: &mut Violations) -> Vec<Uuid> {
    if given.len() > MOST_CODES {
        violations.add(field, reason::FIELD_TOO_LONG, format!("has more than {MOST_CODES} names"));
        return Vec::new();
    }
    let parse = |(index, name): (usize, &String)| {
        ResourceName::parse(TIERS, &format!("{field}[{index}]"), name, violations).map(|name| name.id())
    };
    given.iter().enumerate().filter_map(parse).collect()
}

fn effect(given: Option<wire::Effect>, violations: &mut Violations) -> Option<Effect> {
    use wire::effect::Kind;
    let Some(kind) = given.and_then(|effect| effect.kind) else {
        violations.required("earning_rule.effect");
        return None;
    };
    let (field, range, effect, amount) = match kind {
        Kind::PointsPerUnit(rate) => ("points_per_unit", 1..=MOST_PER_UNIT, Effect::PerUnit(rate), rate),
        Kind::FixedPoints(points) => ("fixed_points", 1..=MOST_FIXED, Effect::Fixed(points), points),
        Kind::Multiplier(factor) => ("multiplier", MULTIPLIERS, Effect::Multiplier(factor), factor),
    };
    if !range.contains(&amount) {
        let expected = format!("{} to {}", range.start(), range.end());
        violations.range(&format!("earning_rule.effect.{field}"), &expected);
    }
    Some(effect)
}

/// What a trigger has no amount and no base for cannot be worked with.
fn check_trigger(trigger: Trigger, effect: Effect, conditions: &Conditions, violations: &mut Violations) {
    let bought = matches!(trigger, Trigger::Purchase | Trigger::FirstPurchase);
    if !bought && matches!(effect, Effect::PerUnit(_)) {
        violations
            .format("earning_rule.effect.points_per_unit", "another effect: only a purchase has an amount");
    }
    if !bought && trigger != Trigger::SurveyAnswered && matches!(effect, Effect::Multiplier(_)) {
        violations.format(
            "earning_rule.effect.multiplier",
            "another effect: the base rule gives something for purchases and surveys only",
        );
    }
    if !bought && conditions.minimum_units > 0 {
        violations.format("earning_rule.conditions.minimum_units", "0: only a purchase has an amount");
    }
}

fn span(field: &str, given: Option<&Duration>, violations: &mut Violations) -> Option<TimeDelta> {
    seconds(field, given, &SPANS, violations)
}

fn cap(given: Option<wire::PointsCap>, violations: &mut Violations) -> Option<Limit> {
    let given = given?;
    limit("earning_rule.cap", "points", given.points, MOST_CAP, given.period, violations)
}

fn velocity(given: Option<wire::VelocityLimit>, violations: &mut Violations) -> Option<Limit> {
    let given = given?;
    limit("earning_rule.velocity_limit", "awards", given.awards, MOST_AWARDS, given.period, violations)
}

fn limit(
    of: &str,
    field: &str,
    most: i64,
    limit: i64,
    period: i32,
    violations: &mut Violations,
) -> Option<Limit> {
    if !(1..=limit).contains(&most) {
        violations.range(&format!("{of}.{field}"), &format!("1 to {limit}"));
    }
    let period = violations
        .choice(&format!("{of}.period"), period)
        .and_then(|period| Period::ALL.iter().copied().find(|known| show_period(*known) == period))?;
    Some(Limit { most, period })
}

fn read_trigger(trigger: wire::Trigger) -> Option<Trigger> {
    Trigger::ALL.iter().copied().find(|known| show_trigger(*known) == trigger)
}

fn show_trigger(trigger: Trigger) -> wire::Trigger {
    match trigger {
        Trigger::Purchase => wire::Trigger::Purchase,
        Trigger::SurveyAnswered => wire::Trigger::SurveyAnswered,
        Trigger::FirstPurchase => wire::Trigger::FirstPurchase,
        Trigger::Birthday => wire::Trigger::Birthday,
        Trigger::Referral => wire::Trigger::Referral,
    }
}

fn show_period(period: Period) -> wire::Period {
    match period {
        Period::Day => wire::Period::Day,
        Period::Week => wire::Period::Week,
        Period::Month => wire::Period::Month,
        Period::Year => wire::Period::Year,
        Period::Ever => wire::Period::Ever,
    }
}
