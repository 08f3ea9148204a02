//! The ledger as it must be: pure rules over values. No clock, no database, no wire; ids and times come in as
//! arguments, so that the same decision over the same state is the same change.
//!
//! - [`member`]: who takes part, and whether points may be spent;
//! - [`earning`]: how many points what happened is worth;
//! - [`lot`]: which points are spent first;
//! - [`book`]: the accounts, and the end of each;
//! - [`ledger`]: the entries and postings that a change is made of;
//! - [`chain`]: the hashes that tie each account's postings together.

pub mod book;
pub mod chain;
pub mod earning;
pub mod ledger;
pub mod lot;
pub mod member;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use ledger::Reason;

/// Why a rule says no. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There are fewer points than asked for: only this many.
    Insufficient { available: i64 },
    /// The member is frozen; points are not spent.
    Frozen,
    /// The member's state does not allow the action.
    State { state: member::State, action: &'static str },
    /// A sum does not fit into 64 bits.
    Overflow,
    /// The lots and the account disagree: a fault of ours, never the caller's.
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

/// The facts of an event. Points are over 0, whichever way they went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    Enrolled,
    Frozen,
    Unfrozen,
    Earned { entry: Uuid, points: i64, reason: Reason, source: String, balance: i64 },
    Deducted { entry: Uuid, points: i64, source: String, balance: i64 },
    Redeemed { entry: Uuid, points: i64, source: String, balance: i64 },
}
