//! One connection, from its first byte to its end.

use std::convert::Infallible;
use std::io::Cursor;
use std::pin::{Pin, pin};
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::ServerConfig;
use super::gate::Gate;
use super::stack::{Served, Stack};
use super::web::Web;

/// RFC 9113, 3.4: how every client begins.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HTTP_1: &[u8] =
    b"HTTP/1.1 505 HTTP Version Not Supported\r\nconnection: close\r\ncontent-type: text/plain\r\n\
    content-length: 59\r\n\r\nThis address speaks gRPC: HTTP/2 without TLS from the start";
/// Bytes of headers that a request may have.
const MAX_HEADER_LIST: u32 = 16 * 1024;
/// The same for HTTP/1, whose buffer it is.
const MAX_HEADERS: usize = MAX_HEADER_LIST as usize;
/// After the drain's time is over, how long the last words may take.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// What ends connections.
#[derive(Clone)]
pub(super) struct Ends {
    /// The door closes: finish what is at work.
    pub stop: CancellationToken,
    /// The drain's time is over.
    pub cut: CancellationToken,
}

/// Serves one connection to its end.
pub(super) async fn serve<S: Served, G: Gate>(
    mut socket: TcpStream,
    config: &ServerConfig,
    stack: Stack<S, G>,
    web: Web,
    ends: Ends,
) {
    // Small frames wait for an acknowledgement otherwise: a third of the throughput is lost.
    let _ = socket.set_nodelay(true);

    // A peer that never speaks is not hyper's to notice (hyper#4170).
    let greeted = tokio::select! {
        greeted = tokio::time::timeout(config.handshake_timeout, greet(&mut socket, web.is_open())) => greeted,
        () = ends.stop.cancelled() => return,
    };
    let Ok(Ok(Some(greeting))) = greeted else {
        return;
    };

    let speaks_2 = greeting == PREFACE;
    let (read, write) = socket.into_split();
    let stream = TokioIo::new(tokio::io::join(Cursor::new(greeting).chain(read), write));
    let answer = hyper::service::service_fn(move |request| {
        let (stack, web) = (stack.clone(), web.clone());
        async move { Ok::<_, Infallible>(web.call(&stack, request).await) }
    });
    if speaks_2 {
        let connection = http2(config).serve_connection(stream, answer);
        live(pin!(connection), |connection| connection.graceful_shutdown(), config, &ends).await;
    } else {
        let connection = http1(config).serve_connection(stream, answer);
        live(pin!(connection), |connection| connection.graceful_shutdown(), config, &ends).await;
    }
}

/// A connection's life: until its peer leaves it, it is old, or the process ends.
async fn live<C: Future>(
    mut connection: Pin<&mut C>,
    close: impl FnOnce(Pin<&mut C>),
    config: &ServerConfig,
    ends: &Ends,
) {
    let age = config.connection_age.mul_f64(rand::rng().random_range(0.9..1.1));
    tokio::select! {
        _ = connection.as_mut() => return,
        () = tokio::time::sleep(age) => {}
        () = ends.stop.cancelled() => {}
    }
    // GOAWAY: the peer opens its next calls elsewhere, the ones at work go on.
    close(connection.as_mut());
    tokio::select! {
        _ = connection.as_mut() => return,
        () = tokio::time::sleep(config.connection_grace), if !ends.stop.is_cancelled() => {}
        () = ends.cut.cancelled() => {}
    }
    let _ = tokio::time::timeout(LAST_WORDS, connection).await;
}

/// Reads how the peer begins: the preface, or what else it said where HTTP/1 is spoken too. Elsewhere whoever speaks
/// HTTP/1 is told so instead of reading frames.
async fn greet(socket: &mut TcpStream, takes_1: bool) -> std::io::Result<Option<Vec<u8>>> {
    let mut read = [0; PREFACE.len()];
    let mut length = 0;
    while length < PREFACE.len() {
        match socket.read(&mut read[length..]).await? {
            0 => return Ok(None),
            more => length += more,
        }
        if !PREFACE.starts_with(&read[..length]) {
            if takes_1 {
                break;
            }
            socket.write_all(HTTP_1).await?;
            socket.shutdown().await?;
            return Ok(None);
        }
    }
    Ok(Some(read[..length].to_vec()))
}

/// For browsers without TLS between them and us, whose every request comes one after another.
fn http1(config: &ServerConfig) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // Slow headers: a peer that sends one byte a minute holds a connection otherwise.
        .header_read_timeout(config.handshake_timeout)
        .max_buf_size(MAX_HEADERS)
        .auto_date_header(false);
    builder
}

/// hyper's limits, all of them stated: what tonic leaves open stays open.
fn http2(config: &ServerConfig) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.max_concurrent_streams)
        // Rapid resets (CVE-2023-44487, RUSTSEC-2024-0003): a peer that opens and resets is disconnected.
        .max_local_error_reset_streams(1024)
        .max_pending_accept_reset_streams(20)
        .max_header_list_size(MAX_HEADER_LIST)
        .adaptive_window(false)
        .initial_stream_window_size(config.stream_window)
        .initial_connection_window_size(config.connection_window)
        .keep_alive_interval(config.keepalive_interval)
        .keep_alive_timeout(config.keepalive_timeout)
        // No reader of gRPC looks at it.
        .auto_date_header(false);
    builder
}
