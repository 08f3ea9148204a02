//! The contract's enums and the domain's: the same words, with a prefix on the wire.

use cqm_proto::customers::v1 as proto;

use crate::domain::contact::PhoneLabel;
use crate::domain::erasure::{Ground, State as ErasureState};
use crate::domain::interaction::{InteractionChannel, InteractionKind};
use crate::domain::merge::State as MergeState;
use crate::domain::profile::{Gender, SourceChannel};

/// An enum of the domain that has a counterpart in the contract.
pub trait Wire: Copy + Sized {
    /// The contract's enum; its zero value says "not told" and has no counterpart.
    type Message: TryFrom<i32>;

    /// What a value of the contract means; `None` for the zero value.
    fn of(message: Self::Message) -> Option<Self>;

    /// The number in the contract.
    fn number(self) -> i32;
}

/// The number of a value that may be left out.
pub fn number<W: Wire>(value: Option<W>) -> i32 {
    value.map_or(0, Wire::number)
}

macro_rules! wire {
    ($($domain:ty = $message:ty, $prefix:literal;)+) => {
        $(impl Wire for $domain {
            type Message = $message;

            fn of(message: $message) -> Option<Self> {
                message.as_str_name().strip_prefix($prefix).and_then(Self::find)
            }

            fn number(self) -> i32 {
                let name = format!(concat!($prefix, "{}"), self.name());
                <$message>::from_str_name(&name).map_or(0, |message| message as i32)
            }
        })+
    };
}

wire! {
    PhoneLabel = proto::phone::Label, "LABEL_";
    Gender = proto::Gender, "GENDER_";
    SourceChannel = proto::SourceChannel, "SOURCE_CHANNEL_";
    InteractionKind = proto::interaction::Kind, "KIND_";
    InteractionChannel = proto::interaction::Channel, "CHANNEL_";
    Ground = proto::erasure::Ground, "GROUND_";
    ErasureState = proto::erasure::State, "STATE_";
    MergeState = proto::merge::State, "STATE_";
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_value_has_its_counterpart<W: Wire + PartialEq + std::fmt::Debug>(all: &[W]) {
        for value in all {
            let message = W::Message::try_from(value.number()).ok().expect("a value of the contract");
            assert_eq!(W::of(message), Some(*value));
        }
        // The contract numbers its values from 0 without gaps: one more would be one that the domain lacks.
        let next = i32::try_from(all.len()).unwrap() + 1;
        assert!(W::Message::try_from(next).is_err(), "the contract has a value beyond {all:?}");
        assert!(W::Message::try_from(0).ok().and_then(W::of).is_none());
    }

    #[test]
    fn the_domain_has_the_words_of_the_contract() {
        every_value_has_its_counterpart(PhoneLabel::ALL);
        every_value_has_its_counterpart(Gender::ALL);
        every_value_has_its_counterpart(SourceChannel::ALL);
        every_value_has_its_counterpart(InteractionKind::ALL);
        every_value_has_its_counterpart(InteractionChannel::ALL);
        every_value_has_its_counterpart(Ground::ALL);
        every_value_has_its_counterpart(ErasureState::ALL);
        every_value_has_its_counterpart(MergeState::ALL);
    }
}
