//! The ledger as it must be: pure rules over values. No clock, no database, no wire; ids and times come in as
//! arguments, so that the same decision over the same state is the same change.
//!
//! - [`member`]: who takes part, and whether points may be spent;
//! - [`earning`]: how many points what happened is worth;
//! - [`programme`] and [`rules`]: what else is given for it, within budgets and limits;
//! - [`book`]: the accounts, and what stands on each;
//! - [`lot`] and [`hold`]: points that end together, and points that are set aside;
//! - [`entry`]: the movements that a change is made of, and [`chain`]: the hashes that tie them together;
//! - [`account`]: a member with all of it, and what can be decided: earn, spend, hold, take back, let time pass, and give
//!   everything to another name of the same person;
//! - [`tier`] and [`standing`]: what members are by the points that count, and how they get and lose it;
//! - [`referral`]: who brought whom in;
//! - [`split`]: parts that add up, and [`text`]: texts for people;
//! - [`reward`] and [`voucher`]: what points are given back for, and [`code`]: what a voucher is used by;
//! - [`verify`]: whether what is stored is what these rules allow;
//! - [`turnover`], [`statement`] and [`liability`]: what reports make of what was moved.

pub mod account;
pub mod book;
pub mod chain;
pub mod code;
pub mod earning;
pub mod entry;
pub mod hold;
pub mod liability;
pub mod lot;
pub mod member;
pub mod programme;
pub mod referral;
pub mod reward;
pub mod rules;
pub mod split;
pub mod standing;
pub mod statement;
pub mod text;
pub mod tier;
pub mod turnover;
pub mod verify;
pub mod voucher;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use entry::Reason;

/// Why a rule says no. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There are fewer points than asked for: only this many.
    Insufficient { available: i64 },
    /// The points are spread over too many lots for one transaction: this many can be spent by one.
    TooManyLots { points: i64 },
    /// The member is frozen; points are not spent.
    Frozen,
    /// The member's state does not allow the action.
    State { state: member::State, action: &'static str },
    /// The hold's state does not allow the action.
    HoldState { state: hold::State, action: &'static str },
    /// Less is held than asked for: only this much.
    HoldExceeded { held: i64 },
    /// Less is left to take back than asked for: only this much.
    ReversalExceeded { left: i64 },
    /// All of it was taken back before.
    AlreadyReversed,
    /// Such a transaction cannot be taken back.
    NotReversible { kind: entry::Kind },
    /// A member cannot bring themselves in.
    ReferralSelf,
    /// The member brought in whoever is said to have brought them in.
    ReferralCycle,
    /// The member is one already.
    ReferralNotNew,
    /// A sum does not fit into 64 bits.
    Overflow,
    /// The lots and the accounts disagree: a fault of ours, never the caller's.
    OutOfBalance,
}

/// What happened to a member, and the version of the member that it led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub customer: Uuid,
    pub version: i64,
    pub time: DateTime<Utc>,
    pub fact: Fact,
}

/// The facts of an event. Points are over 0, whichever way they went; `balance` is what is available after them. `missing`
/// more qualifying points keep a tier. What moves from one name of a person to the other is told of both, below 0 where it
/// went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    Enrolled,
    Frozen,
    Unfrozen,
    Earned { entry: Uuid, points: i64, reason: Reason, source: String, balance: i64 },
    Deducted { entry: Uuid, points: i64, source: String, balance: i64 },
    Redeemed { entry: Uuid, points: i64, source: String, balance: i64, hold: Option<Uuid> },
    Held { hold: Uuid, points: i64, source: String, balance: i64, expires_at: DateTime<Utc> },
    HoldReleased { hold: Uuid, points: i64, ran_out: bool, balance: i64 },
    Matured { points: i64, balance: i64 },
    Expired { points: i64, balance: i64 },
    ExpiringSoon { points: i64, first: DateTime<Utc>, last: DateTime<Utc> },
    EarningReversed { transaction: Uuid, points: i64, debt: i64, balance: i64 },
    SpendingReversed { transaction: Uuid, points: i64, repaid: i64, balance: i64 },
    TierChanged(tier::Turn),
    TierDowngradeAnnounced { from: Uuid, to: Option<Uuid>, at: DateTime<Utc>, missing: i64 },
    Moved { other: Uuid, points: i64, debt: i64, balance: i64 },
    Referred { referrer: Uuid },
    ReferralQualified { referrer: Uuid },
}
