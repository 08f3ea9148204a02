//! What is kept about a customer: the part that callers write.

use cqm_rpc::{Mask, Personal};

use super::birthday::Birthday;
use super::contact::{Email, Phone, PostalAddress};

/// The most telephone numbers, e-mail addresses and postal addresses, of each.
pub const MAX_CONTACTS: usize = 10;
pub const MAX_TAGS: usize = 50;

/// The paths of a profile in an update mask: the names of the fields in the contract.
pub const FIELDS: &[&str] = &[
    "display_name",
    "phones",
    "emails",
    "addresses",
    "birthday",
    "gender",
    "locale",
    "source_channel",
    "tags",
    "external_reference",
];

cqm_rpc::words! {
    /// A gender, as the customer gave it.
    pub enum Gender {
        Female = "FEMALE",
        Male = "MALE",
        Other = "OTHER",
    }
}

cqm_rpc::words! {
    /// How a customer came to be known.
    pub enum SourceChannel {
        OnlineRegistration = "ONLINE_REGISTRATION",
        Questionnaire = "QUESTIONNAIRE",
        SocialMedia = "SOCIAL_MEDIA",
        Interview = "INTERVIEW",
        MarketResearch = "MARKET_RESEARCH",
        WebCapture = "WEB_CAPTURE",
        Complaint = "COMPLAINT",
        Import = "IMPORT",
    }
}

cqm_rpc::words! {
    /// A language that the suite writes to customers in, as a BCP 47 tag.
    pub enum Locale {
        ZhCn = "zh-CN",
        En = "en",
    }
}

/// What callers say about a customer, every value in its one form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    pub display_name: Personal<String>,
    pub phones: Vec<Phone>,
    pub emails: Vec<Email>,
    pub addresses: Vec<PostalAddress>,
    pub birthday: Option<Personal<Birthday>>,
    pub gender: Option<Personal<Gender>>,
    pub locale: Locale,
    pub source_channel: Option<SourceChannel>,
    /// Sorted, each once.
    pub tags: Vec<String>,
    /// The customer's id in the system that the record came from. Unique, and no personal data.
    pub external_reference: Option<String>,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            display_name: Personal::default(),
            phones: Vec::new(),
            emails: Vec::new(),
            addresses: Vec::new(),
            birthday: None,
            gender: None,
            locale: Locale::ZhCn,
            source_channel: None,
            tags: Vec::new(),
            external_reference: None,
        }
    }
}

impl Profile {
    /// Takes the fields that the mask names from `other`.
    pub fn overwrite(&mut self, other: &Self, mask: &Mask) {
        macro_rules! take {
            ($($field:ident)+) => {
                $(if mask.has(stringify!($field)) {
                    self.$field.clone_from(&other.$field);
                })+
            };
        }
        take!(display_name phones emails addresses birthday gender locale source_channel tags external_reference);
    }

    /// What is left when the person must be forgotten: nothing about them. The external reference stays, so that a
    /// repeated import does not bring them back; how they came to be known and their language say nothing about
    /// anybody.
    pub fn erased(&self) -> Self {
        Self {
            locale: self.locale,
            source_channel: self.source_channel,
            external_reference: self.external_reference.clone(),
            ..Self::default()
        }
    }
}

/// A name as it is kept: one space between words, whatever white space was typed.
pub fn collapse_white_space(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A tag as it is kept, or `None` when it is none: 1-64 of a-z, 0-9, "-", "_", "." and ":".
pub fn tag(text: &str) -> Option<String> {
    let tag = text.trim().to_ascii_lowercase();
    let allowed =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.' | ':');
    ((1..=64).contains(&tag.len()) && tag.chars().all(allowed)).then_some(tag)
}

#[cfg(test)]
mod tests {
    use cqm_rpc::Violations;

    use super::*;

    fn mask(paths: &[&str]) -> Mask {
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        let mut violations = Violations::default();
        let mask = Mask::parse(Some(&paths), FIELDS, |_| false, &mut violations);
        assert!(violations.is_empty());
        mask
    }

    fn full() -> Profile {
        Profile {
            display_name: "Li Lei".to_owned().into(),
            phones: vec![Phone { number: "+8613800138000".to_owned().into(), label: None, primary: true }],
            emails: vec![Email { address: "a@example.com".to_owned().into(), primary: true }],
            addresses: vec![PostalAddress {
                country_code: "CN".into(),
                region: Personal::default(),
                city: "Beijing".to_owned().into(),
                lines: vec![],
                postal_code: Personal::default(),
            }],
            birthday: Birthday::new(None, 2, 29).map(Personal::new),
            gender: Some(Gender::Male.into()),
            locale: Locale::En,
            source_channel: Some(SourceChannel::Interview),
            tags: vec!["vip".into()],
            external_reference: Some("cdnow/00004".into()),
        }
    }

    #[test]
    fn every_field_can_be_overwritten_alone() {
        for field in FIELDS {
            let mut profile = Profile::default();
            profile.overwrite(&full(), &mask(&[field]));
            assert_ne!(profile, Profile::default(), "{field}");
            profile.overwrite(&Profile::default(), &mask(&[field]));
            assert_eq!(profile, Profile::default(), "{field}");
        }
        let mut profile = Profile::default();
        profile.overwrite(&full(), &mask(&["*"]));
        assert_eq!(profile, full());
    }

    #[test]
    fn nothing_about_the_person_is_left_after_erasure() {
        let erased = full().erased();
        let expected = Profile {
            locale: Locale::En,
            source_channel: Some(SourceChannel::Interview),
            external_reference: Some("cdnow/00004".into()),
            ..Profile::default()
        };
        assert_eq!(erased, expected);
    }

    #[test]
    fn tags_have_one_form() {
        for (text, expected) in [
            ("vip", Some("vip")),
            (" VIP ", Some("vip")),
            ("tier:gold-2.1_x", Some("tier:gold-2.1_x")),
            ("", None),
            ("two words", None),
            ("高价值", None),
            ("a/b", None),
        ] {
            assert_eq!(tag(text).as_deref(), expected, "{text:?}");
        }
        assert!(tag(&"a".repeat(64)).is_some());
        assert!(tag(&"a".repeat(65)).is_none());
    }

    #[test]
    fn words_of_a_name_stand_one_space_apart() {
        assert_eq!(collapse_white_space(" Li \u{3000}\u{a0} Lei "), "Li Lei");
        assert_eq!(collapse_white_space(" \u{3000} "), "");
    }

    #[test]
    fn a_profile_prints_nothing_personal() {
        let printed = format!("{:?}", full());
        for planted in ["Li Lei", "13800138000", "a@example.com", "Beijing", "Male", "29"] {
            assert!(!printed.contains(planted), "{planted} in {printed}");
        }
    }
}
