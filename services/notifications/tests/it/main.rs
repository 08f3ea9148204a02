//! The service as its callers see it: over a real server, a real Postgres and a real mail server.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod contacts;
mod delivery;
mod desk;
mod encryption;
mod forgetting;
mod inbox;
mod mail;
mod mailbox;
mod merging;
mod messages;
mod outages;
mod process;
mod replicas;
mod template_refusals;
mod templates;
