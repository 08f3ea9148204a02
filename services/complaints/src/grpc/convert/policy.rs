//! Policies of service levels: every violation at once, each with its field's path, and back.

mod calendar;

use chrono::{DateTime, TimeDelta, Utc};
use cqm_proto::complaints::v1 as wire;
use cqm_rpc::{Error, PageRequest, Violations, reason, time};
use prost_types::Duration;

use super::answer::span;
use super::command::COMPLETE;
use crate::domain::Severity;
use crate::domain::sla::{Calendar, Policy, Targets};

/// The collection in a policy's resource name.
const POLICIES: &str = "slaPolicies";
const DEFAULT_WARNING: i32 = 80;

/// A policy that is complete but for its version and its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    calendar: Calendar,
    targets: [Targets; Severity::ALL.len()],
    warning_percent: i32,
}

impl Publish {
    pub fn parse(message: &wire::PublishSlaPolicyRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        violations.optional_request_id(&message.request_id);
        let Some(policy) = &message.sla_policy else {
            violations.required("sla_policy");
            return Err(Error::Invalid(violations));
        };
        let calendar = calendar::read("sla_policy.calendar", policy.calendar.as_ref(), &mut violations);
        let targets = targets(&policy.targets, calendar.as_ref(), &mut violations);
        let warning_percent = match policy.warning_percent {
            0 => DEFAULT_WARNING,
            given => given,
        };
        if !(1..=100).contains(&warning_percent) {
            violations.range("sla_policy.warning_percent", "from 0 to 100");
        }
        violations.finish()?;
        Ok(Self {
            calendar: calendar.expect(COMPLETE),
            targets: targets.map(|targets| targets.expect(COMPLETE)),
            warning_percent,
        })
    }

    pub fn at(&self, version: i64, now: DateTime<Utc>) -> Policy {
        Policy {
            version,
            calendar: self.calendar.clone(),
            targets: self.targets,
            warning_percent: self.warning_percent,
            create_time: now,
        }
    }
}

/// In the order of the severities.
fn targets(
    given: &[wire::SlaTarget],
    calendar: Option<&Calendar>,
    violations: &mut Violations,
) -> [Option<Targets>; Severity::ALL.len()] {
    let mut found = [None; Severity::ALL.len()];
    let mut told = [false; Severity::ALL.len()];
    // More of them than there are severities repeat one.
    for (index, target) in given.iter().take(Severity::ALL.len() + 1).enumerate() {
        let field = |name: &str| format!("sla_policy.targets[{index}].{name}");
        let severity: Option<Severity> = violations.choice(&field("severity"), target.severity);
        let first_response =
            open_time(&field("first_response"), target.first_response.as_ref(), calendar, violations);
        let resolution = open_time(&field("resolution"), target.resolution.as_ref(), calendar, violations);
        let Some(place) = severity.and_then(|it| Severity::ALL.iter().position(|known| *known == it)) else {
            continue;
        };
        if std::mem::replace(&mut told[place], true) {
            violations.format(&field("severity"), "another severity than those before it");
        }
        found[place] = first_response
            .zip(resolution)
            .map(|(first_response, resolution)| Targets { first_response, resolution });
    }
    if given.len() < Severity::ALL.len() {
        violations.add("sla_policy.targets", reason::FIELD_REQUIRED, "must hold one for each severity");
    }
    found
}

/// A target; how long it may be depends on a calendar that has nothing wrong with it.
fn open_time(
    field: &str,
    given: Option<&Duration>,
    calendar: Option<&Calendar>,
    violations: &mut Violations,
) -> Option<TimeDelta> {
    let Some(given) = given else {
        violations.required(field);
        return None;
    };
    let longest = calendar.map_or(TimeDelta::MAX, Policy::longest_target);
    let span = TimeDelta::try_seconds(given.seconds)
        .filter(|span| given.nanos == 0 && *span > TimeDelta::zero() && *span <= longest);
    if span.is_none() {
        violations.range(field, "whole seconds, more than none, at most the open time of 52 weeks");
    }
    span
}

/// `slaPolicies/{version}`
pub fn policy_name(version: i64) -> String {
    format!("{POLICIES}/{version}")
}

/// Reads the name of a request.
pub fn policy_version(name: &str) -> Result<i64, Error> {
    let mut violations = Violations::default();
    let version = name.strip_prefix(POLICIES).and_then(|rest| rest.strip_prefix('/')?.parse().ok());
    // One policy has one name: no sign, no zeros before the number.
    let version = version.filter(|version| *version > 0 && policy_name(*version) == name);
    match (name.is_empty(), version) {
        (true, _) => violations.required("name"),
        (false, None) => violations.format("name", "slaPolicies/{version}"),
        (false, Some(_)) => {}
    }
    violations.finish()?;
    Ok(version.expect(COMPLETE))
}

/// Reads which page of policies is asked for, by version, the newest first.
pub fn policy_list(message: &wire::ListSlaPoliciesRequest) -> Result<PageRequest<i64>, Error> {
    let mut violations = Violations::default();
    let page = PageRequest::parse(message.page_size, &message.page_token, &["sla_policies"], &mut violations);
    violations.finish()?;
    Ok(page)
}

pub fn policy(policy: &Policy) -> wire::SlaPolicy {
    let targets = Severity::ALL.iter().zip(policy.targets).map(|(severity, targets)| wire::SlaTarget {
        severity: severity.code().into(),
        first_response: Some(span(targets.first_response)),
        resolution: Some(span(targets.resolution)),
    });
    wire::SlaPolicy {
        name: policy_name(policy.version),
        calendar: Some(calendar::write(policy.calendar.rules())),
        targets: targets.collect(),
        warning_percent: policy.warning_percent,
        create_time: Some(time::wire(policy.create_time)),
    }
}

#[cfg(test)]
mod tests;
