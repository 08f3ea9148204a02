//! The requests that wait, and the one task that takes them out.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cqm_rpc::{Error, reason};
use tokio::sync::oneshot;

use super::{MOST, MOST_WAITING, Request};

/// A request with the caller who waits for its answer.
#[derive(Debug)]
pub(super) struct Waiting<C> {
    pub request: Request<C>,
    pub answer: oneshot::Sender<Result<Vec<u8>, Error>>,
}

impl<C> Waiting<C> {
    pub fn tell(self, answer: Result<Vec<u8>, Error>) {
        // A caller who has hung up does not hear it; what is done is done.
        let _ = self.answer.send(answer);
    }
}

#[derive(Debug)]
pub(super) struct Lane<C>(Mutex<Queue<C>>);

#[derive(Debug)]
struct Queue<C> {
    waiting: VecDeque<Waiting<C>>,
    /// Whether a task takes requests out.
    led: bool,
}

impl<C> Default for Lane<C> {
    fn default() -> Self {
        Self(Mutex::new(Queue { waiting: VecDeque::new(), led: false }))
    }
}

impl<C> Lane<C> {
    /// Adds requests. `true` when nobody takes them out: the one who added them has to start a leader.
    pub fn push(&self, requests: Vec<Waiting<C>>) -> bool {
        let mut queue = self.lock();
        if queue.waiting.len() + requests.len() > MOST_WAITING {
            drop(queue);
            for request in requests {
                request.tell(Err(Error::Unavailable { reason: reason::OVERLOADED, source: None }));
            }
            return false;
        }
        queue.waiting.extend(requests);
        !std::mem::replace(&mut queue.led, true)
    }

    /// The right to take requests out, for the one whom [`Lane::push`] told to.
    pub fn leading(self: &Arc<Self>) -> Leading<C> {
        Leading { lane: Arc::clone(self), over: false }
    }

    fn lock(&self) -> MutexGuard<'_, Queue<C>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to take requests out of a lane.
pub(super) struct Leading<C> {
    lane: Arc<Lane<C>>,
    /// Nobody waited, and the right is given back.
    over: bool,
}

impl<C> Leading<C> {
    /// Takes out who has waited longest and all who go `with` them, in the order of their arrival. `None` when nobody
    /// waits: the next to arrive starts a leader of their own.
    pub fn take(&mut self, with: impl Fn(&Request<C>, &Request<C>) -> bool) -> Option<Vec<Waiting<C>>> {
        let mut queue = self.lane.lock();
        let Some(first) = queue.waiting.pop_front() else {
            queue.led = false;
            self.over = true;
            return None;
        };
        let mut taken = vec![first];
        let mut left = VecDeque::new();
        for next in queue.waiting.drain(..) {
            if taken.len() < MOST && with(&taken[0].request, &next.request) {
                taken.push(next);
            } else {
                left.push_back(next);
            }
        }
        queue.waiting = left;
        Some(taken)
    }
}

impl<C> Drop for Leading<C> {
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
