//! The pods of one service, as one shard sees them: which one gets the next call.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use cqm_rpc::{BoxError, Deadline};
use http::{Request, Response};
use rand::Rng;
use rand::seq::IndexedRandom;
use tokio::sync::watch;
use tonic::body::Body;
use tower::Service;

use super::attempt::{Tried, attempt};
use super::breaker::Breaker;
use super::discover::{Peer, State, Whereabouts};
use super::link::{Held, Link};
use super::metrics::Metrics;
use crate::backend::Backend;
use crate::config::TrafficConfig;

/// What a pod must have had for a call whose time passed without a word from it, before that is held against it. Too low:
/// callers with little time put pods out. Too high: a pod that hangs goes on getting calls.
const HANGS: Duration = Duration::from_secs(1);

/// Clones share it.
#[derive(Clone)]
pub(super) struct Pods(Arc<Inner>);

struct Inner {
    whereabouts: Whereabouts,
    config: Arc<TrafficConfig>,
    metrics: Metrics,
    known: Mutex<Known>,
}

struct Known {
    peers: watch::Receiver<Arc<[Peer]>>,
    pods: Vec<Arc<Pod>>,
}

struct Pod {
    address: SocketAddr,
    link: Link,
    /// Calls of this shard at work there.
    calls: AtomicUsize,
    /// It does not say that it wants none.
    wants: AtomicBool,
    breaker: Mutex<Breaker>,
}

impl Pods {
    pub fn new(whereabouts: Whereabouts, config: Arc<TrafficConfig>, metrics: Metrics) -> Self {
        let mut peers = whereabouts.peers.clone();
        peers.mark_changed();
        let known = Mutex::new(Known { peers, pods: Vec::new() });
        Self(Arc::new(Inner { whereabouts, config, metrics, known }))
    }

    pub fn backend(&self) -> Backend {
        self.0.whereabouts.backend
    }

    pub fn config(&self) -> &TrafficConfig {
        &self.0.config
    }

    /// The pod for a call that was at `tried` before and has time until `due`, and the call's mark on it; `None` when no pod
    /// is known.
    ///
    /// Of two at random the one with fewer calls (power of two choices): nearly as even as looking at all of them, and
    /// shards that know nothing of each other do not all run to the same one.
    pub fn pick(&self, tried: &[SocketAddr], due: Option<Deadline>) -> Option<Busy> {
        let mut known = self.known();
        self.catch_up(&mut known);
        let now = Instant::now();
        let fresh = |pod: &Pod| !tried.contains(&pod.address);
        // When nobody is as wished the wish is given up, the last one first: a call that may fail is better than one
        // that surely does. That a pod has said it wants none weighs more than that others had no luck with it.
        let wishes: [&dyn Fn(&Pod) -> bool; 5] = [
            &|pod| pod.wants() && !pod.is_out(now) && fresh(pod),
            &|pod| pod.wants() && fresh(pod),
            &|pod| pod.wants() && !pod.is_out(now),
            &|pod| fresh(pod),
            &|_| true,
        ];
        for wish in wishes {
            let fit: Vec<&Arc<Pod>> = known.pods.iter().filter(|pod| wish(pod)).collect();
            if let Some(chosen) = less_busy_of_two(&fit) {
                chosen.calls.fetch_add(1, Ordering::Relaxed);
                let (pod, pods) = (Arc::clone(chosen), self.clone());
                return Some(Busy { pod, pods, line: None, since: now, due, judged: AtomicBool::new(false) });
            }
        }
        None
    }

    /// Takes over what discovery has found meanwhile.
    fn catch_up(&self, known: &mut Known) {
        // Discovery ends before the last calls of a drain do: its last word is taken all the same.
        if known.peers.has_changed().is_ok_and(|changed| !changed) {
            return;
        }
        let peers = Arc::clone(&known.peers.borrow_and_update());
        let pods = peers.iter().map(|peer| {
            let pod = known.pods.iter().find(|pod| pod.address == peer.address).cloned();
            let pod = pod.unwrap_or_else(|| Arc::new(Pod::new(&self.0.whereabouts, peer.address)));
            let wanted = pod.wants.swap(peer.state != State::NotServing, Ordering::Relaxed);
            if !wanted && peer.state == State::Serving {
                // Another process than the one that was put out.
                *pod.breaker() = Breaker::default();
            }
            pod
        });
        known.pods = pods.collect();
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For clients that tonic generates: the gateway's own calls find pods as forwarded ones do.
impl Service<Request<Body>> for Pods {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let pods = self.clone();
        Box::pin(async move {
            let outcome = attempt(&pods, request, &mut Tried::default(), None, false).await;
            outcome.into_answer().map_err(BoxError::from)
        })
    }
}

fn less_busy_of_two<'a>(pods: &[&'a Arc<Pod>]) -> Option<&'a Arc<Pod>> {
    let rng = &mut rand::rng();
    match pods {
        [] => None,
        [only] => Some(only),
        [first, second] => {
            // At random, or of two idle ones always the first would be asked.
            let (first, second) = if rng.random() { (first, second) } else { (second, first) };
            Some(if second.calls() < first.calls() { second } else { first })
        }
        many => many.choose_multiple(rng, 2).min_by_key(|pod| pod.calls()).copied(),
    }
}

impl Pod {
    fn new(whereabouts: &Whereabouts, address: SocketAddr) -> Self {
        Self {
            address,
            link: Link::new(whereabouts, address),
            calls: AtomicUsize::new(0),
            wants: AtomicBool::new(true),
            breaker: Mutex::default(),
        }
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    fn wants(&self) -> bool {
        self.wants.load(Ordering::Relaxed)
    }

    fn is_out(&self, now: Instant) -> bool {
        self.breaker().is_open(now)
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call at work at a pod, until it is dropped; and what becomes known of the pod by it.
pub(super) struct Busy {
    pod: Arc<Pod>,
    pods: Pods,
    line: Option<Held>,
    since: Instant,
    due: Option<Deadline>,
    /// What became of the call has been held for or against the pod.
    judged: AtomicBool,
}

impl Busy {
    pub fn address(&self) -> SocketAddr {
        self.pod.address
    }

    pub fn link(&self) -> &Link {
        &self.pod.link
    }

    /// Keeps the stream's place on its connection as long as the call.
    pub fn hold(&mut self, line: Held) {
        self.line = Some(line);
    }

    pub fn succeeded(&self) {
        self.judged.store(true, Ordering::Relaxed);
        self.pod.breaker().succeeded(Instant::now());
    }

    /// The pod did not answer as a pod that is well does.
    pub fn failed(&self) {
        self.judged.store(true, Ordering::Relaxed);
        let ejected = self.pod.breaker().failed(Instant::now(), self.pods.config());
        self.told(ejected);
    }

    /// Nobody is there, or the pod says that it leaves: it gets no more calls for a time, and its name another look.
    pub fn gone(&self) {
        self.judged.store(true, Ordering::Relaxed);
        let ejected = self.pod.breaker().eject(Instant::now(), self.pods.config());
        self.told(ejected);
        self.pods.0.whereabouts.look.notify_one();
    }

    fn told(&self, ejected: bool) {
        if ejected {
            let backend = self.pods.backend().name();
            self.pods.0.metrics.ejected(backend);
            tracing::warn!(backend, pod = %self.pod.address, "a pod gets no calls for a time");
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        // A pod that is well says by itself that the time is over, a little before it is.
        let over = self.due.is_some_and(|due| due.remaining().is_zero());
        if over && !self.judged.load(Ordering::Relaxed) && self.since.elapsed() >= HANGS {
            self.failed();
        }
        self.pod.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn pods(count: u8) -> (Pods, watch::Sender<Arc<[Peer]>>) {
        let peers: Vec<Peer> = (1..=count).map(|host| peer(host, State::Serving)).collect();
        let (found, peers) = watch::channel(Arc::from(peers));
        let authority = "complaints:50051".parse().unwrap();
        let whereabouts =
            Whereabouts { backend: Backend::Complaints, authority, tls: None, peers, look: Arc::default() };
        (Pods::new(whereabouts, Arc::default(), Metrics::new()), found)
    }

    fn peer(host: u8, state: State) -> Peer {
        Peer { address: address(host), state }
    }

    fn address(host: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, host], 1))
    }

    fn pick(pods: &Pods, tried: &[SocketAddr]) -> Option<Busy> {
        pods.pick(tried, None)
    }

    fn spread(pods: &Pods, calls: usize) -> (HashMap<SocketAddr, usize>, Vec<Busy>) {
        let busy: Vec<Busy> = (0..calls).map(|_| pick(pods, &[]).unwrap()).collect();
        let mut counts = HashMap::new();
        for call in &busy {
            *counts.entry(call.address()).or_default() += 1;
        }
        (counts, busy)
    }

    #[test]
    fn calls_at_work_are_spread_evenly() {
        for count in [2, 5] {
            let (pods, _found) = pods(count);
            let (counts, busy) = spread(&pods, 1000);
            let mean = 1000 / usize::from(count);
            assert!(counts.values().all(|at| at.abs_diff(mean) <= mean / 10), "{counts:?}");
            drop(busy);
            assert!(pods.known().pods.iter().all(|pod| pod.calls() == 0));
        }
    }

    #[test]
    fn a_pod_that_drains_gets_no_new_calls() {
        let (pods, found) = pods(3);
        spread(&pods, 10);
        found.send_replace(Arc::from([
            peer(1, State::Serving),
            peer(2, State::NotServing),
            peer(3, State::Unknown),
        ]));
        let (counts, _busy) = spread(&pods, 100);
        assert!(!counts.contains_key(&address(2)) && counts.len() == 2, "{counts:?}");
    }

    #[test]
    fn a_pod_whose_calls_fail_gets_none_until_all_others_fail_too() {
        let (pods, _found) = pods(2);
        let fail = |host| {
            let busy = pick(&pods, &[address(3 - host)]).unwrap();
            assert_eq!(busy.address(), address(host));
            for _ in 0..pods.config().eject_after {
                busy.failed();
            }
        };
        fail(1);
        let (counts, busy) = spread(&pods, 100);
        assert_eq!(counts, HashMap::from([(address(2), 100)]));
        // Or they would go to the other one for that.
        drop(busy);
        fail(2);
        // Nobody is better than anybody: calls are not refused for it.
        let (counts, _busy) = spread(&pods, 100);
        assert_eq!(counts.len(), 2, "{counts:?}");
    }

    #[test]
    fn a_pod_that_says_nothing_until_the_time_is_over_is_put_out_and_one_that_had_no_time_is_not() {
        let (pods, _found) = pods(1);
        let hang = |since: Duration, left: Duration| {
            let mut busy = pods.pick(&[], Some(Deadline::after(left))).unwrap();
            busy.since = Instant::now().checked_sub(since).unwrap();
        };
        let out = || pods.known().pods[0].is_out(Instant::now());
        for _ in 0..pods.config().eject_after {
            hang(HANGS / 2, Duration::ZERO);
            // The caller has hung up.
            hang(HANGS * 2, HANGS);
        }
        assert!(!out());
        for _ in 0..pods.config().eject_after {
            hang(HANGS * 2, Duration::ZERO);
        }
        assert!(out());
    }

    #[test]
    fn a_repeat_goes_elsewhere_while_there_is_an_elsewhere() {
        let (pods, found) = pods(2);
        for _ in 0..20 {
            assert_eq!(pick(&pods, &[address(1)]).unwrap().address(), address(2));
        }
        assert!(pick(&pods, &[address(1), address(2)]).is_some());
        found.send_replace(Arc::from([]));
        assert!(pick(&pods, &[]).is_none());
    }
}
