//! Something that is made of files and made anew when they change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use cqm_rpc::{BoxError, Clock};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Gauge;

use super::material::Expiring;
use crate::tasks::detached;

/// Makes it of the files' contents, in their order.
type Make<T> = Box<dyn Fn(&[Vec<u8>]) -> Result<Expiring<T>, BoxError> + Send + Sync>;

/// The newest of what the files made sense as. They are looked at by content and by path, so that a file that is
/// replaced, a link that leads elsewhere (Kubernetes swaps `..data`) and a file that is written over are one case.
pub(super) struct Reloaded<T> {
    /// `server` or `client`, for the log and the metric.
    side: &'static str,
    files: Vec<PathBuf>,
    make: Make<T>,
    current: RwLock<Expiring<T>>,
    left: Gauge<f64>,
}

impl<T: Send + Sync + 'static> Reloaded<T> {
    /// Reads the files, and then again each time that `every` has passed, on the current runtime and as long as
    /// somebody holds the result.
    pub fn open(
        side: &'static str,
        files: Vec<PathBuf>,
        every: Duration,
        make: impl Fn(&[Vec<u8>]) -> Result<Expiring<T>, BoxError> + Send + Sync + 'static,
    ) -> Result<Arc<Self>, BoxError> {
        let mut contents = Vec::new();
        for file in &files {
            contents.push(std::fs::read(file).map_err(|error| at(file, error.into()))?);
        }
        let current = RwLock::new(make(&contents).map_err(|error| of(&files, error))?);
        let left = opentelemetry::global::meter("cqm-runtime")
            .f64_gauge("cqm.tls.certificate.expiry")
            .with_unit("s")
            .with_description(
                "time until the certificate in use is not valid any more; negative when it is over",
            )
            .build();
        let reloaded = Arc::new(Self { side, files, make: Box::new(make), current, left });
        reloaded.tell();
        detached(look(Arc::downgrade(&reloaded), every, contents));
        Ok(reloaded)
    }

    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).value)
    }

    /// A file that cannot be used leaves what is in use: certificate and key are replaced one after the other, and
    /// whoever looks in between finds two that do not belong together.
    async fn refresh(&self, seen: &mut Vec<Vec<u8>>) {
        match self.changed(seen).await {
            Ok(None) => {}
            Ok(Some(new)) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
                tracing::info!(side = self.side, "certificates have changed");
            }
            Err(error) => {
                tracing::error!(
                    side = self.side,
                    error = %error,
                    "certificates cannot be used, those read before stay in use"
                );
            }
        }
        self.tell();
    }

    async fn changed(&self, seen: &mut Vec<Vec<u8>>) -> Result<Option<Expiring<T>>, BoxError> {
        let mut contents = Vec::new();
        let mut missing = None;
        for file in &self.files {
            // A file that is not there is remembered as an empty one, or its absence would be told at every look.
            contents.push(tokio::fs::read(file).await.unwrap_or_else(|error| {
                missing.get_or_insert_with(|| at(file, error.into()));
                Vec::new()
            }));
        }
        if contents == *seen {
            return Ok(None);
        }
        *seen = contents;
        match missing {
            Some(error) => Err(error),
            None => (self.make)(seen).map(Some).map_err(|error| of(&self.files, error)),
        }
    }

    fn tell(&self) {
        let until = self.current.read().unwrap_or_else(PoisonError::into_inner).until;
        if let Some(until) = until {
            let left = (until - Clock::system().now()).as_seconds_f64();
            self.left.record(left, &[KeyValue::new("cqm.tls.side", self.side)]);
        }
    }
}

async fn look<T: Send + Sync + 'static>(of: Weak<Reloaded<T>>, every: Duration, mut seen: Vec<Vec<u8>>) {
    loop {
        tokio::time::sleep(every).await;
        let Some(reloaded) = of.upgrade() else { return };
        reloaded.refresh(&mut seen).await;
    }
}

fn at(file: &Path, error: BoxError) -> BoxError {
    format!("{}: {error}", file.display()).into()
}

fn of(files: &[PathBuf], error: BoxError) -> BoxError {
    let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    format!("{}: {error}", names.join(", ")).into()
}
