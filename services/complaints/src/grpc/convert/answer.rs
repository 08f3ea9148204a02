//! The domain to messages.

use chrono::{DateTime, TimeDelta, Utc};
use cqm_proto::complaints::v1 as wire;
use cqm_rpc::{Etag, ResourceName, time};

use super::policy_name;
use crate::domain::sla::{Clocks, Timer};
use crate::domain::{Complaint, TimelineEntry};

/// The complaint as it is, with what its clocks show at this moment.
pub fn complaint(complaint: &Complaint, now: DateTime<Utc>) -> wire::Complaint {
    let matter = &complaint.matter;
    let root_cause = complaint.root_cause.as_ref();
    wire::Complaint {
        name: complaint.name().to_string(),
        reference: complaint.reference.clone(),
        customer: matter.customer.to_string(),
        channel: matter.channel.code().into(),
        category: matter.category.code().into(),
        severity: matter.severity.code().into(),
        subject: matter.subject.expose().clone(),
        description: matter.description.expose().clone(),
        remedy_sought: matter.remedy_sought.map_or(0, |remedy| remedy.code().into()),
        remedy_note: matter.remedy_note.expose().clone(),
        state: complaint.state.code().into(),
        assignee: complaint.assignee.clone().unwrap_or_default(),
        responsible_department: root_cause
            .map(|cause| cause.responsible_department.clone())
            .unwrap_or_default(),
        root_cause: root_cause.map(|cause| wire::RootCause {
            category: cause.category.code().into(),
            explanation: cause.explanation.expose().clone(),
        }),
        resolution: complaint.resolution.as_ref().map(|resolution| wire::Resolution {
            summary: resolution.summary.expose().clone(),
            compensation_points: resolution.compensation_points,
            resolve_time: Some(time::wire(resolution.resolve_time)),
            version: resolution.version,
        }),
        reopen_count: complaint.reopen_count,
        acknowledge_time: complaint.acknowledge_time.map(time::wire),
        resolve_time: complaint.resolve_time().map(time::wire),
        close_time: complaint.close_time.map(time::wire),
        create_time: Some(time::wire(complaint.create_time)),
        update_time: Some(time::wire(complaint.update_time)),
        etag: Etag::of(complaint.version).to_string(),
        sla: complaint.clocks.as_ref().map(|clocks| sla(clocks, now)),
    }
}

fn sla(clocks: &Clocks, now: DateTime<Utc>) -> wire::Sla {
    let clock = |timer: &Timer| wire::SlaClock {
        state: timer.state(now).code().into(),
        due_time: Some(time::wire(timer.due_time)),
        end_time: timer.end_time.map(time::wire),
        consumed: Some(span(timer.consumed(&clocks.policy, now))),
    };
    wire::Sla {
        policy: policy_name(clocks.policy.version),
        first_response: Some(clock(&clocks.first_response)),
        resolution: Some(clock(&clocks.resolution)),
    }
}

pub(super) fn span(span: TimeDelta) -> prost_types::Duration {
    prost_types::Duration { seconds: span.num_seconds(), nanos: span.subsec_nanos() }
}

pub fn timeline_entry(
    complaint: ResourceName,
    customer: ResourceName,
    entry: &TimelineEntry,
) -> wire::TimelineEntry {
    wire::TimelineEntry {
        name: format!("{complaint}/timeline/{}", entry.version),
        customer: customer.to_string(),
        time: Some(time::wire(entry.time)),
        action: entry.action.code().into(),
        from_state: entry.from.map_or(0, |state| state.code().into()),
        to_state: entry.to.code().into(),
        actor: entry.actor.clone(),
        facts: entry.facts.clone(),
        note: entry.note.expose().clone(),
    }
}

#[cfg(test)]
mod tests {
    use crate::domain::{Action, Category, Channel, ClockState, Remedy, ReopenReason, Severity, State};
    use cqm_proto::complaints::v1 as wire;

    /// Codes and names of a set against the contract's enum: every value but the unspecified one, and no other.
    macro_rules! same_words {
        ($set:ident, $contract:path, $prefix:literal) => {{
            for word in $set::ALL {
                let code = i32::from(word.code());
                let value = <$contract>::try_from(code).unwrap();
                assert_eq!(value.as_str_name(), format!("{}_{}", $prefix, word.name()));
                assert_eq!($set::try_from(code), Ok(*word));
            }
            let in_contract = (1..).map_while(|code| <$contract>::try_from(code).ok()).count();
            assert_eq!(in_contract, $set::ALL.len(), "{} lacks a word", stringify!($set));
            assert!($set::try_from(0).is_err());
        }};
    }

    #[test]
    fn every_word_of_the_contract_is_a_word_of_the_domain() {
        same_words!(State, wire::complaint::State, "STATE");
        same_words!(Channel, wire::complaint::Channel, "CHANNEL");
        same_words!(Remedy, wire::complaint::Remedy, "REMEDY");
        same_words!(Category, wire::Category, "CATEGORY");
        same_words!(Severity, wire::Severity, "SEVERITY");
        same_words!(ClockState, wire::sla_clock::State, "STATE");
        same_words!(Action, wire::timeline_entry::Action, "ACTION");
        same_words!(ReopenReason, wire::reopen_complaint_request::Reason, "REASON");
    }
}
