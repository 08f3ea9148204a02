//! What a check of the ledger finds.

use cqm_proto::loyalty::v1 as proto;
use cqm_proto::loyalty::v1::ledger_fault::Check as WireCheck;
use cqm_rpc::{Error, Violations};
use uuid::Uuid;

use super::member::name;
use crate::domain::verify::{Check, Fault};

/// Reads whom the check is about; `None`: everybody.
pub fn parse(message: &proto::VerifyLedgerRequest) -> Result<Option<Uuid>, Error> {
    if message.customer.is_empty() {
        return Ok(None);
    }
    let mut violations = Violations::default();
    let customer = super::customer(&message.customer, &mut violations);
    violations.finish()?;
    Ok(customer)
}

pub fn fault(fault: &Fault) -> proto::LedgerFault {
    let check = match fault.check {
        Check::Sequence => WireCheck::Sequence,
        Check::Chain => WireCheck::Chain,
        Check::SumZero => WireCheck::SumZero,
        Check::Balance => WireCheck::Balance,
        Check::Lot => WireCheck::Lot,
        Check::Hold => WireCheck::Hold,
        Check::Source => WireCheck::Source,
    };
    proto::LedgerFault {
        member: name(fault.customer).to_string(),
        check: check.into(),
        sequence: fault.sequence,
        about: fault.about.map(|id| id.as_hyphenated().to_string()).unwrap_or_default(),
        detail: fault.detail.clone(),
    }
}
