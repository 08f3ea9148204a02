//! What every call of the suite has in common, without any I/O: the closed [`Error`] and its statuses,
//! [`Violations`], the [`Call`] a handler answers, resource names, page tokens, etags and field masks.
//!
//! The crate knows gRPC and the contracts; it knows no database, no socket and no runtime, so the domain
//! modules of the services may use its value types ([`Personal`], [`Clock`] excepted: time is an argument there).

mod call;
mod clock;
mod disclosure;
mod error;
mod etag;
mod failure;
mod mask;
pub mod metadata;
mod name;
mod page;
mod personal;
mod purpose;
pub mod reason;
mod role;
mod status;
pub mod text;
pub mod time;
mod trace;
mod violations;
mod words;

pub use call::{Call, Caller, Deadline, serve, serve_stream};
pub use clock::Clock;
pub use disclosure::{Release, ReleaseLog, Releases};
pub use error::{BoxError, Error, Reason, Refusal};
pub use etag::Etag;
pub use failure::Failure;
pub use mask::Mask;
pub use name::{ResourceName, any_name};
pub use page::{Page, PageKey, PageRequest};
pub use personal::Personal;
pub use purpose::Purpose;
pub use role::{Role, role_from_name, role_name};
pub use trace::TraceContext;
pub use violations::{Violation, Violations};
