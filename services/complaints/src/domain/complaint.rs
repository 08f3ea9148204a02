//! The complaint and its lifecycle. Every verb returns what happened, or a refusal.

use std::sync::Arc;

use chrono::{DateTime, Datelike, Utc};
use cqm_rpc::{Personal, ResourceName};
use uuid::Uuid;

use super::sla::{Clocks, Policy};
use super::{Action, Category, Channel, Event, Remedy, ReopenReason, Severity, State, What};

/// The collection in a complaint's resource name.
pub const COLLECTION: &str = "complaints";

/// A customer's complaint, from its registration to its closing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    pub id: Uuid,
    /// The number that people use for it.
    pub reference: String,
    pub matter: Matter,
    pub state: State,
    /// The member of staff who has it, by their subject.
    pub assignee: Option<String>,
    pub root_cause: Option<RootCause>,
    /// The latest one. Stays when the complaint is reopened.
    pub resolution: Option<Resolution>,
    pub reopen_count: i32,
    pub acknowledge_time: Option<DateTime<Utc>>,
    pub close_time: Option<DateTime<Utc>>,
    /// `None`: it was registered before there was a policy.
    pub clocks: Option<Clocks>,
    pub create_time: DateTime<Utc>,
    pub update_time: DateTime<Utc>,
    /// Grows by one with every event, and when the customer is merged into another one.
    pub version: i64,
}

/// What the customer said. Never changes, but that the customer may be known under another name one day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matter {
    pub customer: ResourceName,
    pub channel: Channel,
    pub category: Category,
    pub severity: Severity,
    pub subject: Personal<String>,
    pub description: Personal<String>,
    pub remedy_sought: Option<Remedy>,
    pub remedy_note: Personal<String>,
}

/// The cause that was found, and who answers for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootCause {
    pub category: Category,
    pub explanation: Personal<String>,
    /// A department's key.
    pub responsible_department: String,
}

/// How a complaint was settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    pub summary: Personal<String>,
    /// Promised in compensation; 0 = none.
    pub compensation_points: i64,
    pub resolve_time: DateTime<Utc>,
    /// 1 for the first, one more after each reopening.
    pub version: i64,
}

/// Why a complaint is to be opened again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reopening {
    pub reason: ReopenReason,
    pub note: Personal<String>,
    /// The resource that made it necessary; empty = a person's decision.
    pub cause: String,
    /// The version of the resolution that it is about; `None` = the latest, whichever that is.
    pub about: Option<i64>,
}

/// A state that does not allow an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IllegalMove {
    pub complaint: ResourceName,
    pub state: State,
    pub action: Action,
}

/// The number that people use for a complaint: the year of its registration (UTC) and a running number that does
/// not start again with the year.
pub fn reference(registered: DateTime<Utc>, number: i64) -> String {
    format!("C-{}-{number:06}", registered.year())
}

impl Complaint {
    /// `policy` is the one in force, by which it goes from now on.
    pub fn register(
        id: Uuid,
        reference: String,
        matter: Matter,
        policy: Option<Arc<Policy>>,
        now: DateTime<Utc>,
    ) -> (Self, Event) {
        let clocks = policy.map(|policy| Clocks::start(policy, matter.severity, now));
        let complaint = Self {
            id,
            reference,
            matter,
            state: State::Registered,
            assignee: None,
            root_cause: None,
            resolution: None,
            reopen_count: 0,
            acknowledge_time: None,
            close_time: None,
            clocks,
            create_time: now,
            update_time: now,
            version: 1,
        };
        let event =
            Event { version: 1, from: None, to: State::Registered, time: now, what: What::Registered };
        (complaint, event)
    }

    pub const fn name(&self) -> ResourceName {
        ResourceName::new(COLLECTION, self.id)
    }

    /// When it was last resolved; `None` = never, or reopened since.
    pub fn resolve_time(&self) -> Option<DateTime<Utc>> {
        match self.state {
            State::Resolved | State::Closed => {
                self.resolution.as_ref().map(|resolution| resolution.resolve_time)
            }
            State::Registered | State::Acknowledged | State::Investigating => None,
        }
    }

    pub fn acknowledge(&mut self, now: DateTime<Utc>) -> Result<Event, IllegalMove> {
        let event = self.advance(What::Acknowledged, now)?;
        self.acknowledge_time = Some(now);
        Ok(event)
    }

    pub fn assign(&mut self, assignee: String, now: DateTime<Utc>) -> Result<Event, IllegalMove> {
        let event = self.advance(What::Assigned { assignee: assignee.clone() }, now)?;
        self.assignee = Some(assignee);
        Ok(event)
    }

    pub fn start_investigation(&mut self, now: DateTime<Utc>) -> Result<Event, IllegalMove> {
        self.advance(What::InvestigationStarted, now)
    }

    /// A later finding replaces an earlier one; the timeline keeps both.
    pub fn record_root_cause(&mut self, found: RootCause, now: DateTime<Utc>) -> Result<Event, IllegalMove> {
        let event = self.advance(
            What::RootCauseRecorded {
                cause: found.category,
                responsible_department: found.responsible_department.clone(),
                explanation: found.explanation.clone(),
            },
            now,
        )?;
        self.root_cause = Some(found);
        Ok(event)
    }

    pub fn resolve(
        &mut self,
        summary: Personal<String>,
        compensation_points: i64,
        now: DateTime<Utc>,
    ) -> Result<Event, IllegalMove> {
        let version = self.resolution.as_ref().map_or(1, |latest| latest.version + 1);
        let event = self.advance(
            What::Resolved { resolution_version: version, compensation_points, summary: summary.clone() },
            now,
        )?;
        self.resolution = Some(Resolution { summary, compensation_points, resolve_time: now, version });
        Ok(event)
    }

    pub fn close(&mut self, now: DateTime<Utc>) -> Result<Event, IllegalMove> {
        let event = self.advance(What::Closed, now)?;
        self.close_time = Some(now);
        Ok(event)
    }

    /// `None` when the reopening is about a resolution that does not stand any more: the complaint was reopened
    /// since, and perhaps resolved again. Nothing changes then.
    pub fn reopen(&mut self, reopening: Reopening, now: DateTime<Utc>) -> Result<Option<Event>, IllegalMove> {
        let Reopening { reason, note, cause, about } = reopening;
        if about.is_some_and(|version| self.standing_resolution() != Some(version)) {
            return Ok(None);
        }
        let event = self.advance(What::Reopened { reason, cause, note }, now)?;
        self.reopen_count += 1;
        self.close_time = None;
        Ok(Some(event))
    }

    /// What time has made of the clocks and nobody has been told, in events of their own. Whatever the state is: time asks
    /// nobody.
    pub fn tell_clocks(&mut self, now: DateTime<Utc>) -> Vec<Event> {
        let told = self.clocks.as_mut().map(|clocks| clocks.tell(now)).unwrap_or_default();
        told.into_iter().map(|what| self.happened(self.state, what, now)).collect()
    }

    /// The version of the resolution that the customer was told and that nobody has taken back.
    fn standing_resolution(&self) -> Option<i64> {
        self.resolve_time().and(self.resolution.as_ref()).map(|resolution| resolution.version)
    }

    /// Moves along the lifecycle, or refuses before anything has changed.
    fn advance(&mut self, what: What, now: DateTime<Utc>) -> Result<Event, IllegalMove> {
        let action = what.action();
        let from = self.state;
        let to = from.after(action).ok_or(IllegalMove { complaint: self.name(), state: from, action })?;
        if let Some(clocks) = &mut self.clocks {
            clocks.follow(&what, now);
        }
        Ok(self.happened(to, what, now))
    }

    fn happened(&mut self, to: State, what: What, now: DateTime<Utc>) -> Event {
        let from = std::mem::replace(&mut self.state, to);
        self.version += 1;
        self.update_time = now;
        Event { version: self.version, from: Some(from), to, time: now, what }
    }
}

#[cfg(test)]
mod tests;
