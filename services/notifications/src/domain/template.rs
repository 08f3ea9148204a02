//! Templates: what kinds of messages say, in the suite's languages.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use cqm_rpc::Personal;

use super::message::Channel;
use super::text::{self, Fault, Unrenderable, Variables};

/// The language that every template has, and that a customer without a known language gets.
pub const DEFAULT_LOCALE: &str = "zh-CN";
/// The languages that a template may have.
pub const LOCALES: [&str; 2] = [DEFAULT_LOCALE, "en"];

/// A template's key: 1-64 characters of a-z, 0-9, "-" and "_".
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TemplateKey(String);

impl TemplateKey {
    pub fn find(key: &str) -> Option<Self> {
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'_';
        ((1..=64).contains(&key.len()) && key.bytes().all(plain)).then(|| Self(key.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The resource's name, `templates/{key}`.
impl fmt::Display for TemplateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "templates/{}", self.0)
    }
}

/// What a message says in one language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    pub subject: String,
    pub body: String,
}

/// A message's text by BCP 47 tag.
pub type Contents = BTreeMap<String, Content>;

/// A kind of message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pub key: TemplateKey,
    pub contents: Contents,
    /// Besides the recipient's name.
    pub variables: Vec<String>,
    /// Where it is sent when a call does not say.
    pub channels: Vec<Channel>,
    pub version: i64,
    pub create_time: DateTime<Utc>,
    pub update_time: DateTime<Utc>,
}

/// A part of a template that cannot be used: `contents.en.body`, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misplaced {
    pub part: String,
    pub fault: Fault,
}

impl Template {
    /// Refuses texts that could not be filled in, the first fault in the order of languages, subject before body.
    pub fn check(&self) -> Result<(), Misplaced> {
        for (locale, content) in &self.contents {
            for (part, source) in [("subject", &content.subject), ("body", &content.body)] {
                text::check(source, &self.variables)
                    .map_err(|fault| Misplaced { part: format!("contents.{locale}.{part}"), fault })?;
            }
        }
        Ok(())
    }

    /// How the given variables differ from the declared ones: the missing, then the unknown.
    pub fn compare(&self, given: &Variables) -> (Vec<&str>, Vec<String>) {
        let missing = self.variables.iter().filter(|name| !given.contains_key(*name)).map(String::as_str);
        let unknown = given.keys().filter(|name| !self.variables.contains(name)).cloned();
        (missing.collect(), unknown.collect())
    }
}

/// Chooses the language for a recipient: theirs, else one that differs in the region only, else the default.
pub fn choose_locale<'a>(contents: &'a Contents, wanted: &str) -> &'a str {
    let primary = |tag: &str| tag.split('-').next().unwrap_or_default().to_ascii_lowercase();
    let exact = contents.keys().find(|known| known.eq_ignore_ascii_case(wanted));
    let near = || contents.keys().find(|known| primary(known) == primary(wanted));
    exact.or_else(near).map_or(DEFAULT_LOCALE, String::as_str)
}

/// What a recipient reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    pub locale: String,
    pub subject: Personal<String>,
    pub body: Personal<String>,
}

/// Fills the content of one language in.
pub fn render(contents: &Contents, locale: &str, variables: &Variables) -> Result<Rendered, Unrenderable> {
    let content = contents.get(locale).ok_or(Unrenderable)?;
    Ok(Rendered {
        locale: locale.to_owned(),
        subject: text::render_subject(&content.subject, variables)?,
        body: text::render(&content.body, variables)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(locales: &[&str]) -> Contents {
        let content = Content { subject: "s".to_owned(), body: "b".to_owned() };
        locales.iter().map(|locale| ((*locale).to_owned(), content.clone())).collect()
    }

    #[test]
    fn the_recipients_language_is_chosen_or_the_nearest() {
        let both = contents(&["zh-CN", "en"]);
        let chinese = contents(&["zh-CN"]);
        for (contents, wanted, expected) in [
            (&both, "en", "en"),
            (&both, "EN", "en"),
            (&both, "en-GB", "en"),
            (&both, "zh-CN", "zh-CN"),
            (&both, "zh-TW", "zh-CN"),
            (&both, "zh", "zh-CN"),
            (&both, "fr", "zh-CN"),
            (&both, "", "zh-CN"),
            (&chinese, "en", "zh-CN"),
        ] {
            assert_eq!(choose_locale(contents, wanted), expected, "{wanted}");
        }
    }

    #[test]
    fn keys_are_plain() {
        for (key, good) in
            [("a", true), ("survey-invitation_2", true), ("", false), ("A", false), ("a/b", false)]
        {
            assert_eq!(TemplateKey::find(key).is_some(), good, "{key}");
        }
        assert!(TemplateKey::find(&"a".repeat(64)).is_some() && TemplateKey::find(&"a".repeat(65)).is_none());
    }
}
