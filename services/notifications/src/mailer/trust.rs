//! Who may vouch for the mail server.

use std::fmt::Display;
use std::path::Path;

use cqm_runtime::config::ConfigError;
use lettre::transport::smtp;
use lettre::transport::smtp::client::{Certificate, CertificateStore, TlsParameters};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::config::Config;

const KEY: &str = "service.smtp.ca_certificates";

/// The certificates in the configured file; `None` stands for those that the system trusts.
#[derive(Clone)]
pub(crate) struct Trust(Option<Vec<Certificate>>);

impl Trust {
    /// Reads the file, so that a process with one that is of no use does not start: each of its mails would fail.
    pub(crate) fn read(config: &Config) -> Result<Self, ConfigError> {
        let file = config.smtp.as_ref().and_then(|smtp| smtp.ca_certificates.as_deref());
        Ok(Self(file.map(certificates).transpose()?))
    }

    /// How the server of this name is spoken to.
    pub(super) fn parameters(&self, host: &str) -> Result<TlsParameters, smtp::Error> {
        let builder = TlsParameters::builder(host.to_owned());
        let builder = match &self.0 {
            None => builder,
            Some(certificates) => certificates.iter().cloned().fold(
                // Whoever names the authorities means these and not a hundred others as well.
                builder.certificate_store(CertificateStore::None),
                |builder, certificate| builder.add_root_certificate(certificate),
            ),
        };
        builder.build()
    }
}

fn certificates(file: &Path) -> Result<Vec<Certificate>, ConfigError> {
    let useless = |problem: &dyn Display| ConfigError::refused(KEY, format!("cannot be used: {problem}"));
    let pem = std::fs::read(file).map_err(|error| useless(&error))?;
    let mut found = Vec::new();
    let mut store = RootCertStore::empty();
    for der in CertificateDer::pem_slice_iter(&pem) {
        let der = der.map_err(|error| useless(&error))?;
        found.push(Certificate::from_der(der.to_vec()).map_err(|error| useless(&error))?);
        // The mail library takes anything in between the two lines of dashes until it connects.
        store.add(der).map_err(|error| useless(&error))?;
    }
    // The library is content with a file without any, and would trust nobody.
    if found.is_empty() { Err(useless(&"there is no certificate in it")) } else { Ok(found) }
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
            certificates(&file).unwrap_err().to_string()
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
