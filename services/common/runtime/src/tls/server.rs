//! A listener's side of TLS.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use cqm_rpc::BoxError;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::server::WebPkiClientVerifier;

use super::material::{Expiring, Identity, authorities, provider};
use super::reloaded::Reloaded;
use super::{ALPN, ServerTlsConfig, Stream};

/// What the admin port's peers may speak inside TLS: Prometheus HTTP/1, probes gRPC.
const EITHER: &[&[u8]] = &[ALPN, b"http/1.1"];

/// How a listener's connections are secured, if they are.
#[derive(Clone)]
pub(crate) struct Listener {
    config: Option<Arc<Reloaded<ServerConfig>>>,
    /// What is spoken inside TLS.
    protocols: &'static [&'static [u8]],
}

impl Listener {
    /// Reads the certificates. Without one, the configuration has to say that nothing is secured: a forgotten line must
    /// not open a process to whoever listens on the wire.
    pub fn open(tls: &ServerTlsConfig, plaintext: bool) -> Result<Self, BoxError> {
        let listener = Self::speaking(&[ALPN], tls)?;
        if !listener.is_secured() && !plaintext {
            let problem =
                "the configuration names no certificate: set server.tls, or server.plaintext = true";
            return Err(problem.into());
        }
        Ok(listener)
    }

    /// The same for the admin port, which needs nobody's word for plaintext: nothing there is secret, and whoever probes
    /// often has no way to speak TLS.
    pub fn open_admin(tls: &ServerTlsConfig) -> Result<Self, BoxError> {
        Self::speaking(EITHER, tls)
    }

    fn speaking(protocols: &'static [&'static [u8]], tls: &ServerTlsConfig) -> Result<Self, BoxError> {
        let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) else {
            return Ok(Self { config: None, protocols });
        };
        let files: Vec<PathBuf> =
            [Some(certificate), Some(key), tls.client_ca.as_ref()].into_iter().flatten().cloned().collect();
        let config = Reloaded::open("server", files, tls.reload, move |contents| {
            let [certificate, key, client_ca @ ..] = contents else {
                return Err("two files or three".into());
            };
            make(protocols, certificate, key, client_ca.first().map(|pem| &pem[..]))
        })?;
        Ok(Self { config: Some(config), protocols })
    }

    pub fn is_secured(&self) -> bool {
        self.config.is_some()
    }

    /// Makes a connection of an accepted socket. The caller sets the time for it.
    pub async fn accept(&self, socket: TcpStream) -> io::Result<Stream> {
        let Some(config) = &self.config else { return Ok(Stream::Plain(socket)) };
        let stream = TlsAcceptor::from(config.current()).accept(socket).await?;
        // Whoever offers other protocols only is refused by the handshake; this is who offers none.
        if self.protocols == [ALPN] && stream.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the peer did not ask for HTTP/2 (ALPN h2)",
            ));
        }
        Ok(Stream::Tls(Box::new(stream.into())))
    }
}

fn make(
    protocols: &[&[u8]],
    certificate: &[u8],
    key: &[u8],
    client_ca: Option<&[u8]>,
) -> Result<Expiring<ServerConfig>, BoxError> {
    let identity = Identity::read(certificate, key)?;
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let roots = Arc::new(authorities(pem)?);
            builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(roots, provider()).build()?,
            )
        }
    };
    let mut config = builder.with_single_cert(identity.chain, identity.key)?;
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(Expiring { value: Arc::new(config), until: Some(identity.until) })
}
