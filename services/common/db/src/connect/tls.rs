//! TLS to Postgres, made of files that may be exchanged while the process runs.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use cqm_rpc::BoxError;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::DatabaseConfig;

/// What stands in the files, one after the other.
type Contents = Vec<Vec<u8>>;

/// Who the server has to be, and who we are. The files are looked at for each connection, of which there are few. Those
/// that cannot be used leave what is in use: a certificate and its key are replaced one after the other.
pub(super) struct Tls {
    files: Vec<(&'static str, PathBuf)>,
    /// Whether the first file holds authorities.
    trusts: bool,
    used: Mutex<Used>,
}

struct Used {
    contents: Contents,
    connector: MakeRustlsConnect,
    /// What is wrong with the files, told once.
    problem: Option<String>,
}

impl Tls {
    pub fn open(config: &DatabaseConfig) -> Result<Self, BoxError> {
        let named = [
            ("database.ca", &config.ca),
            ("database.certificate", &config.certificate),
            ("database.key", &config.key),
        ];
        let files: Vec<_> = named.into_iter().filter_map(|(key, path)| Some((key, path.clone()?))).collect();
        let trusts = config.ca.is_some();
        let mut contents = Contents::new();
        for (key, path) in &files {
            contents.push(std::fs::read(path).map_err(|error| unreadable(key, path, &error))?);
        }
        let connector = make(&contents, trusts).map_err(|problem| unusable(&files, &problem))?;
        let used = Mutex::new(Used { contents, connector, problem: None });
        Ok(Self { files, trusts, used })
    }

    /// By the files as they are now.
    pub async fn current(&self) -> MakeRustlsConnect {
        let found = self.read().await;
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let made = match found {
            Ok(contents) if contents == used.contents => Ok(None),
            Ok(contents) => make(&contents, self.trusts)
                .map(|connector| Some((contents, connector)))
                .map_err(|problem| unusable(&self.files, &problem)),
            Err(problem) => Err(problem),
        };
        match made {
            Ok(new) => {
                used.problem = None;
                if let Some((contents, connector)) = new {
                    (used.contents, used.connector) = (contents, connector);
                    tracing::info!("the files of the database's TLS have changed and are in use");
                }
            }
            Err(problem) => {
                let problem = problem.to_string();
                if used.problem.as_ref() != Some(&problem) {
                    tracing::error!(error = problem, "what was read before stays in use");
                    used.problem = Some(problem);
                }
            }
        }
        used.connector.clone()
    }

    async fn read(&self) -> Result<Contents, BoxError> {
        let mut contents = Contents::new();
        for (key, path) in &self.files {
            contents.push(tokio::fs::read(path).await.map_err(|error| unreadable(key, path, &error))?);
        }
        Ok(contents)
    }
}

fn unreadable(key: &str, path: &std::path::Path, error: &std::io::Error) -> BoxError {
    format!("{key}, {}: {error}", path.display()).into()
}

fn unusable(files: &[(&'static str, PathBuf)], problem: &BoxError) -> BoxError {
    let names: Vec<_> = files.iter().map(|(key, path)| format!("{key}, {}", path.display())).collect();
    format!("{}: {problem}", names.join("; ")).into()
}

fn make(contents: &[Vec<u8>], trusts: bool) -> Result<MakeRustlsConnect, BoxError> {
    let (ca, identity) = contents.split_at(usize::from(trusts));
    let mut roots = RootCertStore::empty();
    match ca {
        [pem, ..] => {
            for certificate in certificates(pem)? {
                roots.add(certificate)?;
            }
        }
        // One that cannot be read is passed over: a machine's store often holds a few.
        [] => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err("no certificate authority is known that could vouch for the database".into());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let config = match identity {
        [certificate, key] => {
            // The parser's own words may quote the file, which holds a secret.
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| "the key is no private key in PEM")?;
            config.with_client_auth_cert(certificates(certificate)?, key)?
        }
        _ => config.with_no_client_auth(),
    };
    Ok(MakeRustlsConnect::new(config))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BoxError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|_| "a certificate is no PEM")?;
    if found.is_empty() { Err("there is no certificate in the file".into()) } else { Ok(found) }
}
