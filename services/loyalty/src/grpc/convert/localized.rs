//! Texts in the suite's languages.

use cqm_proto::loyalty::v1::LocalizedText;
use cqm_rpc::{Violations, text};

use crate::domain::text::Text;

const CHINESE: &str = "zh-CN";
const ENGLISH: &str = "en";

/// How one language's text is read: its field, the text, the most characters.
type Read = fn(&str, &str, usize, &mut Violations) -> String;

/// Reads a text that must be there: one line in each language, `1..=limit` characters.
pub fn required(
    field: &str,
    given: Option<&LocalizedText>,
    limit: usize,
    violations: &mut Violations,
) -> Text {
    if given.is_none_or(|given| given.texts.is_empty()) {
        violations.required(field);
    }
    each(field, given, limit, text::line, violations)
}

/// Reads a text of several lines, `1..=limit` characters in each language. It may be left out whole.
pub fn block(field: &str, given: Option<&LocalizedText>, limit: usize, violations: &mut Violations) -> Text {
    each(field, given, limit, text::block, violations)
}

fn each(
    field: &str,
    given: Option<&LocalizedText>,
    limit: usize,
    read: Read,
    violations: &mut Violations,
) -> Text {
    let mut all = Text::default();
    let Some(given) = given.filter(|given| !given.texts.is_empty()) else {
        return all;
    };
    for (language, content) in &given.texts {
        let at = format!("{field}.texts.{}", text::printable(language, 64));
        let into = match language.as_str() {
            CHINESE => &mut all.zh,
            ENGLISH => &mut all.en,
            _ => {
                violations.format(&at, "of one of the suite's languages, \"zh-CN\" and \"en\"");
                continue;
            }
        };
        *into = read(&at, content, limit, violations);
        if into.is_empty() {
            violations.required(&at);
        }
    }
    if !given.texts.contains_key(CHINESE) {
        violations.required(&format!("{field}.texts.{CHINESE}"));
    }
    all
}

/// The text as it is told; `None` when there is none in any language.
pub fn write(text: &Text) -> Option<LocalizedText> {
    let languages = [(CHINESE, &text.zh), (ENGLISH, &text.en)].into_iter();
    let there = languages.filter(|(_, text)| !text.is_empty());
    let texts: std::collections::BTreeMap<_, _> =
        there.map(|(language, text)| (language.to_owned(), text.clone())).collect();
    (!texts.is_empty()).then_some(LocalizedText { texts })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(texts: &[(&str, &str)]) -> LocalizedText {
        let owned = |(language, text): &(&str, &str)| ((*language).to_owned(), (*text).to_owned());
        LocalizedText { texts: texts.iter().map(owned).collect() }
    }

    fn told(violations: &Violations) -> Vec<String> {
        violations.iter().map(|v| format!("{} {}", v.field, v.reason.name)).collect()
    }

    #[test]
    fn a_text_is_told_as_it_was_read() {
        for texts in [given(&[("zh-CN", "金卡")]), given(&[("zh-CN", "金卡"), ("en", "Gold")])] {
            let mut violations = Violations::default();
            let text = required("name", Some(&texts), 4, &mut violations);
            assert_eq!((write(&text), violations.len()), (Some(texts), 0));
        }
        assert_eq!(write(&Text::default()), None);
    }

    #[test]
    fn each_language_is_refused_for_what_is_wrong_with_it() {
        for (texts, wrong) in [
            (given(&[("zh-CN", "")]), vec!["name.texts.zh-CN FIELD_REQUIRED"]),
            (given(&[("zh-CN", "金"), ("en", " ")]), vec!["name.texts.en FIELD_REQUIRED"]),
            (given(&[("zh-CN", "金金金金金")]), vec!["name.texts.zh-CN FIELD_TOO_LONG"]),
            (given(&[("zh-CN", "金\n卡")]), vec!["name.texts.zh-CN FORBIDDEN_CHARACTER"]),
            (
                given(&[("en", "Golden"), ("f\u{1b}", "Or")]),
                vec![
                    "name.texts.en FIELD_TOO_LONG",
                    "name.texts.f\u{fffd} FIELD_FORMAT",
                    "name.texts.zh-CN FIELD_REQUIRED",
                ],
            ),
        ] {
            let mut violations = Violations::default();
            required("name", Some(&texts), 4, &mut violations);
            assert_eq!(told(&violations), wrong, "{texts:?}");
        }
    }

    #[test]
    fn only_what_may_be_left_out_is() {
        for nothing in [None, Some(given(&[]))] {
            let mut violations = Violations::default();
            assert_eq!(block("note", nothing.as_ref(), 4, &mut violations), Text::default());
            assert!(violations.is_empty());
            required("name", nothing.as_ref(), 4, &mut violations);
            assert_eq!(told(&violations), ["name FIELD_REQUIRED"]);
        }
        let (mut violations, lines) = (Violations::default(), given(&[("zh-CN", "金\n卡")]));
        assert_eq!(block("note", Some(&lines), 4, &mut violations).zh, "金\n卡");
        assert!(violations.is_empty());
    }
}
