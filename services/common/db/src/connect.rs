//! The way to Postgres: in plain text, or over TLS with the server's certificate checked. There is nothing in between:
//! encryption to whoever answers protects from nobody who can answer.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use cqm_rpc::BoxError;
use diesel_async::AsyncPgConnection;
use futures::future::BoxFuture;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use secrecy::ExposeSecret;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{DatabaseConfig, DatabaseTls};

/// How long an errand's connection may take to open. Nobody waits for an answer, as a call does in the pool.
const ERRAND: Duration = Duration::from_secs(5);

/// What moves a connection's bytes; it ends with the connection.
pub(crate) type Driver = Pin<Box<dyn Future<Output = Result<(), tokio_postgres::Error>> + Send>>;

/// An address and how it is spoken to.
pub(crate) struct Target {
    pub options: Config,
    tls: Option<MakeRustlsConnect>,
}

impl Target {
    pub fn of(config: &DatabaseConfig) -> Result<Self, BoxError> {
        let mut options: Config = config.url.expose_secret().parse()?;
        let tls = match config.tls {
            DatabaseTls::Off => None,
            DatabaseTls::Verify => {
                // Whatever the address says: a server that offers none is refused.
                options.ssl_mode(SslMode::Require);
                Some(MakeRustlsConnect::new(client(config.ca.as_deref())?))
            }
        };
        Ok(Self { options, tls })
    }

    /// In a box: what is in it lies in every future that may have to open a connection, which is every call's.
    pub fn open(&self) -> BoxFuture<'_, Result<(Client, Driver), tokio_postgres::Error>> {
        Box::pin(async move {
            Ok(match &self.tls {
                None => {
                    let (client, connection) = self.options.connect(NoTls).await?;
                    (client, Box::pin(connection) as Driver)
                }
                Some(tls) => {
                    let (client, connection) = self.options.connect(tls.clone()).await?;
                    (client, Box::pin(connection) as Driver)
                }
            })
        })
    }
}

/// One connection for one errand, outside any pool.
pub(crate) async fn once(config: &DatabaseConfig) -> Result<AsyncPgConnection, BoxError> {
    let mut target = Target::of(config)?;
    target.options.connect_timeout(ERRAND);
    let (client, driver) = target.open().await?;
    #[expect(clippy::disallowed_methods, reason = "ends with its connection; there is nothing to supervise")]
    tokio::spawn(async move {
        if let Err(error) = driver.await {
            tracing::debug!(error = %error, "postgres connection ended");
        }
    });
    Ok(AsyncPgConnection::try_from(client).await?)
}

fn client(ca: Option<&Path>) -> Result<ClientConfig, BoxError> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            let unreadable =
                |error: &dyn std::fmt::Display| format!("database.ca, {}: {error}", path.display());
            for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unreadable(&error))? {
                roots.add(certificate.map_err(|error| unreadable(&error))?)?;
            }
        }
        // One that cannot be read is passed over: a machine's store often holds a few.
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err("no certificate authority is known that could vouch for the database".into());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
