//! How a customer is reached, in one form each: E.164 numbers, addresses with a lower-case domain.

use std::str::FromStr;

use cqm_rpc::Personal;
use phonenumber::{Mode, country};
use unicode_normalization::UnicodeNormalization;

cqm_rpc::words! {
    /// Where or what a telephone is.
    pub enum PhoneLabel {
        Mobile = "MOBILE",
        Home = "HOME",
        Work = "WORK",
    }
}

/// A telephone number in E.164.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phone {
    pub number: Personal<String>,
    pub label: Option<PhoneLabel>,
    pub primary: bool,
}

/// An e-mail address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email {
    pub address: Personal<String>,
    pub primary: bool,
}

/// A postal address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostalAddress {
    /// ISO 3166-1 alpha-2, upper case.
    pub country_code: String,
    pub region: Personal<String>,
    pub city: Personal<String>,
    pub lines: Vec<Personal<String>>,
    pub postal_code: Personal<String>,
}

/// The region in which numbers without a country code are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DialRegion(country::Id);

impl DialRegion {
    pub const CHINA: Self = Self(country::Id::CN);

    /// Reads an ISO 3166-1 alpha-2 code in upper case; `None` for a region without telephone numbers.
    pub fn find(code: &str) -> Option<Self> {
        country::Id::from_str(code).ok().map(Self)
    }
}

/// Reads a telephone number as people write it and returns it in E.164, or `None` when no such number can be
/// dialled. An extension is refused: E.164 has no place for it, and losing it would be silent.
pub fn e164(text: &str, region: DialRegion) -> Option<String> {
    // Full-width digits are what a Chinese keyboard types.
    let text: String = text.nfkc().collect();
    let text = text.trim();
    // An international number is read without the region: its national prefix is not that of the region.
    let region = if text.starts_with('+') { None } else { Some(region.0) };
    let number = phonenumber::parse(region, text).ok()?;
    (number.is_valid() && number.extension().is_none()).then(|| number.format().mode(Mode::E164).to_string())
}

/// Reads an e-mail address, or `None` when it is none. The domain becomes lower case; what stands before the @
/// belongs to the receiving host and stays as it is.
pub fn email(text: &str) -> Option<String> {
    let address = lettre::Address::from_str(text).ok()?;
    Some(format!("{}@{}", address.user(), address.domain().to_lowercase()))
}

/// Marks the first contact as primary when none is. `false` when several are.
pub fn settle_primary<T>(contacts: &mut [T], primary: impl Fn(&mut T) -> &mut bool) -> bool {
    let marked = contacts.iter_mut().filter_map(|contact| primary(contact).then_some(())).count();
    if marked == 0
        && let Some(first) = contacts.first_mut()
    {
        *primary(first) = true;
    }
    marked <= 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_become_e164() {
        for (text, region, expected) in [
            ("13800138000", "CN", Some("+8613800138000")),
            ("138 0013 8000", "CN", Some("+8613800138000")),
            ("１３８００１３８０００", "CN", Some("+8613800138000")),
            ("+86 138-0013-8000", "US", Some("+8613800138000")),
            ("＋８６ 13800138000", "US", Some("+8613800138000")),
            ("(010) 6552 9988", "CN", Some("+861065529988")),
            ("(212) 736-5000", "US", Some("+12127365000")),
            ("+1 212 736 5000", "CN", Some("+12127365000")),
            ("+44 20 7946 0958", "CN", Some("+442079460958")),
            ("123", "CN", None),
            ("12345678901234567890", "CN", None),
            ("+999 12345678", "CN", None),
            ("(212) 736-5000 ext. 12", "US", None),
            ("not a number", "CN", None),
            ("", "CN", None),
        ] {
            let region = DialRegion::find(region).unwrap();
            assert_eq!(e164(text, region).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn regions_are_codes_of_countries() {
        assert_eq!(DialRegion::find("CN"), Some(DialRegion::CHINA));
        assert_eq!(DialRegion::find("ZZ"), None);
        assert_eq!(DialRegion::find(""), None);
    }

    #[test]
    fn addresses_keep_their_mailbox_and_lower_their_domain() {
        for (text, expected) in [
            ("Li.Lei@Example.COM", Some("Li.Lei@example.com")),
            ("a+b@example.com", Some("a+b@example.com")),
            ("李雷@例子.中国", Some("李雷@例子.中国")),
            ("example.com", None),
            ("a@", None),
            ("@example.com", None),
            ("a b@example.com", None),
            ("a@exa mple.com", None),
            ("a@example.com, b@example.com", None),
            ("a@example.com\r\nBcc: b@example.com", None),
            ("", None),
        ] {
            assert_eq!(email(text).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn one_contact_is_primary() {
        for (given, expected, well) in [
            (vec![], vec![], true),
            (vec![false, false], vec![true, false], true),
            (vec![false, true], vec![false, true], true),
            (vec![true, true], vec![true, true], false),
        ] {
            let mut marks = given;
            assert_eq!(settle_primary(&mut marks, |mark| mark), well);
            assert_eq!(marks, expected);
        }
    }

    proptest! {
        #[test]
        fn whatever_is_typed_is_a_number_or_none(text in "[+＋0-9a-z ()xX;:=.,\\-\u{660}-\u{669}]{0,40}|\\PC{0,40}") {
            if let Some(number) = e164(&text, DialRegion::CHINA) {
                prop_assert!(number.starts_with('+') && number.len() <= 18, "{}", number);
                prop_assert_eq!(e164(&number, DialRegion::CHINA), Some(number.clone()), "one number, one form");
            }
        }

        #[test]
        fn an_address_that_was_read_is_read_again_as_itself(text in "[a-zA-Z.@\"+0-9 -]{0,30}") {
            if let Some(address) = email(&text) {
                prop_assert_eq!(email(&address), Some(address.clone()));
            }
        }
    }
}
