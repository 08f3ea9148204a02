//! The handlers: parse, one transaction, convert, answer. The server stack has authorised the call by its policy.

use chrono::{DateTime, Utc};
use cqm_db::{Conn, log, subjects};
use cqm_proto::Mutation;
use cqm_proto::complaints::v1 as wire;
use cqm_rpc::{Call, Error, Etag};
use uuid::Uuid;

use super::convert::{self, Target};
use crate::App;
use crate::domain::{Complaint, Event, IllegalMove, reference};
use crate::store;
use crate::store::timeline::Step;

pub async fn register(
    app: &App,
    call: Call,
    message: wire::RegisterComplaintRequest,
) -> Result<wire::Complaint, Error> {
    let command = convert::Register::parse(&message)?;
    app.db
        .mutate(&call, "register_complaint", &message, async |tx| {
            subjects::check_open(tx, command.matter.customer.id()).await?;
            let number = store::complaint::next_reference_number(tx).await?;
            let policy = app.policies.newest(tx).await?;
            let now = app.clock.now();
            let (id, matter) = (Uuid::now_v7(), command.matter.clone());
            let (complaint, event) = Complaint::register(id, reference(now, number), matter, policy, now);
            store::complaint::insert(tx, &complaint).await?;
            tell(tx, &call, &complaint, &event).await?;
            Ok(convert::complaint(&complaint, now))
        })
        .await
}

pub async fn get(
    app: &App,
    call: Call,
    message: wire::GetComplaintRequest,
) -> Result<wire::Complaint, Error> {
    let command = convert::Get::parse(&message)?;
    // Not from the cache: the coordinator reads a complaint because of an event and must find what the event tells.
    let complaint = app
        .db
        .read(&call, "get_complaint", async |conn| {
            store::complaint::get(conn, &app.policies, command.name).await
        })
        .await?;
    Ok(convert::complaint(&complaint, app.clock.now()))
}

pub async fn list(
    app: &App,
    call: Call,
    message: wire::ListComplaintsRequest,
) -> Result<wire::ListComplaintsResponse, Error> {
    let command = convert::List::parse(&message)?;
    let found = app
        .db
        .read(&call, "list_complaints", async |conn| {
            store::list::list(conn, &app.policies, &command.query).await
        })
        .await?;
    let now = app.clock.now();
    let page =
        command.page.page(found, |last| store::list::Key { severity: last.matter.severity, id: last.id });
    Ok(wire::ListComplaintsResponse {
        complaints: page.items.iter().map(|complaint| convert::complaint(complaint, now)).collect(),
        next_page_token: page.next_page_token,
    })
}

pub async fn acknowledge(
    app: &App,
    call: Call,
    message: wire::AcknowledgeComplaintRequest,
) -> Result<wire::Complaint, Error> {
    let command = convert::Acknowledge::parse(&message)?;
    handle(app, &call, "acknowledge_complaint", &message, command.target, |complaint, now| {
        complaint.acknowledge(now).map(Some)
    })
    .await
}

pub async fn assign(
    app: &App,
    call: Call,
    message: wire::AssignComplaintRequest,
) -> Result<wire::Complaint, Error> {
    let command = convert::Assign::parse(&message)?;
    handle(app, &call, "assign_complaint", &message, command.target, |complaint, now| {
        complaint.assign(command.assignee.clone(), now).map(Some)
    })
    .await
}

pub async fn start_investigation(
    app: &App,
    call: Call,
    message: wire::StartInvestigationRequest,
) -> Result<wire::Complaint, Error> {
    let command = convert::StartInvestigation::parse(&message)?;
    handle(app, &call, "start_investigation", &message, command.target, |complaint, now| {
        complaint.start_investigation(now).map(Some)
    })
    .await
}

pub async fn record_root_cause(
    app: &App,
    call: Call,
    message: wire::RecordRootCauseRequest,
) -> Result<wire::Complaint, Error> {
    let command = convert::RecordRootCause::parse(&message)?;
    handle(app, &call, "record_root_cause", &message, command.target, |complaint, now| {
        complaint.record_root_cause(command.found.clone(), now).map(Some)
    })
    .await
}

pub async fn resolve(
    app: &App,
    call: Call,
    message: wire::ResolveComplaintRequest,
) -> Result<wire::Complaint, Error> {
    let command = convert::Resolve::parse(&message)?;
    handle(app, &call, "resolve_complaint", &message, command.target, |complaint, now| {
        complaint.resolve(command.summary.clone(), command.compensation_points, now).map(Some)
    })
    .await
}

pub async fn close(
    app: &App,
    call: Call,
    message: wire::CloseComplaintRequest,
) -> Result<wire::Complaint, Error> {
    let command = convert::Close::parse(&message)?;
    handle(app, &call, "close_complaint", &message, command.target, |complaint, now| {
        complaint.close(now).map(Some)
    })
    .await
}

pub async fn reopen(
    app: &App,
    call: Call,
    message: wire::ReopenComplaintRequest,
) -> Result<wire::Complaint, Error> {
    let command = convert::Reopen::parse(&message)?;
    handle(app, &call, "reopen_complaint", &message, command.target, |complaint, now| {
        complaint.reopen(command.reopening.clone(), now)
    })
    .await
}

pub async fn list_timeline(
    app: &App,
    call: Call,
    message: wire::ListTimelineRequest,
) -> Result<wire::ListTimelineResponse, Error> {
    let command = convert::ListTimeline::parse(&message)?;
    let (complaint, found) = app
        .db
        .read(&call, "list_timeline", async |conn| {
            let complaint = store::complaint::get(conn, &app.policies, command.complaint).await?;
            let after = command.page.after.unwrap_or(0);
            let found = store::timeline::list(conn, command.complaint, after, command.page.limit()).await?;
            Ok::<_, Error>((complaint, found))
        })
        .await?;
    let page = command.page.page(found, |last| last.version);
    Ok(wire::ListTimelineResponse {
        entries: page
            .items
            .iter()
            .map(|entry| convert::timeline_entry(complaint.name(), complaint.matter.customer, entry))
            .collect(),
        next_page_token: page.next_page_token,
    })
}

pub async fn list_customer_timeline(
    app: &App,
    call: Call,
    message: wire::ListCustomerTimelineRequest,
) -> Result<wire::ListCustomerTimelineResponse, Error> {
    let command = convert::ListCustomerTimeline::parse(&message)?;
    let found = app
        .db
        .read(&call, "list_customer_timeline", async |conn| {
            let (before, limit) = (command.page.after, command.page.limit());
            store::timeline::list_of_customer(conn, command.customer, before, limit).await
        })
        .await?;
    let page = command.page.page(found, |(complaint, last)| Step {
        time: last.time,
        complaint: complaint.id(),
        version: last.version,
    });
    Ok(wire::ListCustomerTimelineResponse {
        entries: page
            .items
            .iter()
            .map(|(complaint, entry)| convert::timeline_entry(*complaint, command.customer, entry))
            .collect(),
        next_page_token: page.next_page_token,
    })
}

/// What would begin again for somebody who is to be forgotten.
const REOPEN: &str = <wire::ReopenComplaintRequest as Mutation>::PATH;

/// One verb on one complaint. A decision of `None` changes nothing: the command was outdated.
async fn handle<M: Mutation + Sync>(
    app: &App,
    call: &Call,
    name: &'static str,
    message: &M,
    target: Target,
    decide: impl Fn(&mut Complaint, DateTime<Utc>) -> Result<Option<Event>, IllegalMove> + Send + Sync,
) -> Result<wire::Complaint, Error> {
    app.db
        .mutate(call, name, message, async |tx| {
            let mut complaint = store::complaint::lock(tx, &app.policies, target.name).await?;
            subjects::check_row(tx, complaint.matter.customer.id(), M::PATH == REOPEN).await?;
            Etag::check(target.etag, complaint.version, &target.name.to_string())?;
            // The clock is read under the row's lock, so that times grow with versions.
            let now = app.clock.now();
            let clocks = complaint.clocks.clone();
            let decision = decide(&mut complaint, now)?;
            if let Some(event) = decision {
                store::complaint::update(tx, &complaint).await?;
                if complaint.clocks != clocks {
                    store::clocks::save(tx, std::slice::from_ref(&complaint)).await?;
                }
                tell(tx, call, &complaint, &event).await?;
            }
            Ok(convert::complaint(&complaint, now))
        })
        .await
}

/// Writes an event down: for the complaint's own timeline, and last for the others.
async fn tell(tx: &mut Conn, call: &Call, complaint: &Complaint, event: &Event) -> Result<(), Error> {
    store::timeline::append(tx, complaint.name(), &event.entry(&call.caller.subject)).await?;
    log::append(tx, &call.trace, &[convert::event(complaint, event)]).await
}
