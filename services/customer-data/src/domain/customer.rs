//! A customer's record: created, changed, deleted.

use chrono::{DateTime, Utc};
use cqm_rpc::{Mask, ResourceName};
use uuid::Uuid;

use super::merge::united;
use super::profile::Profile;

pub const COLLECTION: &str = "customers";

/// A customer, or the tombstone of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Customer {
    pub id: Uuid,
    /// Goes up by one with every event.
    pub version: i64,
    pub profile: Profile,
    pub create_time: DateTime<Utc>,
    pub update_time: DateTime<Utc>,
    /// Set = a tombstone.
    pub delete_time: Option<DateTime<Utc>>,
}

/// What happened to a customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CustomerEvent {
    Created,
    Updated,
    Deleted,
}

impl Customer {
    /// A new customer, at version 1. Its event is [`CustomerEvent::Created`].
    pub fn create(id: Uuid, profile: Profile, now: DateTime<Utc>) -> Self {
        Self { id, version: 1, profile, create_time: now, update_time: now, delete_time: None }
    }

    pub fn name(&self) -> ResourceName {
        ResourceName::new(COLLECTION, self.id)
    }

    /// Takes over the fields that the mask names. `None` when that changes nothing.
    pub fn change(&mut self, profile: &Profile, mask: &Mask, now: DateTime<Utc>) -> Option<CustomerEvent> {
        let mut next = self.profile.clone();
        next.overwrite(profile, mask);
        if next == self.profile {
            return None;
        }
        self.profile = next;
        self.touch(now);
        Some(CustomerEvent::Updated)
    }

    /// Forgets the person and leaves the tombstone.
    pub fn delete(&mut self, now: DateTime<Utc>) -> CustomerEvent {
        self.profile = self.profile.erased();
        self.delete_time = Some(now);
        self.touch(now);
        CustomerEvent::Deleted
    }

    /// Takes over what is known of the same person under another name. The other one is a tombstone from then on, which
    /// keeps its external reference when this customer has one of their own: it leads here.
    pub fn absorb(&mut self, other: &mut Self, now: DateTime<Utc>) -> CustomerEvent {
        self.profile = united(&self.profile, &other.profile);
        self.touch(now);
        other.delete(now);
        if other.profile.external_reference == self.profile.external_reference {
            other.profile.external_reference = None;
        }
        CustomerEvent::Updated
    }

    fn touch(&mut self, now: DateTime<Utc>) {
        self.version += 1;
        self.update_time = now;
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use cqm_rpc::Violations;

    use super::*;
    use crate::domain::profile::FIELDS;

    fn at(minute: i64) -> DateTime<Utc> {
        "2026-11-02T00:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::minutes(minute)
    }

    fn named(name: &str) -> Profile {
        Profile { display_name: name.to_owned().into(), tags: vec!["vip".into()], ..Profile::default() }
    }

    #[test]
    fn a_change_makes_a_version_only_when_something_differs() {
        let mask = Mask::parse(Some(&["display_name".into()]), FIELDS, |_| false, &mut Violations::default());
        let mut customer = Customer::create(Uuid::now_v7(), named("Li Lei"), at(0));
        assert_eq!((customer.version, customer.update_time), (1, at(0)));

        assert_eq!(customer.change(&named("Li Lei"), &mask, at(1)), None);
        assert_eq!((customer.version, customer.update_time), (1, at(0)));

        let other = Profile { tags: vec![], ..named("Han Meimei") };
        assert_eq!(customer.change(&other, &mask, at(2)), Some(CustomerEvent::Updated));
        assert_eq!((customer.version, customer.create_time, customer.update_time), (2, at(0), at(2)));
        assert_eq!(customer.profile, named("Han Meimei"), "what the mask does not name stays");
    }

    #[test]
    fn an_external_reference_has_one_owner_after_a_merge() {
        let referenced = |reference: Option<&str>| {
            let profile = Profile { external_reference: reference.map(str::to_owned), ..named("Li Lei") };
            Customer::create(Uuid::now_v7(), profile, at(0))
        };
        for (own, others, after) in [
            (Some("crm/1"), Some("crm/2"), (Some("crm/1"), Some("crm/2"))),
            (None, Some("crm/2"), (Some("crm/2"), None)),
            (Some("crm/1"), None, (Some("crm/1"), None)),
            (None, None, (None, None)),
        ] {
            let (mut survivor, mut other) = (referenced(own), referenced(others));
            assert_eq!(survivor.absorb(&mut other, at(1)), CustomerEvent::Updated);
            let references =
                [&survivor, &other].map(|customer| customer.profile.external_reference.as_deref());
            assert_eq!((references[0], references[1]), after);
            assert_eq!((survivor.version, survivor.delete_time), (2, None));
            assert_eq!((other.version, other.delete_time), (2, Some(at(1))));
            assert_eq!(other.profile.display_name, Profile::default().display_name);
        }
    }

    #[test]
    fn deleting_leaves_a_tombstone() {
        let mut customer = Customer::create(Uuid::now_v7(), named("Li Lei"), at(0));
        assert_eq!(customer.delete(at(1)), CustomerEvent::Deleted);
        assert_eq!((customer.version, customer.delete_time), (2, Some(at(1))));
        assert_eq!(customer.profile, Profile::default());
    }
}
