//! What comes in on a connection: the preface, which was read already, and then frames, which are counted by kind.
//!
//! h2 answers pings and settings as fast as they come and has no measure for them; neither has it for resets,
//! priorities, window updates and empty frames. Whoever sends nothing else keeps a core busy, one connection at a time.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::PREFACE;

/// RFC 9113, 4.1.
const HEAD: usize = 9;
const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const END_STREAM: u8 = 0x1;

/// A connection whose preface was read.
pub(super) struct Inbound<S> {
    stream: S,
    /// Of the preface, what the reader has got.
    told: usize,
    frames: Frames,
    allowance: Allowance,
}

impl<S> Inbound<S> {
    /// `limit`: frames that carry nothing, by the second.
    pub fn new(stream: S, limit: u32) -> Self {
        Self { stream, told: 0, frames: Frames::default(), allowance: Allowance::new(limit, Instant::now()) }
    }
}

/// What ends such a connection.
#[derive(Debug, thiserror::Error)]
#[error("more pings, settings, resets and empty frames than anybody needs")]
pub(super) struct Flooded;

impl<S: AsyncRead + Unpin> AsyncRead for Inbound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.told < PREFACE.len() {
            let left = &PREFACE[this.told..];
            let some = left.len().min(buffer.remaining());
            buffer.put_slice(&left[..some]);
            this.told += some;
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        let empty = this.frames.count(&buffer.filled()[before..]);
        if empty > 0 && !this.allowance.spend(empty, Instant::now()) {
            return Poll::Ready(Err(io::Error::other(Flooded)));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Inbound<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Follows the frames of a connection without holding any of them.
#[derive(Default)]
struct Frames {
    head: [u8; HEAD],
    /// Bytes of the next head that are there.
    have: usize,
    /// Bytes of the payload that are still to come.
    payload: usize,
}

impl Frames {
    /// How many frames begin in these bytes that neither ask for something nor carry anything.
    fn count(&mut self, mut bytes: &[u8]) -> u32 {
        let mut empty = 0;
        loop {
            let skipped = self.payload.min(bytes.len());
            self.payload -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return empty;
            }
            let some = (HEAD - self.have).min(bytes.len());
            self.head[self.have..self.have + some].copy_from_slice(&bytes[..some]);
            self.have += some;
            bytes = &bytes[some..];
            if self.have < HEAD {
                return empty;
            }
            self.have = 0;
            let [a, b, c, kind, flags, ..] = self.head;
            self.payload = u32::from_be_bytes([0, a, b, c]) as usize;
            let useful = match kind {
                DATA => self.payload > 0 || flags & END_STREAM != 0,
                kind => kind == HEADERS,
            };
            empty += u32::from(!useful);
        }
    }
}

/// A bucket that fills by `limit` a second and holds as much.
struct Allowance {
    limit: u32,
    left: f64,
    filled: Instant,
}

impl Allowance {
    fn new(limit: u32, now: Instant) -> Self {
        Self { limit, left: f64::from(limit), filled: now }
    }

    fn spend(&mut self, count: u32, now: Instant) -> bool {
        let limit = f64::from(self.limit);
        let gained = now.saturating_duration_since(self.filled).as_secs_f64() * limit;
        self.filled = now;
        self.left = (self.left + gained).min(limit) - f64::from(count);
        self.left >= 0.0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        frame.extend(vec![0xff; payload]);
        frame
    }

    #[test]
    fn what_carries_nothing_is_counted_however_it_is_cut() {
        let frames = [
            frame(0x4, 0, 0),           // SETTINGS
            frame(HEADERS, 0x5, 300),   // a request
            frame(DATA, 0, 70_000),     // a message
            frame(DATA, 0, 0),          // nothing
            frame(DATA, END_STREAM, 0), // the end
            frame(0x6, 0, 8),           // PING
            frame(0x8, 0, 4),           // WINDOW_UPDATE
            frame(0x3, 0, 4),           // RST_STREAM
            frame(0x2, 0, 5),           // PRIORITY
            frame(0x9, 0, 10),          // CONTINUATION
            frame(0xfe, 0, 10),         // unknown
        ]
        .concat();
        for size in [1, 2, 7, 9, 10, 4096, frames.len()] {
            let mut follow = Frames::default();
            let counted: u32 = frames.chunks(size).map(|some| follow.count(some)).sum();
            assert_eq!(counted, 8, "{size} bytes at a time");
        }
    }

    #[test]
    fn the_allowance_comes_back_with_time_and_does_not_add_up() {
        let start = Instant::now();
        let mut allowance = Allowance::new(100, start);
        assert!(allowance.spend(100, start));
        assert!(!allowance.spend(1, start));
        let later = start + Duration::from_secs(3600);
        assert!(allowance.spend(100, later));
        assert!(!allowance.spend(1, later));
    }
}
