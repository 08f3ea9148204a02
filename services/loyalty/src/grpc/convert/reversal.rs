//! Transactions that are taken back.

use cqm_proto::loyalty::v1 as proto;
use cqm_proto::loyalty::v1::reverse_transaction_request::Extent as WireExtent;
use cqm_rpc::{Error, Violations};
use uuid::Uuid;

use super::ledger::{account, entries};
use super::{TRANSACTIONS, parse_child, source};
use crate::domain::account::{Account, Extent, Past};
use crate::domain::entry::Entry;

/// A transaction is to be taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reverse {
    pub customer: Uuid,
    pub transaction: Uuid,
    pub extent: Extent,
    pub source: String,
    pub request_id: Uuid,
}

impl Reverse {
    pub fn parse(message: &proto::ReverseTransactionRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let name = parse_child(TRANSACTIONS, "transaction", &message.transaction, &mut violations);
        let extent = match &message.extent {
            None => Extent::Rest,
            Some(WireExtent::Points(points)) => {
                if *points < 1 {
                    violations.range("points", "1 or more");
                }
                Extent::Points(*points)
            }
            Some(WireExtent::UpTo(share)) => {
                if share.whole < 1 {
                    violations.range("up_to.whole", "1 or more");
                }
                if share.part < 0 {
                    violations.range("up_to.part", "0 or more");
                } else if share.part > share.whole {
                    violations.order("up_to.part", "the whole at most");
                }
                Extent::UpTo { part: share.part, whole: share.whole }
            }
        };
        let source = source(&message.source, &mut violations);
        let request_id = violations.request_id(&message.request_id);
        violations.finish()?;
        let (customer, transaction) = name.expect("no violations, so there is a name");
        Ok(Self {
            customer,
            transaction,
            extent,
            source,
            request_id: request_id.expect("no violations, so there is a request id"),
        })
    }
}

/// `past` as it is after the reversal, of which `made` are the entries.
pub fn reversed(
    past: &Past,
    made: &[Entry],
    of: &Account,
) -> Result<proto::ReverseTransactionResponse, Error> {
    Ok(proto::ReverseTransactionResponse {
        entries: entries(made),
        points: made.iter().map(|entry| entry.points).sum(),
        left: of.left_to_reverse(past)?.iter().sum(),
        account: Some(account(of)),
    })
}
