//! A connection to a Redis that may be slow, full, wiped or gone at any moment, and that nothing fails because of.
//!
//! A command has a budget. Failures in a row switch Redis off: the connection goes, everybody does without, and a task in
//! the background connects until it succeeds.
//!
//! `rediss://` is TLS, see [`RedisTls`]; `redis://` is plaintext, as `http://` is for the suite's own channels.

mod tls;

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use cqm_rpc::BoxError;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, ConnectionAddr, IntoConnectionInfo, RedisError};
use secrecy::{ExposeSecret, SecretString};
use tokio::runtime::Handle;

use crate::config::ConfigError;
use crate::tasks::{Backoff, detached};
pub use tls::RedisTls;

/// For connecting and for what is said before the first command: nobody waits for these.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// What Redis is used for.
pub trait Purpose: Send + Sync + 'static {
    /// What happens without it, for the log.
    const WITHOUT: &'static str;
    /// Failures in a row after which Redis is left alone.
    const FAILURES: u32;

    /// It was switched off.
    fn switched_off(&self);

    /// On a new connection, before anybody uses it. An error is a connection that failed.
    fn connected(
        &self,
        _connection: &mut ConnectionManager,
    ) -> impl Future<Output = Result<(), RedisError>> + Send {
        std::future::ready(Ok(()))
    }
}

/// Where a Redis is, and what it is believed by.
#[derive(Clone)]
pub struct Address {
    client: Client,
    /// None: plaintext.
    tls: Option<RedisTls>,
}

impl Address {
    /// Reads what the configuration says by this key, and the files of `tls`, which stands beside it.
    pub fn parse(key: &'static str, url: &SecretString, tls: &RedisTls) -> Result<Self, ConfigError> {
        // The error is not shown: it may repeat the address, and with it a password.
        let unsupported = |_| ConfigError::refused(key, "is not an address of Redis that is supported");
        let info = url.expose_secret().into_connection_info().map_err(unsupported)?;
        let secured = match info.addr() {
            ConnectionAddr::TcpTls { insecure: true, .. } => {
                let problem = "must not end in #insecure: TLS with anybody protects from nobody";
                return Err(ConfigError::refused(key, problem));
            }
            ConnectionAddr::TcpTls { .. } => true,
            _ => false,
        };
        if !secured && !tls.is_empty() {
            let problem = "must begin with rediss:// where redis_tls names a file";
            return Err(ConfigError::refused(key, problem));
        }
        let client = Client::open(info).map_err(unsupported)?;
        let address = Self { client, tls: secured.then(|| tls.clone()) };
        address
            .client()
            .map_err(|problem| ConfigError::refused(key, format!("cannot be secured: {problem}")))?;
        Ok(address)
    }

    /// What connects, with the files as they are now. It waits for them.
    fn client(&self) -> Result<Client, BoxError> {
        match &self.tls {
            None => Ok(self.client.clone()),
            Some(tls) => tls.secure(&self.client),
        }
    }
}

/// One connection. Its tasks live on the runtime that asked for it first, whoever finds later that it is gone. Clones share
/// it.
pub struct Link<P>(Arc<Inner<P>>);

struct Inner<P> {
    address: Address,
    budget: Duration,
    purpose: Arc<P>,
    state: Mutex<State>,
    failures: AtomicU32,
    home: OnceLock<Handle>,
}

enum State {
    /// Nobody has asked yet.
    Idle,
    /// A task in the background tries until it succeeds; nobody uses Redis meanwhile.
    Connecting,
    Up(ConnectionManager),
}

impl<P: Purpose> Link<P> {
    /// Connects at the first use, or by [`Link::connect_in_background`]. `budget`: for one command.
    pub fn new(address: Address, budget: Duration, purpose: Arc<P>) -> Self {
        Self(Arc::new(Inner {
            address,
            budget,
            purpose,
            state: Mutex::new(State::Idle),
            failures: AtomicU32::new(0),
            home: OnceLock::new(),
        }))
    }

    /// To the same Redis for the same purpose, for another runtime.
    pub fn sibling(&self) -> Self {
        Self::new(self.0.address.clone(), self.0.budget, Arc::clone(&self.0.purpose))
    }

    pub fn is_up(&self) -> bool {
        matches!(*self.0.state(), State::Up(_))
    }

    /// One command within the budget; `None` when Redis cannot be used.
    pub async fn run<T, F>(&self, command: impl FnOnce(ConnectionManager) -> F) -> Option<T>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        let Some(connection) = self.0.connection() else {
            self.connect_in_background();
            return None;
        };
        let problem = match tokio::time::timeout(self.0.budget, command(connection)).await {
            Ok(Ok(answer)) => {
                self.0.failures.store(0, Ordering::Relaxed);
                return Some(answer);
            }
            Ok(Err(error)) => told(&error),
            Err(_) => "no answer within the budget".to_owned(),
        };
        if self.0.failures.fetch_add(1, Ordering::Relaxed) + 1 >= P::FAILURES {
            self.switch_off(&problem);
        }
        None
    }

    /// Does without Redis until a new connection is there.
    pub fn switch_off(&self, problem: &str) {
        let was_up = {
            let mut state = self.0.state();
            // The connection goes too: to a host that vanished it would stay open and silent.
            let was_up = matches!(*state, State::Up(_));
            if was_up {
                *state = State::Idle;
            }
            was_up
        };
        if was_up {
            self.0.purpose.switched_off();
            tracing::warn!(problem, without = P::WITHOUT, "redis switched off");
        }
        self.connect_in_background();
    }

    /// Connects on a task of its own, however long it takes. Does nothing while one is at it.
    pub fn connect_in_background(&self) {
        let mut state = self.0.state();
        if matches!(*state, State::Idle) {
            *state = State::Connecting;
            let _at_home = self.0.home.get_or_init(Handle::current).enter();
            detached(connect_until_it_works(Arc::downgrade(&self.0)));
        }
    }

    /// Whether Redis can be reached now.
    pub async fn check(&self) -> Result<(), BoxError> {
        self.0.connect().await.map(drop)
    }
}

impl<P: Purpose> Inner<P> {
    /// A connection that has answered. By the files of today: whoever is switched off because an authority or a
    /// certificate was exchanged comes back by the new one.
    async fn connect(&self) -> Result<ConnectionManager, BoxError> {
        let address = self.address.clone();
        let client = tokio::task::spawn_blocking(move || address.client()).await??;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(CONNECT_TIMEOUT))
            // The task in the background is the backoff: a manager that waits between tries would hold callers up.
            .set_number_of_retries(0)
            .set_pipeline_buffer_size(1024);
        let connected = async {
            let mut connection = ConnectionManager::new_with_config(client, config).await?;
            redis::cmd("PING").exec_async(&mut connection).await?;
            Ok(connection)
        };
        connected.await.map_err(|error: RedisError| told(&error).into())
    }

    fn connection(&self) -> Option<ConnectionManager> {
        match &*self.state() {
            State::Up(connection) => Some(connection.clone()),
            State::Idle | State::Connecting => None,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Weak: the task ends with its link.
async fn connect_until_it_works<P: Purpose>(link: Weak<Inner<P>>) {
    let mut backoff = Backoff::default();
    let mut said = false;
    while let Some(link) = link.upgrade() {
        let connected = async {
            let mut connection = link.connect().await?;
            link.purpose.connected(&mut connection).await.map_err(|error| told(&error))?;
            Ok::<_, BoxError>(connection)
        };
        match connected.await {
            Ok(connection) => {
                link.failures.store(0, Ordering::Relaxed);
                *link.state() = State::Up(connection);
                tracing::info!(without = P::WITHOUT, "redis in use");
                return;
            }
            Err(error) if !said => {
                said = true;
                tracing::warn!(problem = %error, without = P::WITHOUT, "redis cannot be reached");
            }
            Err(_) => {}
        }
        drop(link);
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

/// What is wrong, for the log. What a server answers may repeat what it was sent, a password for one; what became of the
/// socket, or of the handshake, does not.
fn told(error: &RedisError) -> String {
    if error.is_io_error() { error.to_string() } else { error.category().to_owned() }
}

impl<P> Clone for Link<P> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// By hand: the client would print the password of its address.
impl<P: Purpose> fmt::Debug for Link<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("is_up", &self.is_up()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_be_secured_as_it_says_is_refused_without_being_told() {
        let ca = || RedisTls { ca: Some("/nowhere/ca.crt".into()), ..RedisTls::default() };
        let half = || RedisTls { certificate: Some("/nowhere/tls.crt".into()), ..RedisTls::default() };
        let parse = |url: &str, tls: RedisTls| Address::parse("cache.redis_url", &url.into(), &tls);
        for (url, tls, word) in [
            ("redis://:hunter2@cache", ca(), "rediss://"),
            ("redis+unix:///run/redis.sock", half(), "rediss://"),
            ("rediss://:hunter2@cache", ca(), "/nowhere/ca.crt"),
            ("rediss://:hunter2@cache", half(), "redis_tls.key"),
            ("rediss://:hunter2@cache/#insecure", RedisTls::default(), "#insecure"),
            ("http://:hunter2@cache", RedisTls::default(), "not an address of Redis"),
        ] {
            let error = parse(url, tls).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains("cache.redis_url") && error.contains(word), "{url}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        for url in ["redis://:hunter2@cache", "rediss://:hunter2@cache", "redis+unix:///run/redis.sock"] {
            assert!(parse(url, RedisTls::default()).is_ok(), "{url}");
        }
    }
}
