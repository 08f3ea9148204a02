//! Who may vouch for the mail server.

use std::path::{Path, PathBuf};

use cqm_rpc::BoxError;
use cqm_runtime::config::ConfigError;
use lettre::transport::smtp::client::{Certificate, CertificateStore, TlsParameters};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::config::Config;

const KEY: &str = "service.smtp.ca_certificates";

/// The file with their certificates; `None` stands for those that the system trusts.
#[derive(Clone)]
pub(crate) struct Trust(Option<PathBuf>);

impl Trust {
    /// Reads the file, so that a process with one that is of no use does not start: each of its mails would fail.
    pub(crate) fn read(config: &Config) -> Result<Self, ConfigError> {
        let file = config.smtp.as_ref().and_then(|smtp| smtp.ca_certificates.clone());
        if let Some(file) = &file {
            check(file)?;
        }
        Ok(Self(file))
    }

    pub(super) fn file(&self) -> Option<&Path> {
        self.0.as_deref()
    }
}

/// How the server of this name is spoken to, with what stands in the file if there is one.
pub(super) fn parameters(host: &str, pem: Option<&[u8]>) -> Result<TlsParameters, BoxError> {
    let builder = TlsParameters::builder(host.to_owned());
    let builder = match pem {
        None => builder,
        Some(pem) => certificates(pem)?.into_iter().fold(
            // Whoever names the authorities means these and not a hundred others as well.
            builder.certificate_store(CertificateStore::None),
            |builder, certificate| builder.add_root_certificate(certificate),
        ),
    };
    Ok(builder.build()?)
}

fn check(file: &Path) -> Result<(), ConfigError> {
    let useless = |problem: BoxError| ConfigError::refused(KEY, format!("cannot be used: {problem}"));
    let pem = std::fs::read(file).map_err(|error| useless(error.into()))?;
    certificates(&pem).map(drop).map_err(useless)
}

fn certificates(pem: &[u8]) -> Result<Vec<Certificate>, BoxError> {
    let mut found = Vec::new();
    let mut store = RootCertStore::empty();
    for der in CertificateDer::pem_slice_iter(pem) {
        let der = der?;
        found.push(Certificate::from_der(der.to_vec())?);
        // The mail library takes anything in between the two lines of dashes until it connects.
        store.add(der)?;
    }
    // The library is content with a file without any, and would trust nobody.
    if found.is_empty() { Err("there is no certificate in it".into()) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_vouches_for_nobody_is_refused() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("ca.pem");
        let refused = |text: Option<&str>| {
            if let Some(text) = text {
                std::fs::write(&file, text).unwrap();
            }
            check(&file).unwrap_err().to_string()
        };
        assert!(refused(None).starts_with("the configuration's service.smtp.ca_certificates cannot be used"));
        for text in [
            "",
            "a text",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\nAAAA\n",
        ] {
            assert!(refused(Some(text)).contains(KEY), "{text}");
        }
    }
}
