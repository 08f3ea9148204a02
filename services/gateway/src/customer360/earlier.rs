//! The last good reading of each section, for when its service is away. It is remembered masked: the service that would
//! write a release down is away as well, and the next who asks may have fewer rights.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use cqm_rpc::{Clock, ResourceName};
use moka::sync::Cache;

use super::section::{NAMES, Section};
use crate::config::Customer360Config;

/// Earlier readings in the process's memory, bounded in age and weight. Clones share them.
#[derive(Clone)]
pub struct Earlier {
    sections: Cache<Key, Arc<Reading>>,
    clock: Clock,
}

type Key = (ResourceName, &'static str);

struct Reading {
    time: DateTime<Utc>,
    /// Encoded: smaller than the message, and of the same type for all sections.
    section: Bytes,
}

/// What an entry weighs beside its bytes: key, time, and the cache's own bookkeeping.
const OVERHEAD: u32 = 128;

impl Earlier {
    pub fn new(config: &Customer360Config, clock: Clock) -> Self {
        let sections = Cache::builder()
            .max_capacity(config.stale_bytes)
            .weigher(|_: &Key, reading: &Arc<Reading>| {
                u32::try_from(reading.section.len()).unwrap_or(u32::MAX).saturating_add(OVERHEAD)
            })
            .time_to_live(config.stale_limit)
            .build();
        Self { sections, clock }
    }

    pub(super) fn keep<S: Section>(&self, customer: ResourceName, section: &S) {
        let mut section = section.clone();
        section.mask(S::KINDS);
        let reading = Reading { time: self.clock.now(), section: section.encode_to_vec().into() };
        self.sections.insert((customer, S::NAME), Arc::new(reading));
    }

    /// The reading and its age.
    pub(super) fn find<S: Section>(&self, customer: ResourceName) -> Option<(S, Duration)> {
        let reading = self.sections.get(&(customer, S::NAME))?;
        let age = (self.clock.now() - reading.time).to_std().unwrap_or_default();
        Some((S::decode(reading.section.clone()).ok()?, age))
    }

    /// Drops everything that is known of a customer.
    pub(super) fn forget(&self, customer: ResourceName) {
        for name in NAMES {
            self.sections.invalidate(&(customer, *name));
        }
    }
}

#[cfg(test)]
mod tests {
    use cqm_proto::customers::v1::Customer;
    use cqm_proto::gateway::v1::{PointsSection, ProfileSection};
    use uuid::Uuid;

    use super::*;

    fn customer(number: u128) -> ResourceName {
        ResourceName::new("customers", Uuid::from_u128(number))
    }

    #[test]
    fn a_reading_is_the_customers_and_the_sections_own_and_ages() {
        let clock = Clock::fixed(DateTime::UNIX_EPOCH);
        let earlier = Earlier::new(&Customer360Config::default(), clock.clone());
        let section = ProfileSection { customer: Some(Default::default()), ..Default::default() };
        earlier.keep(customer(1), &section);
        clock.advance(Duration::from_secs(42));
        assert_eq!(earlier.find::<ProfileSection>(customer(1)), Some((section, Duration::from_secs(42))));
        assert_eq!(earlier.find::<PointsSection>(customer(1)), None);
        assert_eq!(earlier.find::<ProfileSection>(customer(2)), None);

        let person = Customer { display_name: "王丽".to_owned(), ..Default::default() };
        let section = ProfileSection { customer: Some(person), ..Default::default() };
        earlier.keep(customer(1), &section);
        let (masked, _) = earlier.find::<ProfileSection>(customer(1)).unwrap();
        assert_eq!(masked.customer.unwrap().display_name, "王*", "whoever read it may have seen more");

        earlier.forget(customer(1));
        assert_eq!(earlier.find::<ProfileSection>(customer(1)), None);
    }
}
