//! What callers write about a customer.

use chrono::{DateTime, Utc};
use cqm_proto::customers::v1 as proto;
use cqm_proto::google::r#type::Date;
use cqm_proto::options::v1::PersonalKind;
use cqm_rpc::{Personal, Violations, reason, text};

use super::words::{Wire, number};
use crate::domain::birthday::Birthday;
use crate::domain::contact::{
    DialRegion, Email, Phone, PhoneLabel, PostalAddress, e164, email, settle_primary,
};
use crate::domain::profile::{
    Gender, Locale, MAX_CONTACTS, MAX_TAGS, Profile, SourceChannel, collapse_white_space, tag,
};

const MAX_NAME: usize = 200;
const MAX_NUMBER: usize = 64;
const MAX_EMAIL: usize = 254;
const MAX_LINES: usize = 5;
const MAX_LINE: usize = 200;
const MAX_PLACE: usize = 100;
const MAX_POSTAL_CODE: usize = 16;
pub(super) const MAX_EXTERNAL_REFERENCE: usize = 128;

/// Reads the fields that `wanted` names; the others are left as in a new profile.
pub(super) fn read(
    message: &proto::Customer,
    region: DialRegion,
    now: DateTime<Utc>,
    wanted: impl Fn(&str) -> bool,
    violations: &mut Violations,
) -> Profile {
    let mut profile = Profile::default();
    if wanted("display_name") {
        let name = text::required("customer.display_name", &message.display_name, MAX_NAME, violations);
        let name = collapse_white_space(&name);
        violations.unmasked("customer.display_name", PersonalKind::Name, &name);
        profile.display_name = name.into();
    }
    if wanted("phones") {
        profile.phones = read_phones(&message.phones, region, violations);
    }
    if wanted("emails") {
        profile.emails = read_emails(&message.emails, violations);
    }
    if wanted("addresses") {
        let field = "customer.addresses";
        let addresses = bounded(field, &message.addresses, MAX_CONTACTS, violations).iter().enumerate();
        profile.addresses = addresses
            .map(|(index, address)| read_address(&format!("{field}[{index}]"), address, violations))
            .collect();
    }
    if wanted("birthday") {
        let date = message.birthday.as_ref();
        profile.birthday = date.and_then(|date| read_birthday(date, now, violations)).map(Personal::new);
    }
    if wanted("gender") {
        profile.gender = choice::<Gender>("customer.gender", message.gender, violations).map(Personal::new);
    }
    if wanted("locale") {
        profile.locale = read_locale(&message.locale, violations);
    }
    if wanted("source_channel") {
        profile.source_channel =
            choice::<SourceChannel>("customer.source_channel", message.source_channel, violations);
    }
    if wanted("tags") {
        profile.tags = read_tags(&message.tags, violations);
    }
    if wanted("external_reference") {
        let reference = text::line(
            "customer.external_reference",
            &message.external_reference,
            MAX_EXTERNAL_REFERENCE,
            violations,
        );
        profile.external_reference = Some(reference).filter(|reference| !reference.is_empty());
    }
    profile
}

/// Whether a field of the message says anything: what an absent update mask stands for.
pub(super) fn is_populated(message: &proto::Customer, field: &str) -> bool {
    match field {
        "display_name" => !message.display_name.is_empty(),
        "phones" => !message.phones.is_empty(),
        "emails" => !message.emails.is_empty(),
        "addresses" => !message.addresses.is_empty(),
        "birthday" => message.birthday.is_some(),
        "gender" => message.gender != 0,
        "locale" => !message.locale.is_empty(),
        "source_channel" => message.source_channel != 0,
        "tags" => !message.tags.is_empty(),
        "external_reference" => !message.external_reference.is_empty(),
        _ => false,
    }
}

/// The region in which national numbers are read; empty is China.
pub(super) fn read_region(code: &str, violations: &mut Violations) -> DialRegion {
    if code.is_empty() {
        return DialRegion::CHINA;
    }
    DialRegion::find(&code.to_ascii_uppercase()).unwrap_or_else(|| {
        violations.format("default_region", "a region code of ISO 3166-1 alpha-2 such as CN");
        DialRegion::CHINA
    })
}

fn read_phones(phones: &[proto::Phone], region: DialRegion, violations: &mut Violations) -> Vec<Phone> {
    let field = "customer.phones";
    let mut read: Vec<Phone> = Vec::new();
    for (index, phone) in bounded(field, phones, MAX_CONTACTS, violations).iter().enumerate() {
        let label = choice::<PhoneLabel>(&format!("{field}[{index}].label"), phone.label, violations);
        let field = format!("{field}[{index}].number");
        let Some(typed) = clean(&field, &phone.number, MAX_NUMBER, violations) else {
            continue;
        };
        if !violations.unmasked(&field, PersonalKind::Phone, &typed) {
            continue;
        }
        let Some(number) = e164(&typed, region) else {
            violations.format(&field, "a telephone number that can be dialled, without an extension");
            continue;
        };
        if read.iter().any(|other| *other.number.expose() == number) {
            violations.format(&field, "another number than those before it");
        }
        read.push(Phone { number: number.into(), label, primary: phone.primary });
    }
    if !settle_primary(&mut read, |phone| &mut phone.primary) {
        violations.format(field, "a list with at most one primary number");
    }
    read
}

fn read_emails(emails: &[proto::Email], violations: &mut Violations) -> Vec<Email> {
    let field = "customer.emails";
    let mut read: Vec<Email> = Vec::new();
    for (index, message) in bounded(field, emails, MAX_CONTACTS, violations).iter().enumerate() {
        let field = format!("{field}[{index}].address");
        let Some(typed) = clean(&field, &message.address, MAX_EMAIL, violations) else {
            continue;
        };
        if !violations.unmasked(&field, PersonalKind::Email, &typed) {
            continue;
        }
        let Some(address) = email(&typed) else {
            violations.format(&field, "an e-mail address");
            continue;
        };
        if read.iter().any(|other| *other.address.expose() == address) {
            violations.format(&field, "another address than those before it");
        }
        read.push(Email { address: address.into(), primary: message.primary });
    }
    if !settle_primary(&mut read, |email| &mut email.primary) {
        violations.format(field, "a list with at most one primary address");
    }
    read
}

fn read_address(field: &str, message: &proto::Address, violations: &mut Violations) -> PostalAddress {
    let country = text::required(&format!("{field}.country_code"), &message.country_code, 2, violations);
    let country_code = country.to_ascii_uppercase();
    let is_code = country_code.len() == 2 && country_code.bytes().all(|letter| letter.is_ascii_uppercase());
    if country.chars().count() <= 2 && !country.is_empty() && !is_code {
        violations
            .format(&format!("{field}.country_code"), "a country code of ISO 3166-1 alpha-2 such as CN");
    }
    let mut part = |name: &str, text: &str, limit| {
        let field = format!("{field}.{name}");
        let text = text::line(&field, text, limit, violations);
        violations.unmasked(&field, PersonalKind::Address, &text);
        Personal::new(text)
    };
    let region = part("region", &message.region, MAX_PLACE);
    let city = part("city", &message.city, MAX_PLACE);
    let postal_code = part("postal_code", &message.postal_code, MAX_POSTAL_CODE);
    let field = format!("{field}.lines");
    let lines = bounded(&field, &message.lines, MAX_LINES, violations).iter().enumerate();
    let lines = lines
        .map(|(index, line)| {
            let field = format!("{field}[{index}]");
            let line = text::required(&field, line, MAX_LINE, violations);
            violations.unmasked(&field, PersonalKind::Address, &line);
            line.into()
        })
        .collect();
    PostalAddress { country_code, region, city, lines, postal_code }
}

fn read_birthday(date: &Date, now: DateTime<Utc>, violations: &mut Violations) -> Option<Birthday> {
    let field = "customer.birthday";
    let part = |part: i32| u32::try_from(part).unwrap_or(0);
    let birthday = Birthday::new(Some(date.year).filter(|year| *year != 0), part(date.month), part(date.day));
    match birthday {
        None => violations.format(field, "a real day with a month and a day; year 0 = the year is not known"),
        Some(day) if day.is_future(now) => violations.range(field, "a day that has come"),
        Some(_) => {}
    }
    birthday
}

fn read_locale(text: &str, violations: &mut Violations) -> Locale {
    if text.is_empty() {
        return Locale::ZhCn;
    }
    let known = Locale::ALL.iter().copied().find(|locale| locale.name().eq_ignore_ascii_case(text));
    known.unwrap_or_else(|| {
        violations.format("customer.locale", "zh-CN or en");
        Locale::ZhCn
    })
}

fn read_tags(tags: &[String], violations: &mut Violations) -> Vec<String> {
    let field = "customer.tags";
    let mut read = Vec::new();
    for (index, text) in bounded(field, tags, MAX_TAGS, violations).iter().enumerate() {
        match tag(text) {
            Some(tag) => read.push(tag),
            None => violations.format(
                &format!("{field}[{index}]"),
                "1 to 64 characters of a-z, 0-9, \"-\", \"_\", \".\" and \":\"",
            ),
        }
    }
    read.sort();
    read.dedup();
    read
}

/// Required text that is worth a closer look: `None` when it has been refused already.
fn clean(field: &str, text: &str, limit: usize, violations: &mut Violations) -> Option<String> {
    let before = violations.len();
    let text = text::required(field, text, limit, violations);
    (violations.len() == before).then_some(text)
}

/// The part of a list that is looked at; what goes beyond the limit is one violation.
fn bounded<'a, T>(field: &str, list: &'a [T], limit: usize, violations: &mut Violations) -> &'a [T] {
    if list.len() > limit {
        violations.add(field, reason::FIELD_TOO_LONG, format!("has more than {limit} entries"));
    }
    &list[..list.len().min(limit)]
}

/// An enum that may be left out.
fn choice<W: Wire>(field: &str, number: i32, violations: &mut Violations) -> Option<W> {
    violations.optional_choice::<W::Message>(field, number).and_then(W::of)
}

pub(super) fn write(profile: &Profile) -> proto::Customer {
    proto::Customer {
        display_name: profile.display_name.expose().clone(),
        phones: profile
            .phones
            .iter()
            .map(|phone| proto::Phone {
                number: phone.number.expose().clone(),
                label: number(phone.label),
                primary: phone.primary,
            })
            .collect(),
        emails: profile
            .emails
            .iter()
            .map(|email| proto::Email { address: email.address.expose().clone(), primary: email.primary })
            .collect(),
        addresses: profile
            .addresses
            .iter()
            .map(|address| proto::Address {
                country_code: address.country_code.clone(),
                region: address.region.expose().clone(),
                city: address.city.expose().clone(),
                lines: address.lines.iter().map(|line| line.expose().clone()).collect(),
                postal_code: address.postal_code.expose().clone(),
            })
            .collect(),
        birthday: profile.birthday.as_ref().map(|birthday| {
            let day = birthday.expose();
            let part = |part: u32| i32::try_from(part).unwrap_or_default();
            Date { year: day.year().unwrap_or(0), month: part(day.month()), day: part(day.day()) }
        }),
        gender: number(profile.gender.as_ref().map(|gender| *gender.expose())),
        locale: profile.locale.name().to_owned(),
        source_channel: number(profile.source_channel),
        tags: profile.tags.clone(),
        external_reference: profile.external_reference.clone().unwrap_or_default(),
        ..Default::default()
    }
}
