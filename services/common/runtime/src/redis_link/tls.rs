//! What a Redis is believed by, and what it is shown.

use std::fs;
use std::path::{Path, PathBuf};

use cqm_rpc::BoxError;
use redis::{Client, ClientTlsConfig, TlsCertificates};
use serde::Deserialize;

use crate::tls::{check_authorities, check_identity};

/// `redis_tls`, beside an address that begins with `rediss`. The files are read for each connection.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedisTls {
    /// The authorities that the server is believed by, PEM. None: those that the machine trusts.
    pub ca: Option<PathBuf>,
    /// The certificate that is shown to a server which asks for one, PEM.
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM.
    pub key: Option<PathBuf>,
}

impl RedisTls {
    pub(super) fn is_empty(&self) -> bool {
        self.ca.is_none() && self.certificate.is_none() && self.key.is_none()
    }

    /// The same address with what stands in the files now.
    pub(super) fn secure(&self, client: &Client) -> Result<Client, BoxError> {
        let client_tls = match (&self.certificate, &self.key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => {
                let (client_cert, client_key) = (read(certificate)?, read(key)?);
                check_identity(&client_cert, &client_key)
                    .map_err(|problem| format!("{}, {}: {problem}", certificate.display(), key.display()))?;
                Some(ClientTlsConfig { client_cert, client_key })
            }
            _ => return Err("redis_tls.key must be there with a certificate, and only then".into()),
        };
        let root_cert = match &self.ca {
            None => None,
            Some(ca) => {
                let pem = read(ca)?;
                check_authorities(&pem).map_err(|problem| format!("{}: {problem}", ca.display()))?;
                Some(pem)
            }
        };
        let info = client.get_connection_info().clone();
        // The error is not shown: it may quote a key. What can be told has been, above.
        Client::build_with_tls(info, TlsCertificates { client_tls, root_cert })
            .map_err(|_| "redis_tls cannot be used".into())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, BoxError> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()).into())
}
