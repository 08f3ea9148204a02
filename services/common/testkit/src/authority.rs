//! Certificates that nobody trusts but a test.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use uuid::Uuid;

/// A certificate authority, made anew for each test.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// What a server proves with who it is: a certificate and its key.
#[derive(Clone, Debug)]
pub struct Identity(pub(crate) Arc<ServerConfig>);

impl Authority {
    #[expect(clippy::new_without_default, reason = "each is another")]
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        // Authorities of one name would be taken for each other until the signature is looked at.
        params.distinguished_name.push(DnType::CommonName, format!("authority {}", Uuid::new_v4()));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    /// Its certificate in PEM, as whoever trusts it has it.
    pub fn pem(&self) -> String {
        pem("CERTIFICATE", self.0.der())
    }

    /// Vouches for the server of this name or address.
    pub fn vouch_for(&self, host: &str) -> Identity {
        self.sign(params(host))
    }

    /// Vouched for it until the year 2000.
    pub fn vouched_for(&self, host: &str) -> Identity {
        let mut params = params(host);
        params.not_after = date_time_ymd(2000, 1, 1);
        self.sign(params)
    }

    /// A certificate for this host and its key, both in PEM, as files have them.
    pub fn papers_for(&self, host: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let certificate = params(host).signed_by(&key, &self.0).expect("a certificate");
        (pem("CERTIFICATE", certificate.der()), pem("PRIVATE KEY", key.serialized_der()))
    }

    /// Vouches for a server that lets nobody in whom the same authority does not vouch for.
    pub fn vouch_for_among_its_own(&self, host: &str) -> Identity {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("an authority");
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build();
        self.sign_with(params(host), verifier.expect("one authority"))
    }

    fn sign(&self, params: CertificateParams) -> Identity {
        self.sign_with(params, WebPkiClientVerifier::no_client_auth())
    }

    fn sign_with(&self, params: CertificateParams, callers: Arc<dyn ClientCertVerifier>) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider's own versions")
            .with_client_cert_verifier(callers)
            .with_single_cert(vec![certificate.der().clone()], key.into())
            .expect("a key that is the certificate's");
        Identity(Arc::new(config))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn pem(what: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN {what}-----\n{}\n-----END {what}-----\n", lines.join("\n"))
}

impl Identity {
    /// The same for a server of gRPC: it says by ALPN what it speaks.
    pub fn of_http2(&self) -> Self {
        let mut config = (*self.0).clone();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self(Arc::new(config))
    }

    /// What a server of the test's own accepts TLS with.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.0))
    }
}

fn params(host: &str) -> CertificateParams {
    let mut params = CertificateParams::new([host.to_owned()]).expect("a host");
    params.distinguished_name.push(DnType::CommonName, host);
    params
}
