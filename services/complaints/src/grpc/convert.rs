//! Messages to commands and back. What leaves a `parse` cannot hold invalid data.

mod answer;
mod command;
mod event;
mod list;
mod policy;

pub use answer::{complaint, timeline_entry};
pub use command::{
    Acknowledge, Assign, Close, Get, RecordRootCause, Register, Reopen, Resolve, StartInvestigation, Target,
};
pub use event::event;
pub use list::{List, ListCustomerTimeline, ListTimeline};
pub use policy::{Publish, policy, policy_list, policy_name, policy_version};
