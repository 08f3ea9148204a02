//! The rules of complaints: pure, without I/O, clock or wire types.

mod complaint;
mod event;
pub mod sla;
mod vocabulary;

pub use complaint::{
    COLLECTION, Complaint, IllegalMove, Matter, Reopening, Resolution, RootCause, reference,
};
pub use event::{Event, TimelineEntry, What};
pub use vocabulary::{
    Action, Category, Channel, ClockState, Remedy, ReopenReason, Severity, State, UnknownCode,
};
