use cqm_rpc::Reason;
use cqm_rpc::reason::{
    ENUM_UNKNOWN, FIELD_FORMAT, FIELD_RANGE, FIELD_REQUIRED, FIELD_TOO_LONG, FORBIDDEN_CHARACTER,
};

use super::*;
use crate::domain::{Category, Channel, Remedy, ReopenReason};

pub(in crate::grpc::convert) const NAME: &str = "complaints/01890a5d-ac96-774b-bcce-b302099a8057";
pub(in crate::grpc::convert) const CUSTOMER: &str = "customers/01890a5d-ac96-774b-bcce-b302099a8058";

pub(in crate::grpc::convert) fn violations<T: std::fmt::Debug>(
    outcome: Result<T, Error>,
) -> Vec<(String, Reason)> {
    match outcome {
        Err(Error::Invalid(violations)) => {
            violations.iter().map(|violation| (violation.field.clone(), violation.reason)).collect()
        }
        other => panic!("expected violations, got {other:?}"),
    }
}

pub(in crate::grpc::convert) fn expected(list: &[(&str, Reason)]) -> Vec<(String, Reason)> {
    list.iter().map(|(field, reason)| ((*field).to_owned(), *reason)).collect()
}

fn complaint() -> wire::Complaint {
    wire::Complaint {
        customer: CUSTOMER.to_owned(),
        channel: wire::complaint::Channel::OnlineChat.into(),
        category: wire::Category::Logistics.into(),
        subject: " the parcel\u{a0}came late ".to_owned(),
        ..Default::default()
    }
}

fn register(complaint: wire::Complaint) -> Result<Register, Error> {
    Register::parse(&wire::RegisterComplaintRequest { complaint: Some(complaint), ..Default::default() })
}

#[test]
fn a_registration_takes_what_the_customer_said_and_nothing_that_the_service_sets() {
    let said = wire::Complaint {
        name: "whatever".to_owned(),
        reference: "C-1".to_owned(),
        state: wire::complaint::State::Closed.into(),
        severity: wire::Severity::Critical.into(),
        description: "line one\r\nline two".to_owned(),
        remedy_sought: wire::complaint::Remedy::Refund.into(),
        remedy_note: "all of it".to_owned(),
        ..complaint()
    };
    let Register { matter } = register(said).unwrap();
    assert_eq!(matter.customer.to_string(), CUSTOMER);
    assert_eq!((matter.channel, matter.category), (Channel::OnlineChat, Category::Logistics));
    assert_eq!((matter.severity, matter.remedy_sought), (Severity::Critical, Some(Remedy::Refund)));
    assert_eq!(matter.subject.expose(), "the parcel\u{a0}came late");
    assert_eq!(matter.description.expose(), "line one\nline two");
    assert_eq!(matter.remedy_note.expose(), "all of it");
}

#[test]
fn an_unspecified_severity_is_medium_and_an_unspecified_remedy_is_none() {
    let Register { matter } = register(complaint()).unwrap();
    assert_eq!((matter.severity, matter.remedy_sought), (Severity::Medium, None));
}

#[test]
fn everything_that_is_wrong_with_a_registration_is_said_at_once() {
    assert_eq!(
        violations(Register::parse(&wire::RegisterComplaintRequest::default())),
        expected(&[("complaint", FIELD_REQUIRED)])
    );
    assert_eq!(
        violations(register(wire::Complaint::default())),
        expected(&[
            ("complaint.customer", FIELD_REQUIRED),
            ("complaint.channel", ENUM_UNKNOWN),
            ("complaint.category", ENUM_UNKNOWN),
            ("complaint.subject", FIELD_REQUIRED),
        ])
    );
    assert_eq!(
        violations(register(wire::Complaint {
            customer: NAME.to_owned(),
            channel: 99,
            category: -1,
            severity: 5,
            subject: "x".repeat(201),
            description: format!("{}\u{202e}", "x".repeat(10_001)),
            remedy_sought: 8,
            remedy_note: "\0".to_owned() + &"n".repeat(1_001),
            ..Default::default()
        })),
        expected(&[
            ("complaint.customer", FIELD_FORMAT),
            ("complaint.channel", ENUM_UNKNOWN),
            ("complaint.category", ENUM_UNKNOWN),
            ("complaint.severity", ENUM_UNKNOWN),
            ("complaint.subject", FIELD_TOO_LONG),
            ("complaint.description", FORBIDDEN_CHARACTER),
            ("complaint.description", FIELD_TOO_LONG),
            ("complaint.remedy_sought", ENUM_UNKNOWN),
            ("complaint.remedy_note", FORBIDDEN_CHARACTER),
            ("complaint.remedy_note", FIELD_TOO_LONG),
        ])
    );
}

#[test]
fn texts_may_be_as_long_as_the_contract_says_counted_in_characters() {
    let longest = wire::Complaint {
        subject: "客".repeat(200),
        description: "户".repeat(10_000),
        remedy_note: "质".repeat(1_000),
        ..complaint()
    };
    assert!(register(longest).is_ok());
}

#[test]
fn every_verb_says_what_is_wrong_with_its_target() {
    let wrong = [("etag", FIELD_FORMAT), ("name", FIELD_FORMAT)];
    let (name, etag) = (CUSTOMER.to_owned(), "7".to_owned());
    macro_rules! check {
        ($verb:ident, $message:ident { $($rest:tt)* }) => {
            let message = wire::$message { name: name.clone(), etag: etag.clone(), $($rest)* };
            assert_eq!(violations($verb::parse(&message)), expected(&wrong), stringify!($verb));
        };
    }
    check!(Acknowledge, AcknowledgeComplaintRequest { ..Default::default() });
    check!(Assign, AssignComplaintRequest { assignee: "agent-7".to_owned(), ..Default::default() });
    check!(StartInvestigation, StartInvestigationRequest { ..Default::default() });
    check!(
        RecordRootCause,
        RecordRootCauseRequest {
            root_cause: Some(wire::RootCause { category: 1, explanation: "worn out".to_owned() }),
            responsible_department: "quality".to_owned(),
            ..Default::default()
        }
    );
    check!(Resolve, ResolveComplaintRequest { summary: "replaced".to_owned(), ..Default::default() });
    check!(Close, CloseComplaintRequest { ..Default::default() });
    check!(Reopen, ReopenComplaintRequest { reason: 1, ..Default::default() });
}

#[test]
fn an_assignee_is_a_subject() {
    let parse = |assignee: &str| {
        Assign::parse(&wire::AssignComplaintRequest {
            name: NAME.to_owned(),
            assignee: assignee.to_owned(),
            ..Default::default()
        })
    };
    assert_eq!(parse("idp|agent-7@desk").unwrap().assignee, "idp|agent-7@desk");
    assert_eq!(violations(parse("")), expected(&[("assignee", FIELD_REQUIRED)]));
    assert_eq!(violations(parse(&"a".repeat(129))), expected(&[("assignee", FIELD_TOO_LONG)]));
    for name in ["Li Lei", "李雷", "agent\n7", "agent\u{202e}"] {
        assert_eq!(violations(parse(name)), expected(&[("assignee", FIELD_FORMAT)]), "{name:?}");
    }
}

#[test]
fn a_root_cause_has_a_category_words_and_a_department() {
    let parse = |root_cause, department: &str| {
        RecordRootCause::parse(&wire::RecordRootCauseRequest {
            name: NAME.to_owned(),
            root_cause,
            responsible_department: department.to_owned(),
            ..Default::default()
        })
    };
    let cause = |explanation: &str| {
        Some(wire::RootCause {
            category: wire::Category::Information.into(),
            explanation: explanation.to_owned(),
        })
    };
    let command = parse(cause("nobody told\nthe driver"), "warehouse_2").unwrap();
    assert_eq!(command.found.category, Category::Information);
    assert_eq!(command.found.responsible_department, "warehouse_2");
    assert_eq!(
        violations(parse(None, "")),
        expected(&[("root_cause", FIELD_REQUIRED), ("responsible_department", FIELD_REQUIRED)])
    );
    assert_eq!(
        violations(parse(Some(wire::RootCause::default()), "Ware house")),
        expected(&[
            ("root_cause.category", ENUM_UNKNOWN),
            ("root_cause.explanation", FIELD_REQUIRED),
            ("responsible_department", FIELD_FORMAT),
        ])
    );
    assert_eq!(
        violations(parse(cause(&"x".repeat(10_001)), &"d".repeat(65))),
        expected(&[("root_cause.explanation", FIELD_TOO_LONG), ("responsible_department", FIELD_TOO_LONG)])
    );
}

#[test]
fn a_resolution_has_words_and_a_compensation_within_its_limits() {
    let parse = |summary: &str, compensation_points| {
        Resolve::parse(&wire::ResolveComplaintRequest {
            name: NAME.to_owned(),
            summary: summary.to_owned(),
            compensation_points,
            ..Default::default()
        })
    };
    assert!(parse("replaced", 0).is_ok());
    assert_eq!(parse("replaced", 1_000_000).unwrap().compensation_points, 1_000_000);
    for points in [-1, 1_000_001, i64::MIN, i64::MAX] {
        assert_eq!(
            violations(parse(" ", points)),
            expected(&[("summary", FIELD_REQUIRED), ("compensation_points", FIELD_RANGE)]),
            "{points}"
        );
    }
}

#[test]
fn a_reopening_has_a_reason_and_may_have_a_cause() {
    let request = || wire::ReopenComplaintRequest {
        name: NAME.to_owned(),
        reason: wire::reopen_complaint_request::Reason::Dissatisfied.into(),
        ..Default::default()
    };
    let by_hand = Reopen::parse(&request()).unwrap().reopening;
    assert_eq!((by_hand.reason, by_hand.about), (ReopenReason::Dissatisfied, None));
    let response = NAME.replace("complaints", "responses");
    let caused = Reopen::parse(&wire::ReopenComplaintRequest {
        caused_by_version: 3,
        cause: response.clone(),
        ..request()
    })
    .unwrap()
    .reopening;
    assert_eq!((caused.cause, caused.about), (response.clone(), Some(3)));
    assert!(
        Reopen::parse(&wire::ReopenComplaintRequest { cause: format!("{CUSTOMER}/{response}"), ..request() })
            .is_ok()
    );

    assert_eq!(
        violations(Reopen::parse(&wire::ReopenComplaintRequest {
            reason: 0,
            note: "n".repeat(1_001),
            caused_by_version: -1,
            cause: "she said so".to_owned(),
            ..request()
        })),
        expected(&[
            ("reason", ENUM_UNKNOWN),
            ("note", FIELD_TOO_LONG),
            ("caused_by_version", FIELD_RANGE),
            ("cause", FIELD_FORMAT),
        ])
    );
    for cause in ["responses", "responses/", "responses/7", "/", &NAME.to_uppercase(), &format!("{NAME}/x")] {
        let message = wire::ReopenComplaintRequest { cause: cause.to_owned(), ..request() };
        assert_eq!(violations(Reopen::parse(&message)), expected(&[("cause", FIELD_FORMAT)]), "{cause}");
    }
}
