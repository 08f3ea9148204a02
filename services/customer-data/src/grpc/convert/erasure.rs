//! Erasures and holds: commands and resources.

use chrono::{DateTime, Utc};
use cqm_proto::customers::v1 as proto;
use cqm_proto::customers::v1::erasure;
use cqm_rpc::{Error, ResourceName, Violations, reason, time};
use uuid::Uuid;

use super::customer::read_name;
use super::receipt::{is_word, read_holder, read_receipt};
use super::words::Wire;
use crate::domain::customer::COLLECTION;
use crate::domain::erasure::{Erasure, Ground, Step};
use crate::domain::receipt::Holder;
use crate::store::erasure::LegalHold;

pub const ERASURES: &str = "erasures";
const MAX_REFERENCE: usize = 64;
const MAX_BLOCKERS: usize = 16;

#[derive(Debug)]
pub struct Request {
    pub customer: Uuid,
    pub ground: Ground,
    pub forfeit_points: bool,
}

impl Request {
    pub fn parse(message: &proto::EraseCustomerRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let customer = read_name("customer", &message.customer, &mut violations);
        let ground = erasure::Ground::try_from(message.ground).ok().and_then(Ground::of);
        if ground.is_none() {
            violations.add("ground", reason::ENUM_UNKNOWN, "must be one of the grounds");
        }
        violations.optional_request_id(&message.request_id);
        violations.finish()?;
        let ground = ground.expect("no violation means that there is a ground");
        Ok(Self { customer, ground, forfeit_points: message.forfeit_points })
    }
}

#[derive(Debug)]
pub struct StepTaken {
    pub customer: Uuid,
    pub round: i64,
    pub holder: Holder,
    pub step: Step,
}

impl StepTaken {
    pub fn parse(message: &proto::RecordErasureStepRequest, now: DateTime<Utc>) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let customer = read_name("customer", &message.customer, &mut violations);
        let holder = read_holder(&message.service, &mut violations);
        if message.version < 1 {
            violations.range("version", "1 or more");
        }
        if message.round < 0 {
            violations.range("round", "0 or more");
        }
        if message.blockers.len() > MAX_BLOCKERS {
            violations.too_long("blockers", MAX_BLOCKERS);
        }
        if message.blockers.iter().any(|word| !is_word(word, |c| c.is_ascii_uppercase())) {
            violations.format("blockers", "words of A-Z and _");
        }
        let receipt = read_receipt(&message.receipt, &mut violations);
        violations.optional_request_id(&message.request_id);
        violations.finish()?;
        let step = Step {
            version: message.version,
            erased: message.erased,
            blockers: if message.erased { Vec::new() } else { message.blockers.clone() },
            receipt,
            time: now,
        };
        Ok(Self { customer, round: message.round, holder, step })
    }
}

#[derive(Debug)]
pub struct Place {
    pub customer: Uuid,
    pub reference: String,
}

impl Place {
    pub fn parse(message: &proto::PlaceLegalHoldRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let customer = read_name("customer", &message.customer, &mut violations);
        let known = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.' | b'/');
        match message.reference.len() {
            0 => violations.required("reference"),
            1..=MAX_REFERENCE if message.reference.bytes().all(known) => {}
            1..=MAX_REFERENCE => violations.format("reference", "A-Z, a-z, 0-9, -, _, . and /"),
            _ => violations.too_long("reference", MAX_REFERENCE),
        }
        violations.optional_request_id(&message.request_id);
        violations.finish()?;
        Ok(Self { customer, reference: message.reference.clone() })
    }
}

pub fn lift(message: &proto::LiftLegalHoldRequest) -> Result<Uuid, Error> {
    let mut violations = Violations::default();
    let customer = read_name("customer", &message.customer, &mut violations);
    violations.optional_request_id(&message.request_id);
    violations.finish()?;
    Ok(customer)
}

/// The customer whose erasure is to be called off.
pub fn parse_cancel(message: &proto::CancelErasureRequest) -> Result<Uuid, Error> {
    let mut violations = Violations::default();
    let name = ResourceName::parse(ERASURES, "name", &message.name, &mut violations);
    violations.optional_request_id(&message.request_id);
    violations.finish()?;
    Ok(name.expect("no violation means that there is a name").id())
}

/// The customer whose erasure has this name.
pub fn erasure_name(name: &str) -> Result<Uuid, Error> {
    let mut violations = Violations::default();
    let name = ResourceName::parse(ERASURES, "name", name, &mut violations);
    violations.finish()?;
    Ok(name.expect("no violation means that there is a name").id())
}

/// The resource as callers see it.
pub fn written(it: &Erasure) -> proto::Erasure {
    proto::Erasure {
        name: ResourceName::new(ERASURES, it.customer).to_string(),
        customer: ResourceName::new(COLLECTION, it.customer).to_string(),
        state: it.state.number(),
        ground: it.ground.number(),
        forfeit_points: it.forfeit_points,
        steps: Holder::ALL.iter().map(|holder| written_step(*holder, it.steps.get(holder))).collect(),
        create_time: Some(time::wire(it.create_time)),
        update_time: Some(time::wire(it.update_time)),
        finish_time: it.finish_time.map(time::wire),
    }
}

fn written_step(holder: Holder, step: Option<&Step>) -> erasure::Step {
    use erasure::step::State;
    let service = holder.name().to_owned();
    let Some(step) = step else {
        return erasure::Step { service, state: State::Pending.into(), ..Default::default() };
    };
    let state = if step.erased { State::Erased } else { State::Restricted };
    erasure::Step {
        service,
        state: state.into(),
        blockers: step.blockers.clone(),
        erased: step.receipt.clone().into_iter().collect(),
        step_time: Some(time::wire(step.time)),
    }
}

pub fn written_hold(hold: &LegalHold) -> proto::LegalHold {
    proto::LegalHold {
        customer: ResourceName::new(COLLECTION, hold.customer_id).to_string(),
        reference: hold.reference.clone(),
        create_time: Some(time::wire(hold.create_time)),
    }
}
