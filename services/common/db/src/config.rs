//! The sections of the configuration that this crate owns.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

/// How a service reaches its database.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `postgres://…` or `host=/run/postgresql user=… dbname=…`. Holds the password.
    pub url: SecretString,
    /// None: by TLS, except where the address says `sslmode=disable`, or is a socket or a loopback address of this machine;
    /// one of the files below means TLS there, too.
    #[serde(default)]
    pub tls: Option<DatabaseTls>,
    /// The certificates (PEM) of those who may vouch for the server; without it, those that the machine trusts. What
    /// changes in this file and in the two below is in use for the next connection.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// The certificate (PEM) that is shown to a server which asks for one.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// Connections of this process, shared out over its runtimes. Two per core keep Postgres busy; more only
    /// queue there instead of here, where a caller can be told.
    #[serde(default = "default_connections")]
    pub max_connections: usize,
    /// How long a call waits for a connection before it is told UNAVAILABLE. Too high: a slow database fills
    /// the process with waiting calls. Too low: a short burst is refused.
    #[serde(default = "default_acquire", with = "humantime_serde")]
    pub acquire_timeout: Duration,
    /// How long one connection may take to open. Too high: callers wait for a dead host. Too low: a loaded
    /// Postgres is never reached.
    #[serde(default = "default_connect", with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// Age at which a connection is replaced, give or take a fifth. Too high: a failed-over address is kept
    /// for ever. Too low: reconnecting costs more than it cleans.
    #[serde(default = "default_lifetime", with = "humantime_serde")]
    pub max_lifetime: Duration,
    /// How long a statement waits for a row that another transaction holds. Too high: callers queue behind a
    /// stuck writer. Too low: ordinary contention is refused.
    #[serde(default = "default_lock", with = "humantime_serde")]
    pub lock_timeout: Duration,
}

/// How a connection to the database is protected.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum DatabaseTls {
    /// Not at all: where the network below encrypts.
    Off,
    /// TLS, with the server's certificate and name checked. A server that offers none is refused.
    Verify,
}

impl DatabaseConfig {
    /// The defaults around a URL.
    pub fn new(url: SecretString) -> Self {
        Self {
            url,
            tls: None,
            ca: None,
            certificate: None,
            key: None,
            max_connections: default_connections(),
            acquire_timeout: default_acquire(),
            connect_timeout: default_connect(),
            max_lifetime: default_lifetime(),
            lock_timeout: default_lock(),
        }
    }

    /// Whether a file is named that only TLS has a use for.
    pub fn names_files(&self) -> bool {
        self.ca.is_some() || self.certificate.is_some() || self.key.is_some()
    }
}

/// How the event log moves.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventsConfig {
    /// How often a process looks at its log without having been woken: at what is to be sequenced, and at what another
    /// replica has sequenced. Too high: events of a replica that died, and readers here of what happened there, wait.
    /// Too low: idle databases are polled for nothing.
    #[serde(with = "humantime_serde")]
    pub poll: Duration,
    /// How long a reader keeps a consumer's claim without a sign of life. Too high: a dead coordinator blocks
    /// its successor. Too low: a slow one loses its place and both do the work, which is safe but wasteful.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    /// How long answers to remembered requests are kept. Too high: the table grows. Too low: a client that
    /// repeats after an outage is refused instead of answered.
    #[serde(with = "humantime_serde")]
    pub remember: Duration,
}

impl Default for EventsConfig {
    fn default() -> Self {
        Self {
            poll: Duration::from_millis(50),
            lease: Duration::from_secs(3),
            remember: Duration::from_secs(24 * 60 * 60),
        }
    }
}

fn default_connections() -> usize {
    8
}

fn default_acquire() -> Duration {
    Duration::from_millis(250)
}

fn default_connect() -> Duration {
    Duration::from_millis(250)
}

fn default_lifetime() -> Duration {
    Duration::from_secs(30 * 60)
}

fn default_lock() -> Duration {
    Duration::from_millis(500)
}
