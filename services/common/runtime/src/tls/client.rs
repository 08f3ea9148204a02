//! A channel's side of TLS.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use cqm_rpc::BoxError;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use super::material::{Expiring, Identity, authorities, authorities_of_the_machine, provider};
use super::reloaded::Reloaded;
use super::{ALPN, ClientTlsConfig, Stream};
use crate::config::{ConfigError, Validate};

/// What channels of a process prove with who they are, and whom they believe. Clones share it: the files are read once,
/// and looked at by one task.
#[derive(Clone, Default, Deserialize)]
#[serde(from = "ClientTlsConfig")]
pub struct ClientTls(Arc<Inner>);

#[derive(Default)]
struct Inner {
    config: ClientTlsConfig,
    opened: Mutex<Option<Arc<Reloaded<ClientConfig>>>>,
}

impl From<ClientTlsConfig> for ClientTls {
    fn from(config: ClientTlsConfig) -> Self {
        Self(Arc::new(Inner { config, opened: Mutex::default() }))
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.config.fmt(f)
    }
}

impl Validate for ClientTls {
    fn validate(&self) -> Result<(), ConfigError> {
        self.0.config.validate()
    }
}

impl ClientTls {
    /// Reads the files, if nobody has yet. A process calls it when it starts: what is wrong with them is told there, and
    /// the task that looks at them belongs to the runtime that opened them first.
    pub fn open(&self) -> Result<(), BoxError> {
        self.opened().map(|_| ())
    }

    fn opened(&self) -> Result<Arc<Reloaded<ClientConfig>>, BoxError> {
        let mut opened = self.0.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(opened) = &*opened {
            return Ok(Arc::clone(opened));
        }
        let ClientTlsConfig { ca, certificate, key, reload } = &self.0.config;
        let files = [ca, certificate, key].into_iter().flatten().cloned().collect();
        let (trusts, shows) = (ca.is_some(), certificate.is_some() && key.is_some());
        let new = Reloaded::open("client", files, *reload, move |contents| {
            let (ca, identity) = contents.split_at(usize::from(trusts));
            let identity = match identity {
                [certificate, key] if shows => Some(Identity::read(certificate, key)?),
                _ => None,
            };
            make(ca.first().map(|pem| &pem[..]), identity)
        })?;
        *opened = Some(Arc::clone(&new));
        Ok(new)
    }

    /// Secures a connection to the server of this name or address. The caller sets the time for it.
    pub(crate) async fn secure(&self, host: &str, socket: TcpStream) -> io::Result<Stream> {
        let config = self.opened().map_err(io::Error::other)?.current();
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(config).connect(name, socket).await?;
        if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the server does not speak HTTP/2 (ALPN h2)",
            ));
        }
        Ok(Stream::Tls(Box::new(stream.into())))
    }
}

fn make(ca: Option<&[u8]>, identity: Option<Identity>) -> Result<Expiring<ClientConfig>, BoxError> {
    let roots = ca.map_or_else(authorities_of_the_machine, authorities)?;
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let until = identity.as_ref().map(|identity| identity.until);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => builder.with_client_auth_cert(identity.chain, identity.key)?,
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Expiring { value: Arc::new(config), until })
}
