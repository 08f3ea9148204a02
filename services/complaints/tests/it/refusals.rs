use cqm_proto::complaints::v1::*;
use cqm_rpc::{Failure, Role};
use cqm_testkit::request;
use tonic::{Code, Status};

use crate::desk::*;
use complaint::State;

/// Every verb with a message that has nothing wrong but, perhaps, its moment.
macro_rules! every_verb {
    ($desk:expr, $name:expr, |$outcome:ident, $verb:ident| $check:block) => {
        every_verb!(@one $desk, acknowledge_complaint, acknowledge($name), "acknowledge", $outcome, $verb, $check);
        every_verb!(@one $desk, assign_complaint, assign($name, "agent-7"), "assign", $outcome, $verb, $check);
        every_verb!(@one $desk, start_investigation, start($name), "start_investigation", $outcome, $verb, $check);
        every_verb!(@one $desk, record_root_cause, record_cause($name), "record_root_cause", $outcome, $verb, $check);
        every_verb!(@one $desk, resolve_complaint, resolve($name, 0), "resolve", $outcome, $verb, $check);
        every_verb!(@one $desk, close_complaint, close($name), "close", $outcome, $verb, $check);
        every_verb!(@one $desk, reopen_complaint, reopen($name), "reopen", $outcome, $verb, $check);
    };
    (@one $desk:expr, $method:ident, $message:expr, $text:literal, $outcome:ident, $verb:ident, $check:block) => {{
        let $outcome = $desk.client.$method(representative($message)).await;
        let $verb = $text;
        $check
    }};
}

#[tokio::test]
async fn a_move_that_the_state_does_not_allow_is_refused_and_leaves_no_trace() {
    let mut desk = Desk::open().await;
    for (state, illegal) in [
        (State::Registered, &["start_investigation", "record_root_cause", "resolve", "close", "reopen"][..]),
        (
            State::Closed,
            &["acknowledge", "assign", "start_investigation", "record_root_cause", "resolve", "close"][..],
        ),
    ] {
        for wanted in illegal {
            let complaint = desk.in_state(state).await;
            let name = complaint.name.clone();
            let outcome = match *wanted {
                "acknowledge" => desk.client.acknowledge_complaint(representative(acknowledge(&name))).await,
                "assign" => desk.client.assign_complaint(representative(assign(&name, "agent-7"))).await,
                "start_investigation" => desk.client.start_investigation(representative(start(&name))).await,
                "record_root_cause" => {
                    desk.client.record_root_cause(representative(record_cause(&name))).await
                }
                "resolve" => desk.client.resolve_complaint(representative(resolve(&name, 0))).await,
                "close" => desk.client.close_complaint(representative(close(&name))).await,
                _ => desk.client.reopen_complaint(representative(reopen(&name))).await,
            };
            let details = outcome.as_ref().expect_err("an illegal move").details().to_vec();
            let failure = refused(outcome, Code::FailedPrecondition, "COMPLAINT_STATE");
            assert_eq!(failure.domain, "cqm.complaints.v1");
            assert_eq!(failure.facts["state"], state.as_str_name().trim_start_matches("STATE_"));
            assert_eq!(failure.facts["action"], *wanted);
            assert_eq!(failure.facts["name"], name);
            let precondition = b"google.rpc.PreconditionFailure";
            assert!(details.windows(precondition.len()).any(|window| window == precondition));
            assert_eq!(desk.get(&name).await, complaint);
        }
    }
    assert_eq!(desk.kit.events.next_types().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_complaint_that_is_not_there_is_not_found_with_the_same_bytes_by_every_method() {
    let mut desk = Desk::open().await;
    let bytes = |status: &Status| (status.code(), status.message().to_owned(), status.details().to_vec());
    let message = GetComplaintRequest { name: NOBODYS.to_owned() };
    let outcome = desk.client.get_complaint(representative(message)).await;
    let first = bytes(outcome.as_ref().unwrap_err());
    let failure = refused(outcome, Code::NotFound, "COMPLAINT_NOT_FOUND");
    assert_eq!((failure.domain.as_str(), failure.facts["name"].as_str()), ("cqm.complaints.v1", NOBODYS));

    let message = ListTimelineRequest { complaint: NOBODYS.to_owned(), ..Default::default() };
    assert_eq!(bytes(&desk.client.list_timeline(representative(message)).await.unwrap_err()), first);
    every_verb!(desk, NOBODYS, |outcome, verb| {
        assert_eq!(bytes(&outcome.unwrap_err()), first, "{verb}");
    });
}

#[tokio::test]
async fn a_name_that_is_none_is_refused_by_every_method() {
    let mut desk = Desk::open().await;
    for (name, reason) in [
        ("", "FIELD_REQUIRED"),
        (CUSTOMER, "FIELD_FORMAT"),
        ("complaints/7", "FIELD_FORMAT"),
        ("complaints/01890A5D-AC96-774B-BCCE-B302099A8057", "FIELD_FORMAT"),
        ("complaints/01890a5d-ac96-774b-bcce-b302099a8057/", "FIELD_FORMAT"),
    ] {
        let wrong = [format!("name {reason}")];
        let message = GetComplaintRequest { name: name.to_owned() };
        assert_eq!(violations(desk.client.get_complaint(representative(message)).await), wrong);
        let message = ListTimelineRequest { complaint: name.to_owned(), ..Default::default() };
        let outcome = desk.client.list_timeline(representative(message)).await;
        assert_eq!(violations(outcome), [format!("complaint {reason}")]);
        every_verb!(desk, name, |outcome, verb| {
            assert_eq!(violations(outcome), wrong, "{verb}");
        });
    }
}

#[tokio::test]
async fn a_registration_is_told_everything_that_is_wrong_with_it_and_nothing_is_kept() {
    let mut desk = Desk::open().await;
    let outcome = desk.client.register_complaint(representative(RegisterComplaintRequest::default())).await;
    assert_eq!(violations(outcome), ["complaint FIELD_REQUIRED"]);

    const SECRET: &str = "Zhang-Wei-13800138000";
    let wrong = Complaint {
        customer: SECRET.to_owned(),
        channel: 42,
        category: 0,
        severity: -3,
        subject: format!("{SECRET}\u{202e}"),
        description: format!("{SECRET}{}", "x".repeat(10_000)),
        remedy_sought: 8,
        remedy_note: format!("{SECRET}\0"),
        ..Default::default()
    };
    let outcome = desk.client.register_complaint(representative(registration(wrong))).await;
    let status = outcome.as_ref().expect_err("a refusal");
    let said = [status.message().as_bytes(), status.details()].concat();
    assert!(
        !said.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()),
        "a refusal repeats no value"
    );
    assert_eq!(
        violations(outcome),
        [
            "complaint.customer FIELD_FORMAT",
            "complaint.channel ENUM_UNKNOWN",
            "complaint.category ENUM_UNKNOWN",
            "complaint.severity ENUM_UNKNOWN",
            "complaint.subject FORBIDDEN_CHARACTER",
            "complaint.description FIELD_TOO_LONG",
            "complaint.remedy_sought ENUM_UNKNOWN",
            "complaint.remedy_note FORBIDDEN_CHARACTER",
        ]
    );
    assert_eq!(desk.kit.count("complaints").await, 0);
}

#[tokio::test]
async fn scripts_and_formulas_are_kept_as_they_are() {
    let mut desk = Desk::open().await;
    let odd = "<script>alert(1)</script>'; DROP TABLE complaints;-- =1+1 {{x}}";
    let told = Complaint { subject: odd.to_owned(), description: odd.to_owned(), ..matter() };
    let complaint =
        desk.client.register_complaint(representative(registration(told))).await.unwrap().into_inner();
    assert_eq!((complaint.subject.as_str(), complaint.description.as_str()), (odd, odd));
    assert_eq!(desk.get(&complaint.name).await, complaint);
    assert_eq!(desk.kit.events.next_types().await, ["ComplaintRegistered"]);
}

#[tokio::test]
async fn verbs_are_told_what_is_wrong_with_what_they_bring() {
    let mut desk = Desk::open().await;
    let complaint = desk.registered().await;
    let name = complaint.name.as_str();

    let outcome = desk.client.assign_complaint(representative(assign(name, ""))).await;
    assert_eq!(violations(outcome), ["assignee FIELD_REQUIRED"]);
    let outcome = desk.client.assign_complaint(representative(assign(name, "Zhang Wei"))).await;
    assert_eq!(violations(outcome), ["assignee FIELD_FORMAT"]);

    let message = RecordRootCauseRequest {
        root_cause: None,
        responsible_department: "The Warehouse".to_owned(),
        ..record_cause(name)
    };
    let outcome = desk.client.record_root_cause(representative(message)).await;
    let wrong = ["root_cause FIELD_REQUIRED", "responsible_department FIELD_FORMAT"];
    assert_eq!(violations(outcome), wrong);

    let message = ResolveComplaintRequest { summary: String::new(), ..resolve(name, 1_000_001) };
    let outcome = desk.client.resolve_complaint(representative(message)).await;
    let wrong = ["summary FIELD_REQUIRED", "compensation_points FIELD_RANGE"];
    assert_eq!(violations(outcome), wrong);

    let message = ReopenComplaintRequest {
        reason: 0,
        caused_by_version: -1,
        cause: "she called".to_owned(),
        etag: "W/\"1\"".to_owned(),
        ..reopen(name)
    };
    let outcome = desk.client.reopen_complaint(representative(message)).await;
    let wrong =
        ["etag FIELD_FORMAT", "reason ENUM_UNKNOWN", "caused_by_version FIELD_RANGE", "cause FIELD_FORMAT"];
    assert_eq!(violations(outcome), wrong);
    assert_eq!(desk.get(name).await, complaint);
}

#[tokio::test]
async fn a_request_id_that_is_no_uuid_is_refused() {
    let mut desk = Desk::open().await;
    let message = RegisterComplaintRequest { request_id: "again".to_owned(), ..registration(matter()) };
    let outcome = desk.client.register_complaint(representative(message)).await;
    assert_eq!(violations(outcome), ["request_id REQUEST_ID_FORMAT"]);
    assert_eq!(desk.kit.count("complaints").await, 0);
}

#[tokio::test]
async fn a_stale_etag_is_told_before_the_state() {
    let mut desk = Desk::open().await;
    let complaint = desk.in_state(State::Closed).await;
    let message = AcknowledgeComplaintRequest { etag: "v1".to_owned(), ..acknowledge(&complaint.name) };
    let outcome = desk.client.acknowledge_complaint(representative(message)).await;
    refused(outcome, Code::Aborted, "ETAG_MISMATCH");
    let message =
        AcknowledgeComplaintRequest { etag: complaint.etag.clone(), ..acknowledge(&complaint.name) };
    let outcome = desk.client.acknowledge_complaint(representative(message)).await;
    refused(outcome, Code::FailedPrecondition, "COMPLAINT_STATE");
}

#[tokio::test]
async fn a_caller_without_the_role_is_refused_before_anything_is_read() {
    let mut desk = Desk::open().await;
    let service = "cqm.complaints.v1.ComplaintService";
    let outcome = desk.client.register_complaint(request(Role::Coordinator, registration(matter()))).await;
    let failure = refused(outcome, Code::PermissionDenied, "ROLE_MISSING");
    assert_eq!(failure.facts["permission"], format!("{service}/RegisterComplaint"));
    let outcome = desk.client.acknowledge_complaint(request(Role::Supervisor, acknowledge(NOBODYS))).await;
    refused(outcome, Code::PermissionDenied, "ROLE_MISSING");
    let outcome = desk.client.acknowledge_complaint(request(Role::Coordinator, acknowledge(NOBODYS))).await;
    refused(outcome, Code::PermissionDenied, "ROLE_MISSING");
    let message = GetComplaintRequest { name: NOBODYS.to_owned() };
    let outcome = desk.client.get_complaint(request(Role::Customer, message.clone())).await;
    refused(outcome, Code::PermissionDenied, "ROLE_MISSING");
    let outcome = desk.client.get_complaint(tonic::Request::new(message)).await;
    refused(outcome, Code::Unauthenticated, "CREDENTIALS_MISSING");
    assert_eq!(desk.kit.count("complaints").await, 0);
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_with_the_limit() {
    let mut desk = Desk::open().await;
    let huge = Complaint { description: "x".repeat(70_000), ..matter() };
    let outcome = desk.client.register_complaint(representative(registration(huge))).await;
    let failure: Failure = refused(outcome, Code::ResourceExhausted, "MESSAGE_TOO_LARGE");
    assert_eq!(failure.facts["limit"], "65536");
    // The longest registration that the contract allows fits, in characters of four bytes.
    let longest = Complaint {
        subject: "𠮷".repeat(200),
        description: "𠮷".repeat(10_000),
        remedy_note: "𠮷".repeat(1_000),
        ..matter()
    };
    desk.client.register_complaint(representative(registration(longest))).await.unwrap();
    assert_eq!(desk.kit.events.next_types().await, ["ComplaintRegistered"]);
}
