//! A gateway as a process of a test's own, in front of one service that the test serves: what may be attacked and looked
//! at from outside.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use cqm_testkit::eventually;
use tokio::net::TcpStream;

use crate::cluster::{Addresses, Process, run, token};
use crate::{Bearer, Caller, binary, servers};

pub struct Gatehouse {
    address: String,
    process: Process,
    // Last: the process that uses it is gone by then.
    folder: tempfile::TempDir,
}

impl Gatehouse {
    /// Starts a gateway before the customers' service, with more TOML for its `[server]`, and waits until it listens.
    pub async fn before(customer_data: SocketAddr, server: &str) -> Self {
        let folder = servers::folder();
        let keys = folder.path().join("keys");
        run(Command::new(binary("cqm")).arg("dev-keys").arg(&keys));
        let mut addresses = Addresses::draw();
        let address = addresses.another();
        // The others are never called.
        let backends: String =
            crate::SERVICES.map(|(_, name)| format!("{name} = \"http://{customer_data}\"\n")).concat();
        let configuration = format!(
            "[server]\nlisten = \"{address}\"\nplaintext = true\nshards = 2\n{server}\n\
             [server.drain]\nsettle = \"0s\"\n[service.backends]\n{backends}\
             [service.identity.issuers.dev]\nissuer = \"cqm-development\"\naudience = \"cqm\"\njwks = \"{}\"\n\
             [service.passes]\nkey = \"{}\"\n",
            keys.join("jwks.json").display(),
            cqm_testkit::signing().key.display(),
        );
        let mut process = Process::new(
            folder.path(),
            "gateway",
            binary("cqm-gateway"),
            "serve",
            &configuration,
            addresses.another(),
        );
        process.start();
        let gatehouse = Self { address, process, folder };
        eventually("the gateway listens", async || TcpStream::connect(&gatehouse.address).await.is_ok())
            .await;
        gatehouse
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    fn signing_key(&self) -> PathBuf {
        self.folder.path().join("keys/signing.pem")
    }

    pub fn token(&self) -> String {
        token("service_manager", &self.signing_key())
    }

    /// Somebody who calls as everybody should.
    pub fn honest(&self) -> Caller {
        Bearer::caller(&self.address, &self.token())
    }

    /// The most memory that the process has had resident, in KiB.
    pub fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("it lives");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("Linux says so");
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number of kB")
    }

    /// Fails when the process is gone or has panicked.
    #[track_caller]
    pub fn stands(&mut self) {
        if let Some(status) = self.process.ended() {
            panic!("the gateway has ended, {status}: {}", self.process.tail());
        }
        let log = self.process.log();
        assert!(!log.contains("panic"), "the gateway has panicked: {log}");
    }
}
