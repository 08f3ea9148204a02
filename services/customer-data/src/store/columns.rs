//! The columns that hold more than one value, or a word of a closed set.

use cqm_db::known;
use cqm_rpc::{Error, Personal};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::contact::{Email, Phone, PhoneLabel, PostalAddress};

#[derive(Serialize, Deserialize)]
struct PhoneColumn {
    number: String,
    label: Option<String>,
    primary: bool,
}

#[derive(Serialize, Deserialize)]
struct EmailColumn {
    address: String,
    primary: bool,
}

#[derive(Serialize, Deserialize)]
struct AddressColumn {
    country_code: String,
    region: String,
    city: String,
    lines: Vec<String>,
    postal_code: String,
}

pub fn write_phones(phones: &[Phone]) -> Result<Value, Error> {
    write(phones.iter().map(|phone| PhoneColumn {
        number: phone.number.expose().clone(),
        label: phone.label.map(|label| label.name().to_owned()),
        primary: phone.primary,
    }))
}

pub fn read_phones(column: Value) -> Result<Vec<Phone>, Error> {
    read::<PhoneColumn>("customers.phones", column)?
        .into_iter()
        .map(|phone| {
            Ok(Phone {
                number: phone.number.into(),
                label: phone
                    .label
                    .map(|label| known("customers.phones.label", &label, PhoneLabel::find))
                    .transpose()?,
                primary: phone.primary,
            })
        })
        .collect()
}

pub fn write_emails(emails: &[Email]) -> Result<Value, Error> {
    write(
        emails
            .iter()
            .map(|email| EmailColumn { address: email.address.expose().clone(), primary: email.primary }),
    )
}

pub fn read_emails(column: Value) -> Result<Vec<Email>, Error> {
    let emails = read::<EmailColumn>("customers.emails", column)?;
    Ok(emails
        .into_iter()
        .map(|email| Email { address: email.address.into(), primary: email.primary })
        .collect())
}

pub fn write_addresses(addresses: &[PostalAddress]) -> Result<Value, Error> {
    write(addresses.iter().map(|address| AddressColumn {
        country_code: address.country_code.clone(),
        region: address.region.expose().clone(),
        city: address.city.expose().clone(),
        lines: address.lines.iter().map(|line| line.expose().clone()).collect(),
        postal_code: address.postal_code.expose().clone(),
    }))
}

pub fn read_addresses(column: Value) -> Result<Vec<PostalAddress>, Error> {
    let addresses = read::<AddressColumn>("customers.addresses", column)?;
    Ok(addresses
        .into_iter()
        .map(|address| PostalAddress {
            country_code: address.country_code,
            region: address.region.into(),
            city: address.city.into(),
            lines: address.lines.into_iter().map(Personal::new).collect(),
            postal_code: address.postal_code.into(),
        })
        .collect())
}

fn write<T: Serialize>(values: impl Iterator<Item = T>) -> Result<Value, Error> {
    values
        .map(serde_json::to_value)
        .collect::<Result<Vec<_>, _>>()
        .map(Value::Array)
        .map_err(|error| Error::internal(without_value(&error)))
}

fn read<T: DeserializeOwned>(column: &'static str, value: Value) -> Result<Vec<T>, Error> {
    serde_json::from_value(value)
        .map_err(|error| Error::internal(format!("{column}: {}", without_value(&error))))
}

/// serde's messages quote the value they stumbled over, which is personal data here.
fn without_value(error: &serde_json::Error) -> String {
    format!("{:?} error", error.classify())
}
