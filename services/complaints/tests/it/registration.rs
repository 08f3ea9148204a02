use std::time::Duration;

use cqm_proto::complaints::v1::*;
use cqm_proto::events::v1 as events;

use crate::desk::*;
use complaint::State;

#[tokio::test]
async fn a_registration_without_severity_and_remedy_is_of_medium_severity() {
    let mut desk = Desk::open().await;
    let plain = Complaint {
        severity: 0,
        remedy_sought: 0,
        remedy_note: String::new(),
        description: String::new(),
        subject: "  Cafe\u{301}  ".to_owned(),
        ..matter()
    };
    let complaint =
        desk.client.register_complaint(representative(registration(plain))).await.unwrap().into_inner();
    assert_eq!(
        (complaint.severity(), complaint.remedy_sought()),
        (Severity::Medium, complaint::Remedy::Unspecified)
    );
    assert_eq!(complaint.subject, "Café");
    let (_, payload) = desk.kit.events.only::<events::ComplaintRegistered>().await;
    assert_eq!(payload.severity, "MEDIUM");
}

#[tokio::test]
async fn what_the_service_sets_is_not_taken_from_the_caller() {
    let mut desk = Desk::open().await;
    let presumptuous = Complaint {
        name: NOBODYS.to_owned(),
        reference: "C-1".to_owned(),
        state: State::Closed.into(),
        assignee: "me".to_owned(),
        responsible_department: "theirs".to_owned(),
        root_cause: Some(RootCause::default()),
        resolution: Some(Resolution { version: 9, ..Default::default() }),
        reopen_count: 9,
        close_time: Some(prost_types::Timestamp::default()),
        etag: "v9".to_owned(),
        ..matter()
    };
    let complaint = desk
        .client
        .register_complaint(representative(registration(presumptuous)))
        .await
        .unwrap()
        .into_inner();
    assert_ne!(complaint.name, NOBODYS);
    assert_eq!((complaint.state(), complaint.etag.as_str()), (State::Registered, "v1"));
    assert_eq!(complaint.reference, "C-2026-000001");
    assert_eq!((complaint.assignee.as_str(), complaint.reopen_count), ("", 0));
    assert!(
        complaint.root_cause.is_none() && complaint.resolution.is_none() && complaint.close_time.is_none()
    );
    desk.kit.events.only::<events::ComplaintRegistered>().await;
}

#[tokio::test]
async fn references_are_numbered_on() {
    let mut desk = Desk::open().await;
    for number in 1..=3 {
        assert_eq!(desk.registered().await.reference, format!("C-2026-{number:06}"));
    }
    // 2027 in UTC; the number goes on.
    desk.kit.clock.advance(Duration::from_secs(351 * 24 * 60 * 60));
    assert_eq!(desk.registered().await.reference, "C-2027-000004");
}
