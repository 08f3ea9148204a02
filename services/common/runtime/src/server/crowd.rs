//! Everybody who is connected to a process: who has a call at work, who is idle, and who has to go.
//!
//! A peer goes when its place is needed and it has been idle the longest, when it has been idle for long enough, when it
//! does not read its answers, and when it gives up most of what it asks for.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use opentelemetry::metrics::Counter;
use tokio::sync::Notify;

use super::ServerConfig;

/// How many of the idle ones go at once, one in so many: looking through all of them must not be the price of every
/// single newcomer, or newcomers would be an attack by themselves.
const IDLE_SHARE: usize = 64;
/// Calls that a peer may give up before it is asked how many it let be answered (CVE-2023-44487 and its relatives, which
/// stay below every limit of streams at one moment).
const GIVEN_UP: u64 = 100;

/// Why a connection ends before its peer ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Somebody else needs the place.
    Room = 1,
    /// Idle for long enough.
    Idle = 2,
    /// Does not read its answers.
    Stalled = 3,
    /// Gives up most of what it asks for.
    Resets = 4,
}

impl Order {
    fn of(code: u8) -> Option<Self> {
        [Self::Room, Self::Idle, Self::Stalled, Self::Resets].into_iter().find(|order| *order as u8 == code)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Room => "room",
            Self::Idle => "idle",
            Self::Stalled => "stalled",
            Self::Resets => "resets",
        }
    }
}

/// The connections of one listener.
pub(super) struct Crowd {
    began: Instant,
    idle_timeout: u64,
    send_timeout: u64,
    inside: Mutex<HashMap<u64, Arc<Visit>>>,
    next: AtomicU64,
    ended: Counter<u64>,
}

impl Crowd {
    pub fn new(config: &ServerConfig) -> Self {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self {
            began: Instant::now(),
            idle_timeout: millis(config.idle_timeout),
            send_timeout: millis(config.send_timeout),
            inside: Mutex::default(),
            next: AtomicU64::default(),
            ended: opentelemetry::global::meter("cqm-runtime")
                .u64_counter("cqm.server.connections.ended")
                .with_unit("{connection}")
                .with_description("connections that the process ended, by reason")
                .build(),
        }
    }

    pub fn enter(self: &Arc<Self>) -> Inside {
        let visit = Arc::new(Visit {
            began: self.began,
            idle_since: AtomicU64::new(self.now()),
            at_work: AtomicUsize::new(0),
            asked: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
            unread: Mutex::default(),
            order: AtomicU8::new(0),
            told: Notify::new(),
        });
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.visits().insert(id, Arc::clone(&visit));
        Inside { crowd: Arc::clone(self), id, visit }
    }

    /// Sends some of those away that have been idle the longest. Nobody who has a call at work has to go.
    pub fn make_room(&self) {
        let visits = self.visits();
        let mut idle: Vec<_> =
            visits.values().filter_map(|visit| Some((visit.idle_since()?, visit))).collect();
        let going = (idle.len() / IDLE_SHARE).max(1).min(idle.len());
        if going == 0 {
            return;
        }
        idle.select_nth_unstable_by_key(going - 1, |(since, _)| *since);
        for (_, visit) in &idle[..going] {
            visit.tell(Order::Room);
        }
    }

    /// Looks for those whose time is over.
    pub fn sweep(&self) {
        let now = self.now();
        for visit in self.visits().values() {
            if visit.unread_since().is_some_and(|due| now.saturating_sub(due) > self.send_timeout) {
                visit.tell(Order::Stalled);
            } else if visit.idle_since().is_some_and(|since| now.saturating_sub(since) > self.idle_timeout) {
                visit.tell(Order::Idle);
            }
        }
    }

    /// Counts a connection that the process ended by itself.
    pub fn count(&self, reason: &'static str) {
        self.ended.add(1, &[KeyValue::new("cqm.reason", reason)]);
    }

    fn now(&self) -> u64 {
        millis_since(self.began)
    }

    fn visits(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Visit>>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection as the crowd knows it, as long as it lives.
pub(super) struct Inside {
    crowd: Arc<Crowd>,
    id: u64,
    visit: Arc<Visit>,
}

impl Inside {
    pub fn visit(&self) -> &Arc<Visit> {
        &self.visit
    }

    /// Counts the end of this connection, which the process wanted.
    pub fn count(&self, reason: &'static str) {
        self.crowd.count(reason);
    }

    /// Returns when the connection has to go.
    pub async fn ordered(&self) -> Order {
        loop {
            self.visit.told.notified().await;
            if let Some(order) = Order::of(self.visit.order.load(Ordering::Acquire)) {
                self.crowd.count(order.name());
                return order;
            }
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.crowd.visits().remove(&self.id);
    }
}

/// What one connection does.
pub(super) struct Visit {
    began: Instant,
    /// Milliseconds from `began`.
    idle_since: AtomicU64,
    at_work: AtomicUsize,
    asked: AtomicU64,
    given_up: AtomicU64,
    /// Answers that have begun and not ended: by call, and when they should have, in milliseconds from `began`.
    unread: Mutex<Vec<(u64, u64)>>,
    order: AtomicU8,
    told: Notify,
}

impl Visit {
    /// A call begins.
    pub fn call(self: &Arc<Self>) -> Lease {
        self.at_work.fetch_add(1, Ordering::AcqRel);
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        Lease { visit: Arc::clone(self), number, working: true, answered: false, due: None }
    }

    fn idle_since(&self) -> Option<u64> {
        (self.at_work.load(Ordering::Acquire) == 0).then(|| self.idle_since.load(Ordering::Acquire))
    }

    /// When the first of the answers should have been read.
    fn unread_since(&self) -> Option<u64> {
        self.unread().iter().map(|(_, due)| *due).min()
    }

    fn unread(&self) -> std::sync::MutexGuard<'_, Vec<(u64, u64)>> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first order stands.
    fn tell(&self, order: Order) {
        if self.order.compare_exchange(0, order as u8, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.told.notify_one();
        }
    }
}

/// One call of a connection, from its head to the last byte of its answer.
pub(super) struct Lease {
    visit: Arc<Visit>,
    number: u64,
    working: bool,
    answered: bool,
    /// When its answer should have been read.
    due: Option<Instant>,
}

impl Lease {
    /// Watching health is no work: a peer that does nothing else is idle.
    pub fn only_watches(&mut self) {
        self.rest();
    }

    /// The answer will have been made by then.
    pub fn due(&mut self, due: Instant) {
        self.due = Some(due);
    }

    /// The answer has begun; `ended` when nothing comes after its head.
    pub fn answer(&mut self, ended: bool) {
        self.answered = true;
        match self.due {
            Some(due) if !ended => {
                let due = u64::try_from(due.saturating_duration_since(self.visit.began).as_millis());
                self.visit.unread().push((self.number, due.unwrap_or(u64::MAX)));
            }
            _ => self.due = None,
        }
    }

    fn rest(&mut self) {
        if std::mem::take(&mut self.working) {
            self.visit.idle_since.store(millis_since(self.visit.began), Ordering::Release);
            self.visit.at_work.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.rest();
        let visit = &self.visit;
        if self.answered {
            if self.due.is_some() {
                visit.unread().retain(|(number, _)| *number != self.number);
            }
            return;
        }
        let given_up = visit.given_up.fetch_add(1, Ordering::Relaxed) + 1;
        if given_up >= GIVEN_UP && given_up * 2 > visit.asked.load(Ordering::Relaxed) {
            visit.tell(Order::Resets);
        }
    }
}

fn millis_since(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd() -> Arc<Crowd> {
        let config =
            ServerConfig { idle_timeout: Duration::ZERO, send_timeout: Duration::ZERO, ..Default::default() };
        Arc::new(Crowd::new(&config))
    }

    fn ordered(inside: &Inside) -> Option<Order> {
        Order::of(inside.visit.order.load(Ordering::Acquire))
    }

    #[test]
    fn who_has_been_idle_the_longest_makes_room() {
        let crowd = crowd();
        let visitors: Vec<_> = (0..200).map(|_| crowd.enter()).collect();
        for (place, inside) in visitors.iter().enumerate() {
            inside.visit.idle_since.store(1000 - place as u64, Ordering::Release);
        }
        let _working = visitors[199].visit.call();
        crowd.make_room();
        let going: Vec<_> = (0..200).filter(|place| ordered(&visitors[*place]).is_some()).collect();
        assert_eq!(going, [196, 197, 198]);
        crowd.make_room();
        assert_eq!(ordered(&visitors[199]), None, "a call is at work");
    }

    #[test]
    fn nobody_goes_where_everybody_works() {
        let crowd = crowd();
        let one = crowd.enter();
        let _call = one.visit.call();
        crowd.make_room();
        assert_eq!(ordered(&one), None);
    }

    #[test]
    fn who_only_watches_health_is_idle() {
        let crowd = crowd();
        let one = crowd.enter();
        let mut watch = one.visit.call();
        watch.only_watches();
        crowd.make_room();
        assert_eq!(ordered(&one), Some(Order::Room));
        drop(watch);
        assert_eq!(one.visit.at_work.load(Ordering::Acquire), 0);
    }

    #[test]
    fn an_answer_that_nobody_reads_ends_the_connection_and_one_that_was_read_does_not() {
        let crowd = crowd();
        let (reader, sleeper) = (crowd.enter(), crowd.enter());
        let _busy = reader.visit.call();
        let answer = |inside: &Inside| {
            let mut call = inside.visit.call();
            call.due(Instant::now());
            call.answer(false);
            call
        };
        drop(answer(&reader));
        let _unread = answer(&sleeper);
        while sleeper.visit.began.elapsed() < Duration::from_millis(5) {
            std::hint::spin_loop();
        }
        crowd.sweep();
        assert_eq!(ordered(&sleeper), Some(Order::Stalled));
        assert_eq!(ordered(&reader), None);
    }

    #[test]
    fn who_gives_up_most_calls_has_to_go_and_who_gives_up_some_has_not() {
        let crowd = crowd();
        let (honest, rapid) = (crowd.enter(), crowd.enter());
        for _ in 0..2 * GIVEN_UP {
            let mut call = honest.visit.call();
            call.answer(true);
            drop(call);
            drop(honest.visit.call());
        }
        for _ in 0..GIVEN_UP {
            drop(rapid.visit.call());
        }
        assert_eq!(ordered(&honest), None);
        assert_eq!(ordered(&rapid), Some(Order::Resets));
    }
}
