//! One connection of an attacker, and what becomes of it.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::frames::{Settings, settings};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const GOAWAY: u8 = 0x7;

/// A connection that speaks HTTP/2 without a library.
pub struct Peer(TcpStream);

/// How the server ended a connection.
#[derive(Debug, Default)]
pub struct End {
    /// The error of the last GOAWAY.
    pub goaway: Option<u32>,
    /// How often something was sent before that.
    pub sent: usize,
}

impl Peer {
    pub async fn connect(address: &str, said: Settings) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        stream.write_all(&[PREFACE, &settings(said)].concat()).await?;
        Ok(Self(stream))
    }

    /// A connection as it is.
    pub fn of(stream: TcpStream) -> Self {
        Self(stream)
    }

    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).await
    }

    /// Reads up to the answer of a ping, behind which everything that was sent before it has been read by the server.
    pub async fn answered_ping(&mut self) -> io::Result<()> {
        const PING: u8 = 0x6;
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await?;
            let [a, b, c, kind, ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            self.0.read_exact(&mut payload).await?;
            if kind == PING {
                return Ok(());
            }
        }
    }

    /// Reads until the server hangs up.
    pub async fn end(mut self) -> io::Result<End> {
        let mut end = End::default();
        listen(&mut self.0, &mut end).await;
        Ok(end)
    }

    /// Sends what `next` makes again and again, at most `times`, reading what comes meanwhile, until the server hangs
    /// up.
    pub async fn flood(self, times: usize, mut next: impl FnMut() -> Vec<u8>) -> io::Result<End> {
        let (mut read, mut write) = self.0.into_split();
        let (mut end, mut sent) = (End::default(), 0);
        let sending = async {
            while sent < times && write.write_all(&next()).await.is_ok() {
                sent += 1;
                // A flood through the loopback is never held up and would let nobody else run.
                tokio::task::yield_now().await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = listen(&mut read, &mut end) => {}
            () = sending => {}
        }
        end.sent = sent;
        Ok(end)
    }
}

/// Reads frames to the end of the connection, however it ends.
async fn listen(stream: &mut (impl AsyncRead + Unpin), end: &mut End) {
    let mut head = [0; 9];
    let mut payload = Vec::new();
    while stream.read_exact(&mut head).await.is_ok() {
        let [a, b, c, kind, ..] = head;
        payload.resize(u32::from_be_bytes([0, a, b, c]) as usize, 0);
        if stream.read_exact(&mut payload).await.is_err() {
            return;
        }
        if kind == GOAWAY {
            end.goaway = payload.get(4..8).and_then(|code| code.try_into().ok()).map(u32::from_be_bytes);
        }
    }
}
