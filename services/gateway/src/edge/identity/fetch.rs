//! Fetching an issuer's keys over HTTP: from the address in the configuration, or from the one that OpenID Connect
//! Discovery finds. No redirects: an issuer's keys are where the issuer says.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use cqm_rpc::{BoxError, Clock};
use cqm_runtime::watched::{Source, Watched};
use http::uri::Scheme;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};

use crate::config::IssuerConfig;

/// What an issuer may tell. The largest sets have some dozens of keys.
const MAX_BYTES: usize = 256 * 1024;

pub(super) struct Fetcher {
    issuer: String,
    trust: Trust,
    address: Uri,
    /// Discovery says where the keys are, and has to say that it speaks for the issuer.
    discovers: bool,
    bearer: Option<PathBuf>,
    timeout: Duration,
}

type HttpClient = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

/// By whom an issuer is believed.
enum Trust {
    /// Those whom the machine trusts.
    Machine(Box<HttpClient>),
    /// Those in a file. It is looked at before each fetch: an issuer whose authority was exchanged would be lost until
    /// somebody restarts the process.
    File(Watched<HttpClient>),
}

/// As much of OpenID Connect Discovery 1.0, 3, as keys need.
#[derive(Deserialize)]
struct Discovered {
    issuer: String,
    jwks_uri: String,
}

impl Source for Fetcher {
    /// The issuer comes back.
    const RECOVERS: bool = true;

    fn name(&self) -> String {
        format!("the keys of {}", self.issuer)
    }

    /// The key set as the issuer tells it now.
    async fn read(&self) -> Result<Vec<Bytes>, BoxError> {
        Ok(vec![self.fetch().await?])
    }
}

impl Fetcher {
    /// Of an issuer whose keys do not lie in a file.
    pub fn new(config: &IssuerConfig, timeout: Duration, now: DateTime<Utc>) -> Result<Self, BoxError> {
        let address = config.address().ok_or("the issuer's keys lie in a file")?;
        let address = Uri::from_str(&address)?;
        let trust = match &config.ca {
            None => Trust::Machine(Box::new(client(tls_of_the_machine(&address)?, timeout))),
            Some(path) => {
                let make = move |pem: &[u8]| Ok(client(tls_of(pem)?, timeout));
                // How often it is looked at is said by the fetches.
                Trust::File(Watched::file(path.clone(), Duration::ZERO, now, make)?)
            }
        };
        Ok(Self {
            issuer: config.issuer.clone(),
            trust,
            address,
            discovers: config.jwks_url.is_none(),
            bearer: config.bearer.clone(),
            timeout,
        })
    }

    async fn fetch(&self) -> Result<Bytes, BoxError> {
        let fetching = async {
            let client = self.trust.client().await;
            if !self.discovers {
                return self.get(&client, self.address.clone()).await;
            }
            let discovered: Discovered =
                serde_json::from_slice(&self.get(&client, self.address.clone()).await?)?;
            if discovered.issuer != self.issuer {
                return Err("its discovery speaks for another issuer".into());
            }
            let keys = Uri::from_str(&discovered.jwks_uri)?;
            if self.address.scheme() == Some(&Scheme::HTTPS) && keys.scheme() != Some(&Scheme::HTTPS) {
                return Err("its discovery leads away from https".into());
            }
            self.get(&client, keys).await
        };
        tokio::time::timeout(self.timeout, fetching).await.map_err(|_elapsed| "no answer in time")?
    }

    async fn get(&self, client: &HttpClient, address: Uri) -> Result<Bytes, BoxError> {
        let mut request = Request::get(&address).header(header::ACCEPT, "application/json");
        if let Some(path) = &self.bearer {
            // It is exchanged while the process runs.
            let token = tokio::fs::read_to_string(path).await?;
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.trim()));
        }
        let failed = |problem: BoxError| format!("{address}: {problem}");
        let response = client.request(request.body(Empty::new())?).await;
        let response = response.map_err(|error| failed(error.into()))?;
        if response.status() != StatusCode::OK {
            return Err(failed(format!("HTTP status {}", response.status()).into()).into());
        }
        let body = Limited::new(response.into_body(), MAX_BYTES).collect().await.map_err(failed)?;
        Ok(body.to_bytes())
    }
}

impl Trust {
    async fn client(&self) -> HttpClient {
        match self {
            Self::Machine(client) => HttpClient::clone(client),
            // What is wrong with the file is told where it is found, and what was read before stays in use.
            Self::File(file) => (*file.current(Clock::system().now()).await).clone(),
        }
    }
}

fn client(tls: ClientConfig, timeout: Duration) -> HttpClient {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_connect_timeout(Some(timeout));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector);
    // Minutes lie between two fetches: no connection is kept, and none is left to a runtime that has gone.
    Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector)
}

/// Trusts those in the file.
fn tls_of(pem: &[u8]) -> Result<ClientConfig, BoxError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.map_err(|_| "a certificate is no PEM")?)?;
    }
    if roots.is_empty() {
        return Err("holds no certificate".into());
    }
    Ok(builder()?.with_root_certificates(roots).with_no_client_auth())
}

/// Trusts those whom the machine trusts.
fn tls_of_the_machine(address: &Uri) -> Result<ClientConfig, BoxError> {
    let builder = if address.scheme() == Some(&Scheme::HTTPS) {
        builder()?.with_native_roots()?
    } else {
        builder()?.with_root_certificates(RootCertStore::empty())
    };
    Ok(builder.with_no_client_auth())
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, BoxError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    Ok(builder.with_safe_default_protocol_versions()?)
}
