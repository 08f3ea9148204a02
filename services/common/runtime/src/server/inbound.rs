//! What comes in on a connection: the preface, which was read already, and then frames, which are counted by kind.
//!
//! h2 answers pings and settings as fast as they come and has no measure for them; neither has it for resets,
//! priorities, window updates and empty frames. Whoever sends nothing else keeps a core busy, one connection at a time.
//! What a peer may send of them is earned by what it asks for and by what it is answered, as Envoy has it: a fixed number
//! that the busiest client needs would be plenty for who does nothing else.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::{MAX_HEADERS, PREFACE};
use super::crowd::Visit;

/// RFC 9113, 4.1.
const HEAD: usize = 9;
const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;
const END_STREAM: u8 = 0x1;
/// Control frames that a request is worth: two window updates, a reset, and one to spare.
const BY_REQUEST: u64 = 4;
/// Bytes of answers that are worth a control frame: a window update for each message. The answer of a ping has 17 bytes
/// and must not pay for the next ping.
const BY_BYTES: u64 = 64;
/// What can be saved up. Too high: who has asked for much may flood at the end. Too low: the window updates for a large
/// answer that was read at once are a flood.
const MOST_EARNED: f64 = 20_000.0;
/// Control frames that a head is like which is larger than any head may be: it is read to its end, and refused.
const OVERSIZED: u64 = 50;

/// Bytes that a connection reads before the others of its shard have their turn. h2 reads for as long as there is
/// something, which from a peer that floods is milliseconds. Too low: a busy connection is polled more often than its work
/// is worth.
const TURN: usize = 16 * 1024;

/// A connection whose preface was read.
pub(super) struct Inbound<S> {
    stream: S,
    /// Bytes that were read in this turn.
    turn: usize,
    /// Of the preface, what the reader has got.
    told: usize,
    frames: Frames,
    allowance: Allowance,
    visit: Arc<Visit>,
}

impl<S> Inbound<S> {
    /// `limit`: frames that carry nothing, by the second, beside those that are earned. Who turns out to be of the suite
    /// has none.
    pub fn new(stream: S, limit: u32, visit: Arc<Visit>) -> Self {
        Self {
            stream,
            visit,
            turn: 0,
            told: 0,
            frames: Frames::default(),
            allowance: Allowance::new(limit, Instant::now()),
        }
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
        if this.turn >= TURN {
            this.turn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(cx, buffer) else {
            this.turn = 0;
            return Poll::Pending;
        };
        read?;
        this.turn += buffer.filled().len() - before;
        let seen = this.frames.count(&buffer.filled()[before..]);
        this.allowance.earn(seen.earned);
        let flooded = seen.spent > 0 && !this.allowance.spend(seen.spent, Instant::now());
        if flooded && !this.visit.is_of_the_suite() {
            return Poll::Ready(Err(io::Error::other(Flooded)));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Inbound<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.allowance.earn_by_bytes(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices))?;
        self.allowance.earn_by_bytes(written);
        Poll::Ready(Ok(written))
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
    /// Bytes of the head that is being read.
    block: usize,
}

/// What the frames that begin in some bytes are worth and cost, in control frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    earned: u64,
    spent: u64,
}

impl Frames {
    fn count(&mut self, mut bytes: &[u8]) -> Seen {
        let mut seen = Seen::default();
        loop {
            let skipped = self.payload.min(bytes.len());
            self.payload -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return seen;
            }
            let some = (HEAD - self.have).min(bytes.len());
            self.head[self.have..self.have + some].copy_from_slice(&bytes[..some]);
            self.have += some;
            bytes = &bytes[some..];
            if self.have < HEAD {
                return seen;
            }
            self.have = 0;
            let [a, b, c, kind, flags, ..] = self.head;
            self.payload = u32::from_be_bytes([0, a, b, c]) as usize;
            match kind {
                HEADERS => {
                    seen.earned += BY_REQUEST;
                    self.head_grows(0, &mut seen);
                }
                DATA if self.payload > 0 || flags & END_STREAM != 0 => seen.earned += 1,
                CONTINUATION => {
                    seen.spent += 1;
                    self.head_grows(self.block, &mut seen);
                }
                _ => seen.spent += 1,
            }
        }
    }

    fn head_grows(&mut self, before: usize, seen: &mut Seen) {
        self.block = before + self.payload;
        if before <= MAX_HEADERS && self.block > MAX_HEADERS {
            seen.spent += OVERSIZED;
        }
    }
}

/// A bucket that fills by `limit` a second and holds as much, and what was earned beside it.
struct Allowance {
    limit: f64,
    left: f64,
    filled: Instant,
    earned: f64,
}

impl Allowance {
    fn new(limit: u32, now: Instant) -> Self {
        let limit = f64::from(limit);
        Self { limit, left: limit, filled: now, earned: 0.0 }
    }

    fn earn(&mut self, count: u64) {
        self.earned = (self.earned + count as f64).min(MOST_EARNED);
    }

    fn earn_by_bytes(&mut self, bytes: usize) {
        self.earned = (self.earned + bytes as f64 / BY_BYTES as f64).min(MOST_EARNED);
    }

    fn spend(&mut self, count: u64, now: Instant) -> bool {
        let of_earned = self.earned.min(count as f64);
        self.earned -= of_earned;
        let gained = now.saturating_duration_since(self.filled).as_secs_f64() * self.limit;
        self.filled = now;
        self.left = (self.left + gained).min(self.limit) - (count as f64 - of_earned);
        self.left >= 0.0
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;
    use std::time::Duration;

    use super::super::ServerConfig;
    use super::super::crowd::Crowd;
    use super::*;

    fn visit() -> Arc<Visit> {
        Arc::clone(Arc::new(Crowd::new(&ServerConfig::default())).enter().visit())
    }

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
            let seen: Vec<Seen> = frames.chunks(size).map(|some| follow.count(some)).collect();
            let [spent, earned] =
                [seen.iter().map(|seen| seen.spent).sum::<u64>(), seen.iter().map(|seen| seen.earned).sum()];
            assert_eq!((spent, earned), (8, BY_REQUEST + 2), "{size} bytes at a time");
        }
    }

    #[test]
    fn the_others_have_their_turn_while_a_peer_sends_without_a_pause() {
        let frames = frame(DATA, 0, 1000).repeat(100);
        let mut inbound = Inbound::new(frames.as_slice(), 100, visit());
        inbound.told = PREFACE.len();
        let mut context = Context::from_waker(Waker::noop());
        let (mut read, mut turns) = (0, 0);
        loop {
            let mut space = [0; 4096];
            let mut buffer = ReadBuf::new(&mut space);
            match Pin::new(&mut inbound).poll_read(&mut context, &mut buffer) {
                Poll::Ready(answer) => answer.unwrap(),
                Poll::Pending => {
                    turns += 1;
                    continue;
                }
            }
            match buffer.filled().len() {
                0 => break,
                some => read += some,
            }
        }
        assert_eq!((read, turns), (frames.len(), frames.len() / TURN));
    }

    #[test]
    fn a_flood_ends_the_connection_of_anybody_but_the_suite() {
        let pings = frame(0x6, 0, 8).repeat(300);
        let read = |visit: Arc<Visit>| {
            let mut inbound = Inbound::new(pings.as_slice(), 100, visit);
            inbound.told = PREFACE.len();
            let mut space = vec![0; pings.len()];
            let mut context = Context::from_waker(Waker::noop());
            Pin::new(&mut inbound).poll_read(&mut context, &mut ReadBuf::new(&mut space))
        };
        assert!(matches!(read(visit()), Poll::Ready(Err(_))));
        let gateway = visit();
        gateway.call().is_of_the_suite();
        assert!(matches!(read(gateway), Poll::Ready(Ok(()))));
    }

    #[test]
    fn a_head_that_is_too_large_costs_once_however_many_frames_it_has() {
        let half = MAX_HEADERS / 2;
        let small = [frame(HEADERS, 0, half), frame(CONTINUATION, 0x4, half)].concat();
        let large =
            [frame(HEADERS, 0, half), frame(CONTINUATION, 0, half + 1), frame(CONTINUATION, 0x4, half)];
        let mut follow = Frames::default();
        assert_eq!(follow.count(&small).spent, 1);
        assert_eq!(follow.count(&large.concat()).spent, 2 + OVERSIZED);
        assert_eq!(follow.count(&small).spent, 1);
    }

    #[test]
    fn what_is_asked_and_answered_pays_for_what_belongs_to_it() {
        let now = Instant::now();
        let mut allowance = Allowance::new(100, now);
        assert!(allowance.spend(100, now));
        // A large answer, read at once, and the window updates for it.
        allowance.earn_by_bytes(1024 * 1024);
        assert!(allowance.spend(1024, now));
        // Pings do not pay for pings.
        let mut pings = 0;
        let mut allowance = Allowance::new(100, now);
        while allowance.spend(1, now) {
            allowance.earn_by_bytes(17);
            pings += 1;
        }
        assert!(pings < 150, "{pings}");
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
