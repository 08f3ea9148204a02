//! What an author writes into a questionnaire: texts, questions and their kinds.

use std::collections::HashSet;

use cqm_proto::surveys::v1 as proto;
use cqm_rpc::{Violations, reason, text};

use crate::domain::questionnaire::{Choice, Kind, LocalizedText, Question};

const MAX_TITLE: usize = 200;
const MAX_PROMPT: usize = 1000;
const MAX_LABEL: usize = 200;
const MAX_LANGUAGES: usize = 20;
/// As RFC 5646 advises for buffers.
const MAX_TAG: usize = 35;
pub(super) const MAX_QUESTIONS: usize = 50;
pub(super) const MAX_CHOICES: usize = 50;
const MAX_IDENTIFIER: usize = 64;
/// The longest answer in free text, and the one that is taken when the author names none.
pub(super) const MAX_WORDS: usize = 5000;
const DEFAULT_WORDS: usize = 2000;
/// The languages of which a reader is sure to find one.
const LANGUAGES: [&str; 2] = ["zh-CN", "en"];

pub(super) fn title(given: &proto::Questionnaire, violations: &mut Violations) -> LocalizedText {
    required_text("questionnaire.title", given.title.as_ref(), MAX_TITLE, violations)
}

pub(super) fn questions(given: &proto::Questionnaire, violations: &mut Violations) -> Vec<Question> {
    const FIELD: &str = "questionnaire.questions";
    if given.questions.len() > MAX_QUESTIONS {
        violations.add(FIELD, reason::FIELD_TOO_LONG, format!("has more than {MAX_QUESTIONS} questions"));
        return Vec::new();
    }
    let mut seen = HashSet::new();
    let mut read = Vec::new();
    for (index, question) in given.questions.iter().enumerate() {
        let field = format!("{FIELD}[{index}]");
        identifier(&field, &question.id, &mut seen, "unique in the questionnaire", violations);
        let prompt =
            required_text(&format!("{field}.prompt"), question.prompt.as_ref(), MAX_PROMPT, violations);
        if let Some(kind) = kind(&field, question.kind.as_ref(), violations) {
            read.push(Question { id: question.id.clone(), prompt, required: question.required, kind });
        }
    }
    read
}

fn kind(field: &str, given: Option<&proto::question::Kind>, violations: &mut Violations) -> Option<Kind> {
    use proto::question::Kind as Given;
    let Some(given) = given else {
        violations.required(&format!("{field}.kind"));
        return None;
    };
    Some(match given {
        Given::SingleChoice(given) => Kind::SingleChoice {
            choices: choices(&format!("{field}.single_choice.choices"), &given.choices, violations),
        },
        Given::MultipleChoice(given) => {
            multiple_choice(&format!("{field}.multiple_choice"), given, violations)
        }
        Given::Rating(given) => rating(&format!("{field}.rating"), given, violations),
        Given::Nps(given) => {
            let (low_label, high_label) = labels(
                &format!("{field}.nps"),
                given.low_label.as_ref(),
                given.high_label.as_ref(),
                violations,
            );
            Kind::Nps { low_label, high_label }
        }
        Given::FreeText(given) => Kind::FreeText {
            max_length: match usize::try_from(given.max_length) {
                Ok(0) => DEFAULT_WORDS,
                Ok(length) if length <= MAX_WORDS => length,
                _ => {
                    violations.range(&format!("{field}.free_text.max_length"), "0 to 5000");
                    DEFAULT_WORDS
                }
            },
        },
    })
}

fn multiple_choice(field: &str, given: &proto::MultipleChoice, violations: &mut Violations) -> Kind {
    let choices = choices(&format!("{field}.choices"), &given.choices, violations);
    let count = given.choices.len();
    let mut bound = |name: &str, number: i32| {
        let value = usize::try_from(number).ok().filter(|value| *value <= count);
        value.unwrap_or_else(|| {
            violations.range(&format!("{field}.{name}"), "from 0 to the number of choices");
            0
        })
    };
    let min_choices = bound("min_choices", given.min_choices);
    let max_choices = match bound("max_choices", given.max_choices) {
        0 => count,
        bound => bound,
    };
    if min_choices > max_choices {
        violations.order(&format!("{field}.min_choices"), "no more than max_choices");
    }
    Kind::MultipleChoice { choices, min_choices, max_choices }
}

fn rating(field: &str, given: &proto::Rating, violations: &mut Violations) -> Kind {
    let scale_max = given.scale_max;
    if !(2..=10).contains(&scale_max) {
        violations.range(&format!("{field}.scale_max"), "2 to 10");
    }
    let positive_from = match given.positive_from {
        // The two best; of a scale of 2, the best.
        0 => (scale_max.saturating_sub(1)).max(2),
        least => least,
    };
    if given.positive_from != 0 && !(2..=scale_max.max(2)).contains(&positive_from) {
        violations.range(&format!("{field}.positive_from"), "2 to scale_max");
    }
    let (low_label, high_label) =
        labels(field, given.low_label.as_ref(), given.high_label.as_ref(), violations);
    Kind::Rating { scale_max, positive_from, low_label, high_label }
}

fn labels(
    field: &str,
    low: Option<&proto::LocalizedText>,
    high: Option<&proto::LocalizedText>,
    violations: &mut Violations,
) -> (LocalizedText, LocalizedText) {
    let mut label = |name: &str, given: Option<&proto::LocalizedText>| {
        let texts = given
            .map(|given| localized(&format!("{field}.{name}"), given, MAX_LABEL, text::line, violations));
        texts.unwrap_or_default()
    };
    (label("low_label", low), label("high_label", high))
}

fn choices(field: &str, given: &[proto::Choice], violations: &mut Violations) -> Vec<Choice> {
    if !(2..=MAX_CHOICES).contains(&given.len()) {
        violations.range(field, "2 to 50 choices");
        return Vec::new();
    }
    let mut seen = HashSet::new();
    given
        .iter()
        .enumerate()
        .map(|(index, choice)| {
            let field = format!("{field}[{index}]");
            identifier(&field, &choice.id, &mut seen, "unique in the question", violations);
            let label =
                required_text(&format!("{field}.label"), choice.label.as_ref(), MAX_LABEL, violations);
            Choice { id: choice.id.clone(), label }
        })
        .collect()
}

/// Checks the `id` of the item at `field`.
fn identifier<'a>(
    field: &str,
    id: &'a str,
    seen: &mut HashSet<&'a str>,
    unique: &str,
    violations: &mut Violations,
) {
    let field = format!("{field}.id");
    let well_formed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    if id.is_empty() {
        violations.required(&field);
    } else if id.chars().count() > MAX_IDENTIFIER {
        violations.too_long(&field, MAX_IDENTIFIER);
    } else if !id.bytes().all(well_formed) {
        violations.format(&field, "of a-z, 0-9, - and _");
    } else if !seen.insert(id) {
        violations.format(&field, unique);
    }
}

/// Text that a reader of any language finds: in one of the suite's languages at least.
fn required_text(
    field: &str,
    given: Option<&proto::LocalizedText>,
    limit: usize,
    violations: &mut Violations,
) -> LocalizedText {
    let Some(given) = given.filter(|given| !given.texts.is_empty()) else {
        violations.required(field);
        return LocalizedText::default();
    };
    if !LANGUAGES.iter().any(|language| given.texts.contains_key(*language)) {
        violations.format(field, "in zh-CN or en at least");
    }
    localized(field, given, limit, text::required, violations)
}

fn localized(
    field: &str,
    given: &proto::LocalizedText,
    limit: usize,
    read: fn(&str, &str, usize, &mut Violations) -> String,
    violations: &mut Violations,
) -> LocalizedText {
    if given.texts.len() > MAX_LANGUAGES {
        violations.add(field, reason::FIELD_TOO_LONG, format!("has more than {MAX_LANGUAGES} languages"));
        return LocalizedText::default();
    }
    let texts = given.texts.iter().map(|(tag, words)| {
        let field = format!("{field}.texts[\"{}\"]", text::printable(tag, MAX_TAG));
        if !is_tag(tag) {
            violations.format(&field, "under a language tag such as zh-CN");
        }
        (tag.clone(), read(&field, words, limit, violations))
    });
    LocalizedText(texts.collect())
}

fn is_tag(tag: &str) -> bool {
    let part =
        |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    tag.len() <= MAX_TAG && tag.split('-').all(part)
}
