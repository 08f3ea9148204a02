//! Events. The aggregate of all of them is the member.

use cqm_db::log::NewEvent;
use cqm_proto::events::v1 as proto;
use cqm_rpc::{ResourceName, time};
use prost::{Message, Name};
use uuid::Uuid;

use super::ledger::entry_name;
use super::member::name;
use super::tier::name as tier;
use super::{CUSTOMERS, HOLDS, TRANSACTIONS, child};
use crate::domain::{Event, Fact};

/// The event as the log keeps it.
pub fn logged(event: &Event) -> NewEvent {
    let member = name(event.customer).to_string();
    let customer = ResourceName::new(CUSTOMERS, event.customer).to_string();
    let entry = |id: Uuid| entry_name(event.customer, id);
    let hold = |id: Uuid| child(event.customer, HOLDS, id);
    let transaction = |id: Uuid| child(event.customer, TRANSACTIONS, id);
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
        Fact::Redeemed { entry: id, points, source, balance, hold: by } => {
            let hold = by.map(hold).unwrap_or_default();
            new(
                event,
                &proto::PointsRedeemed { member, entry: entry(id), customer, points, source, balance, hold },
            )
        }
        Fact::Held { hold: id, points, source, balance, expires_at } => {
            let expire_time = Some(time::wire(expires_at));
            new(
                event,
                &proto::PointsHeld { member, customer, hold: hold(id), points, source, expire_time, balance },
            )
        }
        Fact::HoldReleased { hold: id, points, ran_out, balance } => {
            new(event, &proto::HoldReleased { member, customer, hold: hold(id), points, ran_out, balance })
        }
        Fact::Matured { points, balance } => {
            new(event, &proto::PointsMatured { member, customer, points, balance })
        }
        Fact::Expired { points, balance } => {
            new(event, &proto::PointsExpired { member, customer, points, balance })
        }
        Fact::ExpiringSoon { points, first, last } => {
            let (first_expire_time, last_expire_time) = (Some(time::wire(first)), Some(time::wire(last)));
            new(
                event,
                &proto::PointsExpiringSoon { member, customer, points, first_expire_time, last_expire_time },
            )
        }
        Fact::EarningReversed { transaction: id, points, debt, balance } => {
            let transaction = transaction(id);
            new(event, &proto::EarningReversed { member, customer, transaction, points, debt, balance })
        }
        Fact::SpendingReversed { transaction: id, points, repaid, balance } => {
            let transaction = transaction(id);
            new(event, &proto::SpendingReversed { member, customer, transaction, points, repaid, balance })
        }
        Fact::TierChanged(turn) => {
            let (from, to, reason) = (tier(turn.from), tier(turn.to), turn.why.name().to_owned());
            let change_time = Some(time::wire(turn.at));
            let points = turn.points;
            new(event, &proto::TierChanged { member, customer, from, to, reason, points, change_time })
        }
        Fact::TierDowngradeAnnounced { from, to, at, missing: points_missing } => {
            let (from, to, change_time) = (tier(Some(from)), tier(to), Some(time::wire(at)));
            new(
                event,
                &proto::TierDowngradeAnnounced { member, customer, from, to, change_time, points_missing },
            )
        }
        Fact::Moved { other, points, debt, balance } => {
            let other = ResourceName::new(CUSTOMERS, other).to_string();
            new(event, &proto::PointsMoved { member, customer, other, points, debt, balance })
        }
        Fact::Referred { referrer } => {
            let referrer = ResourceName::new(CUSTOMERS, referrer).to_string();
            new(event, &proto::MemberReferred { member, customer, referrer })
        }
        Fact::ReferralQualified { referrer } => {
            let referrer = ResourceName::new(CUSTOMERS, referrer).to_string();
            new(event, &proto::ReferralQualified { member, customer, referrer })
        }
    }
}

fn new<P: Message + Name>(event: &Event, payload: &P) -> NewEvent {
    NewEvent::new(name(event.customer), event.version, event.time, payload)
}
