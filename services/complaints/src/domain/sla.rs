//! Service levels: in what time a complaint is to be handled, and how it stands with that.
//!
//! A [`Policy`] says how much open time the handling may take, and its [`Calendar`] which time is open. A complaint has
//! the [`Clocks`] of the policy that was in force when it was registered. What they show is worked out at the moment of
//! asking; what is kept is only what cannot be worked out again.

mod calendar;
mod clocks;
mod policy;
mod timer;

pub use calendar::{Calendar, Hours, Rules};
pub use clocks::{Clock, Clocks};
pub use policy::{Policy, Targets};
pub use timer::{Timer, Told};
