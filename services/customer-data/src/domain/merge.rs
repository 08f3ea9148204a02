//! One person under two names: asked for, the survivor's here at once, receipted by every service.
//!
//! Nothing can stand in the way and nothing undoes it, so that there is one round: every service gives what it has to the
//! name that stays, whenever it is told.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::contact::settle_primary;
use super::profile::{MAX_CONTACTS, MAX_TAGS, Profile};
use super::receipt::{Holder, Receipt};

cqm_rpc::words! {
    pub enum State {
        /// Not every service has given its receipt.
        Merging = "MERGING",
        Merged = "MERGED",
    }
}

/// What one service has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// How many records became the survivor's.
    pub receipt: Receipt,
    pub time: DateTime<Utc>,
}

/// What is told to the services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    Begun,
    Finished,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merge {
    /// Whose name goes.
    pub customer: Uuid,
    /// Whose name stays.
    pub survivor: Uuid,
    pub state: State,
    pub requester: String,
    /// Grows by one with every change.
    pub version: i64,
    pub steps: BTreeMap<Holder, Step>,
    pub create_time: DateTime<Utc>,
    pub update_time: DateTime<Utc>,
    pub finish_time: Option<DateTime<Utc>>,
}

impl Merge {
    /// Its event is [`Happened::Begun`].
    pub fn begin(customer: Uuid, survivor: Uuid, requester: String, now: DateTime<Utc>) -> Self {
        Self {
            customer,
            survivor,
            state: State::Merging,
            requester,
            version: 1,
            steps: BTreeMap::new(),
            create_time: now,
            update_time: now,
            finish_time: None,
        }
    }

    /// Takes a service's receipt, unless it is there: `None` then. Otherwise what is to be told now.
    pub fn record(&mut self, holder: Holder, step: Step, now: DateTime<Utc>) -> Option<Option<Happened>> {
        if self.steps.contains_key(&holder) {
            return None;
        }
        self.steps.insert(holder, step);
        self.version += 1;
        self.update_time = now;
        if self.steps.len() < Holder::ALL.len() {
            return Some(None);
        }
        self.state = State::Merged;
        self.finish_time = Some(now);
        Some(Some(Happened::Finished))
    }
}

/// What is known of one person from what two names say. What the survivor says of themselves stays; what they do not say is
/// taken from the other one; lists have first what is the survivor's, then what is new, as far as there is room.
pub fn united(survivor: &Profile, other: &Profile) -> Profile {
    let mut phones = survivor.phones.clone();
    add(&mut phones, &other.phones, MAX_CONTACTS, |one, other| one.number == other.number);
    keep_primary(&mut phones, survivor.phones.len(), |phone| &mut phone.primary);
    let mut emails = survivor.emails.clone();
    add(&mut emails, &other.emails, MAX_CONTACTS, |one, other| one.address == other.address);
    keep_primary(&mut emails, survivor.emails.len(), |email| &mut email.primary);
    let mut addresses = survivor.addresses.clone();
    add(&mut addresses, &other.addresses, MAX_CONTACTS, PartialEq::eq);
    let mut tags = survivor.tags.clone();
    add(&mut tags, &other.tags, MAX_TAGS, PartialEq::eq);
    tags.sort();
    Profile {
        display_name: survivor.display_name.clone(),
        phones,
        emails,
        addresses,
        birthday: survivor.birthday.clone().or_else(|| other.birthday.clone()),
        gender: survivor.gender.clone().or_else(|| other.gender.clone()),
        // Everybody has one, so that the survivor always says it.
        locale: survivor.locale,
        source_channel: survivor.source_channel.or(other.source_channel),
        tags,
        external_reference: survivor.external_reference.clone().or_else(|| other.external_reference.clone()),
    }
}

/// Adds what is not there yet, up to the limit.
fn add<T: Clone>(list: &mut Vec<T>, more: &[T], limit: usize, same: impl Fn(&T, &T) -> bool) {
    for item in more {
        if list.len() < limit && !list.iter().any(|there| same(there, item)) {
            list.push(item.clone());
        }
    }
}

/// The first `own` say which one is primary; without any of them, the others do.
fn keep_primary<T>(list: &mut [T], own: usize, primary: impl Fn(&mut T) -> &mut bool) {
    if own > 0 {
        for added in &mut list[own..] {
            *primary(added) = false;
        }
    }
    settle_primary(list, primary);
}

#[cfg(test)]
mod tests {
    use cqm_rpc::Personal;

    use super::*;
    use crate::domain::birthday::Birthday;
    use crate::domain::contact::{Email, Phone, PhoneLabel, PostalAddress};
    use crate::domain::profile::{Gender, Locale, SourceChannel};

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn step() -> Step {
        Step { receipt: Receipt::new(), time: NOW }
    }

    #[test]
    fn it_is_done_with_the_last_receipt_and_told_once() {
        let mut it = Merge::begin(Uuid::from_u128(1), Uuid::from_u128(2), "staff-7".into(), NOW);
        let mut told = Vec::new();
        for holder in Holder::ALL {
            assert_eq!((it.state, it.finish_time), (State::Merging, None));
            told.push(it.record(*holder, step(), NOW));
        }
        assert_eq!(told.pop(), Some(Some(Some(Happened::Finished))));
        assert_eq!(told, [Some(None); 4]);
        assert_eq!((it.state, it.finish_time, it.version), (State::Merged, Some(NOW), 6));
        let before = it.clone();
        assert_eq!(it.record(Holder::Surveys, step(), NOW), None);
        assert_eq!(it, before);
    }

    fn phone(number: &str, primary: bool) -> Phone {
        Phone { number: number.to_owned().into(), label: None, primary }
    }

    fn email(address: &str, primary: bool) -> Email {
        Email { address: address.to_owned().into(), primary }
    }

    fn address(city: &str) -> PostalAddress {
        PostalAddress {
            country_code: "CN".into(),
            region: Personal::default(),
            city: city.to_owned().into(),
            lines: vec![],
            postal_code: Personal::default(),
        }
    }

    fn named(name: &str) -> Profile {
        Profile { display_name: name.to_owned().into(), ..Profile::default() }
    }

    fn full() -> Profile {
        Profile {
            phones: vec![phone("+8613800138000", false), phone("+8613800138001", true)],
            emails: vec![email("a@example.com", true)],
            addresses: vec![address("Beijing")],
            birthday: Birthday::new(None, 2, 29).map(Personal::new),
            gender: Some(Gender::Male.into()),
            locale: Locale::En,
            source_channel: Some(SourceChannel::Interview),
            tags: vec!["b2c".into(), "vip".into()],
            external_reference: Some("crm/7".into()),
            ..named("Li Lei")
        }
    }

    #[test]
    fn who_says_nothing_is_known_by_what_the_other_name_says() {
        let expected = Profile { locale: Locale::ZhCn, ..full() };
        assert_eq!(united(&named("Li Lei"), &full()), expected);
    }

    #[test]
    fn what_the_survivor_says_stays() {
        assert_eq!(united(&full(), &named("Lei Li")), full());
        let other = Profile {
            phones: vec![Phone { label: Some(PhoneLabel::Work), ..phone("+8613800138000", true) }],
            emails: vec![email("b@example.com", true)],
            addresses: vec![address("Beijing"), address("Shanghai")],
            birthday: Birthday::new(Some(1990), 3, 1).map(Personal::new),
            gender: Some(Gender::Female.into()),
            locale: Locale::ZhCn,
            source_channel: Some(SourceChannel::Import),
            tags: vec!["a".into(), "vip".into()],
            external_reference: Some("crm/8".into()),
            ..named("Lei Li")
        };
        let expected = Profile {
            emails: vec![email("a@example.com", true), email("b@example.com", false)],
            addresses: vec![address("Beijing"), address("Shanghai")],
            tags: vec!["a".into(), "b2c".into(), "vip".into()],
            ..full()
        };
        assert_eq!(united(&full(), &other), expected);
        assert_eq!(united(&expected, &other), expected, "once more changes nothing");
    }

    #[test]
    fn lists_are_united_up_to_their_limits() {
        let numbers = |from: usize, count: usize| -> Vec<Phone> {
            (from..from + count).map(|it| phone(&format!("+861380013{it:04}"), it == from)).collect()
        };
        let tags = |from: usize, count: usize| -> Vec<String> {
            (from..from + count).map(|it| format!("tag-{it:03}")).collect()
        };
        let survivor = Profile { phones: numbers(100, 8), tags: tags(100, 49), ..named("Li Lei") };
        let other = Profile { phones: numbers(0, 5), tags: tags(0, 3), ..named("Lei Li") };
        let united = united(&survivor, &other);
        assert_eq!(united.phones[..8], survivor.phones);
        assert_eq!(united.phones.len(), MAX_CONTACTS);
        assert_eq!(united.phones.iter().filter(|phone| phone.primary).count(), 1);
        assert_eq!(united.tags.len(), MAX_TAGS);
        assert!(united.tags.is_sorted() && survivor.tags.iter().all(|tag| united.tags.contains(tag)));
    }
}
