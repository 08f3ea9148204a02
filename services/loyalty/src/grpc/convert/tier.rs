//! Tiers, and how members went from one to another.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use cqm_proto::loyalty::v1 as proto;
use cqm_rpc::{Error, Etag, Mask, PageRequest, ResourceName, Violations, reason, text, time};
use uuid::Uuid;

use super::member::name as member_name;
use super::{MEMBERS, TIERS, localized};
use crate::domain::text::Text;
use crate::domain::tier::{Benefit, Tier, Turn, Why};

const TEXT_LIMIT: usize = 200;
const CODE_LIMIT: usize = 64;
const MOST_BENEFITS: usize = 20;
const RANKS: std::ops::RangeInclusive<i32> = 1..=1000;
const MUTABLE: [&str; 4] = ["rank", "display_name", "threshold", "benefits"];

/// A tier that is complete but for its id and its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Create {
    code: String,
    rank: i32,
    display_name: Text,
    threshold: i64,
    benefits: Vec<Benefit>,
}

impl Create {
    pub fn parse(message: &proto::CreateTierRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        violations.optional_request_id(&message.request_id);
        let Some(tier) = &message.tier else {
            violations.required("tier");
            return Err(Error::Invalid(violations));
        };
        let created = Self {
            code: code("tier.code", &tier.code, &mut violations),
            rank: rank(tier.rank, &mut violations),
            display_name: display_name(tier, &mut violations),
            threshold: threshold(tier.threshold, &mut violations),
            benefits: benefits(&tier.benefits, &mut violations),
        };
        violations.finish()?;
        Ok(created)
    }

    pub fn at(&self, id: Uuid, now: DateTime<Utc>) -> Tier {
        Tier {
            id,
            code: self.code.clone(),
            rank: self.rank,
            display_name: self.display_name.clone(),
            threshold: self.threshold,
            benefits: self.benefits.clone(),
            version: 1,
            create_time: now,
            update_time: now,
        }
    }
}

/// A change of a tier. What is `None` stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    pub id: Uuid,
    pub etag: Option<Etag>,
    rank: Option<i32>,
    display_name: Option<Text>,
    threshold: Option<i64>,
    benefits: Option<Vec<Benefit>>,
}

impl Update {
    pub fn parse(message: &proto::UpdateTierRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        violations.optional_request_id(&message.request_id);
        let etag = Etag::parse("etag", &message.etag, &mut violations);
        let Some(tier) = &message.tier else {
            violations.required("tier");
            return Err(Error::Invalid(violations));
        };
        let id = ResourceName::parse(TIERS, "tier.name", &tier.name, &mut violations);
        let populated = |path: &str| match path {
            "rank" => tier.rank != 0,
            "display_name" => tier.display_name.is_some(),
            "threshold" => tier.threshold != 0,
            _ => !tier.benefits.is_empty(),
        };
        let paths = message.update_mask.as_ref().map(|mask| mask.paths.as_slice());
        let mask = Mask::parse(paths, &MUTABLE, populated, &mut violations);
        let rank = mask.has("rank").then(|| rank(tier.rank, &mut violations));
        let display_name = mask.has("display_name").then(|| display_name(tier, &mut violations));
        let threshold = mask.has("threshold").then(|| threshold(tier.threshold, &mut violations));
        let benefits = mask.has("benefits").then(|| benefits(&tier.benefits, &mut violations));
        violations.finish()?;
        let id = id.expect("no violations, so there is a name").id();
        Ok(Self { id, etag, rank, display_name, threshold, benefits })
    }

    pub fn apply(&self, before: &Tier) -> Tier {
        Tier {
            rank: self.rank.unwrap_or(before.rank),
            display_name: self.display_name.clone().unwrap_or_else(|| before.display_name.clone()),
            threshold: self.threshold.unwrap_or(before.threshold),
            benefits: self.benefits.clone().unwrap_or_else(|| before.benefits.clone()),
            ..before.clone()
        }
    }
}

/// Reads which page of tiers is asked for, by rank, the lowest first.
pub fn list(message: &proto::ListTiersRequest) -> Result<PageRequest<i64>, Error> {
    let mut violations = Violations::default();
    let page = PageRequest::parse(message.page_size, &message.page_token, &["tiers"], &mut violations);
    violations.finish()?;
    Ok(page)
}

/// A page of a member's turns is asked for.
#[derive(Clone, Debug)]
pub struct ListTurns {
    pub customer: Uuid,
    /// By version, the last first.
    pub page: PageRequest<i64>,
}

impl ListTurns {
    pub fn parse(message: &proto::ListTierChangesRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let member = ResourceName::parse(MEMBERS, "member", &message.member, &mut violations);
        let query = ["tier_changes", &message.member];
        let page = PageRequest::parse(message.page_size, &message.page_token, &query, &mut violations);
        violations.finish()?;
        Ok(Self { customer: member.expect("no violations, so there is a member").id(), page })
    }

    pub fn answer(&self, turns: Vec<(i64, Turn)>) -> proto::ListTierChangesResponse {
        let page = self.page.page(turns, |(version, _)| *version);
        proto::ListTierChangesResponse {
            tier_changes: page.items.iter().map(|(_, turn)| turned(self.customer, turn)).collect(),
            next_page_token: page.next_page_token,
        }
    }
}

/// The name of a tier; empty without one.
pub fn name(tier: Option<Uuid>) -> String {
    tier.map(|id| ResourceName::new(TIERS, id).to_string()).unwrap_or_default()
}

pub fn tier(tier: &Tier) -> proto::Tier {
    let benefit = |benefit: &Benefit| proto::tier::Benefit {
        code: benefit.code.clone(),
        text: localized::write(&benefit.text),
        value: benefit.value.clone(),
    };
    proto::Tier {
        name: name(Some(tier.id)),
        code: tier.code.clone(),
        rank: tier.rank,
        display_name: localized::write(&tier.display_name),
        threshold: tier.threshold,
        benefits: tier.benefits.iter().map(benefit).collect(),
        create_time: Some(time::wire(tier.create_time)),
        update_time: Some(time::wire(tier.update_time)),
        etag: Etag::of(tier.version).to_string(),
    }
}

fn turned(customer: Uuid, turn: &Turn) -> proto::TierChange {
    let why = match turn.why {
        Why::Qualified => proto::tier_change::Reason::Qualified,
        Why::CycleEnded => proto::tier_change::Reason::CycleEnded,
        Why::Merged => proto::tier_change::Reason::Merged,
    };
    proto::TierChange {
        member: member_name(customer).to_string(),
        from: name(turn.from),
        to: name(turn.to),
        reason: why.into(),
        points: turn.points,
        change_time: Some(time::wire(turn.at)),
    }
}

fn code(field: &str, code: &str, violations: &mut Violations) -> String {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'_';
    if code.is_empty() {
        violations.required(field);
    } else if code.len() > CODE_LIMIT || !code.bytes().all(plain) {
        violations.format(field, "1-64 characters of a-z, 0-9, \"-\" and \"_\"");
    }
    code.to_owned()
}

fn rank(rank: i32, violations: &mut Violations) -> i32 {
    if !RANKS.contains(&rank) {
        violations.range("tier.rank", &format!("{} to {}", RANKS.start(), RANKS.end()));
    }
    rank
}

fn threshold(threshold: i64, violations: &mut Violations) -> i64 {
    if threshold < 0 {
        violations.range("tier.threshold", "0 or more");
    }
    threshold
}

fn display_name(tier: &proto::Tier, violations: &mut Violations) -> Text {
    localized::required("tier.display_name", tier.display_name.as_ref(), TEXT_LIMIT, violations)
}

fn benefits(given: &[proto::tier::Benefit], violations: &mut Violations) -> Vec<Benefit> {
    if given.len() > MOST_BENEFITS {
        let description = format!("has more than {MOST_BENEFITS} items");
        violations.add("tier.benefits", reason::FIELD_TOO_LONG, description);
        return Vec::new();
    }
    let mut seen = BTreeSet::new();
    let mut benefits = Vec::new();
    for (index, benefit) in given.iter().enumerate() {
        let field = |name: &str| format!("tier.benefits[{index}].{name}");
        let code = code(&field("code"), &benefit.code, violations);
        if !code.is_empty() && !seen.insert(&benefit.code) {
            violations.format(&field("code"), "another code than those before it");
        }
        let text = localized::required(&field("text"), benefit.text.as_ref(), TEXT_LIMIT, violations);
        let value = text::line(&field("value"), &benefit.value, TEXT_LIMIT, violations);
        benefits.push(Benefit { code, text, value });
    }
    benefits
}
