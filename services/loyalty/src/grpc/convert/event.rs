//! Events. The aggregate of all of them is the member.

use cqm_db::log::NewEvent;
use cqm_proto::events::v1 as proto;
use cqm_rpc::ResourceName;
use prost::{Message, Name};
use uuid::Uuid;

use super::CUSTOMERS;
use super::ledger::entry_name;
use super::member::name;
use crate::domain::{Event, Fact};

/// The event as the log keeps it.
pub fn logged(event: &Event) -> NewEvent {
    let member = name(event.customer).to_string();
    let customer = ResourceName::new(CUSTOMERS, event.customer).to_string();
    let entry = |id: Uuid| entry_name(event.customer, id);
    match event.fact.clone() {
        Fact::Enrolled => new(event, &proto::MemberEnrolled { member, customer }),
        Fact::Frozen => new(event, &proto::MemberFrozen { member, customer }),
        Fact::Unfrozen => new(event, &proto::MemberUnfrozen { member, customer }),
        Fact::Earned { entry: id, points, reason, source, balance } => {
            let reason = reason.name().to_owned();
            new(
                event,
                &proto::PointsEarned { member, entry: entry(id), customer, points, reason, source, balance },
            )
        }
        Fact::Deducted { entry: id, points, source, balance } => {
            new(event, &proto::PointsDeducted { member, entry: entry(id), customer, points, source, balance })
        }
        Fact::Redeemed { entry: id, points, source, balance } => {
            new(event, &proto::PointsRedeemed { member, entry: entry(id), customer, points, source, balance })
        }
    }
}

fn new<P: Message + Name>(event: &Event, payload: &P) -> NewEvent {
    NewEvent::new(name(event.customer), event.version, event.time, payload)
}
