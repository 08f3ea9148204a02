//! What stands in PEM files.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use cqm_rpc::BoxError;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use x509_cert::der::Decode;

/// A value that is good until its certificate is not valid any more.
pub(super) struct Expiring<T> {
    pub value: Arc<T>,
    /// None: it holds no certificate of our own.
    pub until: Option<DateTime<Utc>>,
}

/// The one provider of cryptography, which is also lettre's.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Who we are: a certificate with what leads to its authority, and its key.
pub(super) struct Identity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    /// When the first of the chain ends.
    pub until: DateTime<Utc>,
}

impl Identity {
    pub fn read(certificate: &[u8], key: &[u8]) -> Result<Self, BoxError> {
        let chain = certificates(certificate)?;
        let mut until = DateTime::<Utc>::MAX_UTC;
        for one in &chain {
            until = until.min(end(one)?);
        }
        // The parser's own words may quote the file, which holds a secret.
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| "the key is no private key in PEM")?;
        Ok(Self { chain, key, until })
    }
}

/// Whom we believe.
pub(super) fn authorities(pem: &[u8]) -> Result<RootCertStore, BoxError> {
    let mut roots = RootCertStore::empty();
    for one in certificates(pem)? {
        roots.add(one)?;
    }
    Ok(roots)
}

/// What is wrong with the authorities in a file, for clients that make their TLS of it themselves.
pub(crate) fn check_authorities(pem: &[u8]) -> Result<(), BoxError> {
    authorities(pem).map(drop)
}

/// The same of a certificate and its key, which have to belong together.
pub(crate) fn check_identity(certificate: &[u8], key: &[u8]) -> Result<(), BoxError> {
    let Identity { chain, key, .. } = Identity::read(certificate, key)?;
    CertifiedKey::from_der(chain, key, &provider())?;
    Ok(())
}

/// Whom the machine believes.
pub(super) fn authorities_of_the_machine() -> Result<RootCertStore, BoxError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err("the machine trusts no authority: name a file with one".into());
    }
    Ok(roots)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BoxError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|_| "a certificate is no PEM")?;
    if found.is_empty() {
        return Err("there is no certificate in the file".into());
    }
    Ok(found)
}

fn end(certificate: &CertificateDer<'_>) -> Result<DateTime<Utc>, BoxError> {
    let parsed = x509_cert::Certificate::from_der(certificate)?;
    let seconds = parsed.tbs_certificate.validity.not_after.to_unix_duration().as_secs();
    let seconds = i64::try_from(seconds)?;
    Ok(DateTime::from_timestamp(seconds, 0).unwrap_or(DateTime::<Utc>::MAX_UTC))
}
