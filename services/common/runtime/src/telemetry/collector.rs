//! The way to the collector.

use std::str::FromStr;
use std::time::Duration;

use cqm_rpc::BoxError;
use http::Uri;
use tonic::transport::{Channel, Endpoint};

use crate::channel::Connector;
use crate::config::ConfigError;
use crate::tls::ClientTls;

/// Too high: spans pile up behind a collector that is gone. Too low: a busy one is never reached.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// For one export, as the exporter's own default is.
const EXPORT_LIMIT: Duration = Duration::from_secs(10);

pub(super) fn address(endpoint: &str) -> Result<Uri, ConfigError> {
    let uri = Uri::from_str(endpoint).ok().filter(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.port_u16().is_some() && uri.path() == "/"
    });
    let problem = "must be https://host:port or http://host:port";
    uri.ok_or_else(|| ConfigError::refused("telemetry.otlp_endpoint", problem))
}

/// A channel of our own, because the exporter's would read its certificates once. It connects when there is something to
/// send.
pub(super) fn connect(endpoint: &str, tls: &ClientTls) -> Result<Channel, BoxError> {
    let uri = address(endpoint)?;
    let secured = uri.scheme_str() == Some("https");
    if secured {
        tls.open()?;
    }
    let connector = Connector::new(CONNECT_LIMIT, secured.then(|| tls.clone()));
    Ok(Endpoint::from(uri).timeout(EXPORT_LIMIT).connect_with_connector_lazy(connector))
}
