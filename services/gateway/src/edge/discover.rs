//! Where the pods of each service are and which of them want calls: names resolved again and again, and every pod's own
//! health watched. One for the process; its shards read what it finds.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cqm_proto::events::v1::event_feed_server::SERVICE_NAME as EVENT_FEED;
use cqm_rpc::BoxError;
use cqm_runtime::server::{self, Health};
use cqm_runtime::tasks::{Backoff, Periodic, Supervisor};
use cqm_runtime::tls::ClientTls;
use futures::future::{BoxFuture, join_all};
use http::uri::Authority;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::link::Link;
use crate::backend::{Backend, Backends, authority};

/// How long the first answers are waited for. Too high: an edge starts late while a resolver is away. Too low: the first
/// calls find nobody.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// Between tries to watch the health of a pod that does not answer.
const WATCH_AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How a service's name becomes the addresses of its pods.
pub trait Resolve: fmt::Debug + Send + Sync + 'static {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// The system's resolver. A headless service has an address for each of its ready pods.
#[derive(Clone, Copy, Debug)]
pub struct Dns;

impl Resolve for Dns {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

/// What a pod says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing yet, or it does not speak of its health: calls will show.
    Unknown,
    Serving,
    /// It drains, is not ready, or does not answer.
    NotServing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub address: SocketAddr,
    pub state: State,
}

/// The pods of one service, as they are known now.
#[derive(Clone)]
pub(super) struct Whereabouts {
    pub backend: Backend,
    pub authority: Authority,
    /// What its pods' connections are secured by, if they are.
    pub tls: Option<ClientTls>,
    pub peers: watch::Receiver<Arc<[Peer]>>,
    /// Asks for another look: a pod could not be reached.
    pub look: Arc<Notify>,
}

/// Keeps the whereabouts of all services up to date.
pub(super) struct Discovery {
    seekers: Vec<Seeker>,
}

impl Discovery {
    /// Looks all services up once. What is not found yet is looked for later.
    pub async fn new(backends: &Backends, resolver: Arc<dyn Resolve>) -> Result<Self, BoxError> {
        let mut seekers = Vec::new();
        for backend in Backend::ALL {
            let authority = authority(backends.address(backend))
                .ok_or("a service's address must be a URL of host and port")?;
            let (found, peers) = watch::channel(Arc::from([]));
            let tls = backends.tls(backend).cloned();
            let whereabouts = Whereabouts { backend, authority, tls, peers, look: Arc::default() };
            seekers.push(Seeker { whereabouts, resolver: Arc::clone(&resolver), found });
        }
        let _ = tokio::time::timeout(FIRST_LOOK, join_all(seekers.iter().map(Seeker::look))).await;
        Ok(Self { seekers })
    }

    /// In the order of [`Backend::ALL`].
    pub fn whereabouts(&self) -> Vec<Whereabouts> {
        self.seekers.iter().map(|seeker| seeker.whereabouts.clone()).collect()
    }

    /// Goes on looking until the supervisor stops, and tells which services have a pod that serves.
    pub fn keep_up(self, supervisor: &Supervisor, every: Duration, health: &Health) {
        for seeker in self.seekers {
            let (seeker, health) = (Arc::new(seeker), health.clone());
            let ticks = supervisor.every(every).woken_by(Arc::clone(&seeker.whereabouts.look));
            supervisor.spawn("discovery", move || {
                let (seeker, health, ticks) = (Arc::clone(&seeker), health.clone(), ticks.clone());
                async move {
                    seeker.seek(ticks, &health).await;
                    Ok(())
                }
            });
        }
    }
}

/// Looks for the pods of one service.
struct Seeker {
    whereabouts: Whereabouts,
    resolver: Arc<dyn Resolve>,
    found: watch::Sender<Arc<[Peer]>>,
}

impl Seeker {
    /// Asks for the addresses. Without an answer the ones that are known stay: a resolver that is away must not take
    /// pods away that are there.
    async fn look(&self) {
        let authority = &self.whereabouts.authority;
        let host = authority.host().trim_matches(['[', ']']);
        let backend = self.whereabouts.backend.name();
        let mut addresses = match self.resolver.resolve(host, authority.port_u16().unwrap_or_default()).await
        {
            Ok(addresses) => addresses,
            Err(error) => {
                tracing::debug!(backend, error = %error, "a service's name has no address");
                return;
            }
        };
        addresses.sort_unstable();
        addresses.dedup();
        self.found.send_if_modified(|peers| {
            if addresses.is_empty() || peers.iter().map(|peer| peer.address).eq(addresses.iter().copied()) {
                return false;
            }
            let state = |address| {
                peers.iter().find(|peer| peer.address == address).map_or(State::Unknown, |peer| peer.state)
            };
            let now: Vec<Peer> =
                addresses.iter().map(|&address| Peer { address, state: state(address) }).collect();
            tracing::info!(backend, pods = now.len(), "a service's pods have changed");
            *peers = now.into();
            true
        });
    }

    /// Looks again at every tick, and follows what the pods say meanwhile: a resolver that takes its time must not keep
    /// the news of a drain waiting.
    async fn seek(&self, mut ticks: Periodic, health: &Health) {
        let looks = async {
            while ticks.next().await {
                self.look().await;
            }
        };
        tokio::select! {
            () = looks => {}
            () = self.follow(health) => {}
        }
    }

    async fn follow(&self, health: &Health) {
        let services = services(self.whereabouts.backend);
        let (tell, mut told) = mpsc::channel(64);
        let mut watched: HashMap<SocketAddr, AbortHandle> = HashMap::new();
        // Ends with this future, and all watches with it.
        let mut watches = JoinSet::new();
        let mut found = self.whereabouts.peers.clone();
        let mut said = None;
        loop {
            let peers = Arc::clone(&found.borrow_and_update());
            watched.retain(|address, watch| {
                let stays = peers.iter().any(|peer| peer.address == *address);
                if !stays {
                    watch.abort();
                }
                stays
            });
            for peer in peers.iter() {
                watched.entry(peer.address).or_insert_with(|| {
                    let link = Link::new(&self.whereabouts, peer.address);
                    watches.spawn(watch_health(link, peer.address, tell.clone()))
                });
            }
            while watches.try_join_next().is_some() {}
            let serving = peers.iter().any(|peer| peer.state == State::Serving);
            if said.replace(serving) != Some(serving) {
                health.tell(&services, serving).await;
            }
            tokio::select! {
                // The sender is this seeker's own.
                _ = found.changed() => {}
                Some((address, state)) = told.recv() => self.heard(address, state),
            }
        }
    }

    fn heard(&self, address: SocketAddr, state: State) {
        self.found.send_if_modified(|peers| {
            let mut now = peers.to_vec();
            let Some(peer) = now.iter_mut().find(|peer| peer.address == address) else { return false };
            if peer.state == state {
                return false;
            }
            tracing::debug!(backend = self.whereabouts.backend.name(), %address, ?state, "a pod's health has changed");
            peer.state = state;
            *peers = now.into();
            true
        });
    }
}

/// The services of the contract that one backend alone answers.
fn services(backend: Backend) -> Vec<&'static str> {
    server::all_services()
        .into_iter()
        .filter(|service| *service != EVENT_FEED)
        .filter(|service| service.rsplit_once('.').is_some_and(|(package, _)| package == backend.package()))
        .collect()
}

/// Listens to what a pod says of its health, for as long as it is one.
async fn watch_health(link: Link, address: SocketAddr, tell: mpsc::Sender<(SocketAddr, State)>) {
    let mut backoff = Backoff::new(WATCH_AGAIN.0, WATCH_AGAIN.1);
    loop {
        let mut heard = false;
        let mut client = HealthClient::new(link.clone());
        let ended = async {
            let mut news = client.watch(HealthCheckRequest::default()).await?.into_inner();
            while let Some(answer) = news.message().await? {
                heard = true;
                let state = match answer.status() {
                    ServingStatus::Serving => State::Serving,
                    ServingStatus::NotServing => State::NotServing,
                    ServingStatus::Unknown | ServingStatus::ServiceUnknown => State::Unknown,
                };
                // The receiver goes only together with this task.
                let _ = tell.send((address, state)).await;
            }
            Ok::<_, tonic::Status>(())
        };
        let state = match ended.await {
            Err(status) if status.code() == Code::Unimplemented => {
                let _ = tell.send((address, State::Unknown)).await;
                return;
            }
            // Its connection may only have been old. What it said last stands until it cannot be asked again: a pod that
            // drains ends its answers as well.
            _ if heard => {
                backoff.reset();
                None
            }
            _ => Some(State::NotServing),
        };
        if let Some(state) = state {
            let _ = tell.send((address, state)).await;
        }
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_systems_resolver_knows_names_and_addresses() {
        let local = Dns.resolve("localhost", 50051).await.unwrap();
        assert!(
            local.iter().all(|address| address.ip().is_loopback() && address.port() == 50051),
            "{local:?}"
        );
        assert!(!local.is_empty());
        let literal = Dns.resolve("::1", 1).await.unwrap();
        assert_eq!(literal, ["[::1]:1".parse().unwrap()]);
        assert!(Dns.resolve("no-such-service.invalid", 1).await.is_err());
    }

    #[test]
    fn a_backend_answers_the_services_of_its_package() {
        assert!(services(Backend::Complaints).contains(&"cqm.complaints.v1.ComplaintService"));
        assert!(Backend::ALL.into_iter().all(|backend| !services(backend).contains(&EVENT_FEED)));
    }
}
