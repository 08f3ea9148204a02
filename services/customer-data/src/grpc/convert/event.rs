//! Events of the domain, as the others read them: names, versions and facts, nothing about the person.

use cqm_db::log::NewEvent;
use cqm_proto::events::v1::{
    CustomerCreated, CustomerDeleted, CustomerErased, CustomerErasureCancelled, CustomerErasureCleared,
    CustomerErasureRequested, CustomerMergeFinished, CustomerMerged, CustomerUpdated, InteractionRecorded,
    PurchaseRecorded,
};
use cqm_rpc::{ResourceName, time};

use super::erasure::ERASURES;
use super::merge::MERGES;
use super::purchase;
use crate::domain::customer::{COLLECTION, Customer, CustomerEvent};
use crate::domain::erasure::{Erasure, Happened};
use crate::domain::interaction::Interaction;
use crate::domain::merge::{self, Merge};
use crate::domain::purchase::Purchase;

/// What never changes has one event, and this version.
const ONLY_VERSION: i64 = 1;

pub fn of_customer(customer: &Customer, event: CustomerEvent) -> NewEvent {
    let (name, version) = (customer.name(), customer.version);
    let (aggregate, at) = (name.to_string(), customer.update_time);
    let customer = aggregate.clone();
    match event {
        CustomerEvent::Created => {
            NewEvent::new(aggregate, version, at, &CustomerCreated { customer, version })
        }
        CustomerEvent::Updated => {
            NewEvent::new(aggregate, version, at, &CustomerUpdated { customer, version })
        }
        CustomerEvent::Deleted => {
            NewEvent::new(aggregate, version, at, &CustomerDeleted { customer, version })
        }
    }
}

pub fn of_erasure(erasure: &Erasure, happened: Happened) -> NewEvent {
    let name = ResourceName::new(ERASURES, erasure.customer);
    let customer = ResourceName::new(COLLECTION, erasure.customer).to_string();
    let (version, at) = (erasure.version, erasure.update_time);
    match happened {
        Happened::Requested => {
            let Erasure { forfeit_points, round, .. } = *erasure;
            NewEvent::new(name, version, at, &CustomerErasureRequested { customer, forfeit_points, round })
        }
        Happened::Cancelled => NewEvent::new(name, version, at, &CustomerErasureCancelled { customer }),
        Happened::Cleared => NewEvent::new(name, version, at, &CustomerErasureCleared { customer }),
        Happened::Erased => NewEvent::new(name, version, at, &CustomerErased { customer }),
    }
}

pub fn of_merge(it: &Merge, happened: merge::Happened) -> NewEvent {
    let name = ResourceName::new(MERGES, it.customer);
    let customer = ResourceName::new(COLLECTION, it.customer).to_string();
    let survivor = ResourceName::new(COLLECTION, it.survivor).to_string();
    let (version, at) = (it.version, it.update_time);
    match happened {
        merge::Happened::Begun => NewEvent::new(name, version, at, &CustomerMerged { customer, survivor }),
        merge::Happened::Finished => {
            NewEvent::new(name, version, at, &CustomerMergeFinished { customer, survivor })
        }
    }
}

pub fn of_purchase(recorded: &Purchase) -> NewEvent {
    let payload = PurchaseRecorded {
        customer: ResourceName::new(COLLECTION, recorded.customer_id).to_string(),
        purchase: recorded.name(),
        amount: Some(purchase::money(&recorded.facts.amount)),
        quantity: recorded.facts.quantity,
        purchase_time: Some(time::wire(recorded.facts.purchase_time)),
    };
    NewEvent::new(recorded.name(), ONLY_VERSION, recorded.create_time, &payload)
}

pub fn of_interaction(interaction: &Interaction) -> NewEvent {
    let payload = InteractionRecorded {
        customer: ResourceName::new(COLLECTION, interaction.customer_id).to_string(),
        interaction: interaction.name(),
        kind: interaction.kind.name().to_owned(),
        subject: interaction.subject.clone(),
    };
    NewEvent::new(interaction.name(), ONLY_VERSION, interaction.create_time, &payload)
}
