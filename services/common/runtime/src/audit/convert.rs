//! The audit service's messages.

use cqm_db::audit::{Check, Fault, Filter, Released};
use cqm_proto::audit::v1 as proto;
use cqm_proto::audit::v1::audit_fault;
use cqm_proto::options::v1::Purpose;
use cqm_rpc::{Error, PageRequest, ResourceName, Violations, text, time};

const COLLECTION: &str = "releases";
const CUSTOMERS: &str = "customers";
const MAX_CALLER: usize = 255;
/// Of a SHA-256.
const HASH_BYTES: usize = 32;

/// Which releases are asked for.
#[derive(Debug)]
pub(super) struct List {
    pub filter: Filter,
    /// By place in the chain, the newest first.
    pub page: PageRequest<i64>,
}

impl List {
    pub fn parse(message: &proto::ListReleasesRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let customer =
            ResourceName::parse_optional(CUSTOMERS, "customer", &message.customer, &mut violations);
        let caller = text::line("caller", &message.caller, MAX_CALLER, &mut violations);
        let purpose = violations.optional_choice::<Purpose>("purpose", message.purpose);
        let from = time::optional("start_time", message.start_time.as_ref(), &mut violations);
        let until = time::optional("end_time", message.end_time.as_ref(), &mut violations);
        if let (Some(from), Some(until)) = (from, until)
            && from > until
        {
            violations.order("end_time", "at or after start_time");
        }
        let moment = |time: Option<chrono::DateTime<chrono::Utc>>| {
            time.map_or_else(String::new, |time| time.timestamp_micros().to_string())
        };
        let query = [
            "releases",
            &message.customer,
            &caller,
            &message.purpose.to_string(),
            &moment(from),
            &moment(until),
        ];
        let page = PageRequest::parse(message.page_size, &message.page_token, &query, &mut violations);
        violations.finish()?;
        let filter = Filter {
            customer: customer.map(|name| name.id()),
            caller: Some(caller).filter(|caller| !caller.is_empty()),
            purpose: purpose.map(i32::from),
            from,
            until,
        };
        Ok(Self { filter, page })
    }
}

/// What a check is anchored in.
#[derive(Debug)]
pub(super) struct Verify {
    pub anchor: Option<(i64, Vec<u8>)>,
}

impl Verify {
    pub fn parse(message: &proto::VerifyAuditRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let (sequence, hash) = (message.anchor_sequence, &message.anchor_hash);
        if sequence < 0 {
            violations.range("anchor_sequence", "0 or more");
        }
        match (sequence, hash.len()) {
            (0, 0) | (_, HASH_BYTES) => {}
            (_, 0) => violations.required("anchor_hash"),
            _ => violations.format("anchor_hash", "the 32 bytes of a release's hash"),
        }
        if sequence == 0 && !hash.is_empty() {
            violations.required("anchor_sequence");
        }
        violations.finish()?;
        Ok(Self { anchor: (sequence > 0).then(|| (sequence, hash.to_vec())) })
    }
}

pub(super) fn release(row: Released) -> proto::Release {
    let customers = row.customers.into_iter();
    proto::Release {
        name: name(row.sequence),
        sequence: row.sequence,
        time: Some(time::wire(row.time)),
        caller: row.caller,
        roles: row.roles,
        purpose: row.purpose,
        reference: row.reference,
        method: row.method,
        kinds: row.kinds,
        customers: customers.map(|id| ResourceName::new(CUSTOMERS, id).to_string()).collect(),
        resources: row.resources,
        trace_id: row.trace_id,
        hash: row.hash.into(),
    }
}

pub(super) fn fault(fault: &Fault) -> proto::AuditFault {
    let check = match fault.check {
        Check::Hash => audit_fault::Check::Hash,
        Check::Missing => audit_fault::Check::Missing,
        Check::End => audit_fault::Check::End,
        Check::Anchor => audit_fault::Check::Anchor,
    };
    proto::AuditFault { release: name(fault.sequence), check: check.into() }
}

fn name(sequence: i64) -> String {
    format!("{COLLECTION}/{sequence}")
}
