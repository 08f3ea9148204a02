//! What tests of the suite stand on: a schema per test on a real Postgres, a served router, a clock that
//! stands still, a mail server that remembers. Nothing here replaces a component by a pretence.
//!
//! The servers come from the environment (`eval "$(./scripts/dev env)"`, or `./scripts/test`, which does it).

mod authority;
mod database;
mod door;
mod events;
mod http;
mod kit;
mod line;
mod patience;
mod refusal;
mod smtp;

pub use authority::{Authority, Identity};
pub use database::TestDatabase;
pub use door::Door;
pub use events::Events;
pub use http::get;
pub use kit::{
    Kit, NOW, caller, coordinator, manager, named, representative, request, request_id, settings, specialist,
};
pub use line::{Line, mint, passes, signing};
pub use patience::{eventually, persistent, until};
pub use refusal::{failed, refused, violations};
pub use smtp::{Answer, Heard, Mail, Session, SmtpSink, Tls};

/// Reads what `scripts/test` exports; a missing one is a failure with a plain sentence, never a skipped test.
pub fn environment(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run ./scripts/test, or eval \"$(./scripts/dev env)\" before cargo test")
    })
}
