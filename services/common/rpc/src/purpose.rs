//! What a caller needs personal data for, as it travels in [`crate::metadata::PURPOSE`].

use std::fmt;
use std::sync::Arc;

use cqm_proto::options::v1::Purpose as Code;

use crate::{Error, Refusal, metadata, reason};

const PREFIX: &str = "PURPOSE_";
const MAX_REFERENCE: usize = 128;

/// A purpose of the contract, and what it is about in the caller's words: `complaint_handling complaints/0190...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purpose {
    pub code: Code,
    /// Printable ASCII; empty when nothing was said.
    pub reference: Arc<str>,
}

impl Purpose {
    /// Reads all values of the metadata. More than one would leave open which of them is meant.
    pub fn parse<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<Self>, Error> {
        let mut values = values.into_iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        let one = values.next().is_none();
        match std::str::from_utf8(value).ok().filter(|_| one).and_then(Self::read) {
            Some(purpose) => Ok(Some(purpose)),
            None => {
                Err(Error::Malformed(Refusal::new(reason::PURPOSE_INVALID).fact("header", metadata::PURPOSE)))
            }
        }
    }

    fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        let (word, reference) = text.split_once(' ').unwrap_or((text, ""));
        let reference = reference.trim();
        let plain = reference.len() <= MAX_REFERENCE
            && reference.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        let code = Code::from_str_name(&format!("{PREFIX}{}", word.to_ascii_uppercase()))?;
        let known = code != Code::Unspecified && name(code) == word;
        (known && plain).then(|| Self { code, reference: reference.into() })
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&name(self.code))?;
        if self.reference.is_empty() { Ok(()) } else { write!(f, " {}", self.reference) }
    }
}

/// `PURPOSE_CUSTOMER_CARE` as `customer_care`: the spelling in metadata.
fn name(code: Code) -> String {
    code.as_str_name().trim_start_matches(PREFIX).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(values: &[&str]) -> Result<Option<Purpose>, Error> {
        Purpose::parse(values.iter().map(|value| value.as_bytes()))
    }

    #[test]
    fn every_purpose_of_the_contract_survives_the_way_through_metadata() {
        for number in (1..).map_while(|number| Code::try_from(number).ok()) {
            for reference in ["", "complaints/7 and what else there is to say"] {
                let purpose = Purpose { code: number, reference: reference.into() };
                assert_eq!(parse(&[&purpose.to_string()]).unwrap(), Some(purpose));
            }
        }
        assert_eq!(parse(&[]).unwrap(), None);
    }

    #[test]
    fn what_is_no_purpose_is_refused() {
        let long = format!("customer_care {}", "x".repeat(129));
        for value in [
            "",
            " ",
            "because",
            "unspecified",
            "CUSTOMER_CARE",
            "purpose_customer_care",
            "customer_care 王丽",
            "customer_care\tx",
            &long,
        ] {
            assert_eq!(parse(&[value]).unwrap_err().reason(), reason::PURPOSE_INVALID, "{value:?}");
        }
        assert!(parse(&["customer_care", "customer_care"]).is_err(), "which of them is meant?");
        assert!(Purpose::parse([&b"customer_care \xff"[..]]).is_err());
    }
}
