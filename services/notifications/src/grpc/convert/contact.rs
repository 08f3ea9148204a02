//! Contacts.

use std::str::FromStr;

use chrono::DateTime;
use cqm_proto::notifications::v1 as proto;
use cqm_rpc::time::wire;
use cqm_rpc::{Error, Personal, ResourceName, Violations, text};

use crate::domain::contact::Contact;
use crate::domain::template::DEFAULT_LOCALE;
use crate::{CONTACTS, CUSTOMERS};

const MAX_DISPLAY_NAME: usize = 200;
const MAX_EMAIL: usize = 254;
const MAX_PHONE: usize = 32;
const MAX_LOCALE: usize = 35;

/// A contact that is complete but for its time. Of a deleted customer nothing is kept, whatever the call says.
pub(crate) fn put(message: &proto::PutContactRequest) -> Result<Contact, Error> {
    let mut violations = Violations::default();
    let Some(given) = &message.contact else {
        violations.required("contact");
        return Err(Error::Invalid(violations));
    };
    let customer = ResourceName::parse(CUSTOMERS, "contact.customer", &given.customer, &mut violations);
    let name = ResourceName::parse_optional(CONTACTS, "contact.name", &given.name, &mut violations);
    if let (Some(customer), Some(name)) = (customer, name)
        && customer.id() != name.id()
    {
        violations.format("contact.name", "the contact of the customer");
    }
    if given.customer_version < 1 {
        violations.range("contact.customer_version", "1 or more");
    }
    let display_name =
        text::line("contact.display_name", &given.display_name, MAX_DISPLAY_NAME, &mut violations);
    let email = text::line("contact.email", &given.email, MAX_EMAIL, &mut violations);
    if !email.is_empty() && lettre::Address::from_str(&email).is_err() {
        violations.format("contact.email", "an e-mail address");
    }
    let phone = text::line("contact.phone", &given.phone, MAX_PHONE, &mut violations);
    if !phone.is_empty() && !is_e164(&phone) {
        violations.format("contact.phone", "a telephone number in E.164");
    }
    if !given.locale.is_empty() && !is_language_tag(&given.locale) {
        violations.format("contact.locale", "a BCP 47 tag");
    }
    violations.finish()?;
    let kept = |text: String| (!text.is_empty() && !given.deleted).then(|| Personal::new(text));
    Ok(Contact {
        customer_id: customer.expect("no violation means that there is a customer").id(),
        customer_version: given.customer_version,
        deleted: given.deleted,
        display_name: kept(display_name).unwrap_or_default(),
        email: kept(email),
        phone: kept(phone),
        locale: if given.locale.is_empty() { DEFAULT_LOCALE.to_owned() } else { given.locale.clone() },
        update_time: DateTime::UNIX_EPOCH,
    })
}

pub(crate) fn name(name: &str) -> Result<ResourceName, Error> {
    super::name(CONTACTS, name)
}

pub(crate) fn answer(it: &Contact) -> proto::Contact {
    let clear = |value: &Option<Personal<String>>| value.as_ref().map(|value| value.expose().clone());
    proto::Contact {
        name: ResourceName::new(CONTACTS, it.customer_id).to_string(),
        customer: ResourceName::new(CUSTOMERS, it.customer_id).to_string(),
        customer_version: it.customer_version,
        display_name: it.display_name.expose().clone(),
        email: clear(&it.email).unwrap_or_default(),
        phone: clear(&it.phone).unwrap_or_default(),
        locale: it.locale.clone(),
        deleted: it.deleted,
        update_time: Some(wire(it.update_time)),
    }
}

fn is_e164(text: &str) -> bool {
    text.strip_prefix('+')
        .is_some_and(|digits| (3..=15).contains(&digits.len()) && digits.bytes().all(|c| c.is_ascii_digit()))
}

/// The form of a tag; whether there is such a language is not asked.
fn is_language_tag(text: &str) -> bool {
    let part = |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|c| c.is_ascii_alphanumeric());
    text.len() <= MAX_LOCALE
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.split('-').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_languages_have_their_form() {
        for (text, good) in
            [("+8613800138000", true), ("13800138000", false), ("+", false), ("+86 138", false)]
        {
            assert_eq!(is_e164(text), good, "{text}");
        }
        for (text, good) in [
            ("zh-CN", true),
            ("en", true),
            ("zh-Hans-CN", true),
            ("zh_CN", false),
            ("-", false),
            ("en-", false),
        ] {
            assert_eq!(is_language_tag(text), good, "{text}");
        }
    }
}
