//! Merges: commands and the resource.

use chrono::{DateTime, Utc};
use cqm_proto::customers::v1 as proto;
use cqm_proto::customers::v1::merge;
use cqm_rpc::{Error, Etag, ResourceName, Violations, reason, time};
use uuid::Uuid;

use super::customer::read_name;
use super::receipt::{read_holder, read_receipt};
use super::words::Wire;
use crate::domain::customer::COLLECTION;
use crate::domain::merge::{Merge, Step};
use crate::domain::receipt::Holder;

pub const MERGES: &str = "merges";

#[derive(Debug)]
pub struct Ask {
    pub customer: Uuid,
    pub survivor: Uuid,
    pub etag: Option<Etag>,
    pub survivor_etag: Option<Etag>,
}

impl Ask {
    pub fn parse(message: &proto::MergeCustomersRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let customer = read_name("customer", &message.customer, &mut violations);
        let survivor = read_name("survivor", &message.survivor, &mut violations);
        if violations.is_empty() && customer == survivor {
            violations.add("survivor", reason::FIELD_FORMAT, "must be another customer");
        }
        let etag = Etag::parse("etag", &message.etag, &mut violations);
        let survivor_etag = Etag::parse("survivor_etag", &message.survivor_etag, &mut violations);
        violations.optional_request_id(&message.request_id);
        violations.finish()?;
        Ok(Self { customer, survivor, etag, survivor_etag })
    }
}

#[derive(Debug)]
pub struct StepTaken {
    pub customer: Uuid,
    pub holder: Holder,
    pub step: Step,
}

impl StepTaken {
    pub fn parse(message: &proto::RecordMergeStepRequest, now: DateTime<Utc>) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let customer = read_name("customer", &message.customer, &mut violations);
        let holder = read_holder(&message.service, &mut violations);
        let receipt = read_receipt(&message.receipt, &mut violations);
        violations.optional_request_id(&message.request_id);
        violations.finish()?;
        Ok(Self { customer, holder, step: Step { receipt, time: now } })
    }
}

/// The customer whose merge has this name.
pub fn merge_name(name: &str) -> Result<Uuid, Error> {
    let mut violations = Violations::default();
    let name = ResourceName::parse(MERGES, "name", name, &mut violations);
    violations.finish()?;
    Ok(name.expect("no violation means that there is a name").id())
}

/// The resource as callers see it.
pub fn written(it: &Merge) -> proto::Merge {
    proto::Merge {
        name: ResourceName::new(MERGES, it.customer).to_string(),
        customer: ResourceName::new(COLLECTION, it.customer).to_string(),
        survivor: ResourceName::new(COLLECTION, it.survivor).to_string(),
        state: it.state.number(),
        steps: Holder::ALL.iter().map(|holder| written_step(*holder, it.steps.get(holder))).collect(),
        create_time: Some(time::wire(it.create_time)),
        update_time: Some(time::wire(it.update_time)),
        finish_time: it.finish_time.map(time::wire),
    }
}

fn written_step(holder: Holder, step: Option<&Step>) -> merge::Step {
    use merge::step::State;
    let service = holder.name().to_owned();
    match step {
        None => merge::Step { service, state: State::Pending.into(), ..Default::default() },
        Some(step) => merge::Step {
            service,
            state: State::Merged.into(),
            moved: step.receipt.clone(),
            step_time: Some(time::wire(step.time)),
        },
    }
}
