//! The texts of templates: what they may hold, and how they are filled in.
//!
//! A text is plain, with `{{ name }}` and with `{% if name %}`, `{% if not name %}`, `{% elif … %}`, `{% else %}` and
//! `{% endif %}`. The engine could do more; a text that says what a customer reads needs no loops, and what has none
//! can neither run for ever nor fill the memory.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use cqm_rpc::Personal;
use minijinja::{Environment, UndefinedBehavior, Value};

/// The variable that is always known: what the recipient is called.
pub const CUSTOMER_NAME: &str = "customer_name";

/// The deepest nesting of conditions. Who needs more has two templates in one.
const MAX_DEPTH: usize = 8;
/// The longest result. A short text may repeat a long value very often.
const MAX_RENDERED_BYTES: usize = 256 * 1024;
/// The longest subject line, in characters: values make it longer than its template.
const MAX_SUBJECT: usize = 250;
/// Words that the engine does not take for a variable.
const KEYWORDS: [&str; 12] =
    ["and", "elif", "else", "false", "if", "in", "is", "loop", "none", "not", "or", "true"];

/// Values of variables, which may be personal or secret.
pub type Variables = BTreeMap<String, Personal<String>>;

/// Characters of the longest text.
pub const MAX_TEXT: usize = 20_000;

/// What is wrong with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It cannot be read, or holds more than variables and conditions.
    Syntax,
    /// It uses a variable that is not declared.
    UnknownVariable,
    /// Its conditions are nested too deep.
    TooDeep,
    /// It has more characters than a text may have.
    TooLarge,
}

impl Problem {
    /// For the caller, as a code.
    pub fn name(self) -> &'static str {
        match self {
            Self::Syntax => "SYNTAX",
            Self::UnknownVariable => "UNKNOWN_VARIABLE",
            Self::TooDeep => "TOO_DEEP",
            Self::TooLarge => "TOO_LARGE",
        }
    }
}

/// A text that cannot be used, and where. Lines and columns count characters from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub problem: Problem,
    pub line: usize,
    pub column: usize,
}

/// A text could not be filled in. Says nothing about the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unrenderable;

impl fmt::Display for Unrenderable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the template's text cannot be filled in")
    }
}

/// Whether a template may declare a variable of this name: 1-64 characters of a-z, 0-9 and "_", the first a letter.
pub fn is_variable_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_')
        && !KEYWORDS.contains(&name)
}

/// Refuses a text that could not be filled in later. `declared` are the variables besides [`CUSTOMER_NAME`].
pub fn check(source: &str, declared: &[String]) -> Result<(), Fault> {
    if let Some((beyond, _)) = source.char_indices().nth(MAX_TEXT) {
        return Err(fault(source, beyond, Problem::TooLarge));
    }
    let mut depth = 0;
    let mut rest = source;
    while let Some(start) = rest.find("{{").into_iter().chain(rest.find("{%")).chain(rest.find("{#")).min() {
        let at = |problem| fault(source, source.len() - rest.len() + start, problem);
        let tag = &rest[start..];
        let close = match &tag[..2] {
            "{{" => "}}",
            "{%" => "%}",
            _ => "#}",
        };
        let end = tag[2..].find(close).ok_or_else(|| at(Problem::Syntax))?;
        let inner = tag[2..2 + end].trim_matches('-');
        let words: Vec<&str> = inner.split_whitespace().collect();
        let used = match (close, words.as_slice()) {
            ("#}", _) => None,
            ("}}", [name]) => Some(*name),
            ("%}", ["if", "not", name] | ["if", name]) => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(at(Problem::TooDeep));
                }
                Some(*name)
            }
            ("%}", ["elif", "not", name] | ["elif", name]) if depth > 0 => Some(*name),
            ("%}", ["else"]) if depth > 0 => None,
            ("%}", ["endif"]) if depth > 0 => {
                depth -= 1;
                None
            }
            _ => return Err(at(Problem::Syntax)),
        };
        if let Some(name) = used {
            if !is_variable_name(name) {
                return Err(at(Problem::Syntax));
            }
            if name != CUSTOMER_NAME && !declared.iter().any(|known| known == name) {
                return Err(at(Problem::UnknownVariable));
            }
        }
        rest = &tag[2 + end + 2..];
    }
    if depth > 0 {
        return Err(fault(source, source.len(), Problem::Syntax));
    }
    // The engine has the last word: an else after an else is its finding.
    environment().template_from_str(source).map(drop).map_err(|error| Fault {
        problem: Problem::Syntax,
        line: error.line().unwrap_or(1),
        column: 1,
    })
}

fn fault(source: &str, offset: usize, problem: Problem) -> Fault {
    let before = &source[..offset];
    let line = before.rsplit('\n').next().unwrap_or_default();
    Fault { problem, line: before.matches('\n').count() + 1, column: line.chars().count() + 1 }
}

/// Fills a text in. Every variable that it uses must have a value. A line break at the very end is dropped.
pub fn render(source: &str, variables: &Variables) -> Result<Personal<String>, Unrenderable> {
    let values =
        Value::from_pairs(variables.iter().map(|(name, value)| (name.as_str(), value.expose().as_str())));
    let environment = environment();
    let template = environment.template_from_str(source).map_err(|_| Unrenderable)?;
    let mut rendered = Bounded(Vec::new());
    template.render_captured_to(values, &mut rendered).map_err(|_| Unrenderable)?;
    String::from_utf8(rendered.0).map(Personal::new).map_err(|_| Unrenderable)
}

/// Fills a subject in. Whatever the values hold, the result is one line: a line break there would begin a header that
/// somebody else wrote.
pub fn render_subject(source: &str, variables: &Variables) -> Result<Personal<String>, Unrenderable> {
    let rendered = render(source, variables)?;
    let line: String = rendered
        .expose()
        .chars()
        .map(|c| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c })
        .take(MAX_SUBJECT)
        .collect();
    Ok(Personal::new(line.trim().to_owned()))
}

/// Plain text: no filters, no functions, no escaping, and nothing undefined.
fn environment() -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment
}

/// Takes no more than [`MAX_RENDERED_BYTES`].
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_RENDERED_BYTES {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn declared(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), Personal::new((*value).to_owned()))).collect()
    }

    #[test]
    fn a_text_holds_declared_variables_and_conditions_and_nothing_else() {
        let deep = |levels: usize| "{% if a %}".repeat(levels) + &"{% endif %}".repeat(levels);
        let (eight, nine, hundreds) = (deep(8), deep(9), deep(500));
        for (source, expected) in [
            ("", None),
            ("plain } text { with % braces", None),
            ("{{ a }}{{a}} {{- a -}} {{ customer_name }}", None),
            ("{% if a %}x{% elif not b %}y{% else %}z{% endif %}", None),
            ("{# a note about {{ anything }}", Some((Problem::Syntax, 1, 1))),
            ("{# a note about anything #}", None),
            ("一二三\n你好 {{ c }}", Some((Problem::UnknownVariable, 2, 4))),
            ("{{ a", Some((Problem::Syntax, 1, 1))),
            ("x{{ }}", Some((Problem::Syntax, 1, 2))),
            ("{{ a.b }}", Some((Problem::Syntax, 1, 1))),
            ("{{ a|upper }}", Some((Problem::Syntax, 1, 1))),
            ("{{ a ~ a }}", Some((Problem::Syntax, 1, 1))),
            ("{{ true }}", Some((Problem::Syntax, 1, 1))),
            ("{{ '\\n' }}", Some((Problem::Syntax, 1, 1))),
            ("{% for x in a %}{% endfor %}", Some((Problem::Syntax, 1, 1))),
            ("{% set a = a %}", Some((Problem::Syntax, 1, 1))),
            ("{% include a %}", Some((Problem::Syntax, 1, 1))),
            ("{% raw %}{{ c }}{% endraw %}", Some((Problem::Syntax, 1, 1))),
            ("{% if c %}{% endif %}", Some((Problem::UnknownVariable, 1, 1))),
            ("{% if a %}", Some((Problem::Syntax, 1, 11))),
            ("{% endif %}", Some((Problem::Syntax, 1, 1))),
            ("{% else %}", Some((Problem::Syntax, 1, 1))),
            ("\n{% if a %}{% else %}{% else %}{% endif %}", Some((Problem::Syntax, 2, 1))),
            (&eight, None),
            (&nine, Some((Problem::TooDeep, 1, 81))),
            (&hundreds, Some((Problem::TooDeep, 1, 81))),
            (&"满".repeat(MAX_TEXT), None),
            (&format!("\n{}", "满".repeat(MAX_TEXT)), Some((Problem::TooLarge, 2, MAX_TEXT))),
        ] {
            let found = check(source, &declared(&["a", "b"])).err();
            let found = found.map(|fault| (fault.problem, fault.line, fault.column));
            assert_eq!(found, expected, "{source}");
        }
    }

    #[test]
    fn a_text_is_filled_in_without_escaping_and_only_with_what_is_known() {
        let known = variables(&[("a", "<b>&{{ b }}"), ("none_given", "")]);
        for (source, expected) in [
            ("{{ a }}!\n", Some("<b>&{{ b }}!")),
            ("{% if none_given %}yes{% else %}no{% endif %}", Some("no")),
            ("{{ missing }}", None),
            ("{% if missing %}{% endif %}", None),
            ("{{ a", None),
        ] {
            let found = render(source, &known).ok().map(Personal::into_inner);
            assert_eq!(found.as_deref(), expected, "{source}");
        }
    }

    #[test]
    fn a_result_is_bounded() {
        let long = variables(&[("a", &"x".repeat(2000))]);
        assert!(render(&"{{ a }}".repeat(100), &long).is_ok());
        assert_eq!(render(&"{{ a }}".repeat(1000), &long).unwrap_err(), Unrenderable);
        assert_eq!(render_subject("{{ a }}", &long).unwrap().expose().chars().count(), MAX_SUBJECT);
    }

    #[test]
    fn variable_names_are_plain() {
        for (name, good) in [
            ("a", true),
            ("expire_date", true),
            ("x9", true),
            ("", false),
            ("9x", false),
            ("_a", false),
            ("Name", false),
            ("na-me", false),
            ("名", false),
            ("true", false),
            ("not", false),
        ] {
            assert_eq!(is_variable_name(name), good, "{name}");
        }
        assert!(is_variable_name(&"a".repeat(64)) && !is_variable_name(&"a".repeat(65)));
    }

    proptest! {
        #[test]
        fn checking_never_panics(source in "[ab{}%#\\- \\n你'\"|ifendels]{0,80}") {
            let _ = check(&source, &declared(&["a", "b"]));
        }

        #[test]
        fn what_passes_the_check_can_be_filled_in(source in "([x你\\n]|\\{\\{ a \\}\\}|\\{% if b %\\}|\\{% endif %\\}){0,12}") {
            let result = render(&source, &variables(&[("a", "1"), ("b", "")]));
            prop_assert_eq!(check(&source, &declared(&["a", "b"])).is_ok(), result.is_ok());
        }

        #[test]
        fn a_subject_is_one_line_whatever_the_values_hold(value in "(\\PC|\r|\n|\t|\u{0}|\u{85}|\u{2028}){0,40}") {
            let subject = render_subject("Re: {{ a }}", &variables(&[("a", &value)])).unwrap();
            let one_line = subject.expose().chars().all(|c| !c.is_control() && c != '\u{2028}');
            prop_assert!(one_line);
        }
    }
}
