//! Messages.

use cqm_proto::notifications::v1 as proto;
use cqm_rpc::time::wire;
use cqm_rpc::{Error, Etag, PageRequest, Personal, ResourceName, Violations, any_name, reason, text};
use uuid::Uuid;

use super::{channels, template, write_channel};
use crate::domain::delivery::{Event, Outcome, Step};
use crate::domain::message::{Channel, FailureReason, Message, State};
use crate::domain::template::{Template, TemplateKey};
use crate::domain::text::Variables;
use crate::error::{VARIABLE_MISSING, VARIABLE_UNKNOWN};
use crate::store::messages::Filter;
use crate::{CUSTOMERS, MESSAGES};

const MAX_VALUE: usize = 2000;
const MAX_VARIABLES: usize = 50;

/// What a call asks to be sent. Whether the variables are the template's is told by [`check_variables`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Send {
    pub customer_id: Uuid,
    pub template: TemplateKey,
    pub variables: Variables,
    /// Empty = the template's.
    pub channels: Vec<Channel>,
    pub about: String,
}

pub(crate) fn send(message: &proto::SendMessageRequest) -> Result<Send, Error> {
    let mut violations = Violations::default();
    let recipient = ResourceName::parse(CUSTOMERS, "recipient", &message.recipient, &mut violations);
    let template = template::key("template", &message.template, &mut violations);
    let mut variables = Variables::new();
    if message.variables.len() > MAX_VARIABLES {
        violations.add("variables", reason::FIELD_TOO_LONG, format!("has more than {MAX_VARIABLES} values"));
    } else {
        for (name, value) in &message.variables {
            let value = text::block(&variable(name), value, MAX_VALUE, &mut violations);
            variables.insert(name.clone(), Personal::new(value));
        }
    }
    let channels = channels("channels", &message.channels, &mut violations);
    let about = any_name("about", &message.about, &mut violations);
    violations.optional_request_id(&message.request_id);
    violations.finish()?;
    Ok(Send {
        customer_id: recipient.expect("no violation means that there is a recipient").id(),
        template: template.expect("no violation means that there is a template"),
        variables,
        channels,
        about,
    })
}

/// Refuses unless exactly the variables that the template declares have values.
pub(crate) fn check_variables(template: &Template, given: &Variables) -> Result<(), Error> {
    let (missing, unknown) = template.compare(given);
    let mut violations = Violations::default();
    for name in missing {
        violations.add(&variable(name), VARIABLE_MISSING, "has no value, and the template declares it");
    }
    for name in unknown {
        violations.add(&variable(&name), VARIABLE_UNKNOWN, "is not declared by the template");
    }
    violations.finish()
}

fn variable(name: &str) -> String {
    format!("variables.{}", text::printable(name, 64))
}

pub(crate) fn name(name: &str) -> Result<ResourceName, Error> {
    super::name(MESSAGES, name)
}

pub(crate) fn list(message: &proto::ListMessagesRequest) -> Result<(PageRequest<Uuid>, Filter), Error> {
    let mut violations = Violations::default();
    let recipient = ResourceName::parse_optional(CUSTOMERS, "recipient", &message.recipient, &mut violations);
    let about = any_name("about", &message.about, &mut violations);
    let state = violations.optional_choice("state", message.state).and_then(read_state);
    let query = ["messages", &message.recipient, &message.about, state.map_or("", State::name)];
    let page = PageRequest::parse(message.page_size, &message.page_token, &query, &mut violations);
    violations.finish()?;
    let about = (!about.is_empty()).then_some(about);
    Ok((page, Filter { customer_id: recipient.map(|name| name.id()), about, state }))
}

pub(crate) fn answer(it: &Message) -> proto::Message {
    proto::Message {
        name: ResourceName::new(MESSAGES, it.id).to_string(),
        recipient: ResourceName::new(CUSTOMERS, it.customer_id).to_string(),
        template: it.template.to_string(),
        channel: write_channel(it.channel).into(),
        locale: it.locale.clone().unwrap_or_default(),
        about: it.about.clone(),
        state: write_state(it.state).into(),
        failure_reason: it.failure.map_or(proto::FailureReason::Unspecified, write_reason).into(),
        attempts: it.attempts,
        finish_time: it.finish_time.map(wire),
        create_time: Some(wire(it.create_time)),
        update_time: Some(wire(it.update_time)),
        etag: Etag::of(it.version).to_string(),
    }
}

pub(crate) fn step(it: &Step) -> proto::DeliveryStep {
    use proto::delivery_step::{Kind, Outcome as Wire};
    let (kind, decision, attempt, outcome) = match it.event {
        Event::Decided(decision) => (Kind::Decision, decision.name(), 0, Wire::Unspecified),
        Event::Attempted(attempt, outcome) => {
            let outcome = match outcome {
                Outcome::Accepted => Wire::Accepted,
                Outcome::TransientFailure => Wire::TransientFailure,
                Outcome::PermanentFailure => Wire::PermanentFailure,
            };
            (Kind::Attempt, "", attempt, outcome)
        }
    };
    proto::DeliveryStep {
        time: Some(wire(it.time)),
        kind: kind.into(),
        decision: decision.to_owned(),
        attempt,
        outcome: outcome.into(),
        detail: it.detail.clone(),
        next_attempt_time: it.next_attempt_time.map(wire),
    }
}

fn read_state(state: proto::message::State) -> Option<State> {
    use proto::message::State as Wire;
    match state {
        Wire::Unspecified => None,
        Wire::Queued => Some(State::Queued),
        Wire::WaitingForContact => Some(State::WaitingForContact),
        Wire::Sending => Some(State::Sending),
        Wire::Delivered => Some(State::Delivered),
        Wire::Failed => Some(State::Failed),
    }
}

fn write_state(state: State) -> proto::message::State {
    use proto::message::State as Wire;
    match state {
        State::Queued => Wire::Queued,
        State::WaitingForContact => Wire::WaitingForContact,
        State::Sending => Wire::Sending,
        State::Delivered => Wire::Delivered,
        State::Failed => Wire::Failed,
    }
}

fn write_reason(reason: FailureReason) -> proto::FailureReason {
    use proto::FailureReason as Wire;
    match reason {
        FailureReason::ContactUnknown => Wire::ContactUnknown,
        FailureReason::ContactDeleted => Wire::ContactDeleted,
        FailureReason::AddressMissing => Wire::AddressMissing,
        FailureReason::Rejected => Wire::Rejected,
        FailureReason::AttemptsExhausted => Wire::AttemptsExhausted,
        FailureReason::Rendering => Wire::Rendering,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_database_and_the_events_are_the_contracts() {
        for state in State::ALL.iter().copied() {
            assert_eq!(write_state(state).as_str_name(), format!("STATE_{}", state.name()));
            assert_eq!(read_state(write_state(state)), Some(state));
        }
        for reason in FailureReason::ALL.iter().copied() {
            assert_eq!(write_reason(reason).as_str_name(), format!("FAILURE_REASON_{}", reason.name()));
        }
        for channel in Channel::ALL.iter().copied() {
            assert_eq!(write_channel(channel).as_str_name(), format!("CHANNEL_{}", channel.name()));
        }
    }
}
