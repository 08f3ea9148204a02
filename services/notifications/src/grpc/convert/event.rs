//! What the others are told: how a message ended, without a word of what it said.

use cqm_db::log::NewEvent;
use cqm_proto::events::v1 as events;
use cqm_rpc::ResourceName;

use crate::domain::message::{Message, State};
use crate::{CUSTOMERS, MESSAGES};

/// The event of a finished message; `None` while it is on its way.
pub(crate) fn of_message(it: &Message) -> Option<NewEvent> {
    let finish_time = it.finish_time?;
    let name = ResourceName::new(MESSAGES, it.id).to_string();
    let (message, recipient) = (name.clone(), ResourceName::new(CUSTOMERS, it.customer_id).to_string());
    let (template, channel, about) =
        (it.template.to_string(), it.channel.name().to_owned(), it.about.clone());
    Some(match it.state {
        State::Delivered => {
            let told = events::MessageDelivered { message, recipient, template, channel, about };
            NewEvent::new(name, it.version, finish_time, &told)
        }
        _ => {
            let failure_reason = it.failure.map_or("", |reason| reason.name()).to_owned();
            let told = events::MessageFailed { message, recipient, template, channel, about, failure_reason };
            NewEvent::new(name, it.version, finish_time, &told)
        }
    })
}
