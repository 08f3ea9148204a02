//! Nobody, and those who may not.

use std::collections::BTreeSet;
use std::process::Command;

use cqm_gateway::backend::Backend;
use cqm_proto::customers::v1::DeleteCustomerRequest;
use cqm_proto::customers::v1::customer_service_client::CustomerServiceClient;
use cqm_proto::loyalty::v1::RedeemPointsRequest;
use cqm_proto::loyalty::v1::ledger_service_client::LedgerServiceClient;
use cqm_proto::surveys::v1::GetInvitationLinkRequest;
use cqm_proto::surveys::v1::invitation_service_client::InvitationServiceClient;
use cqm_tests::{Bearer, binary};
use tonic::Code;

use super::wire::{Wire, frame};
use super::{Desk, Refused, nobody, refused, told};

/// Read, written, streamed, and open to whoever has a link.
const METHODS: [&str; 4] = [
    "/cqm.customers.v1.CustomerService/GetCustomer",
    "/cqm.complaints.v1.ComplaintService/RegisterComplaint",
    "/cqm.customers.v1.PurchaseService/RecordPurchases",
    "/cqm.surveys.v1.InvitationService/OpenInvitation",
];

#[tokio::test(flavor = "multi_thread")]
async fn who_calls_decides_before_what_is_called_for() {
    let desk = Desk::open().await;
    let wire = desk.wire().await;
    nobody_gets_one_answer(&wire).await;
    bad_tokens_get_one_answer(&desk, &wire).await;
    a_role_that_lacks_the_method_is_told_so(&desk).await;
    past_the_gateway_nobody_gets_anything(&desk).await;
    desk.close().await;
}

async fn nobody_gets_one_answer(wire: &Wire) {
    let mut first: Option<Refused> = None;
    let forged = [("x-cqm-caller", "coordinator"), ("x-cqm-roles", "service_manager,coordinator")];
    for path in &METHODS[..3] {
        for headers in [&[][..], &forged] {
            let answer = told(
                &wire.call(path, headers, frame(b"")).await.status(),
                Code::Unauthenticated,
                "CREDENTIALS_MISSING",
            );
            assert_eq!(answer.details, ["ErrorInfo"]);
            assert_eq!(answer.bytes, first.get_or_insert(answer.clone()).bytes, "{path}");
        }
    }
}

async fn bad_tokens_get_one_answer(desk: &Desk, wire: &Wire) {
    let token = desk.stage.token("service_manager");
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!("a token has three parts") };
    let other = desk.stage.token("internal_service");
    let other = other.split('.').nth(1).unwrap();
    let zeros = "A".repeat(signature.len());
    let bearers = [
        String::new(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        "Bearer secret".to_owned(),
        "Bearer ..".to_owned(),
        format!("Basic {token}"),
        token.clone(),
        format!("Bearer {header}.{payload}"),
        format!("Bearer {header}.{payload}."),
        format!("Bearer {header}.{payload}.{zeros}"),
        format!("Bearer {header}.{payload}.{signature}.{signature}"),
        format!("Bearer {header}.{other}.{signature}"),
        // {"alg":"none"} and {"alg":"none","kid":"…"} without a signature.
        format!("Bearer eyJhbGciOiJub25lIn0.{payload}."),
        format!("Bearer eyJhbGciOiJub25lIn0.{payload}.{signature}"),
        format!("Bearer {}", stranger()),
        format!("Bearer {}", "x".repeat(10_000)),
    ];
    let mut first: Option<Refused> = None;
    for path in METHODS {
        for bearer in &bearers {
            let status = wire.call(path, &[("authorization", bearer)], frame(b"")).await.status();
            let answer = told(&status, Code::Unauthenticated, "TOKEN_INVALID");
            assert_eq!(answer.details, ["ErrorInfo"]);
            assert_eq!(answer.bytes, first.get_or_insert(answer.clone()).bytes, "{path}: {bearer}");
        }
        let good = format!("Bearer {token}");
        let status = wire.call(path, &[("authorization", good.as_str())], frame(b"")).await.status();
        assert_ne!(status.code(), Code::Unauthenticated, "{path}: the one that they were made from is good");
    }
    // What is missing and what is wrong read the same but for their reason.
    let nothing = wire.call(METHODS[0], &[], frame(b"")).await.status();
    assert_eq!(nothing.message(), first.unwrap().failure.message);
}

/// Not with a good token either: services take passes, and those are signed for each other by the suite's processes.
async fn past_the_gateway_nobody_gets_anything(desk: &Desk) {
    let good = format!("Bearer {}", desk.stage.token("service_manager"));
    let services = desk.stage.suite.services();
    let paths = METHODS.into_iter().chain([
        "/cqm.loyalty.v1.LedgerService/GetAccount",
        "/cqm.notifications.v1.MessageService/SendMessage",
    ]);
    let mut called = BTreeSet::new();
    for path in paths {
        let package = path.trim_start_matches('/').split('/').next().unwrap().rsplit_once('.').unwrap().0;
        let service = Backend::from_package(package).unwrap().name();
        let wire = Wire::to(&services[service].to_string()).await;
        for (headers, reason) in [
            (&[][..], "CREDENTIALS_MISSING"),
            (&[("x-cqm-caller", "coordinator"), ("x-cqm-roles", "coordinator")][..], "CREDENTIALS_MISSING"),
            (&[("authorization", good.as_str())][..], "CREDENTIALS_MISSING"),
            (&[("x-cqm-pass", &good["Bearer ".len()..])][..], "TOKEN_INVALID"),
        ] {
            let status = wire.call(path, headers, frame(b"")).await.status();
            told(&status, Code::Unauthenticated, reason);
        }
        called.insert(service);
    }
    assert_eq!(called.len(), Backend::ALL.len(), "every service was called");
}

/// A good token of somebody whom the suite does not know.
fn stranger() -> String {
    let keys = tempfile::tempdir().unwrap();
    assert!(Command::new(binary("cqm")).arg("dev-keys").arg(keys.path()).status().unwrap().success());
    let made = Command::new(binary("cqm"))
        .args(["token", "--role", "service_manager", "--key"])
        .arg(keys.path().join("signing.pem"))
        .output();
    let token = String::from_utf8(made.unwrap().stdout).unwrap().trim().to_owned();
    assert_eq!(token.split('.').count(), 3, "{token}");
    token
}

async fn a_role_that_lacks_the_method_is_told_so(desk: &Desk) {
    let caller = |role| Bearer::caller(&desk.address(), &desk.stage.token(role));
    let delete = DeleteCustomerRequest { name: nobody("customers"), ..Default::default() };
    let outcome = CustomerServiceClient::new(caller("supervisor")).delete_customer(delete).await;
    let answer = refused(outcome, Code::PermissionDenied, "ROLE_MISSING");
    assert_eq!(answer.fact("permission"), "cqm.customers.v1.CustomerService/DeleteCustomer");
    assert_eq!(answer.details, ["ErrorInfo"]);

    let redeem = RedeemPointsRequest { customer: nobody("customers"), points: 1, ..Default::default() };
    let outcome = LedgerServiceClient::new(caller("technical_support")).redeem_points(redeem).await;
    let answer = refused(outcome, Code::PermissionDenied, "ROLE_MISSING");
    assert_eq!(answer.fact("permission"), "cqm.loyalty.v1.LedgerService/RedeemPoints");

    // The secret of a link is not for people.
    let link = GetInvitationLinkRequest { name: nobody("invitations") };
    let outcome = InvitationServiceClient::new(desk.staff.clone()).get_invitation_link(link).await;
    let answer = refused(outcome, Code::PermissionDenied, "ROLE_MISSING");
    assert_eq!(answer.fact("permission"), "cqm.surveys.v1.InvitationService/GetInvitationLink");
}
