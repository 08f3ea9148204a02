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

/// How a listener's connections are secured, if they are.
#[derive(Clone)]
pub(crate) struct Listener(Option<Arc<Reloaded<ServerConfig>>>);

impl Listener {
    pub const PLAINTEXT: Self = Self(None);

    /// Reads the certificates. Without one, the configuration has to say that nothing is secured: a forgotten line must
    /// not open a process to whoever listens on the wire.
    pub fn open(tls: &ServerTlsConfig, plaintext: bool) -> Result<Self, BoxError> {
        let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) else {
            return if plaintext {
                Ok(Self::PLAINTEXT)
            } else {
                Err("the configuration names no certificate: set server.tls, or server.plaintext = true"
                    .into())
            };
        };
        let files: Vec<PathBuf> =
            [Some(certificate), Some(key), tls.client_ca.as_ref()].into_iter().flatten().cloned().collect();
        Ok(Self(Some(Reloaded::open("server", files, tls.reload, |contents| {
            let [certificate, key, client_ca @ ..] = contents else {
                return Err("two files or three".into());
            };
            make(certificate, key, client_ca.first().map(|pem| &pem[..]))
        })?)))
    }

    pub fn is_secured(&self) -> bool {
        self.0.is_some()
    }

    /// Makes a connection of an accepted socket. The caller sets the time for it.
    pub async fn accept(&self, socket: TcpStream) -> io::Result<Stream> {
        let Some(config) = &self.0 else { return Ok(Stream::Plain(socket)) };
        let stream = TlsAcceptor::from(config.current()).accept(socket).await?;
        // Whoever offers other protocols only is refused by the handshake; this is who offers none.
        if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the peer did not ask for HTTP/2 (ALPN h2)",
            ));
        }
        Ok(Stream::Tls(Box::new(stream.into())))
    }
}

fn make(
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
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Expiring { value: Arc::new(config), until: Some(identity.until) })
}
