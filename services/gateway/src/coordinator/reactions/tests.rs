use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use cqm_proto::events::v1::*;
use cqm_proto::google::r#type::Money;
use prost::Name;
use prost_types::{FileDescriptorSet, Timestamp};

use super::super::command::Command;
use super::*;

/// One event of each type, and the variants that decide otherwise, in the order of a story.
fn recorded() -> Vec<(String, Vec<u8>)> {
    fn event<P: Message + Name>(payload: P) -> (String, Vec<u8>) {
        (P::full_name(), payload.encode_to_vec())
    }
    let customer = || "customers/c1".to_owned();
    let complaint = || "complaints/k1".to_owned();
    let reference = || "C-2026-000042".to_owned();
    let time = |seconds| Some(Timestamp { seconds, nanos: 0 });
    let resolved = |compensation_points| ComplaintResolved {
        complaint: complaint(),
        reference: reference(),
        customer: customer(),
        resolution_version: 2,
        compensation_points,
    };
    let response = |subject: &str, dissatisfied, incentive| ResponseAccepted {
        response: "responses/r1".into(),
        invitation: "invitations/i1".into(),
        customer: customer(),
        questionnaire: "questionnaires/q1".into(),
        subject: subject.into(),
        subject_version: 2,
        dissatisfied,
        incentive,
    };
    vec![
        event(CustomerCreated { customer: customer(), version: 1 }),
        event(CustomerUpdated { customer: customer(), version: 2 }),
        event(CustomerDeleted { customer: customer(), version: 3 }),
        event(CustomerErasureRequested { customer: customer(), forfeit_points: true, round: 4 }),
        event(SubjectRestricted {
            customer: customer(),
            service: "complaints".into(),
            version: 1,
            blockers: vec!["OPEN_COMPLAINT".into()],
            round: 4,
        }),
        event(CustomerErasureCancelled { customer: customer() }),
        event(CustomerErasureCleared { customer: customer() }),
        event(SubjectErased {
            customer: customer(),
            service: "complaints".into(),
            version: 2,
            erased: [("complaints".to_owned(), 3)].into(),
        }),
        event(CustomerErased { customer: customer() }),
        event(CustomerMerged { customer: customer(), survivor: "customers/c2".into() }),
        event(SubjectMerged {
            customer: customer(),
            survivor: "customers/c2".into(),
            service: "complaints".into(),
            version: 1,
            moved: [("complaints".to_owned(), 3)].into(),
        }),
        event(CustomerMergeFinished { customer: customer(), survivor: "customers/c2".into() }),
        event(PurchaseRecorded {
            customer: customer(),
            purchase: "customers/c1/purchases/p1".into(),
            amount: Some(Money { currency_code: "CNY".into(), units: 12, nanos: 500_000_000 }),
            quantity: 3,
            purchase_time: time(100),
        }),
        event(InteractionRecorded { customer: customer(), ..Default::default() }),
        event(ComplaintRegistered {
            complaint: complaint(),
            reference: reference(),
            customer: customer(),
            ..Default::default()
        }),
        event(ComplaintAcknowledged { complaint: complaint(), ..Default::default() }),
        event(ComplaintAssigned { complaint: complaint(), ..Default::default() }),
        event(ComplaintInvestigationStarted { complaint: complaint(), ..Default::default() }),
        event(ComplaintRootCauseRecorded { complaint: complaint(), ..Default::default() }),
        event(resolved(100)),
        event(resolved(0)),
        event(ComplaintClosed { complaint: complaint(), ..Default::default() }),
        event(ComplaintReopened { complaint: complaint(), ..Default::default() }),
        event(ComplaintSlaWarned { complaint: complaint(), ..Default::default() }),
        event(ComplaintSlaBreached { complaint: complaint(), ..Default::default() }),
        event(QuestionnairePublished::default()),
        event(InvitationCreated {
            invitation: "invitations/i1".into(),
            customer: customer(),
            subject: complaint(),
            subject_version: 2,
            expire_time: time(200),
        }),
        event(InvitationExpired::default()),
        event(response("complaints/k1", true, true)),
        event(response("complaints/k1", false, false)),
        event(response("customers/c1/purchases/p1", true, false)),
        event(response("", true, true)),
        event(MessageDelivered::default()),
        event(MessageFailed::default()),
        event(MemberEnrolled::default()),
        event(MemberFrozen::default()),
        event(MemberUnfrozen::default()),
        event(MemberReferred::default()),
        event(ReferralQualified {
            member: "members/c2".into(),
            customer: "customers/c2".into(),
            referrer: customer(),
        }),
        event(TierChanged::default()),
        event(TierDowngradeAnnounced::default()),
        event(PointsEarned::default()),
        event(PointsRedeemed::default()),
        event(PointsDeducted::default()),
        event(PointsHeld::default()),
        event(HoldReleased::default()),
        event(PointsMatured::default()),
        event(PointsExpired::default()),
        event(PointsExpiringSoon::default()),
        event(PointsMoved::default()),
        event(EarningReversed::default()),
        event(SpendingReversed::default()),
        event(VoucherIssued::default()),
        event(VoucherConsumed::default()),
        event(VoucherCancelled::default()),
        event(VoucherExpired::default()),
    ]
}

/// What follows from the recorded events, as one reads it. `Debug` would hide a message's variables.
fn story() -> String {
    let mut story = String::new();
    for (event_type, payload) in recorded() {
        let name = event_type.rsplit('.').next().unwrap();
        let reactions = of(&event_type).unwrap_or_else(|| panic!("{event_type} parks its aggregate"));
        let mut commands = 0;
        for reaction in reactions {
            if let Some(command) = (reaction.decide)(&payload).unwrap() {
                commands += 1;
                let _ = writeln!(story, "{name} -> {}: {}", reaction.id, shown(&command));
            }
        }
        if commands == 0 {
            let _ = writeln!(story, "{name} -> nothing");
        }
    }
    story
}

pub(super) fn shown(command: &Command) -> String {
    match command {
        Command::SendMessage(message) => {
            let variables: BTreeMap<_, _> = message.variables.iter().collect();
            format!(
                "SendMessage {} to {} about {} with {variables:?}",
                message.template, message.recipient, message.about
            )
        }
        Command::EarnPoints(message) => {
            format!("EarnPoints for {} by {} of {:?}", message.customer, message.source, message.basis)
        }
        Command::PutContact(message) => {
            let contact = message.contact.as_ref().unwrap();
            format!(
                "PutContact {} version {} deleted {}",
                contact.customer, contact.customer_version, contact.deleted
            )
        }
        Command::CreateInvitation(message) => format!(
            "CreateInvitation for {} to {:?} about {} version {}",
            message.customer, message.target, message.subject, message.subject_version
        ),
        Command::ReopenComplaint(message) => format!(
            "ReopenComplaint {} for {:?} caused by {} version {}",
            message.name,
            message.reason(),
            message.cause,
            message.caused_by_version
        ),
        Command::RestrictSubject(backend, message) => {
            format!(
                "RestrictSubject {} at {} forfeit {}{}",
                message.customer,
                backend.name(),
                message.forfeit_points,
                round(message.round)
            )
        }
        Command::ReleaseSubject(backend, message) => {
            format!("ReleaseSubject {} at {}", message.customer, backend.name())
        }
        Command::EraseSubject(backend, message) => {
            format!("EraseSubject {} at {}", message.customer, backend.name())
        }
        Command::MergeSubject(backend, message) => {
            format!("MergeSubject {} into {} at {}", message.customer, message.survivor, backend.name())
        }
        Command::RecordMergeStep(message) => {
            let receipt: BTreeMap<_, _> = message.receipt.iter().collect();
            format!("RecordMergeStep {} at {} receipt {receipt:?}", message.customer, message.service)
        }
        Command::RecordErasureStep(message) => {
            let receipt: BTreeMap<_, _> = message.receipt.iter().collect();
            format!(
                "RecordErasureStep {} at {} version {} erased {} blocked by {:?} receipt {receipt:?}{}",
                message.customer,
                message.service,
                message.version,
                message.erased,
                message.blockers,
                round(message.round)
            )
        }
        Command::RefreshContact { .. } | Command::SendInvitation { .. } => format!("{command:?}"),
    }
}

/// Nothing where there is none: events of before there were rounds lead to the commands that they always did.
fn round(round: i64) -> String {
    if round == 0 { String::new() } else { format!(" round {round}") }
}

#[test]
fn the_recorded_events_lead_to_these_commands_and_no_others() {
    let expected = include_str!("story.txt");
    let story = story();
    assert_eq!(story, expected, "the story is:\n{story}");
}

/// The types that a service may write into its log: everything in the package but the envelope and the feed.
fn event_types() -> BTreeSet<String> {
    let feed = ["Event", "Cursor", "ParkedAggregate", "Reaction"];
    let set = FileDescriptorSet::decode(cqm_proto::FILE_DESCRIPTOR_SET).unwrap();
    set.file
        .iter()
        .filter(|file| file.package() == "cqm.events.v1")
        .flat_map(|file| &file.message_type)
        .map(|message| message.name())
        .filter(|name| !feed.contains(name) && !name.ends_with("Request") && !name.ends_with("Response"))
        .map(|name| format!("cqm.events.v1.{name}"))
        .collect()
}

#[test]
fn somebody_has_said_what_follows_from_every_event() {
    let reacted: BTreeSet<String> = REACTIONS.iter().map(|reaction| reaction.event_type.to_owned()).collect();
    let quiet: BTreeSet<String> = NOTHING_FOLLOWS.iter().map(|&event_type| event_type.to_owned()).collect();
    assert_eq!(reacted.intersection(&quiet).count(), 0, "an event stands in both lists");
    let said: BTreeSet<String> = reacted.union(&quiet).cloned().collect();
    assert_eq!(said, event_types());
    let recorded: BTreeSet<String> = recorded().into_iter().map(|(event_type, _)| event_type).collect();
    assert_eq!(recorded, event_types(), "the recorded story leaves events out");
}

#[test]
fn an_event_that_nobody_knows_is_told_from_one_that_nothing_follows_from() {
    assert!(of("cqm.events.v1.ComplaintTeleported").is_none());
    assert_eq!(of("cqm.events.v1.ComplaintClosed").unwrap().count(), 0);
    assert_eq!(of("cqm.events.v1.ComplaintResolved").unwrap().count(), 3);
}

#[test]
fn an_id_belongs_to_one_reaction_for_ever() {
    let ids: BTreeSet<&str> = REACTIONS.iter().map(|reaction| reaction.id).collect();
    assert_eq!(ids.len(), REACTIONS.len());
    // A new version needs the old one for the events that were its own, and is about the same events.
    for reaction in REACTIONS.iter().filter(|reaction| !reaction.replaces.is_empty()) {
        let old = REACTIONS.iter().find(|old| old.id == reaction.replaces);
        assert_eq!(old.map(|old| old.event_type), Some(reaction.event_type), "{}", reaction.id);
    }
}

#[test]
fn a_payload_that_is_no_message_is_an_error_and_not_nothing() {
    for reaction in REACTIONS {
        assert!((reaction.decide)(b"\xff\xff\xff").is_err(), "{}", reaction.id);
    }
}
