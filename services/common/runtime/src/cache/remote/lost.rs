//! Tombstones that did not reach Redis.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// More writes than this in one outage are not remembered: their old rows live on in Redis until their TTL,
/// which is the bound that holds in any case.
const CAPACITY: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct Lost {
    versions: Mutex<HashMap<String, i64>>,
    /// How many there are, so that reads need no lock as long as all is well.
    count: AtomicUsize,
    overflow: AtomicUsize,
}

impl Lost {
    pub(super) fn remember(&self, key: &str, version: i64) {
        let mut versions = self.versions();
        if versions.len() >= CAPACITY && !versions.contains_key(key) {
            self.overflow.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let newest = versions.entry(key.to_owned()).or_insert(version);
        *newest = version.max(*newest);
        self.count.store(versions.len(), Ordering::Release);
    }

    /// The version of a lost tombstone, or zero.
    pub(super) fn version(&self, key: &str) -> i64 {
        if self.count.load(Ordering::Acquire) == 0 {
            return 0;
        }
        self.versions().get(key).copied().unwrap_or(0)
    }

    pub(super) fn all(&self) -> Vec<(String, i64)> {
        self.versions().iter().map(|(key, version)| (key.clone(), *version)).collect()
    }

    /// Forgets what has arrived, unless a newer one was lost meanwhile.
    pub(super) fn forget(&self, arrived: &[(String, i64)]) {
        let mut versions = self.versions();
        for (key, version) in arrived {
            if versions.get(key) == Some(version) {
                versions.remove(key);
            }
        }
        self.count.store(versions.len(), Ordering::Release);
    }

    /// How many were not remembered since this was last asked.
    pub(super) fn take_overflow(&self) -> usize {
        self.overflow.swap(0, Ordering::Relaxed)
    }

    fn versions(&self) -> MutexGuard<'_, HashMap<String, i64>> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_stays_until_it_has_arrived() {
        let lost = Lost::default();
        lost.remember("k", 5);
        let sent = lost.all();
        lost.remember("k", 6);
        lost.remember("k", 4);
        lost.forget(&sent);
        assert_eq!(lost.version("k"), 6);
        lost.forget(&lost.all());
        assert_eq!(lost.version("k"), 0);
    }

    #[test]
    fn an_endless_outage_does_not_eat_the_memory() {
        let lost = Lost::default();
        for number in 0..CAPACITY + 7 {
            lost.remember(&number.to_string(), 1);
        }
        assert_eq!(lost.all().len(), CAPACITY);
        assert_eq!(lost.take_overflow(), 7);
        lost.remember("0", 2);
        assert_eq!(lost.version("0"), 2);
    }
}
