//! Certificates that are exchanged while the process runs, and the time that they have left.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use cqm_rpc::{BoxError, Clock};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Gauge;

use super::material::Expiring;
use crate::tasks::detached;
use crate::watched::Watched;

/// The newest of what the files made sense as. A file that cannot be used leaves what is in use: certificate and key are
/// replaced one after the other, and whoever looks in between finds two that do not belong together.
pub(super) struct Reloaded<T> {
    /// `server` or `client`, for the metric.
    side: &'static str,
    files: Watched<Expiring<T>>,
    left: Gauge<f64>,
}

impl<T: Send + Sync + 'static> Reloaded<T> {
    /// Reads the files, and then again each time that `every` has passed, on the current runtime and as long as
    /// somebody holds the result: no handshake waits for a file.
    pub fn open(
        side: &'static str,
        files: Vec<PathBuf>,
        every: Duration,
        make: impl Fn(&[Bytes]) -> Result<Expiring<T>, BoxError> + Send + Sync + 'static,
    ) -> Result<Arc<Self>, BoxError> {
        let files = Watched::files(files, every, Clock::system().now(), make)?;
        let left = opentelemetry::global::meter("cqm-runtime")
            .f64_gauge("cqm.tls.certificate.expiry")
            .with_unit("s")
            .with_description(
                "time until the certificate in use is not valid any more; negative when it is over",
            )
            .build();
        let reloaded = Arc::new(Self { side, files, left });
        reloaded.tell();
        detached(look(Arc::downgrade(&reloaded), every));
        Ok(reloaded)
    }

    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.files.value().value)
    }

    fn tell(&self) {
        if let Some(until) = self.files.value().until {
            let left = (until - Clock::system().now()).as_seconds_f64();
            self.left.record(left, &[KeyValue::new("cqm.tls.side", self.side)]);
        }
    }
}

async fn look<T: Send + Sync + 'static>(of: Weak<Reloaded<T>>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Some(reloaded) = of.upgrade() else { return };
        // What is wrong is told where it is found.
        let _ = reloaded.files.look(Clock::system().now()).await;
        reloaded.tell();
    }
}
