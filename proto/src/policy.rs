//! Who may call a method and how, as the contracts say it.

use crate::options::v1::Role;

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
}

impl MethodPolicy {
    /// Whether a caller with these roles may call the method.
    pub fn allows(&self, roles: &[Role]) -> bool {
        roles.iter().any(|role| self.roles.contains(role))
    }
}

static POLICIES: &[MethodPolicy] = include!(concat!(env!("OUT_DIR"), "/policies.rs"));

/// The policy of the method with this path; `None` when the suite has no such method, which nobody may call.
pub fn find(path: &str) -> Option<&'static MethodPolicy> {
    POLICIES.binary_search_by(|policy| policy.path.cmp(path)).ok().map(|index| &POLICIES[index])
}

/// The policies of all methods, sorted by path.
pub fn all() -> &'static [MethodPolicy] {
    POLICIES
}
