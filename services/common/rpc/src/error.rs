//! The one error type of the suite: what the caller can do, and where it came from.

use std::time::Duration;

use crate::{Violations, reason};

/// Any error, to be carried as a source and logged once by the server layer; never shown to a caller.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A machine-readable cause: `google.rpc.ErrorInfo`'s domain and reason, documented in the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reason {
    pub domain: &'static str,
    pub name: &'static str,
}

impl Reason {
    pub const fn new(domain: &'static str, name: &'static str) -> Self {
        Self { domain, name }
    }
}

/// Declares the reasons of one error domain in the order of its contract, and the test that they are all there.
///
/// ```ignore
/// cqm_rpc::reasons! { "cqm.complaints.v1", cqm_proto::complaints::v1::ErrorReason: COMPLAINT_NOT_FOUND, COMPLAINT_STATE }
/// ```
#[macro_export]
macro_rules! reasons {
    ($domain:literal, $contract:path: $($name:ident),+ $(,)?) => {
        $(pub const $name: $crate::Reason = $crate::Reason::new($domain, stringify!($name));)+

        #[cfg(test)]
        #[test]
        fn the_reasons_are_those_of_the_contract() {
            let documented: Vec<_> = (1..)
                .map_while(|number| <$contract>::try_from(number).ok())
                .map(|reason| reason.as_str_name().trim_start_matches("ERROR_REASON_"))
                .collect();
            assert_eq!([$($name.name),+].as_slice(), documented);
        }
    };
}

/// A refusal by a rule: its reason, and the facts that a program can act on. Never personal data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    pub facts: Vec<(&'static str, String)>,
}

impl Refusal {
    pub fn new(reason: Reason) -> Self {
        Self { reason, facts: Vec::new() }
    }

    pub fn fact(mut self, key: &'static str, value: impl ToString) -> Self {
        self.facts.push((key, value.to_string()));
        self
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason.name.to_ascii_lowercase().replace('_', " "))?;
        for (index, (key, value)) in self.facts.iter().enumerate() {
            write!(f, "{}{key} {value}", if index == 0 { ": " } else { ", " })?;
        }
        Ok(())
    }
}

/// Why a call has no answer. Each variant is one thing that the caller can do about it.
///
/// `Display` is what the caller reads; it never repeats its source.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Correct the message. `INVALID_ARGUMENT`
    #[error("invalid request: {0}")]
    Invalid(Violations),
    /// Correct the bytes or the headers. `INVALID_ARGUMENT`
    #[error("{0}")]
    Malformed(Refusal),
    /// Bring credentials. `UNAUTHENTICATED`
    #[error("credentials are missing or not valid")]
    Unauthenticated(Reason),
    /// Ask for the role. `PERMISSION_DENIED`
    #[error("no role of the caller may {permission}")]
    Denied { permission: String },
    /// It is absent, erased or not yours. `NOT_FOUND`
    #[error("{name} does not exist")]
    NotFound { reason: Reason, name: String },
    /// Use the one that is there. `ALREADY_EXISTS`
    #[error("{name} exists already")]
    AlreadyExists { reason: Reason, name: String },
    /// Change the state first. `FAILED_PRECONDITION`
    #[error("{0}")]
    Refused(Refusal),
    /// Read again, decide again. `ABORTED`
    #[error("{name} has changed since its etag was read")]
    Stale { name: String },
    /// Repeat the same request. `ABORTED`
    #[error("the request met another one; repeat it")]
    Conflict { reason: Reason, source: Option<BoxError> },
    /// The result has no representation. `OUT_OF_RANGE`
    #[error("{0}")]
    OutOfRange(Refusal),
    /// Send less, or later. `RESOURCE_EXHAUSTED`
    #[error("{refusal}")]
    Exhausted { refusal: Refusal, retry_after: Option<Duration> },
    /// Call something that exists. `UNIMPLEMENTED`
    #[error("the method is not known here")]
    Unimplemented,
    /// Give it more time. `DEADLINE_EXCEEDED`
    #[error("the deadline passed")]
    DeadlinePassed,
    /// Repeat later, with the same `request_id`. `UNAVAILABLE`
    #[error("temporarily unavailable; repeat the request")]
    Unavailable { reason: Reason, source: Option<BoxError> },
    /// Tell us. `INTERNAL`
    #[error("internal error")]
    Internal(#[source] BoxError),
}

impl Error {
    pub fn internal(source: impl Into<BoxError>) -> Self {
        Self::Internal(source.into())
    }

    pub fn unavailable(reason: Reason, source: impl Into<BoxError>) -> Self {
        Self::Unavailable { reason, source: Some(source.into()) }
    }

    pub fn refused(reason: Reason) -> Self {
        Self::Refused(Refusal::new(reason))
    }

    /// It is absent, erased or not the caller's: one answer for all three.
    pub fn not_found(reason: Reason, name: impl ToString) -> Self {
        Self::NotFound { reason, name: name.to_string() }
    }

    /// `name` is the one that is there.
    pub fn already_exists(reason: Reason, name: impl ToString) -> Self {
        Self::AlreadyExists { reason, name: name.to_string() }
    }

    /// One violation, for checks that stand alone.
    pub fn invalid(field: &str, reason: Reason, description: &str) -> Self {
        let mut violations = Violations::default();
        violations.add(field, reason, description);
        Self::Invalid(violations)
    }

    /// What stands in the ErrorInfo.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Invalid(violations) => violations.iter().next().map_or(reason::FIELD_FORMAT, |v| v.reason),
            Self::Malformed(refusal) | Self::Refused(refusal) | Self::OutOfRange(refusal) => refusal.reason,
            Self::Exhausted { refusal, .. } => refusal.reason,
            Self::Unauthenticated(reason)
            | Self::NotFound { reason, .. }
            | Self::AlreadyExists { reason, .. }
            | Self::Conflict { reason, .. }
            | Self::Unavailable { reason, .. } => *reason,
            Self::Denied { .. } => reason::ROLE_MISSING,
            Self::Stale { .. } => reason::ETAG_MISMATCH,
            Self::Unimplemented => reason::METHOD_UNKNOWN,
            Self::DeadlinePassed => reason::DEADLINE_PASSED,
            Self::Internal(_) => reason::INTERNAL,
        }
    }

    pub fn code(&self) -> tonic::Code {
        use tonic::Code;
        match self {
            Self::Invalid(_) | Self::Malformed(_) => Code::InvalidArgument,
            Self::Unauthenticated(_) => Code::Unauthenticated,
            Self::Denied { .. } => Code::PermissionDenied,
            Self::NotFound { .. } => Code::NotFound,
            Self::AlreadyExists { .. } => Code::AlreadyExists,
            Self::Refused(_) => Code::FailedPrecondition,
            Self::Stale { .. } | Self::Conflict { .. } => Code::Aborted,
            Self::OutOfRange(_) => Code::OutOfRange,
            Self::Exhausted { .. } => Code::ResourceExhausted,
            Self::Unimplemented => Code::Unimplemented,
            Self::DeadlinePassed => Code::DeadlineExceeded,
            Self::Unavailable { .. } => Code::Unavailable,
            Self::Internal(_) => Code::Internal,
        }
    }

    /// Whether the same request may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Conflict { .. } | Self::Exhausted { .. } | Self::DeadlinePassed | Self::Unavailable { .. }
        )
    }

    /// The facts for ErrorInfo's metadata.
    pub(crate) fn facts(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Malformed(refusal) | Self::Refused(refusal) | Self::OutOfRange(refusal) => {
                refusal.facts.clone()
            }
            Self::Exhausted { refusal, .. } => refusal.facts.clone(),
            Self::NotFound { name, .. } | Self::AlreadyExists { name, .. } | Self::Stale { name } => {
                vec![("name", name.clone())]
            }
            Self::Denied { permission } => vec![("permission", permission.clone())],
            _ => Vec::new(),
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Where diesel's errors become ours when nobody expected a particular one: never "not found", never
/// "conflict" for a constraint. Those need the caller's expectation (`cqm_db::OnConflict`).
#[cfg(feature = "diesel")]
impl From<diesel::result::Error> for Error {
    fn from(error: diesel::result::Error) -> Self {
        use diesel::result::{DatabaseErrorKind as Kind, Error as Diesel};
        let diesel::result::Error::DatabaseError(kind, information) = &error else {
            return match error {
                Diesel::BrokenTransactionManager => Self::unavailable(reason::STORAGE_UNAVAILABLE, error),
                other => Self::internal(other),
            };
        };
        // diesel-async hides the SQLSTATE behind `Unknown`; the server's message is what is left of it. `cqm_db` opens
        // no connection on which it would be translated.
        let message = information.message();
        let says = |text: &str| message.contains(text);
        match kind {
            Kind::SerializationFailure => {
                Self::Conflict { reason: reason::TRANSACTION_CONFLICT, source: Some(error.into()) }
            }
            Kind::ClosedConnection | Kind::UnableToSendCommand | Kind::ReadOnlyTransaction => {
                Self::unavailable(reason::STORAGE_UNAVAILABLE, error)
            }
            _ if says("deadlock detected") || says("due to lock timeout") => {
                Self::Conflict { reason: reason::TRANSACTION_CONFLICT, source: Some(error.into()) }
            }
            _ if says("due to statement timeout") => Self::DeadlinePassed,
            _ if says("terminating connection")
                || says("the database system is")
                || says("shutting down")
                || says("cannot execute")
                || says("too many clients") =>
            {
                Self::unavailable(reason::STORAGE_UNAVAILABLE, error)
            }
            _ => Self::internal(error),
        }
    }
}
