//! What follows from what: the whole of what one service is told about another.
//!
//! A reaction is a pure function from one event to at most one command. It knows no clock, no configuration and no other
//! service, and it carries facts, never rules: how many points a purchase is worth is loyalty's to say.
//!
//! Its id is part of the command's request id, so it is never used for anything else. A reaction that changes its mind is
//! a new one with a new id, `"purchase-points-2" replaces "purchase-points"`; the old one stays, for the events that were
//! its own. Where in a log the new one begins, the source writes down when it is first told of it, see `starts.rs`.

use cqm_proto::complaints::v1::{ReopenComplaintRequest, reopen_complaint_request};
use cqm_proto::customers::v1::{RecordErasureStepRequest, RecordMergeStepRequest};
use cqm_proto::events::v1::{
    ComplaintRegistered, ComplaintResolved, CustomerCreated, CustomerDeleted, CustomerErasureCancelled,
    CustomerErasureCleared, CustomerErasureRequested, CustomerMerged, CustomerUpdated, InvitationCreated,
    PurchaseRecorded, ReferralQualified, ResponseAccepted, SubjectErased, SubjectMerged, SubjectRestricted,
};
use cqm_proto::loyalty::v1::earn_points_request::Basis;
use cqm_proto::loyalty::v1::{
    CompensationBasis, EarnPointsRequest, PurchaseBasis, ReferralBasis, SurveyBasis,
};
use cqm_proto::notifications::v1::{Contact, PutContactRequest, SendMessageRequest};
use cqm_proto::subjects::v1::{
    EraseSubjectRequest, MergeSubjectRequest, ReleaseSubjectRequest, RestrictSubjectRequest,
};
use cqm_proto::surveys::v1::create_invitation_request::Target;
use cqm_proto::surveys::v1::{CreateInvitationRequest, Purpose};
use prost::{DecodeError, Message};

use super::command::Command;
use crate::backend::Backend;

/// One reaction.
#[derive(Clone, Copy)]
pub(super) struct Reaction {
    /// Unique for ever, see above.
    pub id: &'static str,
    /// The reaction whose place it takes, which stays in the table; empty = none.
    pub replaces: &'static str,
    /// The full name of the event's message.
    pub event_type: &'static str,
    /// Reads the event's payload and decides.
    pub decide: fn(&[u8]) -> Result<Option<Command>, DecodeError>,
}

macro_rules! reactions {
    ($($id:literal $(replaces $old:literal)?: $event:ident => $decide:expr),* $(,)?) => {
        pub(super) const REACTIONS: &[Reaction] = &[$(Reaction {
            id: $id,
            replaces: concat!($($old)?),
            event_type: concat!("cqm.events.v1.", stringify!($event)),
            decide: |payload| read::<$event>(payload, $decide),
        }),*];
    };
}

reactions! {
    // reaction                       event                 command
    "customer-created-contact":       CustomerCreated    => created_refreshes_contact,   // NT-06
    "customer-updated-contact":       CustomerUpdated    => updated_refreshes_contact,
    "customer-deleted-contact":       CustomerDeleted    => deleted_erases_contact,
    "purchase-points":                PurchaseRecorded   => purchase_earns_points,       // LY-02
    "referral-points":                ReferralQualified  => referral_earns_points,       // LY-03
    "complaint-acknowledgement":      ComplaintRegistered => registered_is_acknowledged, // CP-10, NT-06
    "complaint-outcome":              ComplaintResolved  => resolved_is_told,            // CP-11
    "complaint-survey":               ComplaintResolved  => resolved_is_asked_about,     // CP-12
    "complaint-compensation":         ComplaintResolved  => resolved_compensates,        // LY-12
    "invitation-message":             InvitationCreated  => invitation_is_sent,          // NT-07
    "response-points":                ResponseAccepted   => response_earns_points,       // SV-20, LY-04
    "dissatisfied-reopens-complaint": ResponseAccepted   => dissatisfied_reopens,        // CP-15, SV-23
    "erasure-restricts-complaints":    CustomerErasureRequested => |it| restrict(Backend::Complaints, it), // GW-05
    "erasure-restricts-customer-data": CustomerErasureRequested => |it| restrict(Backend::CustomerData, it),
    "erasure-restricts-loyalty":       CustomerErasureRequested => |it| restrict(Backend::Loyalty, it),
    "erasure-restricts-notifications": CustomerErasureRequested => |it| restrict(Backend::Notifications, it),
    "erasure-restricts-surveys":       CustomerErasureRequested => |it| restrict(Backend::Surveys, it),
    "erasure-restricted":              SubjectRestricted        => restricted_is_noted,
    "erasure-releases-complaints":     CustomerErasureCancelled => |it| release(Backend::Complaints, it),
    "erasure-releases-customer-data":  CustomerErasureCancelled => |it| release(Backend::CustomerData, it),
    "erasure-releases-loyalty":        CustomerErasureCancelled => |it| release(Backend::Loyalty, it),
    "erasure-releases-notifications":  CustomerErasureCancelled => |it| release(Backend::Notifications, it),
    "erasure-releases-surveys":        CustomerErasureCancelled => |it| release(Backend::Surveys, it),
    "erasure-erases-complaints":       CustomerErasureCleared   => |it| erase(Backend::Complaints, it),
    "erasure-erases-customer-data":    CustomerErasureCleared   => |it| erase(Backend::CustomerData, it),
    "erasure-erases-loyalty":          CustomerErasureCleared   => |it| erase(Backend::Loyalty, it),
    "erasure-erases-notifications":    CustomerErasureCleared   => |it| erase(Backend::Notifications, it),
    "erasure-erases-surveys":          CustomerErasureCleared   => |it| erase(Backend::Surveys, it),
    "erasure-receipt":                 SubjectErased            => erased_is_receipted,
    // customer-data has merged what it has when it tells of it.
    "merge-complaints":                CustomerMerged           => |it| merge(Backend::Complaints, it),
    "merge-loyalty":                   CustomerMerged           => |it| merge(Backend::Loyalty, it),
    "merge-notifications":             CustomerMerged           => |it| merge(Backend::Notifications, it),
    "merge-surveys":                   CustomerMerged           => |it| merge(Backend::Surveys, it),
    "merge-receipt":                   SubjectMerged            => merged_is_receipted,
}

/// Events that nothing follows from. One that stands neither here nor above parks its aggregate.
pub(super) const NOTHING_FOLLOWS: &[&str] = &[
    "cqm.events.v1.ComplaintAcknowledged",
    "cqm.events.v1.ComplaintAssigned",
    "cqm.events.v1.ComplaintClosed",
    "cqm.events.v1.ComplaintInvestigationStarted",
    "cqm.events.v1.ComplaintReopened",
    "cqm.events.v1.ComplaintRootCauseRecorded",
    "cqm.events.v1.ComplaintSlaBreached",
    "cqm.events.v1.ComplaintSlaWarned",
    "cqm.events.v1.CustomerErased",
    "cqm.events.v1.CustomerMergeFinished",
    "cqm.events.v1.EarningReversed",
    "cqm.events.v1.HoldReleased",
    "cqm.events.v1.InteractionRecorded",
    "cqm.events.v1.InvitationExpired",
    "cqm.events.v1.MemberEnrolled",
    "cqm.events.v1.MemberFrozen",
    "cqm.events.v1.MemberReferred",
    "cqm.events.v1.MemberUnfrozen",
    "cqm.events.v1.MessageDelivered",
    "cqm.events.v1.MessageFailed",
    "cqm.events.v1.PointsDeducted",
    "cqm.events.v1.PointsEarned",
    "cqm.events.v1.PointsExpired",
    "cqm.events.v1.PointsExpiringSoon",
    "cqm.events.v1.PointsHeld",
    "cqm.events.v1.PointsMatured",
    "cqm.events.v1.PointsMoved",
    "cqm.events.v1.PointsRedeemed",
    "cqm.events.v1.QuestionnairePublished",
    "cqm.events.v1.SpendingReversed",
    "cqm.events.v1.TierChanged",
    "cqm.events.v1.TierDowngradeAnnounced",
    "cqm.events.v1.VoucherCancelled",
    "cqm.events.v1.VoucherConsumed",
    "cqm.events.v1.VoucherExpired",
    "cqm.events.v1.VoucherIssued",
];

/// What follows from an event of this type, in order; `None` when nobody has said what does.
pub(super) fn of(event_type: &str) -> Option<impl Iterator<Item = &'static Reaction>> {
    let mut reactions = REACTIONS.iter().filter(move |reaction| reaction.event_type == event_type).peekable();
    (reactions.peek().is_some() || NOTHING_FOLLOWS.contains(&event_type)).then_some(reactions)
}

fn created_refreshes_contact(event: CustomerCreated) -> Option<Command> {
    Some(Command::RefreshContact { customer: event.customer, version: event.version })
}

fn updated_refreshes_contact(event: CustomerUpdated) -> Option<Command> {
    Some(Command::RefreshContact { customer: event.customer, version: event.version })
}

fn deleted_erases_contact(event: CustomerDeleted) -> Option<Command> {
    Some(Command::PutContact(PutContactRequest { contact: Some(erased(event.customer, event.version)) }))
}

fn purchase_earns_points(event: PurchaseRecorded) -> Option<Command> {
    let basis = PurchaseBasis { amount: event.amount, purchase_time: event.purchase_time };
    earn(event.customer, Basis::Purchase(basis), event.purchase)
}

/// For whoever brought them in. Loyalty makes the source of the one who was: they are worth points once.
fn referral_earns_points(event: ReferralQualified) -> Option<Command> {
    earn(event.referrer, Basis::Referral(ReferralBasis { referred: event.customer }), String::new())
}

fn registered_is_acknowledged(event: ComplaintRegistered) -> Option<Command> {
    send(event.customer, "complaint-acknowledged", [("reference", event.reference)], event.complaint)
}

fn resolved_is_told(event: ComplaintResolved) -> Option<Command> {
    send(event.customer, "complaint-resolved", [("reference", event.reference)], event.complaint)
}

fn resolved_is_asked_about(event: ComplaintResolved) -> Option<Command> {
    Some(Command::CreateInvitation(CreateInvitationRequest {
        customer: event.customer,
        target: Some(Target::Purpose(Purpose::ComplaintHandling.into())),
        subject: event.complaint,
        subject_version: event.resolution_version,
        ..Default::default()
    }))
}

fn resolved_compensates(event: ComplaintResolved) -> Option<Command> {
    let points = Some(event.compensation_points).filter(|points| *points > 0)?;
    // The resolution, not the complaint: one that was reopened may be compensated again, and a source is rewarded once.
    let source = format!("{}/resolutions/{}", event.complaint, event.resolution_version);
    earn(event.customer, Basis::Compensation(CompensationBasis { points }), source)
}

fn invitation_is_sent(event: InvitationCreated) -> Option<Command> {
    Some(Command::SendInvitation { invitation: event.invitation, customer: event.customer })
}

fn response_earns_points(event: ResponseAccepted) -> Option<Command> {
    if !event.incentive {
        return None;
    }
    earn(event.customer, Basis::Survey(SurveyBasis {}), event.response)
}

/// Reopens what the customer was asked about: an older resolution than the latest is not reopened for it.
fn dissatisfied_reopens(event: ResponseAccepted) -> Option<Command> {
    if !event.dissatisfied || !event.subject.starts_with("complaints/") {
        return None;
    }
    Some(Command::ReopenComplaint(ReopenComplaintRequest {
        name: event.subject,
        reason: reopen_complaint_request::Reason::Dissatisfied.into(),
        caused_by_version: event.subject_version,
        cause: event.response,
        ..Default::default()
    }))
}

fn read<E: Message + Default>(
    payload: &[u8],
    decide: fn(E) -> Option<Command>,
) -> Result<Option<Command>, DecodeError> {
    Ok(decide(E::decode(payload)?))
}

fn restrict(backend: Backend, event: CustomerErasureRequested) -> Option<Command> {
    let CustomerErasureRequested { customer, forfeit_points, round } = event;
    let message = RestrictSubjectRequest { customer, forfeit_points, round, ..Default::default() };
    Some(Command::RestrictSubject(backend, message))
}

fn release(backend: Backend, event: CustomerErasureCancelled) -> Option<Command> {
    let message = ReleaseSubjectRequest { customer: event.customer, ..Default::default() };
    Some(Command::ReleaseSubject(backend, message))
}

fn erase(backend: Backend, event: CustomerErasureCleared) -> Option<Command> {
    let message = EraseSubjectRequest { customer: event.customer, ..Default::default() };
    Some(Command::EraseSubject(backend, message))
}

fn restricted_is_noted(event: SubjectRestricted) -> Option<Command> {
    Some(Command::RecordErasureStep(RecordErasureStepRequest {
        customer: event.customer,
        service: event.service,
        version: event.version,
        blockers: event.blockers,
        round: event.round,
        ..Default::default()
    }))
}

fn erased_is_receipted(event: SubjectErased) -> Option<Command> {
    Some(Command::RecordErasureStep(RecordErasureStepRequest {
        customer: event.customer,
        service: event.service,
        version: event.version,
        erased: true,
        receipt: event.erased,
        ..Default::default()
    }))
}

fn merge(backend: Backend, event: CustomerMerged) -> Option<Command> {
    let CustomerMerged { customer, survivor } = event;
    Some(Command::MergeSubject(backend, MergeSubjectRequest { customer, survivor, ..Default::default() }))
}

fn merged_is_receipted(event: SubjectMerged) -> Option<Command> {
    Some(Command::RecordMergeStep(RecordMergeStepRequest {
        customer: event.customer,
        service: event.service,
        receipt: event.moved,
        ..Default::default()
    }))
}

fn earn(customer: String, basis: Basis, source: String) -> Option<Command> {
    Some(Command::EarnPoints(EarnPointsRequest {
        customer,
        basis: Some(basis),
        source,
        ..Default::default()
    }))
}

fn send<const N: usize>(
    recipient: String,
    template: &str,
    variables: [(&str, String); N],
    about: String,
) -> Option<Command> {
    Some(Command::SendMessage(SendMessageRequest {
        recipient,
        template: format!("templates/{template}"),
        variables: variables.map(|(name, value)| (name.to_owned(), value)).into(),
        about,
        ..Default::default()
    }))
}

/// The contact of a customer who is gone.
pub(super) fn erased(customer: String, customer_version: i64) -> Contact {
    Contact { customer, customer_version, deleted: true, ..Default::default() }
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
