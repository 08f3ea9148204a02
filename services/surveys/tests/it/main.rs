//! The service as its callers know it: over HTTP/2, on a real Postgres.

#![expect(clippy::unwrap_used, reason = "here an unwrap is an assertion")]

mod answering;
mod drafts;
mod expiry;
mod forgetting;
mod invitations;
mod lists;
mod merging;
mod panel;
mod questionnaires;
mod refusals;
mod repeats;
mod summaries;
