//! The way to Postgres: in plain text, or over TLS with the server's certificate checked. There is nothing in between:
//! encryption to whoever answers protects from nobody who can answer.

mod tls;

use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use cqm_rpc::BoxError;
use diesel_async::AsyncPgConnection;
use futures::future::BoxFuture;
use secrecy::ExposeSecret;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config, NoTls};

use crate::{DatabaseConfig, DatabaseTls};
use tls::Tls;

/// How long an errand's connection may take to open. Nobody waits for an answer, as a call does in the pool.
const ERRAND: Duration = Duration::from_secs(5);

/// What moves a connection's bytes; it ends with the connection.
pub(crate) type Driver = Pin<Box<dyn Future<Output = Result<(), tokio_postgres::Error>> + Send>>;

/// An address and how it is spoken to.
pub(crate) struct Target {
    pub options: Config,
    tls: Option<Tls>,
}

impl Target {
    pub fn of(config: &DatabaseConfig) -> Result<Self, BoxError> {
        let mut options: Config = config.url.expose_secret().parse()?;
        // Nobody has to think of it for a connection to be secured; that it is not is somebody's word.
        let secured = match config.tls {
            Some(tls) => tls == DatabaseTls::Verify,
            None => config.names_files() || !(is_local(&options) || is_plaintext(&options)),
        };
        let tls = if secured {
            // Whatever the address says: a server that offers none is refused.
            options.ssl_mode(SslMode::Require);
            Some(Tls::open(config)?)
        } else {
            None
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
                    let (client, connection) = self.options.connect(tls.current().await).await?;
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

/// Whether the address itself says so, which is Postgres' own way to.
fn is_plaintext(options: &Config) -> bool {
    options.get_ssl_mode() == SslMode::Disable
}

/// Whether whatever is said stays on this machine.
fn is_local(options: &Config) -> bool {
    let addresses = options.get_hostaddrs();
    if !addresses.is_empty() {
        return addresses.iter().all(IpAddr::is_loopback);
    }
    options.get_hosts().iter().all(|host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plaintext_is_for_this_machine_and_for_an_address_that_says_so() {
        for (url, local) in [
            ("host=/run/postgresql user=cqm", true),
            ("host=localhost", true),
            ("postgres://cqm@127.0.0.1/x", true),
            ("postgres://cqm@[::1]:5432/x", true),
            ("host=db.example.com hostaddr=127.0.0.1", true),
            ("postgres://cqm@db/x", false),
            ("host=10.0.0.1", false),
            ("host=/run/postgresql,db.example.com", false),
            ("host=localhost hostaddr=10.0.0.1", false),
            ("host=localhost.example.com", false),
        ] {
            assert_eq!(is_local(&url.parse().unwrap()), local, "{url}");
        }
        for (url, plaintext) in [
            ("postgres://cqm@db/x?sslmode=disable", true),
            ("host=db sslmode=disable", true),
            ("host=db sslmode=prefer", false),
            ("host=db", false),
        ] {
            assert_eq!(is_plaintext(&url.parse().unwrap()), plaintext, "{url}");
        }
    }
}
