//! The event log: what happened, in one order, told to whoever asks.
//!
//! A domain transaction [`append`]s its events to `event_pending`. The [`Sequencer`] moves committed rows to
//! `event_log` and gives them contiguous positions, each row's hash chained over its predecessor's. Positions
//! are given after the commit of the event itself, so a reader that goes by position never skips one whose
//! transaction committed late. [`feed`] reads by position, [`parked`] keeps what a consumer could not digest,
//! [`reactions`] from where in the log each of its reactions applies.

mod append;
mod backlog;
pub mod feed;
pub mod parked;
pub mod reactions;
mod sequencer;

pub use append::{NewEvent, append, append_all};
pub use backlog::{backlog, lags, parked_counts};
pub use feed::{Batch, Cursor, LoggedEvent};
pub use parked::{Park, Parked, ParkedState};
pub use reactions::Reaction;
pub use sequencer::{Look, Sequencer, verify};

use cqm_rpc::Reason;

const DOMAIN: &str = "cqm.events.v1";

/// The source lost its tail, or the consumer read another log: it must stop and say so.
pub const LOG_DIVERGED: Reason = Reason::new(DOMAIN, "LOG_DIVERGED");
/// Another reader holds the consumer's claim.
pub const FEED_CLAIMED: Reason = Reason::new(DOMAIN, "FEED_CLAIMED");
/// The aggregate is not parked for this consumer.
pub const PARKED_NOT_FOUND: Reason = Reason::new(DOMAIN, "PARKED_NOT_FOUND");
/// The aggregate is parked at another event than the one that was named.
pub const PARKED_EVENT_MISMATCH: Reason = Reason::new(DOMAIN, "PARKED_EVENT_MISMATCH");
