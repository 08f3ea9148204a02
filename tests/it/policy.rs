//! What the coordinator may do: every method of the contract at every service, by passes as the coordinator makes them. The
//! other roles' cells are the gateway's to keep; the coordinator does not come through it.

use cqm_gateway::backend::Backend;
use cqm_proto::policy::{self, MethodPolicy};
use cqm_rpc::{Caller, Failure, Role};
use cqm_tests::attack::message;
use http::HeaderMap;
use tonic::Code;

use crate::fuzz::{Answers, status};
use crate::journey::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinators_pass_opens_at_each_service_what_the_contract_says_and_nothing_else() {
    let stage = Stage::set().await;
    let mint = stage.mint();
    let coordinator = Caller { subject: "coordinator".into(), roles: vec![Role::Coordinator] };
    let (mut open, mut closed, mut elsewhere) = (0, 0, 0);
    for backend in Backend::ALL {
        let address = stage.suite.services()[backend.name()].to_string();
        let passes = mint.for_service(backend.name());
        for policy in policy::all() {
            let mut headers = HeaderMap::new();
            passes.stamp(&mut headers, policy.path, &coordinator).await.unwrap();
            let failure = Failure::of(&status(&address, policy.path, headers, message(b"")).await);
            let cell = format!("{} at {}: {failure}", policy.path, backend.name());
            if !policy.answers(backend) {
                let unknown = (failure.code, failure.reason.as_str());
                assert_eq!(unknown, (Code::Unimplemented, "METHOD_UNKNOWN"), "{cell}");
                elsewhere += 1;
            } else if policy.roles.contains(&Role::Coordinator) {
                let shut = [Code::PermissionDenied, Code::Unauthenticated, Code::Unimplemented];
                assert!(!shut.contains(&failure.code), "{cell}");
                open += 1;
            } else {
                let refused = (failure.code, failure.reason.as_str());
                assert_eq!(refused, (Code::PermissionDenied, "ROLE_MISSING"), "{cell}");
                assert_eq!(failure.facts["permission"], policy.path.trim_start_matches('/'), "{cell}");
                closed += 1;
            }
        }
    }
    assert_eq!(open + closed + elsewhere, policy::all().len() * Backend::ALL.len());
    // Of what every service answers, of each once.
    let count = |which: &dyn Fn(&MethodPolicy) -> bool| policy::all().iter().filter(|it| which(it)).count();
    let opened = |everywhere: bool| {
        count(&|policy| policy.roles.contains(&Role::Coordinator) && policy.everywhere() == everywhere)
    };
    assert_eq!(open, opened(false) + opened(true) * Backend::ALL.len());
    stage.suite.stop().await;
}
