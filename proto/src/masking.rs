//! Personal data in answers: of which kinds it is, what its masks look like, and whom an answer is about.
//!
//! What a field is stands in the contract (`cqm.options.v1.personal_kind`), and the code that masks a message is
//! generated from it. A mask keeps enough for somebody who knows the person to recognise them, and is its own mask: a
//! masked value that comes back in a request is told from a real one by [`is_masked`].

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{BitAnd, BitOr, Sub};

use crate::options::v1::PersonalKind;

const STARS: &str = "***";
/// What stays of a telephone number: the sign with the first digits of the country, and the last digits.
const PHONE_HEAD: usize = 3;
const PHONE_TAIL: usize = 4;

/// A message of the suite, as far as it tells about people. Implemented for every message of the contracts.
pub trait PersonalData {
    /// The kinds of personal data that it can hold.
    const KINDS: Kinds = Kinds::NONE;

    /// Replaces what is of these kinds by its mask.
    fn mask(&mut self, kinds: Kinds) {
        let _ = kinds;
    }

    /// Adds the names of the resources whose personal data it holds.
    fn subjects(&self, subjects: &mut Subjects) {
        let _ = subjects;
    }
}

/// The answer of somebody who may have been refused by another.
impl<A: PersonalData, E> PersonalData for Result<A, E> {
    const KINDS: Kinds = A::KINDS;

    fn mask(&mut self, kinds: Kinds) {
        if let Ok(answer) = self {
            answer.mask(kinds);
        }
    }

    fn subjects(&self, subjects: &mut Subjects) {
        if let Ok(answer) = self {
            answer.subjects(subjects);
        }
    }
}

/// A set of kinds of personal data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds(u32);

impl Kinds {
    pub const NONE: Self = Self(0);

    pub const fn of(kinds: &[PersonalKind]) -> Self {
        let (mut bits, mut index) = (0, 0);
        while index < kinds.len() {
            bits |= 1 << kinds[index] as u32;
            index += 1;
        }
        Self(bits)
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub const fn has(self, kind: PersonalKind) -> bool {
        self.0 & (1 << kind as u32) != 0
    }

    /// Whether the sets have a kind in common.
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub fn iter(self) -> impl Iterator<Item = PersonalKind> {
        (1..u32::BITS as i32)
            .filter_map(|number| PersonalKind::try_from(number).ok())
            .filter(move |kind| self.has(*kind))
    }
}

impl BitOr for Kinds {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Kinds {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Sub for Kinds {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// Whose personal data an answer holds, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subjects {
    /// The resources, such as `complaints/{uuid}`.
    pub resources: BTreeSet<String>,
    /// The customers that they are about, `customers/{uuid}`.
    pub customers: BTreeSet<String>,
}

impl Subjects {
    /// `customer` may be empty: what belongs to a customer is named after them.
    fn add(&mut self, resource: &str, customer: &str) {
        if resource.is_empty() {
            return;
        }
        self.resources.insert(resource.to_owned());
        let owner = match customer {
            "" => resource.strip_prefix("customers/").map(|rest| match rest.find('/') {
                Some(end) => &resource[.."customers/".len() + end],
                None => resource,
            }),
            named => Some(named),
        };
        self.customers.extend(owner.map(str::to_owned));
    }
}

/// Whether the text is what a mask of this kind looks like: a caller has sent back what they were shown.
pub fn is_masked(kind: PersonalKind, text: &str) -> bool {
    text.contains('*') && masked(kind, text) == text
}

/// The text as callers without the right to it see it.
pub fn masked(kind: PersonalKind, text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    match kind {
        PersonalKind::Name => text.split(' ').map(word).collect::<Vec<_>>().join(" "),
        PersonalKind::Phone => phone(text),
        PersonalKind::Email => match text.rsplit_once('@') {
            Some((local, domain)) => format!("{}@{domain}", start(local)),
            None => STARS.to_owned(),
        },
        PersonalKind::Address => start(text),
        PersonalKind::Attribute => String::new(),
        PersonalKind::Unspecified | PersonalKind::Text | PersonalKind::Secret => STARS.to_owned(),
    }
}

fn word(word: &str) -> String {
    let mut letters = word.chars();
    match (letters.next(), letters.next()) {
        (Some(first), Some(_)) => format!("{first}*"),
        (Some(_), None) => "*".to_owned(),
        (None, _) => String::new(),
    }
}

/// The first letter, where there are others.
fn start(text: &str) -> String {
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(first), Some(_)) if text != STARS => format!("{first}{STARS}"),
        _ => STARS.to_owned(),
    }
}

fn phone(text: &str) -> String {
    let length = text.chars().count();
    // Of a short number nothing would be left to hide.
    let (head, tail) = if length > 2 * PHONE_TAIL { (PHONE_HEAD, PHONE_TAIL) } else { (0, 2) };
    let hidden = |index| index >= head && index + tail < length;
    text.chars().enumerate().map(|(index, letter)| if hidden(index) { '*' } else { letter }).collect()
}

/// Texts that are masked where they stand.
trait Hide {
    fn hide(&mut self, kind: PersonalKind);
}

impl Hide for String {
    fn hide(&mut self, kind: PersonalKind) {
        *self = masked(kind, self);
    }
}

impl Hide for Option<String> {
    fn hide(&mut self, kind: PersonalKind) {
        self.iter_mut().for_each(|text| text.hide(kind));
    }
}

impl Hide for Vec<String> {
    fn hide(&mut self, kind: PersonalKind) {
        self.iter_mut().for_each(|text| text.hide(kind));
    }
}

impl<K> Hide for BTreeMap<K, String> {
    fn hide(&mut self, kind: PersonalKind) {
        self.values_mut().for_each(|text| text.hide(kind));
    }
}

include!(concat!(env!("OUT_DIR"), "/masks.rs"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_keeps_enough_to_recognise_somebody_by() {
        for (kind, text, mask) in [
            (PersonalKind::Name, "张三丰", "张*"),
            (PersonalKind::Name, "Li Na", "L* N*"),
            (PersonalKind::Name, "王", "*"),
            (PersonalKind::Phone, "+8613800134321", "+86*******4321"),
            (PersonalKind::Phone, "12345", "***45"),
            (PersonalKind::Email, "anna@example.com", "a***@example.com"),
            (PersonalKind::Email, "a@example.com", "***@example.com"),
            (PersonalKind::Email, "no address", "***"),
            (PersonalKind::Address, "杭州市", "杭***"),
            (PersonalKind::Address, "x", "***"),
            (PersonalKind::Attribute, "anything", ""),
            (PersonalKind::Text, "the whole story", "***"),
            (PersonalKind::Secret, "token", "***"),
            (PersonalKind::Name, "", ""),
        ] {
            assert_eq!(masked(kind, text), mask, "{text}");
        }
    }

    #[test]
    fn a_mask_is_told_from_what_people_are_called() {
        for (kind, text) in [
            (PersonalKind::Name, "张三丰"),
            (PersonalKind::Name, "Li Na"),
            (PersonalKind::Name, "王"),
            (PersonalKind::Phone, "+8613800134321"),
            (PersonalKind::Email, "anna@example.com"),
            (PersonalKind::Email, "a@example.com"),
            (PersonalKind::Address, "杭州市"),
            (PersonalKind::Text, "the whole story"),
        ] {
            assert!(is_masked(kind, &masked(kind, text)), "{text}");
            assert!(!is_masked(kind, text), "{text}");
        }
        for (kind, text) in [
            (PersonalKind::Name, "E*TRADE"),
            (PersonalKind::Name, "Moto* rola"),
            (PersonalKind::Email, "a*b@example.com"),
            (PersonalKind::Text, "*** was written on the box"),
        ] {
            assert!(!is_masked(kind, text), "{text}");
        }
    }

    #[test]
    fn sets_of_kinds_are_sets() {
        let both = Kinds::of(&[PersonalKind::Name, PersonalKind::Text]);
        let text = Kinds::of(&[PersonalKind::Text]);
        assert_eq!(both - text, Kinds::of(&[PersonalKind::Name]));
        assert_eq!(both & text, text);
        assert_eq!((both - text) | text, both);
        assert!(both.meets(text) && !(both - text).meets(text) && (text - both).is_empty());
        assert_eq!(both.iter().collect::<Vec<_>>(), [PersonalKind::Name, PersonalKind::Text]);
    }

    #[test]
    fn what_belongs_to_a_customer_is_found_under_them() {
        let mut subjects = Subjects::default();
        subjects.add("customers/1/interactions/2", "");
        subjects.add("customers/3", "");
        subjects.add("complaints/4", "customers/5");
        subjects.add("templates/6", "");
        subjects.add("", "customers/7");
        let customers: Vec<&str> = subjects.customers.iter().map(String::as_str).collect();
        assert_eq!(customers, ["customers/1", "customers/3", "customers/5"]);
        assert_eq!(subjects.resources.len(), 4);
    }
}
