//! A connection to a Redis that may be slow, full, wiped or gone at any moment, and that nothing fails because of.
//!
//! A command has a budget. Failures in a row switch Redis off: the connection goes, everybody does without, and a task in
//! the background connects until it succeeds.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, RedisError};
use secrecy::{ExposeSecret, SecretString};
use tokio::runtime::Handle;

use crate::config::ConfigError;
use crate::tasks::{Backoff, detached};

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

/// Where a Redis is.
#[derive(Clone)]
pub struct Address(Client);

impl Address {
    /// Reads what the configuration says by this key.
    pub fn parse(key: &'static str, url: &SecretString) -> Result<Self, ConfigError> {
        // The error is not shown: it may repeat the address, and with it a password.
        let client = Client::open(url.expose_secret());
        client
            .map(Self)
            .map_err(|_| ConfigError::refused(key, "is not an address of Redis that is supported"))
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
            Ok(Err(error)) => error.category().to_owned(),
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
    pub async fn check(&self) -> Result<(), RedisError> {
        self.0.connect().await.map(drop)
    }
}

impl<P: Purpose> Inner<P> {
    /// A connection that has answered.
    async fn connect(&self) -> Result<ConnectionManager, RedisError> {
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(CONNECT_TIMEOUT))
            // The task in the background is the backoff: a manager that waits between tries would hold callers up.
            .set_number_of_retries(0)
            .set_pipeline_buffer_size(1024);
        let mut connection = ConnectionManager::new_with_config(self.address.0.clone(), config).await?;
        redis::cmd("PING").exec_async(&mut connection).await?;
        Ok(connection)
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
            link.purpose.connected(&mut connection).await?;
            Ok::<_, RedisError>(connection)
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
                tracing::warn!(problem = error.category(), without = P::WITHOUT, "redis cannot be reached");
            }
            Err(_) => {}
        }
        drop(link);
        tokio::time::sleep(backoff.next_delay()).await;
    }
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
