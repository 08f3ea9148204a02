//! Whether the process wants calls, told over `grpc.health.v1`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

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
    /// Balancers were told to look elsewhere; no news of single services any more.
    leaving: Arc<AtomicBool>,
}

/// What happens to calls; health itself is always answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not ready yet: refused.
    Starting = 0,
    /// Answered, also while balancers are being told that the end is near.
    Open = 1,
    /// The door is closed: whoever still finds a way in is answered.
    Closed = 2,
    /// The door was closed before anything was ready: refused.
    Ended = 3,
}

impl Health {
    /// For a process that serves the named services.
    pub fn new(services: &[&'static str]) -> Self {
        let health = Self {
            services: services.into(),
            reporter: HealthReporter::new(),
            phase: Arc::new(AtomicU8::new(Phase::Starting as u8)),
            leaving: Arc::default(),
        };
        let begin = async {
            health.reporter.set_service_status(LIVENESS, ServingStatus::Serving).await;
            health.not_ready().await;
        };
        // Unconstrained: a task that has done much since it last waited is made to wait at the next lock, free or not.
        let begun = tokio::task::unconstrained(begin).now_or_never();
        begun.expect("nobody else holds the lock of a new reporter");
        health
    }

    /// From now on calls are answered and balancers may send them.
    pub async fn ready(&self) {
        if self.phase() == Phase::Starting {
            self.phase.store(Phase::Open as u8, Ordering::Release);
        }
        if self.phase() == Phase::Open {
            self.leaving.store(false, Ordering::Release);
            self.report(ServingStatus::Serving).await;
        }
    }

    /// What is known of single services, for a process that stands before others; the process itself stays as it is.
    pub async fn tell(&self, services: &[&str], serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in services {
            if self.leaving.load(Ordering::Acquire) {
                return;
            }
            self.reporter.set_service_status(service, status).await;
        }
        if self.leaving.load(Ordering::Acquire) {
            // The end began in between: its word is the last.
            self.report(ServingStatus::NotServing).await;
        }
    }

    /// Balancers shall look elsewhere; calls that come are answered.
    pub async fn not_ready(&self) {
        self.leaving.store(true, Ordering::Release);
        self.report(ServingStatus::NotServing).await;
    }

    pub(super) fn close(&self) {
        let end = if self.phase() == Phase::Starting { Phase::Ended } else { Phase::Closed };
        self.phase.store(end as u8, Ordering::Release);
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Open,
            2 => Phase::Closed,
            _ => Phase::Ended,
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
