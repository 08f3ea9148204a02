//! The gateway's own process: its commands over its embedded defaults.

use std::net::SocketAddr;
use std::process::{Command, Output};

use cqm_gateway::backend::Backend;
use tokio::net::{TcpListener, TcpSocket};

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
    let staff = [("ISSUER", ISSUER), ("AUDIENCE", AUDIENCE), ("JWKS", keys.to_str().unwrap())]
        .map(|(key, value)| (format!("CQM__SERVICE__IDENTITY__ISSUERS__STAFF__{key}"), value.to_owned()));
    let mut variables = staff.to_vec();
    variables.push(("CQM__SERVER__PLAINTEXT".to_owned(), "true".to_owned()));
    variables.extend(Backend::ALL.map(|backend| at(backend, service.local_addr().unwrap())));

    let (code, said) = run(&["check"], &variables);
    assert_eq!((code, said.lines().count()), (Some(0), Backend::ALL.len() + 2), "{said}");

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
    assert!(said.ends_with("cqm-gateway: 3 of 7 checks failed\n"), "{said}");
}
