//! Postgres over TLS: taken when it is who it should be, and never spoken to in plain text instead.

use std::fmt::Display;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use cqm_db::{DatabaseConfig, DatabaseTls, Db, EventsConfig};
use cqm_rpc::{Call, Clock};
use cqm_testkit::{Authority, eventually};
use cqm_tests::{Postgres, binary, folder};
use diesel::sql_types::{Bool, Nullable, Text};
use diesel_async::RunQueryDsl;

/// A host that nobody else of this machine listens on.
fn host() -> Ipv4Addr {
    let [a, b, c]: [u8; 3] = rand::random();
    Ipv4Addr::new(127, a.max(1), b, c.clamp(1, 254))
}

fn url(host: impl Display) -> String {
    format!("host={host} user=cqm dbname=complaints")
}

/// Runs a subcommand of a service with nothing but what it has to know of its database.
fn complaints(subcommand: &str, host: Ipv4Addr, ca: &Path) -> Output {
    let ca = ca.to_str().unwrap();
    told(subcommand, &url(host), &[("CQM__DATABASE__TLS", "verify"), ("CQM__DATABASE__CA", ca)])
}

fn told(subcommand: &str, url: &str, variables: &[(&str, &str)]) -> Output {
    Command::new(binary("cqm-complaints"))
        .arg(subcommand)
        .env("CQM__DATABASE__URL", url)
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[derive(diesel::QueryableByName)]
struct Session {
    #[diesel(sql_type = Bool)]
    ssl: bool,
    /// Whom the client's certificate is of.
    #[diesel(sql_type = Nullable<Text>)]
    client_dn: Option<String>,
}

async fn session(db: &Db) -> Result<Session, cqm_rpc::Error> {
    let call = Call::internal("look", Duration::from_secs(10));
    db.read(&call, "look", async |conn| {
        let sql = "SELECT ssl, client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        Ok::<Session, cqm_rpc::Error>(diesel::sql_query(sql).get_result(conn).await?)
    })
    .await
}

fn open(config: DatabaseConfig) -> Db {
    let config = DatabaseConfig { connect_timeout: Duration::from_secs(5), ..config };
    Db::new(config, EventsConfig::default(), Clock::system()).unwrap()
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
        tls: Some(DatabaseTls::Verify),
        ca: Some(trusted.clone()),
        ..DatabaseConfig::new(url(host).into())
    };
    assert!(session(&open(config)).await.unwrap().ssl);

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

#[test]
fn a_configuration_that_says_nothing_of_tls_means_it_except_on_this_machine() {
    let (folder, ours, host) = (folder(), Authority::new(), host());
    let trusted = folder.path().join("ours.crt");
    std::fs::write(&trusted, ours.pem()).unwrap();
    // The same address, spelled so that it is not seen to be this machine's own.
    let [a, b, c, d] = host.octets();
    let elsewhere = format!("{a}.{b}.{c}.0x{d:x}");
    let mut postgres = Postgres::start(folder.path(), &["complaints"]);
    postgres.speak_tls(host, ours.papers_for(&elsewhere));

    // Believed by what the machine trusts, which here is one authority.
    let silent = |host: &str| told("migrate", &url(host), &[("SSL_CERT_FILE", trusted.to_str().unwrap())]);
    let migrated = silent(&elsewhere);
    assert!(migrated.status.success(), "{}", said(&migrated));

    postgres.speak_plainly();
    let refused = silent(&elsewhere);
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    assert!(said(&refused).contains("TLS"), "{}", said(&refused));
    for plain in [
        told("migrate", &url(&elsewhere), &[("CQM__DATABASE__TLS", "off")]),
        told("migrate", &format!("{} sslmode=disable", url(&elsewhere)), &[]),
        told("migrate", &url(host), &[]),
        told("migrate", &postgres.url("complaints"), &[]),
    ] {
        assert!(plain.status.success(), "{}", said(&plain));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_shown_a_certificate_and_files_that_are_exchanged_are_used_for_new_connections() {
    let (folder, host) = (folder(), host());
    let (first, second) = (Authority::new(), Authority::new());
    let path = |name: &str| folder.path().join(name);
    let fill = |authority: &Authority| {
        let (certificate, key) = authority.papers_for("a-service-of-ours");
        for (name, text) in [("ca.crt", authority.pem()), ("tls.crt", certificate), ("tls.key", key)] {
            std::fs::write(path(name), text).unwrap();
        }
    };
    fill(&first);
    let mut postgres = Postgres::start(folder.path(), &["complaints"]);
    let vouched = |postgres: &mut Postgres, authority: &Authority| {
        postgres.speak_tls(host, authority.papers_for(&host.to_string()));
        postgres.ask_for_certificates(&authority.pem());
    };
    vouched(&mut postgres, &first);

    let stranger = DatabaseConfig { ca: Some(path("ca.crt")), ..DatabaseConfig::new(url(host).into()) };
    assert!(session(&open(stranger.clone())).await.is_err(), "nobody is let in without a certificate");
    let config =
        DatabaseConfig { certificate: Some(path("tls.crt")), key: Some(path("tls.key")), ..stranger };
    let db = open(config);
    let known = async || {
        let session = session(&db).await;
        session.is_ok_and(|it| it.ssl && it.client_dn.is_some_and(|dn| dn.contains("a-service-of-ours")))
    };
    assert!(known().await);

    // Half of it: the next connection is made by what was read before.
    std::fs::write(path("tls.crt"), second.papers_for("a-service-of-ours").0).unwrap();
    postgres.crash_and_restart();
    eventually("a connection by what was read before", &known).await;
    fill(&second);
    vouched(&mut postgres, &second);
    eventually("a connection by the new authority", &known).await;
}
