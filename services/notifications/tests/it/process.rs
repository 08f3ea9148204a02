//! The process, as it is installed: its defaults and its environment.

use std::process::{Command, Output};

use cqm_notifications::MIGRATIONS;
use cqm_testkit::{TestDatabase, environment};
use secrecy::ExposeSecret;
use tempfile::TempDir;

fn run(command: &str, database: &TestDatabase, variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cqm-notifications"))
        .arg(command)
        .env("CQM__DATABASE__URL", database.url.expose_secret())
        .env("CQM__CACHE__REDIS_URL", environment("CQM_TEST_REDIS_URL"))
        .env("CQM__CACHE__KEY", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
        .env("CQM__SERVER__PLAINTEXT", "true")
        .env("CQM__PASSES__KEYS", cqm_testkit::passes().keys)
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

#[tokio::test]
async fn it_starts_from_its_defaults_and_a_way_out_for_mails() {
    let database = TestDatabase::migrated(MIGRATIONS).await;
    let folder = TempDir::new().unwrap();
    let smtp = [
        ("CQM__SERVICE__SMTP__HOST", "mail.example.com"),
        ("CQM__SERVICE__SMTP__FROM", "Care <care@example.com>"),
        ("CQM__SERVICE__SMTP__PORT", "2525"),
        ("CQM__SERVICE__SMTP__TLS", "starttls"),
        ("CQM__SERVICE__SMTP__USERNAME", "cqm"),
        ("CQM__SERVICE__SMTP__PASSWORD", "12345"),
        ("CQM__SERVICE__RETRY__ATTEMPTS", "3"),
    ];
    let mailbox = [("CQM__SERVICE__MAILBOX", folder.path().to_str().unwrap())];
    for variables in [&smtp[..], &mailbox] {
        let checked = run("check", &database, variables);
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    }
    let nowhere = run("check", &database, &[]);
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("service.smtp"));
}
