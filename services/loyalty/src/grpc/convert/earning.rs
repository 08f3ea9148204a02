//! What is told of an earn for the programmes' rules, and what they say to it.

use cqm_proto::loyalty::v1 as proto;
use cqm_proto::loyalty::v1::earn_points_request::Basis as WireBasis;
use cqm_rpc::{Error, ResourceName, Violations, reason, time};
use uuid::Uuid;

use super::ledger::Earn;
use super::{CUSTOMERS, rule};
use crate::domain::rules::{InForce, Verdict, Why};
use crate::posting::{Earning, Weighed};

const MOST_PRODUCTS: usize = 100;
const MOST_SEGMENTS: usize = 50;
const CODE_LIMIT: usize = 64;
const YEARS: std::ops::RangeInclusive<i32> = 1900..=9999;

/// Where and how it happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// Empty: not told.
    pub channel: String,
    pub products: Vec<String>,
    pub segments: Vec<String>,
}

pub fn context(message: &proto::EarnPointsRequest, violations: &mut Violations) -> Context {
    if !message.sales_channel.is_empty() {
        code("sales_channel", &message.sales_channel, violations);
    }
    Context {
        channel: message.sales_channel.clone(),
        products: codes("product_codes", &message.product_codes, MOST_PRODUCTS, violations),
        segments: codes("segments", &message.segments, MOST_SEGMENTS, violations),
    }
}

/// Reads what is compared letter by letter: a few codes that are no free text, since they may end up anywhere.
pub fn codes(field: &str, given: &[String], most: usize, violations: &mut Violations) -> Vec<String> {
    if given.len() > most {
        violations.add(field, reason::FIELD_TOO_LONG, format!("has more than {most} codes"));
        return Vec::new();
    }
    for (index, text) in given.iter().enumerate() {
        code(&format!("{field}[{index}]"), text, violations);
    }
    given.to_vec()
}

fn code(field: &str, text: &str, violations: &mut Violations) {
    let known = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if text.is_empty() || text.len() > CODE_LIMIT || !text.chars().all(known) {
        violations.format(field, &format!("1 to {CODE_LIMIT} letters, digits and -._"));
    }
}

/// What happens once a year or once for each customer is known by a source that is made of it.
pub fn source(message: &proto::EarnPointsRequest, violations: &mut Violations) -> Option<String> {
    let made = match &message.basis {
        Some(WireBasis::Birthday(birthday)) => {
            if !YEARS.contains(&birthday.year) {
                violations.range("birthday.year", "1900 to 9999");
            }
            format!("{}/birthdays/{}", message.customer, birthday.year)
        }
        Some(WireBasis::Referral(referral)) => {
            ResourceName::parse(CUSTOMERS, "referral.referred", &referral.referred, violations);
            if !referral.referred.is_empty() && referral.referred == message.customer {
                violations.format("referral.referred", "another customer than the one who is given points");
            }
            referral.referred.clone()
        }
        _ => return None,
    };
    if !message.source.is_empty() {
        violations.format("source", "empty: it is made of what the points are for");
    }
    Some(made)
}

/// Reads an earn that is asked about and not to be made: with its request id or without.
pub fn asked(message: Option<&proto::EarnPointsRequest>) -> Result<Earn, Error> {
    let mut violations = Violations::default();
    let Some(message) = message else {
        violations.required("earning");
        return Err(Error::Invalid(violations));
    };
    let mut inner = Violations::default();
    let earn = Earn::read(message, |_, _| Some(Uuid::nil()), &mut inner);
    for violation in inner.iter() {
        let field = format!("earning.{}", violation.field);
        violations.add(&field, violation.reason, violation.description.clone());
    }
    violations.finish()?;
    Ok(earn.expect("no violations, so there is everything"))
}

/// `weighed` is `None` when the points were given before.
pub fn explained(earning: &Earning, base: i64, weighed: Option<&Weighed>) -> proto::ExplainEarningResponse {
    let verdicts =
        earning.rules().iter().enumerate().map(|(place, in_force)| {
            verdict(earning, in_force, weighed.map(|weighed| weighed.verdicts[place]))
        });
    proto::ExplainEarningResponse {
        base_points: base,
        verdicts: verdicts.collect(),
        points: weighed.map_or(0, |weighed| weighed.awards.iter().map(|award| award.points).sum()),
        already_rewarded: weighed.is_none(),
    }
}

fn verdict(earning: &Earning, in_force: &InForce, verdict: Option<Verdict>) -> proto::RuleVerdict {
    use proto::rule_verdict::Why as Wire;
    let (points, why) = match verdict {
        None => (0, Wire::AlreadyRewarded),
        Some(Verdict::Applied { points }) => (points, Wire::Unspecified),
        Some(Verdict::NotApplied { why }) => (0, show_why(why)),
    };
    let (rule, programme) = (&in_force.rule, &in_force.programme);
    proto::RuleVerdict {
        rule: rule::name(rule.id),
        programme: super::programme::name(programme.id).to_string(),
        applied: matches!(verdict, Some(Verdict::Applied { .. })),
        why: why.into(),
        points,
        budget_left: rule.budget.map(|_| earning.left(rule.id)),
        programme_budget_left: programme.budget.map(|_| earning.left(programme.id)),
    }
}

fn show_why(why: Why) -> proto::rule_verdict::Why {
    use proto::rule_verdict::Why as Wire;
    match why {
        Why::ProgrammePaused => Wire::ProgrammePaused,
        Why::ProgrammeNotStarted => Wire::ProgrammeNotStarted,
        Why::ProgrammeOver => Wire::ProgrammeOver,
        Why::NotStarted => Wire::NotStarted,
        Why::Over => Wire::Over,
        Why::OtherTrigger => Wire::OtherTrigger,
        Why::SourceMissing => Wire::SourceMissing,
        Why::SalesChannel => Wire::SalesChannel,
        Why::Product => Wire::Product,
        Why::Segment => Wire::Segment,
        Why::BelowMinimum => Wire::BelowMinimum,
        Why::Tier => Wire::Tier,
        Why::NotFirstPurchase => Wire::NotFirstPurchase,
        Why::NoPoints => Wire::NoPoints,
        Why::VelocityReached => Wire::VelocityReached,
        Why::CapReached => Wire::CapReached,
        Why::BudgetExhausted => Wire::BudgetExhausted,
        Why::ProgrammeBudgetExhausted => Wire::ProgrammeBudgetExhausted,
    }
}

/// What an earn would come to.
pub fn simulated(
    weighed: Option<&Weighed>,
    answer: proto::EarnPointsResponse,
) -> proto::SimulateEarningResponse {
    let awards = weighed.map(|weighed| weighed.awards.as_slice()).unwrap_or_default();
    proto::SimulateEarningResponse {
        awards: awards
            .iter()
            .map(|award| proto::SimulatedAward {
                rule: award.rule.map(rule::name).unwrap_or_default(),
                points: award.points,
                available_time: Some(time::wire(award.available_at)),
                expire_time: award.expires_at.map(time::wire),
            })
            .collect(),
        points: answer.points,
        // There is no such version to write with.
        account: answer.account.map(|account| proto::Account { etag: String::new(), ..account }),
    }
}
