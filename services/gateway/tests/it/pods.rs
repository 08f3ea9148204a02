//! Several pods of one service behind one name.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use cqm_gateway::backend::Backends;
use cqm_gateway::edge::{EdgeConfig, Resolve};
use cqm_runtime::server::{DrainConfig, ServerConfig};
use futures::future::BoxFuture;

use crate::desk::{self, Desk, Served};
use crate::wire::Edge;

/// A name server with one name, whose addresses a test decides.
#[derive(Clone, Debug, Default)]
pub struct Names(Arc<Mutex<Vec<SocketAddr>>>);

impl Names {
    pub fn say(&self, addresses: &[SocketAddr]) {
        *self.0.lock().unwrap() = addresses.to_vec();
    }
}

impl Resolve for Names {
    fn resolve<'a>(&'a self, _: &'a str, _: u16) -> BoxFuture<'a, std::io::Result<Vec<SocketAddr>>> {
        Box::pin(async { Ok(self.0.lock().unwrap().clone()) })
    }
}

/// One process of a service.
pub struct Pod {
    pub desk: Desk,
    pub address: SocketAddr,
    served: Option<Served>,
    config: ServerConfig,
}

impl Pod {
    pub async fn start(config: ServerConfig) -> Self {
        let desk = Desk::default();
        let served = desk::serve(config.clone(), desk.clone()).await;
        let address = served.address();
        Self { desk, address, served: Some(served), config: ServerConfig { listen: address, ..config } }
    }

    /// Asks it to stop, and does not wait.
    pub fn dismiss(&self) {
        self.served.as_ref().expect("it runs").shutdown.cancel();
    }

    /// Stops it as a deployment does, and starts it again where it was.
    pub async fn restart(&mut self) {
        self.served.take().expect("it runs").stop().await;
        self.served = Some(desk::serve(self.config.clone(), self.desk.clone()).await);
    }
}

/// A drain that leaves time for others to notice that it has begun.
pub fn noticed() -> ServerConfig {
    let drain = DrainConfig { settle: std::time::Duration::from_millis(300), ..desk::config().drain };
    ServerConfig { drain, ..desk::config() }
}

/// Two pods behind an edge that knows them by name.
pub struct Pair {
    pub edge: Edge,
    pub names: Names,
    pub pods: [Pod; 2],
}

impl Pair {
    pub async fn start() -> Self {
        Self::configured(desk::config(), |_| {}).await
    }

    pub async fn configured(config: ServerConfig, change: impl FnOnce(&mut EdgeConfig)) -> Self {
        let pods = [Pod::start(config.clone()).await, Pod::start(config).await];
        let names = Names::default();
        names.say(&[pods[0].address, pods[1].address]);
        let edge = Self::edge(&names, change).await;
        Self { edge, names, pods }
    }

    /// An edge that asks these names.
    pub async fn edge(names: &Names, change: impl FnOnce(&mut EdgeConfig)) -> Edge {
        let backends = Backends::at(|_| "http://pods.test:1".to_owned());
        Edge::configured(backends, |config| {
            config.resolver = Arc::new(names.clone());
            // As often as the tests look.
            config.traffic.resolve_every = std::time::Duration::from_millis(50);
            change(config);
        })
        .await
    }

    /// How many calls each pod has seen.
    pub fn seen(&self) -> [usize; 2] {
        [self.pods[0].desk.all().len(), self.pods[1].desk.all().len()]
    }
}
