//! Connections: how they are opened, how long they live, and when one is thrown away.

mod usage;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cqm_rpc::{BoxError, Error, reason};
use deadpool::managed::{
    Manager, Metrics, Object, Pool, PoolConfig, PoolError, RecycleError, RecycleResult, TimeoutType, Timeouts,
};
use diesel_async::AsyncPgConnection;
use rand::Rng;
use std::sync::Mutex;
use tokio::task::AbortHandle;

use crate::connect::Target;
use crate::{DatabaseConfig, messages};
use usage::{Held, Usage};

/// One borrowed connection: what the queries of a store take.
pub type Conn = AsyncPgConnection;

/// The longest that a statement outside a transaction may run; transactions set what is left of the call.
const STATEMENT_LIMIT: Duration = Duration::from_secs(30);
/// A transaction that does nothing holds its locks for nothing.
const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(5);
/// How often Postgres looks, while a statement runs, whether anybody still waits for it: the read of a caller who hung up
/// ends with its connection, not with its deadline. Too high: dead callers' statements hold locks and processors. Too low:
/// every long statement pays for looking.
const STILL_THERE: Duration = Duration::from_millis(250);
/// How long an unanswered packet is waited for: a failed-over host is noticed after this, not after hours.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(5);
/// Plans that read what they need by an index, row by row. A prepared statement's plan is kept, and one that was made
/// while a table was small, or before anybody had counted its rows, reads the whole table for each batch: a fresh
/// installation would be slow until it is analysed. Every query here has an index, and what adds up a whole table reads
/// it all the same. Nothing runs long enough for compiled expressions to pay, and what is read without an index would
/// count as dear enough for them.
const BY_INDEX: &str = "-c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c jit=off";
const BACKOFF_FLOOR: Duration = Duration::from_millis(50);
const BACKOFF_CEILING: Duration = Duration::from_secs(5);

pub(crate) struct Opened {
    pub conn: Conn,
    closed: Arc<AtomicBool>,
    retire: Instant,
    _counted: Held,
    /// What drives the connection.
    driver: AbortHandle,
}

pub(crate) struct Opener {
    target: Target,
    lifetime: Duration,
    backoff: Mutex<Backoff>,
    usage: Usage,
}

/// After a failed attempt, when the next one may be made: full jitter, so that many replicas do not fall
/// upon a database together the moment it is back.
#[derive(Default)]
struct Backoff {
    failures: u32,
    not_before: Option<Instant>,
}

impl Opener {
    fn new(config: &DatabaseConfig, mut target: Target, usage: Usage) -> Self {
        let ours = format!(
            "-c lock_timeout={} -c idle_in_transaction_session_timeout={} -c statement_timeout={} \
             -c client_connection_check_interval={} {BY_INDEX}",
            config.lock_timeout.as_millis(),
            IDLE_IN_TRANSACTION.as_millis(),
            STATEMENT_LIMIT.as_millis(),
            STILL_THERE.as_millis(),
        );
        let merged = match target.options.get_options() {
            Some(theirs) => format!("{ours} {theirs}"),
            None => ours,
        };
        target
            .options
            .options(merged)
            .connect_timeout(config.connect_timeout)
            .tcp_user_timeout(TCP_USER_TIMEOUT)
            .keepalives_idle(Duration::from_secs(30));
        Self { target, lifetime: config.max_lifetime, backoff: Mutex::default(), usage }
    }

    async fn open(&self) -> Result<Opened, BoxError> {
        let (client, connection) = self.target.open().await?;
        let closed = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&closed);
        #[expect(
            clippy::disallowed_methods,
            reason = "ends with its connection; there is nothing to supervise"
        )]
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = %error, "postgres connection ended");
            }
            flag.store(true, Ordering::Release);
        })
        .abort_handle();
        let mut conn = AsyncPgConnection::try_from(client).await?;
        messages::in_english(&mut conn).await?;
        let retire = Instant::now() + self.lifetime.mul_f64(rand::rng().random_range(0.8..1.2));
        Ok(Opened { conn, closed, retire, _counted: self.usage.open(), driver })
    }

    fn may_try(&self) -> bool {
        let backoff = self.backoff.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        backoff.not_before.is_none_or(|at| Instant::now() >= at)
    }

    fn tried(&self, succeeded: bool) {
        let mut backoff = self.backoff.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if succeeded {
            *backoff = Backoff::default();
            return;
        }
        let ceiling = BACKOFF_FLOOR.saturating_mul(1 << backoff.failures.min(7)).min(BACKOFF_CEILING);
        backoff.failures += 1;
        backoff.not_before = Some(Instant::now() + ceiling.mul_f64(rand::rng().random_range(0.0..1.0)));
    }
}

impl Manager for Opener {
    type Type = Opened;
    type Error = BoxError;

    async fn create(&self) -> Result<Opened, BoxError> {
        if !self.may_try() {
            return Err("the database was not reachable a moment ago".into());
        }
        let opened = self.open().await;
        self.tried(opened.is_ok());
        opened
    }

    async fn recycle(&self, opened: &mut Opened, _: &Metrics) -> RecycleResult<BoxError> {
        if opened.closed.load(Ordering::Acquire) || Instant::now() >= opened.retire {
            return Err(RecycleError::message("closed or past its lifetime"));
        }
        Ok(())
    }
}

/// The pool of one runtime.
#[derive(Clone)]
pub(crate) struct Connections {
    pool: Pool<Opener>,
    usage: Usage,
    _allowed: Arc<Held>,
}

impl Connections {
    pub fn new(config: &DatabaseConfig) -> Result<Self, BoxError> {
        let target = Target::of(config)?;
        let usage = Usage::told_as(target.options.get_dbname().unwrap_or_default());
        Self::counted(config, target, usage)
    }

    /// For another runtime of the same service: what is used is counted together.
    pub fn beside(&self, config: &DatabaseConfig) -> Result<Self, BoxError> {
        Self::counted(config, Target::of(config)?, self.usage.clone())
    }

    fn counted(config: &DatabaseConfig, target: Target, usage: Usage) -> Result<Self, BoxError> {
        let pool = Pool::builder(Opener::new(config, target, usage.clone()))
            .config(PoolConfig {
                max_size: config.max_connections.max(1),
                timeouts: Timeouts {
                    wait: Some(config.acquire_timeout),
                    create: Some(config.connect_timeout),
                    recycle: None,
                },
                ..PoolConfig::default()
            })
            .runtime(deadpool::Runtime::Tokio1)
            .build()?;
        let allowed = Arc::new(usage.allow(config.max_connections.max(1)));
        Ok(Self { pool, usage, _allowed: allowed })
    }

    pub async fn lease(&self) -> Result<Lease, Error> {
        let waiting = self.usage.wait();
        let got = self.pool.get().await;
        drop(waiting);
        match got {
            Ok(object) => Ok(Lease { object: Some(object), clean: false, _counted: self.usage.lend() }),
            Err(PoolError::Timeout(TimeoutType::Wait)) => {
                self.usage.timed_out();
                Err(Error::Unavailable { reason: reason::OVERLOADED, source: None })
            }
            Err(PoolError::Backend(error)) => {
                Err(Error::Unavailable { reason: reason::STORAGE_UNAVAILABLE, source: Some(error) })
            }
            Err(error) => Err(Error::unavailable(reason::STORAGE_UNAVAILABLE, format!("pool: {error}"))),
        }
    }

    /// Connections in use and waiting callers, for metrics.
    pub fn status(&self) -> deadpool::Status {
        self.pool.status()
    }
}

/// A connection on loan. Unless [`Lease::put_back`] is called it is closed, not returned: a future that was
/// dropped half way leaves a transaction or a result behind, and the next borrower must not find it.
pub(crate) struct Lease {
    object: Option<Object<Opener>>,
    clean: bool,
    _counted: Held,
}

impl Lease {
    pub fn conn(&mut self) -> &mut Conn {
        &mut self.object.as_mut().expect("a lease holds its connection until it is dropped").conn
    }

    pub fn put_back(mut self) {
        self.clean = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(object) = self.object.take()
            && !self.clean
        {
            let opened = Object::take(object);
            // Dropped alone, the connection would stay until its last statement has been answered.
            opened.driver.abort();
        }
    }
}
