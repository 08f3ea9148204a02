//! The reasons that this service refuses with, as `cqm.loyalty.v1.ErrorReason` documents them, and the names of the
//! constraints that it expects.

use chrono::SecondsFormat;
use cqm_rpc::{Error, Refusal as Refused, ResourceName};

use uuid::Uuid;

use crate::domain::{Refusal, reward};
use crate::grpc::convert::{HOLDS, REWARDS, VOUCHERS, child};

cqm_rpc::reasons! { "cqm.loyalty.v1", cqm_proto::loyalty::v1::ErrorReason:
    MEMBER_NOT_FOUND, MEMBER_STATE, INSUFFICIENT_POINTS, ACCOUNT_FROZEN, BALANCE_OVERFLOW, TOO_MANY_LOTS,
    HOLD_NOT_FOUND, HOLD_STATE, HOLD_EXCEEDED, TRANSACTION_NOT_FOUND, NOT_REVERSIBLE, ALREADY_REVERSED,
    REVERSAL_EXCEEDED, REWARD_NOT_FOUND, REWARD_STATE, REWARD_NOT_OPEN, REWARD_LIMIT, OUT_OF_STOCK, STOCK_BELOW_TAKEN,
    VOUCHER_NOT_FOUND, VOUCHER_STATE,
}

/// Constraints whose violation has a meaning of its own.
pub mod constraint {
    /// One source gives points once for each reason that gives once.
    pub const ENTRY_SOURCE_ONCE: &str = "entry_source_once";
    /// A customer is a member once.
    pub const MEMBER_ONCE: &str = "member_pkey";
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Insufficient { available } => {
                Self::Refused(Refused::new(INSUFFICIENT_POINTS).fact("available", available))
            }
            Refusal::TooManyLots { points } => {
                Self::Refused(Refused::new(TOO_MANY_LOTS).fact("points", points))
            }
            Refusal::HoldState { state, action } => {
                Self::Refused(Refused::new(HOLD_STATE).fact("state", state.name()).fact("action", action))
            }
            Refusal::HoldExceeded { held } => Self::Refused(Refused::new(HOLD_EXCEEDED).fact("held", held)),
            Refusal::ReversalExceeded { left } => {
                Self::Refused(Refused::new(REVERSAL_EXCEEDED).fact("left", left))
            }
            Refusal::AlreadyReversed => Self::refused(ALREADY_REVERSED),
            Refusal::NotReversible { kind } => {
                Self::Refused(Refused::new(NOT_REVERSIBLE).fact("kind", kind.name()))
            }
            Refusal::Frozen => Self::refused(ACCOUNT_FROZEN),
            Refusal::State { state, action } => {
                Self::Refused(Refused::new(MEMBER_STATE).fact("state", state.name()).fact("action", action))
            }
            Refusal::Overflow => Self::OutOfRange(Refused::new(BALANCE_OVERFLOW)),
            Refusal::OutOfBalance => Self::internal("the lots of a member hold more than the account"),
        }
    }
}

impl From<reward::Refusal> for Error {
    fn from(refusal: reward::Refusal) -> Self {
        Self::Refused(match refusal {
            reward::Refusal::State { state, action } => {
                Refused::new(REWARD_STATE).fact("state", state.name()).fact("action", action)
            }
            reward::Refusal::NotOpen { start, end } => {
                let times = [("start_time", start), ("end_time", end)];
                times.into_iter().fold(Refused::new(REWARD_NOT_OPEN), |refused, (key, time)| match time {
                    Some(time) => refused.fact(key, time.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
                    None => refused,
                })
            }
            reward::Refusal::Limit { most } => Refused::new(REWARD_LIMIT).fact("most", most),
            reward::Refusal::OutOfStock => Refused::new(OUT_OF_STOCK),
            reward::Refusal::StockBelowTaken { taken } => {
                Refused::new(STOCK_BELOW_TAKEN).fact("taken", taken)
            }
            reward::Refusal::Voucher { state, action } => {
                Refused::new(VOUCHER_STATE).fact("state", state.name()).fact("action", action)
            }
        })
    }
}

/// There is no such reward.
pub(crate) fn reward_not_found(id: Uuid) -> Error {
    Error::not_found(REWARD_NOT_FOUND, ResourceName::new(REWARDS, id))
}

/// There is no such voucher of the customer, who may be no member either.
pub(crate) fn voucher_not_found(customer: Uuid, id: Uuid) -> Error {
    Error::not_found(VOUCHER_NOT_FOUND, child(customer, VOUCHERS, id))
}

/// The code is of no voucher. It is not repeated: an error is logged.
pub(crate) fn code_of_no_voucher() -> Error {
    Error::not_found(VOUCHER_NOT_FOUND, "members/-/vouchers/-")
}

/// The customer is no member.
pub(crate) fn member_not_found(name: ResourceName) -> Error {
    Error::not_found(MEMBER_NOT_FOUND, name)
}

/// There is no such hold of the customer, who may be no member either.
pub(crate) fn hold_not_found(customer: Uuid, id: Uuid) -> Error {
    Error::not_found(HOLD_NOT_FOUND, child(customer, HOLDS, id))
}
