//! Which files TLS is made of.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::config::{ConfigError, Validate, positive};

/// A listener's side, `server.tls` and `telemetry.listen_tls`. Without a certificate there is no TLS.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerTlsConfig {
    /// The certificate and what leads from it to its authority, PEM.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// The authorities whose certificates callers must show, PEM. None: callers show none.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
    /// Between two looks at the files.
    #[serde(with = "humantime_serde")]
    pub reload: Duration,
}

impl Default for ServerTlsConfig {
    /// What `config/base.toml` says.
    fn default() -> Self {
        Self { certificate: None, key: None, client_ca: None, reload: Duration::from_secs(10) }
    }
}

impl Validate for ServerTlsConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        self.validate_as(["server.tls.key", "server.tls.client_ca", "server.tls.reload"])
    }
}

impl ServerTlsConfig {
    /// By the names that the keys have in the section where it stands.
    pub(crate) fn validate_as(&self, [key, client_ca, reload]: [&'static str; 3]) -> Result<(), ConfigError> {
        if self.certificate.is_some() != self.key.is_some() {
            return Err(ConfigError::refused(key, "must be there with a certificate, and only then"));
        }
        if self.client_ca.is_some() && self.certificate.is_none() {
            let problem = "must not be there without a certificate of the server's own";
            return Err(ConfigError::refused(client_ca, problem));
        }
        positive(reload, self.reload)
    }
}

/// A channel's side. It matters for addresses that begin with `https`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientTlsConfig {
    /// The authorities that servers are believed by, PEM. None: those that the machine trusts.
    pub ca: Option<PathBuf>,
    /// The certificate that is shown to servers which ask for one, PEM.
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM.
    pub key: Option<PathBuf>,
    /// Between two looks at the files. Too high: a withdrawn authority is believed, a new certificate not shown. Too
    /// low: the file system is asked for nothing.
    #[serde(with = "humantime_serde")]
    pub reload: Duration,
}

impl Default for ClientTlsConfig {
    fn default() -> Self {
        Self { ca: None, certificate: None, key: None, reload: Duration::from_secs(10) }
    }
}

impl Validate for ClientTlsConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        if self.certificate.is_some() != self.key.is_some() {
            return Err(ConfigError::refused("tls.key", "must be there with a certificate, and only then"));
        }
        positive("tls.reload", self.reload)
    }
}
