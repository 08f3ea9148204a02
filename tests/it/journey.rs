//! The closed loop in one process, over a real Postgres, a real Redis and a real mail server.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use cqm_rpc::Clock;
use cqm_runtime::pass::{Mint, SigningConfig};
use cqm_runtime::telemetry::TelemetryConfig;
use cqm_standalone::{Mail, Options, Secrets, Suite};
use cqm_testkit::{Mail as Letter, SmtpSink, TestDatabase, environment};
use cqm_tests::customer::{Callers, Person, live};
use cqm_tests::{Bearer, binary, channel, settled};
use secrecy::ExposeSecret;

/// The suite in this process, with a mail server that remembers and keys that anybody here may sign with.
pub struct Stage {
    pub suite: Suite,
    pub mail: SmtpSink,
    keys: tempfile::TempDir,
}

impl Stage {
    pub async fn set() -> Self {
        let keys = tempfile::tempdir().unwrap();
        let made = Command::new(binary("cqm")).arg("dev-keys").arg(keys.path()).status().unwrap();
        assert!(made.success());
        let mut databases = BTreeMap::new();
        for (service, _) in cqm_tests::SERVICES {
            databases.insert(service, TestDatabase::empty().await.url.expose_secret().to_owned());
        }
        let mail = SmtpSink::start().await;
        let options = Options {
            listen: "127.0.0.1:0".parse().unwrap(),
            database: Box::new(move |service| databases[service].clone()),
            redis_url: Some(environment("CQM_TEST_REDIS_URL")),
            keys: keys.path().to_owned(),
            mail: Mail::Smtp { host: "127.0.0.1".to_owned(), port: mail.port },
            secrets: Secrets::generate(),
            clock: Clock::system(),
            telemetry: TelemetryConfig::default(),
        };
        Self { suite: Suite::start(options).await.unwrap(), mail, keys }
    }

    pub fn token(&self, role: &str) -> String {
        token(self.keys.path(), role)
    }

    /// The folder that `cqm dev-keys` has made.
    pub fn keys(&self) -> &Path {
        self.keys.path()
    }

    /// Signs the passes that the services take, as the gateway and the coordinator do.
    pub fn mint(&self) -> Mint {
        let key = self.keys.path().join("pass-signing.pem");
        Mint::new(&SigningConfig { key, ..SigningConfig::default() }, Clock::system()).unwrap()
    }

    pub fn callers(&self) -> Callers {
        let address = self.suite.address().to_string();
        Callers {
            staff: Bearer::caller(&address, &self.token("service_manager")),
            internal: Bearer::caller(&address, &self.token("internal_service")),
            stranger: channel(&address),
        }
    }
}

fn token(keys: &Path, role: &str) -> String {
    let printed = Command::new(binary("cqm"))
        .args(["token", "--role", role, "--key"])
        .arg(keys.join("signing.pem"))
        .output();
    String::from_utf8(printed.unwrap().stdout).unwrap().trim().to_owned()
}

/// CP-10, CP-11, CP-12, CP-15, SV-20, SV-23, LY-02, LY-04, LY-12, NT-06, NT-07.
#[tokio::test(flavor = "multi_thread")]
async fn a_complaint_becomes_messages_an_answer_points_and_a_second_chance() {
    let stage = Stage::set().await;
    let callers = stage.callers();
    let people = [Person::anybody(), Person::anybody()];
    let (sad, happy) = tokio::join!(live(&callers, &people[0], true), live(&callers, &people[1], false));
    settled(&callers.staff).await;
    let started = Instant::now();
    for life in [&sad, &happy] {
        while !life.is_told(&callers).await {
            assert!(started.elapsed() < Duration::from_secs(60), "{} is not told everything", life.customer);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        life.check(&callers).await;
    }
    let mails = stage.mail.mails();
    for person in &people {
        let theirs: Vec<&Letter> = mails.iter().filter(|mail| mail.to == [person.email.clone()]).collect();
        assert_eq!(theirs.len(), 3, "acknowledgement, outcome and invitation, once each");
        let ids: BTreeSet<_> = theirs.iter().map(|mail| mail.header("Message-ID").unwrap()).collect();
        assert_eq!(ids.len(), 3, "each mail has an id of its own");
    }
    assert_eq!(mails.len(), 6, "and nobody else gets any");
    stage.suite.stop().await;
}
