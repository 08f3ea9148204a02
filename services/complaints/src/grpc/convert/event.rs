//! The domain's events to those that the other services read. They carry ids, versions and facts only.

use cqm_db::log::NewEvent;
use cqm_proto::events::v1 as wire;
use cqm_rpc::time;
use prost::{Message, Name};

use crate::domain::{Complaint, Event, What};

/// What `event` tells the others about `complaint`, which is as it was after the event.
pub fn event(complaint: &Complaint, event: &Event) -> NewEvent {
    let matter = &complaint.matter;
    let name = complaint.name().to_string();
    let reference = complaint.reference.clone();
    let customer = matter.customer.to_string();
    match &event.what {
        What::Registered => {
            let payload = wire::ComplaintRegistered {
                complaint: name,
                reference,
                customer,
                channel: matter.channel.name().to_owned(),
                category: matter.category.name().to_owned(),
                severity: matter.severity.name().to_owned(),
            };
            record(complaint, event, &payload)
        }
        What::Acknowledged => {
            record(complaint, event, &wire::ComplaintAcknowledged { complaint: name, reference, customer })
        }
        What::Assigned { assignee } => {
            let payload = wire::ComplaintAssigned { complaint: name, customer, assignee: assignee.clone() };
            record(complaint, event, &payload)
        }
        What::InvestigationStarted => {
            record(complaint, event, &wire::ComplaintInvestigationStarted { complaint: name, customer })
        }
        What::RootCauseRecorded { cause, responsible_department, explanation: _ } => {
            let payload = wire::ComplaintRootCauseRecorded {
                complaint: name,
                customer,
                responsible_department: responsible_department.clone(),
                cause: cause.name().to_owned(),
            };
            record(complaint, event, &payload)
        }
        What::Resolved { resolution_version, compensation_points, summary: _ } => {
            let payload = wire::ComplaintResolved {
                complaint: name,
                reference,
                customer,
                resolution_version: *resolution_version,
                compensation_points: *compensation_points,
            };
            record(complaint, event, &payload)
        }
        What::Closed => {
            record(complaint, event, &wire::ComplaintClosed { complaint: name, reference, customer })
        }
        What::Reopened { reason, cause, note: _ } => {
            let payload = wire::ComplaintReopened {
                complaint: name,
                reference,
                customer,
                reason: reason.name().to_owned(),
                cause: cause.clone(),
            };
            record(complaint, event, &payload)
        }
        What::SlaWarned { clock, due_time } => {
            let payload = wire::ComplaintSlaWarned {
                complaint: name,
                reference,
                customer,
                clock: clock.name().to_owned(),
                due_time: Some(time::wire(*due_time)),
                severity: matter.severity.name().to_owned(),
                assignee: complaint.assignee.clone().unwrap_or_default(),
                responsible_department: department(complaint),
            };
            record(complaint, event, &payload)
        }
        What::SlaBreached { clock, due_time } => {
            let payload = wire::ComplaintSlaBreached {
                complaint: name,
                reference,
                customer,
                clock: clock.name().to_owned(),
                due_time: Some(time::wire(*due_time)),
                severity: matter.severity.name().to_owned(),
                assignee: complaint.assignee.clone().unwrap_or_default(),
                responsible_department: department(complaint),
            };
            record(complaint, event, &payload)
        }
    }
}

/// The key of the department that answers for the cause; empty = not known.
fn department(complaint: &Complaint) -> String {
    complaint.root_cause.as_ref().map(|cause| cause.responsible_department.clone()).unwrap_or_default()
}

fn record<P: Message + Name>(complaint: &Complaint, event: &Event, payload: &P) -> NewEvent {
    NewEvent::new(complaint.name(), event.version, event.time, payload)
}
