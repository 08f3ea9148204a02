//! The reasons that this service refuses with, as `cqm.loyalty.v1.ErrorReason` documents them, and the names of the
//! constraints that it expects.

use chrono::SecondsFormat;
use cqm_rpc::{Error, Refusal as Refused, ResourceName};

use uuid::Uuid;

use crate::domain::tier::{MOST_TIERS, Misfit};
use crate::domain::{Refusal, programme, reward};
use crate::grpc::convert::{EARNING_RULES, HOLDS, REWARDS, TIERS, VOUCHERS, child};

cqm_rpc::reasons! { "cqm.loyalty.v1", cqm_proto::loyalty::v1::ErrorReason:
    MEMBER_NOT_FOUND, MEMBER_STATE, INSUFFICIENT_POINTS, ACCOUNT_FROZEN, BALANCE_OVERFLOW, TOO_MANY_LOTS,
    HOLD_NOT_FOUND, HOLD_STATE, HOLD_EXCEEDED, TRANSACTION_NOT_FOUND, NOT_REVERSIBLE, ALREADY_REVERSED,
    REVERSAL_EXCEEDED, PROGRAMME_NOT_FOUND, PROGRAMME_STATE, PROGRAMME_LIMIT, EARNING_RULE_NOT_FOUND, EARNING_RULE_LIMIT,
    BUDGET_SPENT,
    TIER_NOT_FOUND, TIER_EXISTS, TIER_ORDER, TIER_HELD, TOO_MANY_TIERS, REFERRAL_CODE_UNKNOWN,
    REFERRAL_SELF, REFERRAL_CYCLE, REFERRAL_NOT_NEW,
    BREAKAGE_ESTIMATE_NOT_FOUND, ESTIMATE_CURRENCY,
    REWARD_NOT_FOUND, REWARD_STATE, REWARD_NOT_OPEN, REWARD_LIMIT, OUT_OF_STOCK, STOCK_BELOW_TAKEN,
    VOUCHER_NOT_FOUND, VOUCHER_STATE,
}

/// Constraints whose violation has a meaning of its own.
pub mod constraint {
    /// Versions of the estimate are counted without a gap.
    pub const ESTIMATE_VERSION: &str = "breakage_estimate_version";
    /// One source gives points once for each reason that gives once.
    pub const ENTRY_SOURCE_ONCE: &str = "entry_source_once";
    /// A customer is a member once.
    pub const MEMBER_ONCE: &str = "member_pkey";
    /// Two members never have the same referral code.
    pub const MEMBER_REFERRAL_CODE: &str = "member_referral_code";
    /// The tier of a member is there.
    pub const MEMBER_TIER: &str = "member_tier";
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
            Refusal::ReferralSelf => Self::refused(REFERRAL_SELF),
            Refusal::ReferralCycle => Self::refused(REFERRAL_CYCLE),
            Refusal::ReferralNotNew => Self::refused(REFERRAL_NOT_NEW),
            Refusal::Overflow => Self::OutOfRange(Refused::new(BALANCE_OVERFLOW)),
            Refusal::OutOfBalance => Self::internal("the lots of a member hold more than the account"),
        }
    }
}

impl From<programme::Refusal> for Error {
    fn from(refusal: programme::Refusal) -> Self {
        use programme::{MOST_RULES, MOST_RUNNING, Refusal};
        Self::Refused(match refusal {
            Refusal::State { state, action } => {
                Refused::new(PROGRAMME_STATE).fact("state", state.name()).fact("action", action)
            }
            Refusal::TooManyRunning => Refused::new(PROGRAMME_LIMIT).fact("limit", MOST_RUNNING),
            Refusal::TooManyRules => Refused::new(EARNING_RULE_LIMIT).fact("limit", MOST_RULES),
            Refusal::Spent { spent } => Refused::new(BUDGET_SPENT).fact("spent", spent),
        })
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

impl From<Misfit> for Error {
    fn from(misfit: Misfit) -> Self {
        match misfit {
            Misfit::Taken(by) => Self::already_exists(TIER_EXISTS, ResourceName::new(TIERS, by)),
            Misfit::Order(beside) => {
                Self::Refused(Refused::new(TIER_ORDER).fact("tier", ResourceName::new(TIERS, beside)))
            }
            Misfit::TooMany => Self::Refused(Refused::new(TOO_MANY_TIERS).fact("limit", MOST_TIERS)),
        }
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

pub(crate) fn programme_not_found(name: ResourceName) -> Error {
    Error::not_found(PROGRAMME_NOT_FOUND, name)
}

pub(crate) fn rule_not_found(id: Uuid) -> Error {
    Error::not_found(EARNING_RULE_NOT_FOUND, ResourceName::new(EARNING_RULES, id))
}

/// There is no such tier.
pub(crate) fn tier_not_found(id: Uuid) -> Error {
    Error::not_found(TIER_NOT_FOUND, ResourceName::new(TIERS, id))
}

/// There is no such hold of the customer, who may be no member either.
pub(crate) fn hold_not_found(customer: Uuid, id: Uuid) -> Error {
    Error::not_found(HOLD_NOT_FOUND, child(customer, HOLDS, id))
}
