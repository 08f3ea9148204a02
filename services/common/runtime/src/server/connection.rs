//! One connection, from its first byte to its end.

use std::convert::Infallible;
use std::error::Error as _;
use std::io::Cursor;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;

use super::ServerConfig;
use super::crowd::{Inside, Lease, Order};
use super::gate::{Gate, Peer};
use super::inbound::{Flooded, Inbound};
use super::stack::{Served, Stack};
use super::web::Web;
use crate::tls::{Listener, Stream};

/// RFC 9113, 3.4: how every client begins.
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HTTP_1: &[u8] =
    b"HTTP/1.1 505 HTTP Version Not Supported\r\nconnection: close\r\ncontent-type: text/plain\r\n\
    content-length: 59\r\n\r\nThis address speaks gRPC: HTTP/2 without TLS from the start";
/// Bytes of headers that a request may have.
const MAX_HEADER_LIST: u32 = 16 * 1024;
/// What the edge may add to them: a pass, a trace, a deadline. Services take that much more, or what the edge lets through
/// would be refused behind it.
const ADDED_HEADERS: u32 = 4 * 1024;
/// Calls that are given up before anybody has looked at them (CVE-2023-44487, RUSTSEC-2024-0003): beyond it the
/// connection ends. The edge brings those of all callers over one connection.
const RESETS: usize = 20;
const RESETS_OF_ALL: usize = 256;
/// The same for HTTP/1, whose buffer it is.
pub(super) const MAX_HEADERS: usize = MAX_HEADER_LIST as usize;
/// After the drain's time is over, or when a place is needed, how long the last words may take.
const LAST_WORDS: Duration = Duration::from_millis(250);
/// What one stream may hold of an answer that its peer does not take, bytes. hyper's own is 400 KiB.
const SEND_BUFFER: usize = 64 * 1024;

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
    socket: TcpStream,
    config: &ServerConfig,
    listener: &Listener,
    stack: Stack<S, G>,
    inside: Inside,
    web: Web,
    ends: Ends,
) {
    let peer = socket.peer_addr().map(|address| Peer(address.ip().to_canonical())).ok();
    // Small frames wait for an acknowledgement otherwise: a third of the throughput is lost.
    let _ = socket.set_nodelay(true);

    // A peer that shakes hands slowly or never speaks is not hyper's to notice (hyper#4170).
    let greeted = tokio::select! {
        greeted = tokio::time::timeout(config.handshake_timeout, greet(socket, listener, web.is_open())) => greeted,
        _ = inside.ordered() => return,
        () = ends.stop.cancelled() => return,
    };
    let (stream, greeting) = match greeted {
        Ok(Ok(Some(greeted))) => greeted,
        Ok(Ok(None)) => return,
        Ok(Err(error)) => {
            tracing::debug!(error = %error, "a connection did not get as far as HTTP/2");
            return;
        }
        Err(_elapsed) => return inside.count("handshake"),
    };

    let edge = stack.is_edge();
    let peer = peer.filter(|_| edge);
    let visit = Arc::clone(inside.visit());
    let answer = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        let (stack, web, mut lease) = (stack.clone(), web.clone(), visit.call());
        async move {
            let response = web.call(&stack, request, &mut lease).await;
            let ended = response.body().is_end_stream();
            lease.answer(ended);
            let _lease = (!ended).then_some(lease);
            Ok::<_, Infallible>(response.map(|body| Leased { body, _lease }))
        }
    });
    if greeting == PREFACE {
        let visit = Arc::clone(inside.visit());
        let stream = TokioIo::new(Inbound::new(stream, config.max_control_frames, visit));
        let connection = http2(config, edge).serve_connection(stream, answer);
        live(pin!(connection), |connection| connection.graceful_shutdown(), config, &inside, &ends).await;
    } else {
        let (read, write) = tokio::io::split(stream);
        let stream = TokioIo::new(tokio::io::join(Cursor::new(greeting).chain(read), write));
        let connection = http1(config).serve_connection(stream, answer);
        live(pin!(connection), |connection| connection.graceful_shutdown(), config, &inside, &ends).await;
    }
}

/// A connection's life: until its peer leaves it, it is old, or the process ends.
async fn live<C: Future<Output = hyper::Result<()>>>(
    mut connection: Pin<&mut C>,
    close: impl FnOnce(Pin<&mut C>),
    config: &ServerConfig,
    inside: &Inside,
    ends: &Ends,
) {
    let age = config.connection_age.mul_f64(rand::rng().random_range(0.9..1.1));
    let order = tokio::select! {
        ended = connection.as_mut() => {
            if ended.is_err_and(|error| flooded(&error)) {
                inside.count("flood");
            }
            return;
        }
        order = inside.ordered() => Some(order),
        () = tokio::time::sleep(age) => None,
        () = ends.stop.cancelled() => None,
    };
    let grace = match order {
        // Whoever does not read or gives up its calls is owed nothing.
        Some(Order::Stalled | Order::Resets) => return,
        Some(Order::Room) => LAST_WORDS,
        Some(Order::Idle) | None => config.connection_grace,
    };
    // GOAWAY: the peer opens its next calls elsewhere, the ones at work go on.
    close(connection.as_mut());
    tokio::select! {
        _ = connection.as_mut() => return,
        () = tokio::time::sleep(grace), if !ends.stop.is_cancelled() => {}
        () = ends.cut.cancelled() => {}
    }
    if order != Some(Order::Room) {
        let _ = tokio::time::timeout(LAST_WORDS, connection).await;
    }
}

/// Secures the connection and reads how the peer begins: the preface, or what else it said where HTTP/1 is spoken too.
/// Elsewhere whoever speaks HTTP/1 is told so instead of reading frames.
async fn greet(
    socket: TcpStream,
    listener: &Listener,
    takes_1: bool,
) -> std::io::Result<Option<(Stream, Vec<u8>)>> {
    let mut stream = listener.accept(socket).await?;
    let mut read = [0; PREFACE.len()];
    let mut length = 0;
    while length < PREFACE.len() {
        match stream.read(&mut read[length..]).await? {
            0 => return Ok(None),
            more => length += more,
        }
        if !PREFACE.starts_with(&read[..length]) {
            if takes_1 {
                break;
            }
            if matches!(stream, Stream::Plain(_)) {
                stream.write_all(HTTP_1).await?;
            }
            stream.shutdown().await?;
            return Ok(None);
        }
    }
    Ok(Some((stream, read[..length].to_vec())))
}

/// For browsers whose connection does not speak HTTP/2, whose every request comes one after another.
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
fn http2(config: &ServerConfig, edge: bool) -> http2::Builder<TokioExecutor> {
    let (headers, resets) =
        if edge { (MAX_HEADER_LIST, RESETS) } else { (MAX_HEADER_LIST + ADDED_HEADERS, RESETS_OF_ALL) };
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.max_concurrent_streams)
        .max_local_error_reset_streams(1024)
        .max_pending_accept_reset_streams(resets)
        .max_header_list_size(headers)
        .max_send_buf_size(SEND_BUFFER)
        .adaptive_window(false)
        .initial_stream_window_size(config.stream_window)
        .initial_connection_window_size(config.connection_window)
        .keep_alive_interval(config.keepalive_interval)
        .keep_alive_timeout(config.keepalive_timeout)
        // No reader of gRPC looks at it.
        .auto_date_header(false);
    builder
}

fn flooded(error: &hyper::Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        if error.is::<Flooded>() {
            return true;
        }
        if let Some(inner) = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            return inner.is::<Flooded>();
        }
        source = error.source();
    }
    false
}

/// An answer's body, at whose end the call is over.
struct Leased {
    body: Body,
    _lease: Option<Lease>,
}

impl http_body::Body for Leased {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
