//! Those who wait for one transaction to carry them, and the one task that takes them out.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cqm_rpc::{Error, reason};

/// The most that one transaction carries: it holds its rows for some 20 ms then, and more would gain nothing.
const MOST: usize = 512;
/// The most that wait. More is told to come back later; without a bound a slow disk would fill the memory.
const MOST_WAITING: usize = 8 * MOST;

/// Somebody who waits for an answer.
pub(crate) trait Waits {
    /// Tells them that they will not be carried.
    fn refuse(self, error: Error);
}

#[derive(Debug)]
pub(crate) struct Lane<W>(Mutex<Queue<W>>);

#[derive(Debug)]
struct Queue<W> {
    waiting: VecDeque<W>,
    /// Whether a task takes requests out.
    led: bool,
}

impl<W> Default for Lane<W> {
    fn default() -> Self {
        Self(Mutex::new(Queue { waiting: VecDeque::new(), led: false }))
    }
}

impl<W> Lane<W> {
    /// Adds requests. `true` when nobody takes them out: the one who added them has to start a leader.
    pub fn push(&self, requests: Vec<W>) -> bool
    where
        W: Waits,
    {
        let mut queue = self.lock();
        if queue.waiting.len() + requests.len() > MOST_WAITING {
            drop(queue);
            for request in requests {
                request.refuse(Error::Unavailable { reason: reason::OVERLOADED, source: None });
            }
            return false;
        }
        queue.waiting.extend(requests);
        !std::mem::replace(&mut queue.led, true)
    }

    /// The right to take requests out, for the one whom [`Lane::push`] told to.
    pub fn leading(self: &Arc<Self>) -> Leading<W> {
        Leading { lane: Arc::clone(self), over: false }
    }

    fn lock(&self) -> MutexGuard<'_, Queue<W>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to take requests out of a lane.
pub(crate) struct Leading<W> {
    lane: Arc<Lane<W>>,
    /// Nobody waited, and the right is given back.
    over: bool,
}

impl<W> Leading<W> {
    /// Takes out who has waited longest and all who go `with` them, in the order of their arrival. `None` when nobody
    /// waits: the next to arrive starts a leader of their own.
    pub fn take(&mut self, with: impl Fn(&W, &W) -> bool) -> Option<Vec<W>> {
        let mut queue = self.lane.lock();
        let Some(first) = queue.waiting.pop_front() else {
            queue.led = false;
            self.over = true;
            return None;
        };
        let mut taken = vec![first];
        let mut left = VecDeque::new();
        for next in queue.waiting.drain(..) {
            if taken.len() < MOST && with(&taken[0], &next) {
                taken.push(next);
            } else {
                left.push_back(next);
            }
        }
        queue.waiting = left;
        Some(taken)
    }
}

impl<W> Drop for Leading<W> {
    fn drop(&mut self) {
        // After a panic, or when the runtime goes away: those who wait are told by the end of their channel, and the
        // next to arrive starts anew.
        if !self.over {
            let mut queue = self.lane.lock();
            queue.led = false;
            queue.waiting.clear();
        }
    }
}
