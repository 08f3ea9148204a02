//! What a caller may do: every cell of methods and roles.

use cqm_gateway::backend::Backends;
use cqm_proto::policy;
use cqm_rpc::{Failure, Role, role_name};
use tonic::Code;

use crate::desk::{self, Desk};
use crate::wire::Edge;

const STAFF: [Role; 7] = [
    Role::ServiceManager,
    Role::ServiceRepresentative,
    Role::TechnicalSupport,
    Role::AfterSales,
    Role::CrmSpecialist,
    Role::Supervisor,
    Role::InternalService,
];

#[tokio::test(flavor = "multi_thread")]
async fn a_role_opens_what_the_contract_says_and_nothing_else() {
    let desk = Desk::default();
    let served = desk::serve(desk::config(), desk.clone()).await;
    let url = served.url();
    let edge = Edge::before(Backends::at(|_| url.clone())).await;
    let wire = edge.wire().await;
    let mut cells = 0;
    let tokens = STAFF.map(|role| format!("Bearer {}", edge.issuer.token(edge.clock.now(), &[role])));
    for policy in policy::all() {
        for (role, token) in STAFF.into_iter().zip(&tokens) {
            let headers = [("authorization", token.as_str()), ("x-cqm-source", "loyalty")];
            let failure = Failure::of(&wire.call(policy.path, &headers, b"").await.status());
            let cell = format!("{} {}", policy.path, role_name(role));
            if policy.roles.contains(&role) {
                let closed = [Code::PermissionDenied, Code::Unauthenticated, Code::Unimplemented];
                assert!(!closed.contains(&failure.code), "{cell}: {failure}");
            } else {
                assert_eq!(
                    (failure.code, failure.reason.as_str()),
                    (Code::PermissionDenied, "ROLE_MISSING"),
                    "{cell}"
                );
                assert_eq!(failure.facts["permission"], policy.path.trim_start_matches('/'), "{cell}");
            }
            cells += 1;
        }
    }
    assert_eq!(cells, policy::all().len() * STAFF.len());
    // The services checked the policy once more; nobody got that far who may not.
    for seen in desk.all() {
        let policy = policy::find(&seen.call.path).unwrap();
        assert!(policy.allows(&seen.call.caller.roles), "{seen:?}");
    }
}

/// The columns without a token of their own: the coordinator does not come through the gateway, and a customer is
/// whoever comes without credentials.
#[tokio::test(flavor = "multi_thread")]
async fn without_credentials_only_what_a_link_opens_is_reached() {
    let desk = Desk::default();
    let served = desk::serve(desk::config(), desk.clone()).await;
    let url = served.url();
    let edge = Edge::before(Backends::at(|_| url.clone())).await;
    let wire = edge.wire().await;
    let system = [Role::Coordinator, Role::Customer]
        .map(|role| format!("Bearer {}", edge.issuer.token(edge.clock.now(), &[role])));
    for policy in policy::all() {
        let source = ("x-cqm-source", "loyalty");
        let failure = Failure::of(&wire.call(policy.path, &[source], b"").await.status());
        if policy.roles.contains(&Role::Customer) {
            assert_eq!(failure.code, Code::Ok, "{}: {failure}", policy.path);
        } else {
            let refused = (failure.code, failure.reason.as_str());
            assert_eq!(refused, (Code::Unauthenticated, "CREDENTIALS_MISSING"), "{}", policy.path);
        }
        // A token that claims a system role holds none.
        for token in &system {
            let answer = wire.call(policy.path, &[("authorization", token.as_str()), source], b"").await;
            assert_eq!(answer.failure(), (Code::PermissionDenied, "ROLE_MISSING".into()), "{}", policy.path);
        }
    }
    let reached: Vec<String> = desk.all().into_iter().map(|seen| seen.call.path.to_string()).collect();
    assert_eq!(
        reached,
        [
            "/cqm.surveys.v1.InvitationService/OpenInvitation",
            "/cqm.surveys.v1.ResponseService/SubmitResponse"
        ]
    );
    for seen in desk.all() {
        assert_eq!((&*seen.call.caller.subject, seen.call.caller.roles), ("customer", vec![Role::Customer]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_makes_a_coordinator_or_a_customer() {
    let desk = Desk::default();
    let served = desk::serve(desk::config(), desk.clone()).await;
    let url = served.url();
    let edge = Edge::before(Backends::at(|_| url.clone())).await;
    let wire = edge.wire().await;
    for (path, role) in [
        ("/cqm.notifications.v1.ContactService/PutContact", Role::Coordinator),
        ("/cqm.surveys.v1.ResponseService/SubmitResponse", Role::Customer),
    ] {
        let token = format!("Bearer {}", edge.issuer.token(edge.clock.now(), &[role]));
        let answer = wire.call(path, &[("authorization", &token)], b"").await;
        assert_eq!(answer.failure(), (Code::PermissionDenied, "ROLE_MISSING".into()), "{path}");
    }
    assert!(desk.all().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purpose_reaches_the_service_and_one_that_is_none_reaches_nobody() {
    let desk = Desk::default();
    let served = desk::serve(desk::config(), desk.clone()).await;
    let url = served.url();
    let edge = Edge::before(Backends::at(|_| url.clone())).await;
    let wire = edge.wire().await;
    let token = format!("Bearer {}", edge.issuer.token(edge.clock.now(), &[Role::Supervisor]));
    let path = "/cqm.customers.v1.CustomerService/GetCustomer";
    let call = async |purposes: &[&str]| {
        let mut headers = vec![("authorization", token.as_str())];
        headers.extend(purposes.iter().map(|purpose| ("x-cqm-purpose", *purpose)));
        wire.call(path, &headers, b"").await.failure()
    };
    for purposes in [&["curiosity"][..], &[""], &["customer_care", "customer_care"]] {
        assert_eq!(call(purposes).await, (Code::InvalidArgument, "PURPOSE_INVALID".into()), "{purposes:?}");
    }
    assert!(desk.all().is_empty());
    assert_eq!(call(&["quality_supervision spot check 7"]).await.0, Code::Ok);
    let seen = desk.seen("GetCustomer").remove(0);
    assert_eq!(seen.call.purpose.unwrap().to_string(), "quality_supervision spot check 7");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_contract_does_not_know_is_unimplemented() {
    let served = desk::serve(desk::config(), Desk::default()).await;
    let url = served.url();
    let edge = Edge::before(Backends::at(|_| url.clone())).await;
    let wire = edge.wire().await;
    for path in [
        "/cqm.customers.v1.CustomerService/Missing",
        "/cqm.customers.v2.CustomerService/GetCustomer",
        "/other.Service/Method",
        "/",
    ] {
        let answer = wire.call(path, &[], b"").await;
        assert_eq!(answer.failure(), (Code::Unimplemented, "METHOD_UNKNOWN".into()), "{path}");
    }
    // A feed has to say whose it is, and so has a log of releases.
    let token = format!("Bearer {}", edge.issuer.token(edge.clock.now(), &[Role::Supervisor]));
    let path = "/cqm.events.v1.EventFeed/GetCursor";
    for (path, source) in [
        (path, None),
        (path, Some(("x-cqm-source", "customers"))),
        ("/cqm.audit.v1.AuditService/ListReleases", None),
    ] {
        let headers: Vec<_> =
            [Some(("authorization", token.as_str())), source].into_iter().flatten().collect();
        let answer = wire.call(path, &headers, b"").await;
        assert_eq!(answer.failure(), (Code::InvalidArgument, "SOURCE_UNKNOWN".into()), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_edge_answers_for_the_health_and_the_shape_of_the_whole_suite() {
    let edge = Edge::before(Backends::at(|_| "http://127.0.0.1:1".to_owned())).await;
    let wire = edge.wire().await;
    // Without a token: probes have none. HealthCheckResponse { status: SERVING }
    let answer = wire.call("/grpc.health.v1.Health/Check", &[], b"").await;
    assert_eq!(answer.status().code(), Code::Ok);
    assert!(answer.body.ends_with(b"\x08\x01"), "{:?}", answer.body);

    let token = format!("Bearer {}", edge.issuer.token(edge.clock.now(), &[Role::Supervisor]));
    for version in ["v1", "v1alpha"] {
        let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
        // ServerReflectionRequest { list_services: "" }
        let answer = wire.call(&path, &[("authorization", &token)], b"\x3a\x00").await;
        let text = String::from_utf8_lossy(&answer.body);
        for policy in policy::all() {
            let service = policy.path.trim_start_matches('/').split('/').next().unwrap();
            assert!(text.contains(service), "{version} does not list {service}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shape_of_the_suite_is_told_to_those_who_may_see_it() {
    let edge = Edge::configured(Backends::at(|_| "http://127.0.0.1:1".to_owned()), |config| {
        config.reflection.roles = vec!["internal_service".to_owned()];
    })
    .await;
    let wire = edge.wire().await;
    for version in ["v1", "v1alpha"] {
        let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
        let ask = async |token: Option<String>| {
            let token = token.map(|token| format!("Bearer {token}"));
            let headers: Vec<_> = token.iter().map(|token| ("authorization", token.as_str())).collect();
            wire.call(&path, &headers, b"\x3a\x00").await.failure()
        };
        let token = |role| Some(edge.issuer.token(edge.clock.now(), &[role]));
        assert_eq!(ask(token(Role::InternalService)).await.0, Code::Ok);
        assert_eq!(ask(token(Role::Supervisor)).await, (Code::PermissionDenied, "ROLE_MISSING".into()));
        assert_eq!(ask(None).await, (Code::Unauthenticated, "CREDENTIALS_MISSING".into()));
        assert_eq!(ask(Some("forged".into())).await, (Code::Unauthenticated, "TOKEN_INVALID".into()));
    }
}
