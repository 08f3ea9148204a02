//! Who may call a method and how, and who sees which personal data, as the contracts say it.

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use crate::masking::Kinds;
use crate::options::v1::{PersonalKind, Role};

/// The policy of one method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MethodPolicy {
    /// The method, such as `/cqm.complaints.v1.ComplaintService/ResolveComplaint`.
    pub path: &'static str,
    /// The roles that may call it; a caller needs one of them. Never empty.
    pub roles: &'static [Role],
    /// The same bytes may be sent again after a failed transport. For a mutation with a request id this holds when
    /// the id is set.
    pub retry_safe: bool,
    /// The method changes nothing.
    pub read_only: bool,
    /// Either side sends more than one message.
    pub streams: bool,
    /// The number of the request's field by which a repeat is recognised, if it has one.
    pub request_id: Option<u32>,
    /// The kinds of personal data that an answer may hold.
    pub personal: Kinds,
}

/// What a call costs and how urgent it is, which quotas and load shedding go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// One question, one answer, nothing changed.
    Read,
    /// One change.
    Write,
    /// Streams: imports, exports, long lists.
    Bulk,
}

impl Class {
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Bulk];

    /// As configurations, metrics and refusals spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Bulk => "bulk",
        }
    }
}

impl MethodPolicy {
    /// Whether a caller with these roles may call the method.
    pub fn allows(&self, roles: &[Role]) -> bool {
        roles.iter().any(|role| self.roles.contains(role))
    }

    pub const fn class(&self) -> Class {
        match (self.streams, self.read_only) {
            (true, _) => Class::Bulk,
            (false, true) => Class::Read,
            (false, false) => Class::Write,
        }
    }

    /// Whether this very request, an encoded message, may be sent again. A mutation that can be recognised by its
    /// request id must carry one: without it a repeat is a second intent.
    pub fn repeatable(&self, message: &[u8]) -> bool {
        self.retry_safe && self.request_id.is_none_or(|field| carries(message, field))
    }
}

/// Whether a text field of the message is there and not empty. Looks at the outermost fields only and decodes none;
/// of a field that comes twice the last one counts, as for every reader.
fn carries(mut message: &[u8], field: u32) -> bool {
    let mut found = false;
    while !message.is_empty() {
        let Ok((number, wire_type)) = decode_key(&mut message) else { return false };
        if number == field {
            let mut value = message;
            found = wire_type == WireType::LengthDelimited
                && decode_varint(&mut value).is_ok_and(|length| length > 0);
        }
        if skip_field(wire_type, number, &mut message, DecodeContext::default()).is_err() {
            return false;
        }
    }
    found
}

/// Which personal data somebody sees in clear. The rest is masked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Because of their duties.
    pub clear: Kinds,
    /// When they say what for.
    pub purpose: Kinds,
}

static POLICIES: &[MethodPolicy] = include!(concat!(env!("OUT_DIR"), "/policies.rs"));

static RIGHTS: &[(Role, Rights)] = include!(concat!(env!("OUT_DIR"), "/rights.rs"));

/// The policy of the method with this path; `None` when the suite has no such method, which nobody may call.
pub fn find(path: &str) -> Option<&'static MethodPolicy> {
    POLICIES.binary_search_by(|policy| policy.path.cmp(path)).ok().map(|index| &POLICIES[index])
}

/// The policies of all methods, sorted by path.
pub fn all() -> &'static [MethodPolicy] {
    POLICIES
}

/// What somebody with these roles sees: what each of them opens.
pub fn rights(roles: &[Role]) -> Rights {
    let of = RIGHTS.iter().filter(|(role, _)| roles.contains(role)).map(|(_, rights)| *rights);
    of.fold(Rights::default(), |all, one| Rights {
        clear: all.clear | one.clear,
        purpose: all.purpose | one.purpose,
    })
}
