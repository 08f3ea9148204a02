//! What happened to a complaint, and the line it leaves in the timeline.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use cqm_rpc::Personal;

use super::sla::Clock;
use super::{Action, Category, ReopenReason, State};

/// One change of one complaint. Each has a version of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The complaint's version after it.
    pub version: i64,
    /// `None` at the registration.
    pub from: Option<State>,
    pub to: State,
    pub time: DateTime<Utc>,
    pub what: What,
}

/// What was done, with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Registered,
    Acknowledged,
    Assigned { assignee: String },
    InvestigationStarted,
    RootCauseRecorded { cause: Category, responsible_department: String, explanation: Personal<String> },
    Resolved { resolution_version: i64, compensation_points: i64, summary: Personal<String> },
    Closed,
    Reopened { reason: ReopenReason, cause: String, note: Personal<String> },
    SlaWarned { clock: Clock, due_time: DateTime<Utc> },
    SlaBreached { clock: Clock, due_time: DateTime<Utc> },
}

/// One line of the timeline. Never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineEntry {
    pub version: i64,
    pub time: DateTime<Utc>,
    pub action: Action,
    pub from: Option<State>,
    pub to: State,
    /// Who did it, by their subject.
    pub actor: String,
    /// What belongs to the action; never personal data.
    pub facts: BTreeMap<String, String>,
    /// What was written about it in words; empty = nothing.
    pub note: Personal<String>,
}

impl Event {
    /// The line that `actor` leaves.
    pub fn entry(&self, actor: &str) -> TimelineEntry {
        TimelineEntry {
            version: self.version,
            time: self.time,
            action: self.what.action(),
            from: self.from,
            to: self.to,
            actor: actor.to_owned(),
            facts: self.what.facts(),
            note: self.what.note(),
        }
    }
}

impl What {
    pub const fn action(&self) -> Action {
        match self {
            Self::Registered => Action::Registered,
            Self::Acknowledged => Action::Acknowledged,
            Self::Assigned { .. } => Action::Assigned,
            Self::InvestigationStarted => Action::InvestigationStarted,
            Self::RootCauseRecorded { .. } => Action::RootCauseRecorded,
            Self::Resolved { .. } => Action::Resolved,
            Self::Closed => Action::Closed,
            Self::Reopened { .. } => Action::Reopened,
            Self::SlaWarned { .. } => Action::SlaWarned,
            Self::SlaBreached { .. } => Action::SlaBreached,
        }
    }

    fn facts(&self) -> BTreeMap<String, String> {
        let facts: Vec<(&str, String)> = match self {
            Self::Registered | Self::Acknowledged | Self::InvestigationStarted | Self::Closed => Vec::new(),
            Self::Assigned { assignee } => vec![("assignee", assignee.clone())],
            Self::RootCauseRecorded { cause, responsible_department, .. } => vec![
                ("cause", cause.name().to_owned()),
                ("responsible_department", responsible_department.clone()),
            ],
            Self::Resolved { resolution_version, compensation_points, .. } => vec![
                ("resolution_version", resolution_version.to_string()),
                ("compensation_points", compensation_points.to_string()),
            ],
            Self::Reopened { reason, cause, .. } => {
                let mut facts = vec![("reason", reason.name().to_owned())];
                // A person's decision has no cause.
                if !cause.is_empty() {
                    facts.push(("cause", cause.clone()));
                }
                facts
            }
            Self::SlaWarned { clock, due_time } | Self::SlaBreached { clock, due_time } => vec![
                ("clock", clock.name().to_owned()),
                ("due_time", due_time.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
            ],
        };
        facts.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    fn note(&self) -> Personal<String> {
        match self {
            Self::RootCauseRecorded { explanation, .. } => explanation.clone(),
            Self::Resolved { summary, .. } => summary.clone(),
            Self::Reopened { note, .. } => note.clone(),
            _ => Personal::default(),
        }
    }
}
