//! The service's own process: its commands over its embedded defaults.

use std::process::{Command, Output};

use cqm_testkit::{TestDatabase, environment};
use secrecy::ExposeSecret;

fn run(database: &TestDatabase, command: &str, variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cqm-loyalty"))
        .arg(command)
        .env_clear()
        .env("CQM__DATABASE__URL", database.url.expose_secret())
        .env("CQM__CACHE__REDIS_URL", environment("CQM_TEST_REDIS_URL"))
        .env("CQM__CACHE__KEY", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
        .env("CQM__SERVER__PLAINTEXT", "true")
        .env("CQM__PASSES__KEYS", cqm_testkit::passes().keys)
        .env("CQM__SERVICE__VOUCHER_KEYS", "a-key-of-the-tests-and-of-nobody-else")
        .envs(variables.iter().copied())
        .output()
        .expect("the service's binary runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn migrate_brings_an_empty_database_to_what_the_binary_expects() {
    let database = TestDatabase::empty().await;
    let before = run(&database, "check", &[]);
    assert!(!before.status.success() && said(&before).contains("20261126000000_ledger"), "{}", said(&before));

    let migrated = run(&database, "migrate", &[]);
    assert!(migrated.status.success(), "{}", said(&migrated));
    let after = run(&database, "check", &[]);
    assert!(after.status.success(), "{}", said(&after));
    assert_eq!(said(&run(&database, "migrate", &[])), "", "nothing is left to do");
}

#[tokio::test]
async fn rules_that_make_no_sense_keep_the_process_from_starting() {
    let database = TestDatabase::empty().await;
    for (variable, value, complaint) in [
        ("CQM__SERVICE__POINTS_PER_UNIT", "-1", "service.points_per_unit must be 0 to 1000000"),
        ("CQM__SERVICE__SURVEY_POINTS", "1000001", "service.survey_points must be 0 to 1000000"),
        ("CQM__SERVICE__POINT_PER_UNIT", "1", "unknown field"),
        ("CQM__SERVICE__TIERS__MONTHS", "37", "service.tiers.months must be 1 to 36"),
        ("CQM__SERVICE__TIERS__WINDOW", "FOREVER", "for key `service.tiers.window`"),
        ("CQM__SERVICE__VOUCHER_KEYS", "short", "service.voucher_keys must hold a key"),
    ] {
        let refused = run(&database, "serve", &[(variable, value)]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(said(&refused).contains(complaint), "{}", said(&refused));
    }
}
