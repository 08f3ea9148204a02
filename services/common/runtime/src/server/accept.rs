//! Listeners, shards, and the way from the first accept to the last word.

use std::future::pending;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use cqm_rpc::BoxError;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{self, Ends};
use super::crowd::Crowd;
use super::gate::Gate;
use super::health::Health;
use super::stack::{Served, Shared, Stack};
use super::web::Web;
use super::{ServerConfig, Shape};
use crate::telemetry::Sampling;
use crate::tls::Listener;

/// Connections that the kernel keeps for us while we are busy.
const BACKLOG: i32 = 1024;
/// After a failed accept; without it, a process out of descriptors burns a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a newcomer waits for those who have to go, before more of them have to.
const NEXT_LOOK: Duration = Duration::from_millis(25);
/// Between two looks for connections whose time is over.
const SWEEP: Duration = Duration::from_secs(1);
/// The process, or the machine, is out of descriptors (EMFILE, ENFILE).
const NO_DESCRIPTOR: [i32; 2] = [24, 23];
/// After the drain's time, how long a shard's last tasks may take to notice.
const LAST_TASKS: Duration = Duration::from_secs(1);

/// One of a process's serving runtimes. A pool of connections belongs to the shard that opened them.
#[derive(Clone, Debug)]
pub struct Shard {
    pub index: usize,
    pub count: usize,
    /// Cancelled when the door closes: answers that wait for news end then, or the drain would wait for them.
    pub closing: CancellationToken,
}

/// What a server needs beside its configuration.
#[derive(Clone, Debug)]
pub struct Options {
    pub health: Health,
    /// Cancelled to begin the drain.
    pub shutdown: CancellationToken,
    pub sampling: Sampling,
}

impl Options {
    pub fn new(health: Health) -> Self {
        Self { health, shutdown: CancellationToken::new(), sampling: Sampling::never() }
    }
}

/// Listeners that exist and do not accept yet.
#[derive(Debug)]
pub struct Bound {
    config: Arc<ServerConfig>,
    address: SocketAddr,
    listeners: Vec<StdListener>,
}

/// Takes the address. With [`Shape::PerCore`] every shard gets a listener of its own on it, and the kernel
/// spreads the connections.
pub fn bind(config: &ServerConfig) -> io::Result<Bound> {
    let count = match config.shape {
        Shape::MultiThread => 1,
        Shape::PerCore if config.shards > 0 => config.shards,
        Shape::PerCore => std::thread::available_parallelism()?.get(),
    };
    let shared = config.shape == Shape::PerCore;
    if shared && config.listen.port() != 0 {
        // SO_REUSEPORT lets any process of this user in beside us, and the kernel would give it some of our callers: one
        // that listens here already must be an error, as it is without SO_REUSEPORT. A look before the leap: two that
        // start within the same instant are not told apart.
        drop(listen(config.listen, false)?);
    }
    let first = listen(config.listen, shared)?;
    // Port 0: the kernel chooses once, the others follow.
    let address = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..count {
        listeners.push(listen(address, shared)?);
    }
    Ok(Bound { config: Arc::new(config.clone()), address, listeners })
}

fn listen(address: SocketAddr, shared: bool) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart finds its old connections in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// A server at work.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    health: Health,
    ended: oneshot::Receiver<()>,
}

impl Running {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it tells balancers and probes.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Returns when the drain is over. Begin it by cancelling [`Options::shutdown`].
    pub async fn join(self) {
        // The sender is dropped only together with the runtime that would poll this.
        let _ = self.ended.await;
    }
}

impl Bound {
    /// Where clients find the process, the chosen port included.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves a service's routes. `make` runs once on each shard, inside its runtime.
    pub async fn serve<S: Served, G: Gate>(
        self,
        options: Options,
        gate: G,
        make: impl Fn(Shard) -> Result<S, BoxError> + Send + Sync + 'static,
    ) -> Result<Running, BoxError> {
        self.start(options, gate, false, make).await
    }

    /// Serves the edge: a service that forwards.
    pub async fn serve_edge<S: Served, G: Gate>(
        self,
        options: Options,
        gate: G,
        make: impl Fn(Shard) -> Result<S, BoxError> + Send + Sync + 'static,
    ) -> Result<Running, BoxError> {
        self.start(options, gate, true, make).await
    }

    async fn start<S: Served, G: Gate>(
        self,
        options: Options,
        gate: G,
        edge: bool,
        make: impl Fn(Shard) -> Result<S, BoxError> + Send + Sync + 'static,
    ) -> Result<Running, BoxError> {
        let Self { config, address, listeners } = self;
        let listener = Listener::open(&config.tls, config.plaintext)?;
        let ends = Ends { stop: CancellationToken::new(), cut: CancellationToken::new() };
        let Options { health, shutdown, sampling } = options;
        let shared =
            Shared::new(&config, health.clone(), sampling, edge, ends.stop.clone(), ends.cut.clone())?;
        let door = Door::new(Arc::clone(&config), listener, ends.clone());

        // Everything of the server hangs on this tracker: the drain waits for it and for nothing else.
        let shards = TaskTracker::new();
        let count = listeners.len();
        let make = Arc::new(make);
        for (index, listener) in listeners.into_iter().enumerate() {
            let shard = Shard { index, count, closing: ends.stop.clone() };
            let (door, shared, gate, make) = (door.clone(), shared.clone(), gate.clone(), Arc::clone(&make));
            let prepare = move || {
                let tasks = TaskTracker::new();
                let stack = Stack::new(shared, gate, make(shard)?, tasks.clone())?;
                let listener = TcpListener::from_std(listener)?;
                Ok((listener, stack, tasks))
            };
            let started = match config.shape {
                Shape::MultiThread => prepare().map(|(listener, stack, tasks)| {
                    shards.spawn(door.attend(listener, stack, tasks));
                }),
                Shape::PerCore => on_its_own_thread(index, door, &shards, prepare).await,
            };
            if let Err(error) = started {
                // The shards before this one must not serve half a process.
                ends.stop.cancel();
                ends.cut.cancel();
                return Err(error);
            }
        }
        shards.close();

        let (tell, ended) = oneshot::channel();
        let told = health.clone();
        crate::tasks::detached(async move {
            shutdown.cancelled().await;
            drain(&config, &health, &ends, &shards).await;
            let _ = tell.send(());
        });
        Ok(Running { address, health: told, ended })
    }
}

/// In this order: tell the balancers, give them time, close the door, let the calls at work end, and then stop
/// waiting. Every step has an end.
async fn drain(config: &ServerConfig, health: &Health, ends: &Ends, shards: &TaskTracker) {
    health.not_ready().await;
    tokio::time::sleep(config.drain.settle).await;
    health.close();
    ends.stop.cancel();
    if tokio::time::timeout(config.drain.timeout, shards.wait()).await.is_err() {
        tracing::warn!("calls were cut at the end of the drain");
        ends.cut.cancel();
        shards.wait().await;
    }
}

/// Starts a shard and returns when it listens, or with what kept it from it.
async fn on_its_own_thread<S: Served, G: Gate>(
    index: usize,
    door: Door,
    shards: &TaskTracker,
    prepare: impl FnOnce() -> Result<(TcpListener, Stack<S, G>, TaskTracker), BoxError> + Send + 'static,
) -> Result<(), BoxError> {
    let (tell, started) = oneshot::channel::<Result<(), BoxError>>();
    let token = shards.token();
    std::thread::Builder::new().name(format!("shard-{index}")).spawn(move || {
        // Dropped last: the drain ends when the thread does.
        let _token = token;
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                let _ = tell.send(Err(error.into()));
                return;
            }
        };
        runtime.block_on(async move {
            match prepare() {
                Ok((listener, stack, tasks)) => {
                    if tell.send(Ok(())).is_ok() {
                        door.attend(listener, stack, tasks).await;
                    }
                }
                Err(error) => {
                    let _ = tell.send(Err(error));
                }
            }
        });
        // A blocking task that hangs is not worth hanging for.
        runtime.shutdown_background();
    })?;
    started.await?
}

/// The way in, the same for all shards.
#[derive(Clone)]
struct Door {
    config: Arc<ServerConfig>,
    listener: Listener,
    places: Arc<Semaphore>,
    crowd: Arc<Crowd>,
    web: Web,
    ends: Ends,
}

impl Door {
    /// Also sees to it, on the current runtime, that those go whose time is over.
    fn new(config: Arc<ServerConfig>, listener: Listener, ends: Ends) -> Self {
        let places = Arc::new(Semaphore::new(config.max_connections));
        let crowd = Arc::new(Crowd::new(&config));
        let (watched, stop) = (Arc::clone(&crowd), ends.stop.clone());
        crate::tasks::detached(async move {
            while stop.run_until_cancelled(tokio::time::sleep(SWEEP)).await.is_some() {
                watched.sweep();
            }
        });
        let web = Web::new(&config.web);
        Self { config, listener, places, crowd, web, ends }
    }

    /// Accepts until the door closes, then waits for what is at work, and no longer than the drain does.
    async fn attend<S: Served, G: Gate>(self, listener: TcpListener, stack: Stack<S, G>, tasks: TaskTracker) {
        tokio::select! {
            () = self.accept(listener, &stack, &tasks) => {}
            () = self.ends.stop.cancelled() => {}
        }
        drop(stack);
        tasks.close();
        tokio::select! {
            () = tasks.wait() => {}
            () = async {
                self.ends.cut.cancelled().await;
                tokio::time::sleep(LAST_TASKS).await;
            } => {}
        }
    }

    async fn accept<S: Served, G: Gate>(
        &self,
        listener: TcpListener,
        stack: &Stack<S, G>,
        tasks: &TaskTracker,
    ) {
        loop {
            match listener.accept().await {
                Ok((socket, _peer)) => {
                    let place = self.place().await;
                    let (door, stack, inside) = (self.clone(), stack.clone(), self.crowd.enter());
                    tasks.spawn(async move {
                        let _place = place;
                        let Door { config, listener, web, ends, .. } = door;
                        connection::serve(socket, &config, &listener, stack, inside, web, ends).await;
                    });
                    // Thousands may stand at the door at once; those who are inside come in between.
                    tokio::task::yield_now().await;
                }
                Err(error) if the_peers(&error) => {}
                Err(error) => {
                    if error.raw_os_error().is_some_and(|code| NO_DESCRIPTOR.contains(&code)) {
                        self.crowd.make_room();
                    }
                    tracing::warn!(error = %error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// A place for one who stands at the door. Where there is none, somebody idle has to leave: silent connections must
    /// not be able to keep everybody else out.
    async fn place(&self) -> OwnedSemaphorePermit {
        loop {
            if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
                return place;
            }
            self.crowd.make_room();
            let place = Arc::clone(&self.places).acquire_owned();
            match tokio::time::timeout(NEXT_LOOK, place).await {
                Ok(Ok(place)) => return place,
                // The semaphore is never closed; if it were, nobody would be let in.
                Ok(Err(_closed)) => pending().await,
                // Everybody was at work; perhaps not any more.
                Err(_elapsed) => {}
            }
        }
    }
}

/// The peer gave up between its SYN and our accept; nothing is wrong with us.
fn the_peers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
