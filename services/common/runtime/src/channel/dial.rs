//! The way to a service's address.

use std::io;
use std::net::SocketAddr;

use http::uri::Authority;
use tokio::net::TcpStream;

use crate::tls::{ClientTls, Stream};

/// Opens a connection to host and port, with TLS where there is something to secure it by. The caller sets the time
/// for it.
pub async fn dial(authority: &Authority, tls: Option<&ClientTls>) -> io::Result<Stream> {
    let host = authority.host().trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or_default())).await?;
    open(stream, host, tls).await
}

/// The same to one of the addresses that the host's name has; its certificate is for the name.
pub async fn dial_at(peer: SocketAddr, authority: &Authority, tls: Option<&ClientTls>) -> io::Result<Stream> {
    open(TcpStream::connect(peer).await?, authority.host().trim_matches(['[', ']']), tls).await
}

async fn open(stream: TcpStream, host: &str, tls: Option<&ClientTls>) -> io::Result<Stream> {
    // A call is one small write each way; Nagle's pause would cost a third of the calls per second.
    stream.set_nodelay(true)?;
    match tls {
        None => Ok(Stream::Plain(stream)),
        Some(tls) => tls.secure(host, stream).await,
    }
}
