//! Whether the process wants calls, told over `grpc.health.v1`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use futures::FutureExt;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

/// What a liveness probe asks for: always serving while the process answers at all. It knows nothing of Postgres and Redis,
/// so that an outage of theirs restarts nobody.
pub const LIVENESS: &str = "liveness";
/// What a readiness probe asks for: as the empty name, which stands for the whole process.
pub const READINESS: &str = "readiness";

/// Begins as "not serving": tonic's own begins as serving, and a balancer believes it.
#[derive(Clone, Debug)]
pub struct Health {
    services: Arc<[&'static str]>,
    reporter: HealthReporter,
    phase: Arc<AtomicU8>,
}

/// What happens to calls; health itself is always answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not ready yet: refused.
    Starting = 0,
    /// Answered, also while balancers are being told that the end is near.
    Open = 1,
    /// The door is closed: refused, whoever still finds a way in.
    Closed = 2,
}

impl Health {
    /// For a process that serves the named services.
    pub fn new(services: &[&'static str]) -> Self {
        let health = Self {
            services: services.into(),
            reporter: HealthReporter::new(),
            phase: Arc::new(AtomicU8::new(Phase::Starting as u8)),
        };
        let begin = async {
            health.reporter.set_service_status(LIVENESS, ServingStatus::Serving).await;
            health.not_ready().await;
        };
        // Unconstrained: a lock that is free is not given to a task which has done enough for this turn.
        tokio::task::unconstrained(begin)
            .now_or_never()
            .expect("nobody else holds the lock of a new reporter");
        health
    }

    /// From now on calls are answered and balancers may send them.
    pub async fn ready(&self) {
        if self.phase() == Phase::Starting {
            self.phase.store(Phase::Open as u8, Ordering::Release);
        }
        if self.phase() == Phase::Open {
            self.report(ServingStatus::Serving).await;
        }
    }

    /// Balancers shall look elsewhere; calls that come are answered.
    pub async fn not_ready(&self) {
        self.report(ServingStatus::NotServing).await;
    }

    pub(super) fn close(&self) {
        self.phase.store(Phase::Closed as u8, Ordering::Release);
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Open,
            _ => Phase::Closed,
        }
    }

    pub(super) fn services(&self) -> &[&'static str] {
        &self.services
    }

    pub(crate) fn server(&self) -> HealthServer<HealthService> {
        HealthServer::new(HealthService::from_health_reporter(self.reporter.clone()))
    }

    async fn report(&self, status: ServingStatus) {
        for name in ["", READINESS] {
            self.reporter.set_service_status(name, status).await;
        }
        for service in self.services.iter() {
            self.reporter.set_service_status(service, status).await;
        }
    }
}
