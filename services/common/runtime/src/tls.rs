//! TLS for listeners and for channels: who the files say we are and whom they say we trust, read again while the
//! process runs.
//!
//! A listener has a certificate and its key, and may ask its peers for certificates of an authority (mutual TLS). A
//! channel trusts an authority, or those that the machine trusts, and may have a certificate to show. Both speak
//! HTTP/2 and nothing else, and ALPN has to say so.

mod client;
mod config;
mod material;
mod reloaded;
mod server;
mod stream;

pub use client::ClientTls;
pub use config::{ClientTlsConfig, ServerTlsConfig};
pub(crate) use material::{check_authorities, check_identity};
pub(crate) use server::Listener;
pub use stream::Stream;

/// The one protocol that we speak inside TLS, as ALPN spells it.
const ALPN: &[u8] = b"h2";
