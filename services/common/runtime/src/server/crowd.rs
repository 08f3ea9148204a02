//! Everybody who is connected to a process: who has a call at work, who is idle, and who has to go.
//!
//! A peer goes when its place is needed and it has been idle the longest, when it has been idle for long enough, when it
//! does not read its answers, and when it gives up most of what it asks for.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use opentelemetry::metrics::Counter;
use rand::seq::IndexedRandom;
use tokio::sync::Notify;

use super::ServerConfig;

/// How many may be on their way out because a place is needed, one in so many: who does not listen takes a quarter of a
/// second to leave, and one at a time newcomers would wait for one another.
const LEAVING: usize = 64;
/// How many go at once at most. Too high: where idle ones come back as soon as they were sent away, all of them shake
/// hands in the same moment, and everybody else waits for that. Too low: newcomers wait.
const AT_ONCE: usize = 8;
/// Who goes is the one of so many, drawn at random, that has been idle the longest. Looking through all of them would be
/// a price that grows with the crowd, and newcomers an attack by themselves.
const LOOKED_AT: usize = 16;
/// Calls that a peer may give up before it is asked how many it let be answered (CVE-2023-44487 and its relatives, which
/// stay below every limit of streams at one moment).
const GIVEN_UP: u64 = 100;

/// Streams of one connection that watch health or ask for the shape of the API. They have no place and no quota, and
/// strangers may have them.
const WATCHES: usize = 8;

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
    inside: Mutex<Present>,
    ended: Counter<u64>,
}

#[derive(Default)]
struct Present {
    /// Each knows its place.
    visits: Vec<Arc<Visit>>,
    /// Those of them that have to go because a place is needed.
    leaving: usize,
}

impl Crowd {
    pub fn new(config: &ServerConfig) -> Self {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self {
            began: Instant::now(),
            idle_timeout: millis(config.idle_timeout),
            send_timeout: millis(config.send_timeout),
            inside: Mutex::default(),
            ended: opentelemetry::global::meter("cqm-runtime")
                .u64_counter("cqm.server.connections.ended")
                .with_unit("{connection}")
                .with_description("connections that the process ended, by reason")
                .build(),
        }
    }

    pub fn enter(self: &Arc<Self>) -> Inside {
        let mut present = self.present();
        let visit = Arc::new(Visit {
            place: AtomicUsize::new(present.visits.len()),
            began: self.began,
            idle_since: AtomicU64::new(self.now()),
            of_the_suite: AtomicBool::new(false),
            at_work: AtomicUsize::new(0),
            watches: AtomicUsize::new(0),
            asked: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
            unread: Mutex::default(),
            order: AtomicU8::new(0),
            told: Notify::new(),
        });
        present.visits.push(Arc::clone(&visit));
        Inside { crowd: Arc::clone(self), visit }
    }

    fn leave(&self, visit: &Visit) {
        let mut present = self.present();
        let place = visit.place.load(Ordering::Relaxed);
        present.visits.swap_remove(place);
        if let Some(moved) = present.visits.get(place) {
            moved.place.store(place, Ordering::Relaxed);
        }
        if visit.order() == Some(Order::Room) {
            present.leaving -= 1;
        }
    }

    /// Sends some of those away that have been idle for long. Nobody who has a call at work has to go.
    pub fn make_room(&self) {
        let present = &mut *self.present();
        let most = (present.visits.len() / LEAVING).max(1);
        let mut rng = rand::rng();
        for _ in 0..AT_ONCE.min(most.saturating_sub(present.leaving)) {
            let looked_at = (0..LOOKED_AT).filter_map(|_| present.visits.choose(&mut rng));
            let idle = looked_at.filter(|visit| visit.order().is_none());
            let idle = idle.filter_map(|visit| Some((visit.idle_since()?, visit)));
            if let Some((_, visit)) = idle.min_by_key(|(since, _)| *since)
                && visit.tell(Order::Room)
            {
                present.leaving += 1;
            }
        }
    }

    /// Looks for those whose time is over.
    pub fn sweep(&self) {
        let now = self.now();
        for visit in &self.present().visits {
            let unread = visit.unread_since().filter(|_| !visit.is_of_the_suite());
            if unread.is_some_and(|due| now.saturating_sub(due) > self.send_timeout) {
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

    fn present(&self) -> std::sync::MutexGuard<'_, Present> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection as the crowd knows it, as long as it lives.
pub(super) struct Inside {
    crowd: Arc<Crowd>,
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
            if let Some(order) = self.visit.order() {
                self.crowd.count(order.name());
                return order;
            }
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.crowd.leave(&self.visit);
    }
}

/// What one connection does.
pub(super) struct Visit {
    /// In the crowd.
    place: AtomicUsize,
    began: Instant,
    /// Milliseconds from `began`.
    idle_since: AtomicU64,
    /// Whoever is at the other end is of the suite and brings the calls of many: what one of those does with its call must
    /// not end all of them. To send that one away is the other end's to do.
    of_the_suite: AtomicBool,
    at_work: AtomicUsize,
    watches: AtomicUsize,
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
        Lease { visit: Arc::clone(self), number, working: true, watches: false, answered: false, due: None }
    }

    /// A call has shown it.
    pub fn is_of_the_suite(&self) -> bool {
        self.of_the_suite.load(Ordering::Relaxed)
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

    fn order(&self) -> Option<Order> {
        Order::of(self.order.load(Ordering::Acquire))
    }

    /// The first order stands; false when there was one.
    fn tell(&self, order: Order) -> bool {
        let first = self.order.compare_exchange(0, order as u8, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if first {
            self.told.notify_one();
        }
        first
    }
}

/// One call of a connection, from its head to the last byte of its answer.
pub(super) struct Lease {
    visit: Arc<Visit>,
    number: u64,
    working: bool,
    watches: bool,
    answered: bool,
    /// When its answer should have been read.
    due: Option<Instant>,
}

impl Lease {
    /// Watching health is no work: a peer that does nothing else is idle. `false` when it watches enough already.
    pub fn only_watches(&mut self) -> bool {
        self.rest();
        self.watches = true;
        self.visit.watches.fetch_add(1, Ordering::Relaxed) < WATCHES
    }

    /// The call has shown that it comes from within the suite.
    pub fn is_of_the_suite(&self) {
        self.visit.of_the_suite.store(true, Ordering::Relaxed);
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
        if self.watches {
            visit.watches.fetch_sub(1, Ordering::Relaxed);
        }
        if self.answered {
            if self.due.is_some() {
                visit.unread().retain(|(number, _)| *number != self.number);
            }
            return;
        }
        let given_up = visit.given_up.fetch_add(1, Ordering::Relaxed) + 1;
        let most = given_up * 2 > visit.asked.load(Ordering::Relaxed);
        if given_up >= GIVEN_UP && most && !visit.is_of_the_suite() {
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
        inside.visit.order()
    }

    fn going(visitors: &[Inside]) -> Vec<usize> {
        (0..visitors.len()).filter(|place| ordered(&visitors[*place]).is_some()).collect()
    }

    #[test]
    fn who_has_been_idle_for_long_makes_room_and_few_at_once() {
        let crowd = crowd();
        let mut visitors: Vec<_> = (0..8 * AT_ONCE * LEAVING).map(|_| crowd.enter()).collect();
        let mut idle = visitors.split_off(visitors.len() / 16);
        let _working: Vec<_> = visitors.iter().map(|inside| inside.visit.call()).collect();
        // Of those that are idle one in eight has been it for a shorter time: it goes when nobody else is looked at, which
        // is once in some thousand million times.
        for (place, inside) in idle.iter().enumerate() {
            inside.visit.idle_since.store(u64::from(place % 8 == 0), Ordering::Release);
        }
        for looks in 1..=10 {
            crowd.make_room();
            assert!(going(&visitors).is_empty(), "a call is at work");
            let going = going(&idle);
            assert!(going.iter().all(|place| place % 8 != 0), "{going:?}");
            assert_eq!(going.len(), AT_ONCE * looks.min(8), "no more may be on the way out");
        }
        idle.retain(|inside| ordered(inside).is_none());
        crowd.make_room();
        assert_eq!(going(&idle).len(), AT_ONCE, "those have left");
    }

    #[test]
    fn whoever_leaves_the_others_keep_their_places() {
        let crowd = crowd();
        let mut visitors: Vec<_> = (0..5).map(|_| crowd.enter()).collect();
        for leaving in [4, 0, 1] {
            visitors.remove(leaving);
            let present = crowd.present();
            assert_eq!(present.visits.len(), visitors.len());
            for inside in &visitors {
                let place = inside.visit.place.load(Ordering::Relaxed);
                assert!(Arc::ptr_eq(&present.visits[place], &inside.visit));
            }
        }
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
    fn who_brings_the_calls_of_many_stays_whatever_becomes_of_some() {
        let crowd = crowd();
        let gateway = crowd.enter();
        for _ in 0..2 * GIVEN_UP {
            let call = gateway.visit.call();
            call.is_of_the_suite();
            drop(call);
        }
        let mut unread = gateway.visit.call();
        unread.due(Instant::now());
        unread.answer(false);
        while gateway.visit.began.elapsed() < Duration::from_millis(5) {
            std::hint::spin_loop();
        }
        crowd.sweep();
        assert_eq!(ordered(&gateway), None);
    }

    #[test]
    fn who_watches_enough_watches_no_more() {
        let crowd = crowd();
        let one = crowd.enter();
        let mut watches: Vec<_> = (0..WATCHES).map(|_| one.visit.call()).collect();
        assert!(watches.iter_mut().all(Lease::only_watches));
        assert!(!one.visit.call().only_watches());
        watches.pop();
        assert!(one.visit.call().only_watches());
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
