//! A door in front of a real server that a test can shut: the network between the two, not a pretended server. It may
//! end TLS, as a proxy before a server does.

use std::net::SocketAddr;
use std::time::Duration;

use cqm_runtime::tasks::detached;
use redis::{ConnectionAddr, IntoConnectionInfo};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio_postgres::config::Host;

use crate::{Identity, environment};

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Connections break and new ones are refused a conversation.
    Closed,
    /// Connections stay and nothing passes.
    Frozen,
}

/// See the module.
pub struct Door {
    address: SocketAddr,
    state: watch::Sender<State>,
    identity: watch::Sender<Option<Identity>>,
    /// How many have come.
    guests: watch::Receiver<usize>,
}

impl Door {
    /// In front of the tests' Redis, whatever its address looks like.
    pub async fn to_redis() -> Self {
        Self::to(redis(), None).await
    }

    /// The same, entered by TLS.
    pub async fn to_redis_by_tls(identity: Identity) -> Self {
        Self::to(redis(), Some(identity)).await
    }

    /// In front of the tests' Postgres; [`TestDatabase::behind`](crate::TestDatabase::behind) goes through it.
    pub async fn to_postgres() -> Self {
        let server: tokio_postgres::Config =
            environment("CQM_TEST_POSTGRES_URL").parse().expect("an address of Postgres");
        let port = server.get_ports().first().copied().unwrap_or(5432);
        let target = match server.get_hosts() {
            [Host::Unix(folder)] => ConnectionAddr::Unix(folder.join(format!(".s.PGSQL.{port}"))),
            [Host::Tcp(host)] => ConnectionAddr::Tcp(host.clone(), port),
            hosts => panic!("the tests' Postgres is one server, not {hosts:?}"),
        };
        Self::to(target, None).await
    }

    /// In front of this server.
    pub async fn to_server(address: SocketAddr) -> Self {
        Self::to(tcp(address), None).await
    }

    /// The same, entered by TLS.
    pub async fn to_server_by_tls(address: SocketAddr, identity: Identity) -> Self {
        Self::to(tcp(address), Some(identity)).await
    }

    async fn to(target: ConnectionAddr, identity: Option<Identity>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let (state, watched) = watch::channel(State::Open);
        let (identity, shown) = watch::channel(identity);
        let (counter, guests) = watch::channel(0);
        detached(async move {
            while let Ok((client, _)) = listener.accept().await {
                counter.send_modify(|guests| *guests += 1);
                let (target, state, shown) = (target.clone(), watched.clone(), shown.borrow().clone());
                detached(async move {
                    match shown {
                        None => pass(client, target, state).await,
                        // Who does not believe it goes away.
                        Some(identity) => {
                            if let Ok(client) = identity.acceptor().accept(client).await {
                                pass(client, target, state).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, state, identity, guests }
    }

    /// Shows this to whoever comes from now on.
    pub fn show(&self, identity: Identity) {
        self.identity.send_replace(Some(identity));
    }

    /// Where it is entered.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until so many more have come; panics after ten seconds. Behind a closed door, that is how often it was tried
    /// in vain.
    pub async fn wait_for(&self, more: usize) {
        let mut guests = self.guests.clone();
        let enough = *guests.borrow() + more;
        tokio::time::timeout(Duration::from_secs(10), guests.wait_for(|guests| *guests >= enough))
            .await
            .unwrap_or_else(|_| panic!("not {more} came within 10 s"))
            .expect("the door stands as long as it is known");
    }

    /// Breaks every connection, and the new ones as soon as they are there.
    pub fn close(&self) {
        self.state.send_replace(State::Closed);
    }

    /// Lets nothing pass any more; connections stay.
    pub fn freeze(&self) {
        self.state.send_replace(State::Frozen);
    }

    /// As in the beginning.
    pub fn reopen(&self) {
        self.state.send_replace(State::Open);
    }
}

fn redis() -> ConnectionAddr {
    let info = environment("CQM_TEST_REDIS_URL").into_connection_info().expect("an address of Redis");
    info.addr().clone()
}

fn tcp(address: SocketAddr) -> ConnectionAddr {
    ConnectionAddr::Tcp(address.ip().to_string(), address.port())
}

async fn pass(
    client: impl AsyncRead + AsyncWrite + Unpin,
    target: ConnectionAddr,
    state: watch::Receiver<State>,
) {
    match target {
        ConnectionAddr::Unix(path) => {
            join(client, UnixStream::connect(path).await.expect("the server behind the door"), state).await
        }
        ConnectionAddr::Tcp(host, port) => {
            join(client, TcpStream::connect((host, port)).await.expect("the server behind the door"), state)
                .await;
        }
        other => panic!("the tests do not know how to reach {other}"),
    }
}

async fn join(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    mut server: impl AsyncRead + AsyncWrite + Unpin,
    mut state: watch::Receiver<State>,
) {
    loop {
        let now = *state.borrow_and_update();
        match now {
            State::Closed => return,
            State::Frozen => {
                if state.changed().await.is_err() {
                    return;
                }
            }
            State::Open => {
                tokio::select! {
                    _ = copy_bidirectional(&mut client, &mut server) => return,
                    changed = state.changed() => if changed.is_err() { return },
                }
            }
        }
    }
}
