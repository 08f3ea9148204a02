//! Handling events: every reaction's command is answered, or the aggregate is parked.

use std::borrow::Cow;

use cqm_proto::events::v1::parked_aggregate::State;
use cqm_proto::events::v1::{Event, ParkedAggregate};
use cqm_rpc::{Failure, TraceContext, reason};
use cqm_runtime::tasks::Backoff;
use tonic::Code;
use uuid::Uuid;

use super::Patience;
use super::command::{Command, Renamed};
use super::reactions::{self, Reaction};
use super::source::{End, Position, Reader};
use crate::error::{COMPLAINT_NOT_FOUND, COMPLAINT_STATE, code, word};

/// Why an event is parked that no service has refused.
const EVENT_TYPE_UNKNOWN: &str = "EVENT_TYPE_UNKNOWN";
const EVENT_MALFORMED: &str = "EVENT_MALFORMED";

/// A command that was refused for good.
struct Refused {
    failure: Failure,
    attempts: u32,
}

impl Reader {
    /// Handles a parked aggregate again, from the event that failed up to the last one that was passed over since; `false`
    /// when it is parked again.
    pub(super) async fn resume(&self, parked: &ParkedAggregate, at: &Position) -> Result<bool, End> {
        let mut through = parked.position - 1;
        loop {
            let page = self.read_aggregate(&parked.aggregate, through).await?;
            for event in page.events.iter().take_while(|event| event.position <= at.position) {
                if !self.leave_out(parked, event) && !self.event(event, at, true).await? {
                    return Ok(false);
                }
                through = event.position;
            }
            // `false`: more of its events lie between here and the cursor, behind this page.
            if self.unpark(&parked.aggregate, through).await? {
                return Ok(true);
            }
        }
    }

    /// The same where the event that failed is not behind the cursor, so that it comes with one of the next batches: with
    /// this one if it is among `events`. Until then it stays parked, and what was decided about it stands.
    pub(super) async fn resume_ahead(
        &self,
        parked: &ParkedAggregate,
        events: &[Event],
        at: &Position,
    ) -> Result<bool, End> {
        for event in events {
            if !self.leave_out(parked, event) && !self.event(event, at, false).await? {
                return Ok(false);
            }
        }
        match events.last() {
            Some(last) if last.position >= parked.position => {
                self.unpark(&parked.aggregate, last.position).await
            }
            _ => Ok(false),
        }
    }

    /// Whether this is the event that somebody has decided to leave out.
    fn leave_out(&self, parked: &ParkedAggregate, event: &Event) -> bool {
        let discarded = parked.state() == State::DiscardRequested && event.event_id == parked.event_id;
        if discarded {
            let (source, event_id) = (self.backend.name(), &event.event_id);
            tracing::info!(source, event_id, aggregate = event.aggregate, "event left out, as was decided");
        }
        discarded
    }

    /// Handles one event; `false` when its aggregate is parked now. `waited`: behind a parked one, while the cursor went on.
    pub(super) async fn event(&self, event: &Event, at: &Position, waited: bool) -> Result<bool, End> {
        let Some(reactions) = reactions::of(&event.r#type) else {
            return self.park_at(event, EVENT_TYPE_UNKNOWN, "", 1).await;
        };
        for reaction in reactions.filter(|reaction| at.starts.apply(reaction, event.position, waited)) {
            let command = match (reaction.decide)(&event.payload) {
                Ok(Some(command)) => command,
                Ok(None) => continue,
                Err(_) => return self.park_at(event, EVENT_MALFORMED, "", 1).await,
            };
            if let Err(Refused { failure, attempts }) =
                self.carry_out(event, reaction, &command, at.log_id).await
            {
                self.metrics.command(reaction.id, "refused");
                tracing::debug!(reaction = reaction.id, event_id = event.event_id, %failure, "command refused");
                return self.park_at(event, word(&failure), code(&failure), attempts).await;
            }
        }
        self.metrics.handled(event);
        Ok(true)
    }

    /// Sends a command until it is answered: without an end while that may come by itself, a few times when it was refused
    /// or its service, which is well, does not get it done.
    async fn carry_out(
        &self,
        event: &Event,
        reaction: &Reaction,
        command: &Command,
        log_id: Uuid,
    ) -> Result<(), Refused> {
        let request_id = request_id(log_id, &event.event_id, reaction.id);
        let trace = TraceContext::parse(&event.traceparent).unwrap_or_else(|| TraceContext::fresh(false));
        let mut patience = Patience::new(&self.config);
        let mut pause = Backoff::new(self.config.refusal_pause, self.config.refusal_pause_cap);
        let mut command = Cow::Borrowed(command);
        let (mut attempts, mut overruns) = (0, 0);
        loop {
            let Err(failure) = self.executor.carry_out(&command, request_id, trace, overruns).await else {
                self.metrics.command(reaction.id, "done");
                return Ok(());
            };
            if had_been_answered(&failure) {
                self.metrics.command(reaction.id, "repeated");
                return Ok(());
            }
            let renamed = renamed(&failure, &command);
            if is_withheld(&failure) || is_moot(&failure, &command) || renamed == Some(Renamed::Nothing) {
                self.metrics.command(reaction.id, "withheld");
                return Ok(());
            }
            if let Some(Renamed::Survivors(again)) = renamed {
                command = Cow::Owned(*again);
                continue;
            }
            if failure.code == Code::DeadlineExceeded {
                overruns += 1;
                // Waiting for it any longer would stop the source for one aggregate.
                if overruns >= self.config.tries && self.executor.is_well(command.backend()).await {
                    return Err(Refused { failure, attempts: attempts + overruns });
                }
            }
            if failure.is_transient() {
                let say = || {
                    let (source, reaction, event_id) = (self.backend.name(), reaction.id, &event.event_id);
                    tracing::warn!(source, reaction, event_id, %failure, "a command waits for its service");
                };
                patience.wait(say).await;
                continue;
            }
            attempts += 1;
            if attempts >= self.config.tries {
                return Err(Refused { failure, attempts });
            }
            tokio::time::sleep(pause.next_delay()).await;
        }
    }

    async fn park_at(&self, event: &Event, reason: &str, code: &str, attempts: u32) -> Result<bool, End> {
        self.park(event, reason, code, attempts).await?;
        tracing::error!(
            source = self.backend.name(),
            aggregate = event.aggregate,
            event_id = event.event_id,
            event_type = event.r#type,
            reason,
            code,
            attempts,
            "aggregate parked: its events wait for a decision"
        );
        Ok(false)
    }
}

/// The same for the same event and reaction for ever, and for no other.
pub(super) fn request_id(log_id: Uuid, event_id: &str, reaction: &str) -> Uuid {
    Uuid::new_v5(&log_id, format!("{event_id}/{reaction}").as_bytes())
}

/// The id belongs to this one command, so whoever knows it has answered the command: too long ago to remember what, or
/// with other contents, because what was fetched for it has changed since.
fn had_been_answered(failure: &Failure) -> bool {
    [reason::REQUEST_ID_EXPIRED.name, reason::REQUEST_ID_REUSED.name].contains(&failure.reason.as_str())
}

/// The command is about a person who is to be forgotten or is: that it does not happen is what was asked for.
fn is_withheld(failure: &Failure) -> bool {
    [reason::CUSTOMER_RESTRICTED.name, reason::CUSTOMER_ERASED.name].contains(&failure.reason.as_str())
}

/// A complaint that is not resolved needs no reopening, and one that is not there has none. Whoever invited the customer to
/// answer has said which complaint it is about, and may have said it of any.
fn is_moot(failure: &Failure, command: &Command) -> bool {
    let moot = [COMPLAINT_STATE.name, COMPLAINT_NOT_FOUND.name];
    matches!(command, Command::ReopenComplaint(_)) && moot.contains(&failure.reason.as_str())
}

/// The command for whom the customer was merged into, when it was refused for that. It keeps its request id: what was
/// refused is not remembered, and whoever has answered it under one name does not answer it again under another, however
/// often the person is merged and the log is read.
fn renamed(failure: &Failure, command: &Command) -> Option<Renamed> {
    if failure.reason != reason::CUSTOMER_MERGED.name {
        return None;
    }
    command.renamed(failure.facts.get("customer")?, failure.facts.get("survivor")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commands_id_is_its_own_and_stays() {
        let log = Uuid::from_u128(1);
        let id = request_id(log, "0190a5d2-0000-7000-8000-000000000001", "purchase-points");
        assert_eq!(id.to_string(), "31f06470-a102-54be-bf8c-81f484a910c7");
        assert_eq!(id.get_version_num(), 5);
        assert_ne!(id, request_id(log, "0190a5d2-0000-7000-8000-000000000002", "purchase-points"));
        assert_ne!(id, request_id(log, "0190a5d2-0000-7000-8000-000000000001", "complaint-outcome"));
        assert_ne!(
            id,
            request_id(Uuid::from_u128(2), "0190a5d2-0000-7000-8000-000000000001", "purchase-points")
        );
    }
}
