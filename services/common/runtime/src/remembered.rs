//! What was found out at some cost and holds for a while: a signature that was checked, one that was made.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};

/// A bounded memory in the process. It is full of what strangers may choose, so it forgets rather than grows.
#[derive(Debug)]
pub struct Remembered<K, V> {
    most: usize,
    entries: Mutex<HashMap<K, Entry<V>>>,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    until: DateTime<Utc>,
}

impl<K: Eq + Hash, V: Clone> Remembered<K, V> {
    /// `most`: how many entries it holds.
    pub fn new(most: usize) -> Self {
        Self { most, entries: Mutex::default() }
    }

    pub fn find(&self, key: &K, now: DateTime<Utc>) -> Option<V> {
        self.entries().get(key).filter(|entry| now < entry.until).map(|entry| entry.value.clone())
    }

    /// Remembers until `until`. When there is no room, what is over goes first, and then everything.
    pub fn keep(&self, key: K, value: V, until: DateTime<Utc>, now: DateTime<Utc>) {
        let mut entries = self.entries();
        if entries.len() >= self.most && !entries.contains_key(&key) {
            entries.retain(|_, entry| now < entry.until);
            if entries.len() >= self.most {
                entries.clear();
            }
        }
        entries.insert(key, Entry { value, until });
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<K, Entry<V>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    #[test]
    fn what_is_over_is_not_found() {
        let memory = Remembered::new(2);
        memory.keep("a", 1, at(10), at(0));
        assert_eq!((memory.find(&"a", at(9)), memory.find(&"a", at(10))), (Some(1), None));
        memory.keep("a", 2, at(20), at(10));
        assert_eq!(memory.find(&"a", at(10)), Some(2));
    }

    #[test]
    fn a_full_memory_forgets_what_is_over_and_then_everything() {
        let memory = Remembered::new(2);
        memory.keep("old", 1, at(5), at(0));
        memory.keep("new", 2, at(10), at(0));
        memory.keep("next", 3, at(10), at(6));
        assert_eq!((memory.find(&"new", at(6)), memory.find(&"next", at(6))), (Some(2), Some(3)));
        memory.keep("last", 4, at(10), at(6));
        assert_eq!((memory.find(&"new", at(6)), memory.find(&"last", at(6))), (None, Some(4)));
    }
}
