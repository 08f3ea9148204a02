//! The service's own configuration: it has no section of its own, and keeps the suite's defaults.

pub use cqm_runtime::config::Nothing as Config;

/// TOML over the suite's defaults.
pub const DEFAULTS: &str = "";
