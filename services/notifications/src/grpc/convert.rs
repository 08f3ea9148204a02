//! From the contract's messages to the domain and back. Whatever is wrong with a message is found here, all of it
//! at once; what comes out cannot be invalid.

pub(crate) mod contact;
pub(crate) mod event;
pub(crate) mod inbox;
pub(crate) mod message;
pub(crate) mod template;

use cqm_proto::notifications::v1 as proto;
use cqm_rpc::{Error, ResourceName, Violations};

use crate::domain::message::Channel;

/// A required name of a request that holds nothing else.
fn name(collection: &'static str, name: &str) -> Result<ResourceName, Error> {
    let mut violations = Violations::default();
    let name = ResourceName::parse(collection, "name", name, &mut violations);
    violations.finish()?;
    Ok(name.expect("no violation means that there is a name"))
}

/// Channels, each once.
fn channels(field: &str, numbers: &[i32], violations: &mut Violations) -> Vec<Channel> {
    let mut channels = Vec::new();
    for (index, number) in numbers.iter().enumerate() {
        let field = format!("{field}[{index}]");
        let Some(channel) = violations.choice::<proto::Channel>(&field, *number).and_then(read_channel)
        else {
            continue;
        };
        if channels.contains(&channel) {
            violations.format(&field, "another channel than those before it");
        } else {
            channels.push(channel);
        }
    }
    channels
}

fn read_channel(channel: proto::Channel) -> Option<Channel> {
    match channel {
        proto::Channel::Unspecified => None,
        proto::Channel::Email => Some(Channel::Email),
        proto::Channel::InApp => Some(Channel::InApp),
    }
}

fn write_channel(channel: Channel) -> proto::Channel {
    match channel {
        Channel::Email => proto::Channel::Email,
        Channel::InApp => proto::Channel::InApp,
    }
}
