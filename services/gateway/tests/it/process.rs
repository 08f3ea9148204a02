//! The gateway's own process: its commands over its embedded defaults.

use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};

use cqm_gateway::backend::Backend;
use cqm_testkit::eventually;
use tokio::net::{TcpListener, TcpSocket};
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::coordinator::Scene;
use crate::tokens::{AUDIENCE, ISSUER, Issuer};

fn run(arguments: &[&str], variables: &[(String, String)]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = Command::new(env!("CARGO_BIN_EXE_cqm-gateway"))
        .args(arguments)
        .env_clear()
        .envs(variables.iter().cloned())
        .output()
        .expect("the gateway's binary runs");
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn a_command_that_is_none_is_answered_with_those_that_are() {
    for arguments in [&[][..], &["migrate"]] {
        let usage = "usage: cqm-gateway serve | coordinate | check\n".to_owned();
        assert_eq!(run(arguments, &[]), (Some(2), usage));
    }
}

#[test]
fn settings_without_sense_are_refused_by_every_command() {
    let nonsense = [("CQM__SERVICE__COORDINATOR__TRYS".to_owned(), "3".to_owned())];
    for command in ["serve", "coordinate", "check"] {
        let (code, said) = run(&[command], &nonsense);
        assert_eq!(code, Some(2));
        assert!(said.contains("trys"), "{said}");
    }
}

#[tokio::test]
async fn a_check_says_everything_that_is_wrong_and_what_is_well() {
    let (issuer, service) = (Issuer::new(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    // Nobody listens on it, and nobody else gets it.
    let nobody = TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let at = |backend: Backend, address: SocketAddr| {
        let name = backend.name().replace('-', "_").to_uppercase();
        (format!("CQM__SERVICE__BACKENDS__{name}"), format!("http://{address}"))
    };
    let keys = issuer.path();
    let staff = [
        ("ISSUER", ISSUER),
        ("AUDIENCE", AUDIENCE),
        ("JWKS", keys.to_str().unwrap()),
        // Lists have no other spelling here.
        ("ALGORITHMS", "EdDSA,RS256"),
        ("ROLES__SERVICE_MANAGER", "care-manager,care-lead"),
        ("SUBJECTS__SUPERVISOR", "staff-1"),
    ]
    .map(|(key, value)| (format!("CQM__SERVICE__IDENTITY__ISSUERS__STAFF__{key}"), value.to_owned()));
    let mut variables = staff.to_vec();
    variables.push(("CQM__SERVER__PLAINTEXT".to_owned(), "true".to_owned()));
    let signing = cqm_testkit::signing().key.to_str().unwrap().to_owned();
    variables.push(("CQM__SERVICE__PASSES__KEY".to_owned(), signing));
    variables.extend(Backend::ALL.map(|backend| at(backend, service.local_addr().unwrap())));

    let (code, said) = run(&["check"], &variables);
    assert_eq!((code, said.lines().count()), (Some(0), Backend::ALL.len() + 3), "{said}");

    variables.push(("CQM__SERVER__PLAINTEXT".to_owned(), "false".to_owned()));
    variables.push(at(Backend::Loyalty, nobody.local_addr().unwrap()));
    std::fs::remove_file(keys).unwrap();
    let (code, said) = run(&["check"], &variables);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("server.plaintext")
            && said.contains("jwks.json")
            && said.contains("loyalty: ")
            && said.contains("surveys: accepts"),
        "{said}"
    );
    assert!(said.ends_with("cqm-gateway: 3 of 8 checks failed\n"), "{said}");
}

/// What a probe of the process at this address is told; `None` while nobody answers.
async fn probe(address: SocketAddr) -> Option<ServingStatus> {
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.ok()?;
    let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await.ok()?;
    Some(answer.into_inner().status())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_answers_probes_and_is_ready_when_it_reads() {
    let scene = Scene::at(Backend::Complaints).await;
    scene.by_the_machines_clock();
    // Kept for one of the sources, which is away until it is served.
    let away = TcpSocket::new_v4().unwrap();
    away.set_reuseaddr(true).unwrap();
    away.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let late = away.local_addr().unwrap();
    let own = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let signing = cqm_testkit::signing().key.to_str().unwrap().to_owned();
    let mut variables = vec![
        ("CQM__TELEMETRY__LISTEN".to_owned(), own.to_string()),
        ("CQM__SERVICE__PASSES__KEY".to_owned(), signing),
    ];
    for backend in Backend::ALL {
        let name = backend.name().replace('-', "_").to_uppercase();
        let address = match backend {
            Backend::Loyalty => format!("http://{late}"),
            _ => scene.url(backend),
        };
        variables.push((format!("CQM__SERVICE__BACKENDS__{name}"), address));
    }
    let mut coordinator = Command::new(env!("CARGO_BIN_EXE_cqm-gateway"))
        .arg("coordinate")
        .env_clear()
        .envs(variables)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("a first answer", || async { probe(own).await.is_some() }).await;
    eventually("four sources are read", || async { !scene.source.cursor().await.reader.is_empty() }).await;
    assert_eq!(probe(own).await, Some(ServingStatus::NotServing), "the fifth one is away");

    drop(away);
    let loyalty = scene.serve_at(late).await;
    loyalty.by_the_machines_clock();
    eventually("it reads", || async { probe(own).await == Some(ServingStatus::Serving) }).await;
    assert!(Command::new("kill").arg(coordinator.id().to_string()).status().unwrap().success());
    assert!(coordinator.wait().unwrap().success(), "a drain ends well");
    assert_eq!(scene.source.cursor().await.reader, "", "and gives the source back");
}
