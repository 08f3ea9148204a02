//! The level inside the process: entries for seconds, and one load at a time for each of them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cqm_rpc::Reason;
use moka::Expiry;
use moka::sync::Cache as Moka;
use prost::Message;
use tokio::sync::watch;

use super::{CacheConfig, TOMBSTONE_TTL};
use crate::tasks::jittered;

/// A row that does not exist is asked for again soon: somebody may be about to create it.
const ABSENT_TTL: Duration = Duration::from_millis(1500);

/// What was found of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The message stays encoded: it costs one allocation, and the level serves any type.
    Row {
        version: i64,
        bytes: Bytes,
    },
    Absent,
}

impl Found {
    pub(super) fn version(&self) -> i64 {
        match self {
            Self::Row { version, .. } => *version,
            Self::Absent => 0,
        }
    }

    /// The answer for a caller who accepts nothing older than `minimum`; `None` when this is older, or no
    /// message of the type asked for.
    pub(super) fn serve<M: Message + Default>(&self, minimum: i64) -> Option<Option<(i64, M)>> {
        if self.version() < minimum {
            return None;
        }
        match self {
            Self::Row { version, bytes } => Some(Some((*version, M::decode(bytes.clone()).ok()?))),
            Self::Absent => Some(None),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Found(Found),
    /// The row was written: nothing older than this version may be served.
    Tombstone(i64),
}

impl Entry {
    fn version(&self) -> i64 {
        match self {
            Self::Found(found) => found.version(),
            Self::Tombstone(version) => *version,
        }
    }
}

/// How a load ended, for those who waited for it.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Found(Found),
    /// Postgres is away. The followers fail with it instead of asking one by one.
    Unavailable(Reason),
    /// Something that need not happen to another caller, such as a deadline that passed.
    Failed,
}

pub(super) enum Turn<'a> {
    Lead(Flight<'a>),
    Follow(watch::Receiver<Option<Outcome>>),
}

#[derive(Debug)]
pub(super) struct Level {
    entries: Moka<String, Timed>,
    ttl: Duration,
    // Its lock also orders the changes of `entries`: a landing and a write of one row see each other.
    flights: Mutex<Flights>,
}

#[derive(Debug, Default)]
struct Flights {
    under_way: HashMap<String, (u64, watch::Receiver<Option<Outcome>>)>,
    started: u64,
}

#[derive(Clone, Debug)]
struct Timed {
    entry: Entry,
    ttl: Duration,
}

/// Every entry knows its own life.
struct Lives;

impl Expiry<String, Timed> for Lives {
    fn expire_after_create(&self, _: &String, value: &Timed, _: Instant) -> Option<Duration> {
        Some(value.ttl)
    }

    fn expire_after_update(
        &self,
        _: &String,
        value: &Timed,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(value.ttl)
    }
}

impl Level {
    pub(super) fn new(config: &CacheConfig) -> Self {
        Self {
            entries: Moka::builder().max_capacity(config.in_process_entries).expire_after(Lives).build(),
            ttl: config.in_process_ttl,
            flights: Mutex::default(),
        }
    }

    pub(super) fn find(&self, key: &str) -> Option<Entry> {
        self.entries.get(key).map(|timed| timed.entry)
    }

    /// The oldest version of a row that may still be served.
    pub(super) fn floor(&self, key: &str) -> i64 {
        self.find(key).map_or(0, |entry| entry.version())
    }

    /// Joins the load of a row that is under way, or starts one.
    pub(super) fn turn(&self, key: &str) -> Turn<'_> {
        let mut flights = self.flights();
        if let Some((_, flight)) = flights.under_way.get(key) {
            return Turn::Follow(flight.clone());
        }
        let (sender, receiver) = watch::channel(None);
        flights.started += 1;
        let number = flights.started;
        flights.under_way.insert(key.to_owned(), (number, receiver));
        Turn::Lead(Flight { level: self, key: key.to_owned(), number, sender })
    }

    /// A row was written: what is older is not served any more, and a load under way will fill nothing.
    pub(super) fn bury(&self, key: &str, version: i64) {
        let mut flights = self.flights();
        flights.under_way.remove(key);
        let newer_is_there = match self.find(key) {
            Some(Entry::Found(found @ Found::Row { .. })) => found.version() >= version,
            Some(Entry::Tombstone(there)) => there > version,
            _ => false,
        };
        if !newer_is_there {
            self.insert(key, Entry::Tombstone(version), TOMBSTONE_TTL);
        }
    }

    fn insert(&self, key: &str, entry: Entry, ttl: Duration) {
        self.entries.insert(key.to_owned(), Timed { entry, ttl });
    }

    fn flights(&self) -> MutexGuard<'_, Flights> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A load under way. Dropped without landing, it leaves its followers to find another leader.
pub(super) struct Flight<'a> {
    level: &'a Level,
    key: String,
    number: u64,
    sender: watch::Sender<Option<Outcome>>,
}

impl Flight<'_> {
    /// Hands the outcome to the followers, and keeps it unless a write has detached the flight meanwhile.
    /// `false` when it was detached: then it may fill nothing else either.
    pub(super) fn land(self, outcome: Outcome) -> bool {
        let current = {
            let mut flights = self.level.flights();
            let current = self.leave(&mut flights);
            if let (true, Outcome::Found(found)) = (current, &outcome)
                && found.version() >= self.level.floor(&self.key)
            {
                let ttl = match found {
                    Found::Row { .. } => self.level.ttl,
                    Found::Absent => ABSENT_TTL,
                };
                self.level.insert(&self.key, Entry::Found(found.clone()), jittered(ttl));
            }
            current
        };
        self.sender.send_replace(Some(outcome));
        current
    }

    /// Ends the flight's being joined; `false` when that had been done by a write.
    fn leave(&self, flights: &mut Flights) -> bool {
        let current = flights.under_way.get(&self.key).is_some_and(|(number, _)| *number == self.number);
        if current {
            flights.under_way.remove(&self.key);
        }
        current
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.leave(&mut self.level.flights());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level() -> Level {
        Level::new(&CacheConfig::default())
    }

    fn row(version: i64) -> Outcome {
        Outcome::Found(Found::Row { version, bytes: Bytes::new() })
    }

    fn lead<'a>(level: &'a Level, key: &str) -> Flight<'a> {
        match level.turn(key) {
            Turn::Lead(flight) => flight,
            Turn::Follow(_) => panic!("a flight is under way"),
        }
    }

    #[test]
    fn a_load_that_a_write_overtook_fills_nothing() {
        let level = level();
        let early = lead(&level, "k");
        level.bury("k", 2);
        let late = lead(&level, "k");
        assert!(!early.land(row(1)));
        assert_eq!(level.find("k"), Some(Entry::Tombstone(2)));
        assert!(late.land(row(2)));
        assert_eq!(level.floor("k"), 2);
        assert!(matches!(level.find("k"), Some(Entry::Found(Found::Row { version: 2, .. }))));
    }

    #[test]
    fn a_row_older_than_the_tombstone_is_not_kept() {
        let level = level();
        level.bury("k", 5);
        assert!(lead(&level, "k").land(row(4)));
        assert_eq!(level.find("k"), Some(Entry::Tombstone(5)));
        assert!(lead(&level, "k").land(Outcome::Found(Found::Absent)));
        assert_eq!(level.find("k"), Some(Entry::Tombstone(5)));
    }

    #[test]
    fn writes_that_arrive_out_of_order_keep_the_newest() {
        let level = level();
        level.bury("k", 6);
        level.bury("k", 5);
        assert_eq!(level.floor("k"), 6);
        assert!(lead(&level, "k").land(row(7)));
        level.bury("k", 7);
        assert!(matches!(level.find("k"), Some(Entry::Found(_))));
    }

    #[test]
    fn a_leader_that_is_dropped_makes_room() {
        let level = level();
        let leader = lead(&level, "k");
        let Turn::Follow(follower) = level.turn("k") else { panic!("the second caller follows") };
        drop(leader);
        assert!(follower.has_changed().is_err(), "the follower is told");
        lead(&level, "k");
    }
}
