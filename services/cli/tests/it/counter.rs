//! A customer-data service behind a gateway, and the tool in front of it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use cqm_customer_data::{App, Config};
use cqm_gateway::backend::{Backend, Backends};
use cqm_gateway::config::{IdentityConfig, IssuerConfig};
use cqm_gateway::edge::{self, EdgeConfig};
use cqm_rpc::Clock;
use cqm_runtime::server::{DrainConfig, Running, ServerConfig, Shape};
use cqm_runtime::tls::ServerTlsConfig;
use cqm_testkit::{Authority, Kit};
use tempfile::TempDir;
use tokio::process::Command;
use tokio_util::sync::{CancellationToken, DropGuard};

pub struct Counter {
    pub kit: Kit,
    folder: TempDir,
    edge: Running,
    _shutdown: DropGuard,
}

impl Counter {
    pub async fn open() -> Self {
        Self::open_with(|_| ServerTlsConfig::default()).await
    }

    /// Behind a gateway that speaks TLS, its certificate vouched for by `ca.crt`.
    pub async fn open_secured() -> Self {
        Self::open_with(|folder| {
            let authority = Authority::new();
            let (certificate, key) = authority.papers_for("127.0.0.1");
            for (name, text) in [("ca.crt", authority.pem()), ("tls.crt", certificate), ("tls.key", key)] {
                std::fs::write(folder.join(name), text).unwrap();
            }
            ServerTlsConfig {
                certificate: Some(folder.join("tls.crt")),
                key: Some(folder.join("tls.key")),
                ..ServerTlsConfig::default()
            }
        })
        .await
    }

    async fn open_with(tls: impl FnOnce(&Path) -> ServerTlsConfig) -> Self {
        let folder = TempDir::new().unwrap();
        // The tool makes the key pair that the gateway is to trust.
        let made = Command::new(env!("CARGO_BIN_EXE_cqm")).arg("dev-keys").arg(folder.path()).status().await;
        assert!(made.unwrap().success());

        let kit =
            Kit::start_at::<App>(Config { batch_rows: 50, report_keys: Vec::new() }, Clock::system()).await;
        let issuer = IssuerConfig::of_file("cqm-development", "cqm", folder.path().join("jwks.json"));
        let address = kit.address;
        let tls = tls(folder.path());
        let server = ServerConfig {
            shape: Shape::MultiThread,
            plaintext: tls.certificate.is_none(),
            tls,
            drain: DrainConfig { settle: Duration::ZERO, timeout: Duration::from_secs(5) },
            ..ServerConfig::on(SocketAddr::from(([127, 0, 0, 1], 0)))
        };
        // An import calls no other service.
        let backends = Backends::at(|backend| match backend {
            Backend::CustomerData => format!("http://{address}"),
            _ => "http://127.0.0.1:1".to_owned(),
        });
        let identity = IdentityConfig {
            issuers: [("development".to_owned(), issuer)].into(),
            ..IdentityConfig::default()
        };
        let config =
            EdgeConfig { passes: cqm_testkit::signing(), ..EdgeConfig::new(server, backends, identity) };
        let shutdown = CancellationToken::new();
        let edge = edge::start(config, Clock::system(), shutdown.clone()).await.unwrap();
        Self { kit, folder, edge, _shutdown: shutdown.drop_guard() }
    }

    /// Where a file of this name lies.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// The rows of a file of comma-separated values, the header among them.
    pub fn rows(&self, name: &str) -> Vec<Vec<String>> {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .from_path(self.path(name))
            .expect("the file is there");
        reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect()
    }

    /// Runs `cqm import WHAT NAME`.
    pub async fn import(&self, what: &str, name: &str) -> Output {
        self.import_with(what, name, &[]).await
    }

    /// The same with more options.
    pub async fn import_with(&self, what: &str, name: &str, more: &[&str]) -> Output {
        let path = self.path(name);
        self.run(&[&["import", what, &path.to_string_lossy()], more].concat()).await
    }

    /// Runs `cqm` with these arguments, against the gateway.
    pub async fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_cqm"))
            .args(arguments)
            .arg("--address")
            .arg(self.edge.address().to_string())
            .arg("--key")
            .arg(self.path("signing.pem"))
            .output()
            .await
            .unwrap()
    }
}

/// What it printed as its result.
pub fn said(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap().trim_end()
}

/// What it printed as its complaint.
pub fn complained(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap().trim_end()
}
