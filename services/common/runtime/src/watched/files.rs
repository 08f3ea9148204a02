//! Files as the source. They are known by content and by path, so that a file that is replaced, a link that leads
//! elsewhere (Kubernetes swaps `..data`) and a file that is written over are one case.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use cqm_rpc::BoxError;

use super::{Pauses, Source, Watched};

/// Between two looks that somebody asked for because something was not in the files. Many may miss something.
const ASKED_PAUSE: Duration = Duration::from_secs(1);

/// Some files of this machine, in an order.
pub struct Files(Vec<PathBuf>);

impl Source for Files {
    const RECOVERS: bool = false;

    fn name(&self) -> String {
        let names: Vec<_> = self.0.iter().map(|file| file.display().to_string()).collect();
        names.join(", ")
    }

    async fn read(&self) -> Result<Vec<Bytes>, BoxError> {
        let mut contents = Vec::with_capacity(self.0.len());
        for file in &self.0 {
            contents.push(tokio::fs::read(file).await.map_err(|error| at(file, &error))?.into());
        }
        Ok(contents)
    }
}

impl<T> Watched<T> {
    /// Reads one file for the first time; an error names it. `every`: between two looks at whether it has changed.
    pub fn file(
        path: PathBuf,
        every: Duration,
        now: DateTime<Utc>,
        make: impl Fn(&[u8]) -> Result<T, BoxError> + Send + Sync + 'static,
    ) -> Result<Self, BoxError> {
        Self::files(vec![path], every, now, move |contents| make(contents.first().map_or(&[], |all| all)))
    }

    /// Reads files that belong together, such as a certificate and its key.
    pub fn files(
        paths: Vec<PathBuf>,
        every: Duration,
        now: DateTime<Utc>,
        make: impl Fn(&[Bytes]) -> Result<T, BoxError> + Send + Sync + 'static,
    ) -> Result<Self, BoxError> {
        let mut contents = Vec::with_capacity(paths.len());
        for file in &paths {
            contents.push(std::fs::read(file).map_err(|error| at(file, &error))?.into());
        }
        let pauses = Pauses {
            every,
            retry: every,
            asked: ASKED_PAUSE.min(every),
            // Nobody keeps us from a file: what it says holds until it says something else.
            outage_limit: Duration::MAX,
        };
        let watched = Self::new(Files(paths), pauses, make);
        watched.begin(&contents, now)?;
        Ok(watched)
    }

    fn begin(&self, contents: &[Bytes], now: DateTime<Utc>) -> Result<(), BoxError> {
        let mut state = self.state();
        // Nobody misses anything yet.
        (state.looked, state.asked) = (Some(now), Some(now));
        let made = state.take(contents, now, &self.0.make);
        made.map_err(|problem| format!("{}: {problem}", self.0.source.name()))?;
        Ok(())
    }

    /// The value, without a look.
    pub fn value(&self) -> Arc<T> {
        let state = self.state();
        let known =
            state.known.as_ref().expect("files are read when they are opened, and what was read stays");
        Arc::clone(&known.value)
    }

    /// The value, after a look at the files when it is time for one. Whoever comes first looks; the others go on with
    /// what is there.
    pub async fn current(&self, now: DateTime<Utc>) -> Arc<T> {
        if self.is_due(now) {
            // What is wrong is told where it is found.
            let _ = self.look(now).await;
        }
        self.value()
    }

    /// The value, after a look at the files now: for who misses something in it.
    pub async fn latest(&self, now: DateTime<Utc>) -> Arc<T> {
        let _ = self.latest_usable(now).await;
        self.value()
    }
}

fn at(file: &Path, error: &std::io::Error) -> BoxError {
    format!("{}: {error}", file.display()).into()
}
