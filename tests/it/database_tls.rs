//! Postgres over TLS: taken when it is who it should be, and never spoken to in plain text instead.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use cqm_db::{DatabaseConfig, DatabaseTls, Db, EventsConfig};
use cqm_rpc::{Call, Clock};
use cqm_testkit::Authority;
use cqm_tests::{Postgres, binary, folder};
use diesel::sql_types::Bool;
use diesel_async::RunQueryDsl;

/// A host that nobody else of this machine listens on.
fn host() -> Ipv4Addr {
    let [a, b, c]: [u8; 3] = rand::random();
    Ipv4Addr::new(127, a.max(1), b, c.clamp(1, 254))
}

/// Runs a subcommand of a service with nothing but what it has to know of its database.
fn complaints(subcommand: &str, host: Ipv4Addr, ca: &Path) -> Output {
    Command::new(binary("cqm-complaints"))
        .arg(subcommand)
        .env("CQM__DATABASE__URL", format!("host={host} user=cqm dbname=complaints"))
        .env("CQM__DATABASE__TLS", "verify")
        .env("CQM__DATABASE__CA", ca)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[derive(diesel::QueryableByName)]
struct Encrypted {
    #[diesel(sql_type = Bool)]
    ssl: bool,
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_taken_over_tls_when_its_certificate_fits_and_refused_otherwise() {
    let folder = folder();
    let (ours, theirs, host) = (Authority::new(), Authority::new(), host());
    let ca = |authority: &Authority, name: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, authority.pem()).unwrap();
        path
    };
    let (trusted, stranger) = (ca(&ours, "ours.crt"), ca(&theirs, "theirs.crt"));
    let mut postgres = Postgres::start(folder.path(), &["complaints"]);
    postgres.speak_tls(host, ours.papers_for(&host.to_string()));

    // A migration, a check, and the pool that serves.
    let migrated = complaints("migrate", host, &trusted);
    assert!(migrated.status.success(), "{}", said(&migrated));
    let checked = complaints("check", host, &trusted);
    assert!(said(&checked).contains("reachable, no migration pending"), "{}", said(&checked));
    let config = DatabaseConfig {
        tls: DatabaseTls::Verify,
        ca: Some(trusted.clone()),
        connect_timeout: Duration::from_secs(5),
        ..DatabaseConfig::new(format!("host={host} user=cqm dbname=complaints").into())
    };
    let db = Db::new(config, EventsConfig::default(), Clock::system()).unwrap();
    let call = Call::internal("look", Duration::from_secs(10));
    let session = db
        .read(&call, "look", async |conn| {
            let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
            Ok::<Encrypted, cqm_rpc::Error>(diesel::sql_query(sql).get_result(conn).await?)
        })
        .await
        .unwrap();
    assert!(session.ssl);

    let refused = |authority: &Path, word: &str| {
        let output = complaints("migrate", host, authority);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains(word), "{word}: {}", said(&output));
    };
    // Vouched for by nobody whom we know.
    refused(&stranger, "certificate");
    // Somebody else's certificate.
    postgres.speak_tls(host, ours.papers_for("another.example.com"));
    refused(&trusted, "certificate");
    // None at all.
    postgres.speak_plainly();
    refused(&trusted, "TLS");
}
