//! A file that may change while the process runs: keys are exchanged without a restart.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use cqm_rpc::BoxError;

/// Between two looks that somebody asked for because something was not in the file.
const ASKED_PAUSE: Duration = Duration::from_secs(1);

type Parse<T> = Box<dyn Fn(&[u8]) -> Result<T, BoxError> + Send + Sync>;

/// What a file holds, read again when the file has changed. Nobody has to tell it: whoever uses the value looks when it
/// is time to. A file that cannot be used leaves the value as it is: a half-written file must not lock everybody out.
pub struct Watched<T> {
    path: PathBuf,
    every: Duration,
    parse: Parse<T>,
    state: Mutex<State<T>>,
}

struct State<T> {
    value: Arc<T>,
    version: Version,
    looked: DateTime<Utc>,
}

/// What tells one content of a file from the next, without reading it. A file that was put in another's place has
/// another number, however alike the two are.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Version {
    modified: SystemTime,
    length: u64,
    number: u64,
}

impl<T> Watched<T> {
    /// Reads the file for the first time; an error names it. `every`: between two looks at whether it has changed.
    pub fn read(
        path: PathBuf,
        every: Duration,
        now: DateTime<Utc>,
        parse: impl Fn(&[u8]) -> Result<T, BoxError> + Send + Sync + 'static,
    ) -> Result<Self, BoxError> {
        let first = || {
            let version = Version::of(&std::fs::metadata(&path)?)?;
            Ok::<_, BoxError>((version, Arc::new(parse(&std::fs::read(&path)?)?)))
        };
        let (version, value) = first().map_err(|problem| format!("{}: {problem}", path.display()))?;
        let state = Mutex::new(State { value, version, looked: now });
        Ok(Self { path, every, parse: Box::new(parse), state })
    }

    /// The value, after a look at the file when it is time for one.
    pub async fn current(&self, now: DateTime<Utc>) -> Arc<T> {
        self.after(self.every, now).await
    }

    /// The value, after a look at the file now: for who misses something in it. Many may miss something; the file is
    /// looked at once a second.
    pub async fn latest(&self, now: DateTime<Utc>) -> Arc<T> {
        self.after(ASKED_PAUSE.min(self.every), now).await
    }

    async fn after(&self, pause: Duration, now: DateTime<Utc>) -> Arc<T> {
        let known = {
            let mut state = self.state();
            // Apart, not later: another thread may have looked a moment after `now`.
            if (now - state.looked).abs().to_std().is_ok_and(|apart| apart < pause) {
                return Arc::clone(&state.value);
            }
            // Whoever comes first looks; the others go on with what is there.
            state.looked = now;
            state.version
        };
        match self.changed(known).await {
            Ok(None) => {}
            Ok(Some((version, value))) => {
                tracing::info!(path = %self.path.display(), "a file has changed and is in force");
                let mut state = self.state();
                state.value = Arc::new(value);
                state.version = version;
            }
            Err(error) => {
                let path = self.path.display();
                tracing::error!(%path, %error, "a file cannot be read again, what it held is still in force");
            }
        }
        Arc::clone(&self.state().value)
    }

    async fn changed(&self, known: Version) -> Result<Option<(Version, T)>, BoxError> {
        let version = Version::of(&tokio::fs::metadata(&self.path).await?)?;
        if version == known {
            return Ok(None);
        }
        Ok(Some((version, (self.parse)(&tokio::fs::read(&self.path).await?)?)))
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Without the value: it may be a key.
impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Version {
    fn of(metadata: &Metadata) -> std::io::Result<Self> {
        Ok(Self { modified: metadata.modified()?, length: metadata.len(), number: metadata.ino() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_changed_file_is_in_force_after_the_next_look_and_a_broken_one_never() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        let write = |text: &str| {
            let next = folder.path().join("next");
            std::fs::write(&next, text).unwrap();
            std::fs::rename(next, &path).unwrap();
        };
        let at = |second: i64| DateTime::from_timestamp(second, 0).unwrap();
        let number = |bytes: &[u8]| Ok(std::str::from_utf8(bytes)?.parse::<u32>()?);
        write("1");
        let watched = Watched::read(path.clone(), Duration::from_secs(10), at(0), number).unwrap();
        write("2");
        assert_eq!(*watched.current(at(9)).await, 1);
        assert_eq!(*watched.current(at(10)).await, 2);
        // Somebody misses something: sooner, and not for everybody who does.
        write("3");
        assert_eq!((*watched.current(at(11)).await, *watched.latest(at(11)).await), (2, 3));
        write("4");
        assert_eq!((*watched.latest(at(11)).await, *watched.latest(at(12)).await), (3, 4));
        write("five");
        assert_eq!(*watched.current(at(30)).await, 4);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(*watched.current(at(60)).await, 4);
        write("6");
        assert_eq!(*watched.current(at(90)).await, 6);
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let parse = |_: &[u8]| Ok(());
        let error = Watched::read("/nowhere/keys".into(), Duration::ZERO, DateTime::UNIX_EPOCH, parse);
        assert!(error.unwrap_err().to_string().starts_with("/nowhere/keys: "));
    }
}
