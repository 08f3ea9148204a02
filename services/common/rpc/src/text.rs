//! Text that people typed: normalised, bounded, free of what breaks screens.

use unicode_normalization::UnicodeNormalization;

use crate::{Violations, reason};

/// Reads one line of required text: trimmed, NFC, `1..=limit` characters.
pub fn required(field: &str, text: &str, limit: usize, violations: &mut Violations) -> String {
    let clean = line(field, text, limit, violations);
    if clean.is_empty() {
        violations.required(field);
    }
    clean
}

/// Reads one line of optional text: trimmed, NFC, at most `limit` characters.
pub fn line(field: &str, text: &str, limit: usize, violations: &mut Violations) -> String {
    clean(field, text, limit, false, violations)
}

/// Reads free text of several lines: as [`line()`], with line feeds and tabs.
pub fn block(field: &str, text: &str, limit: usize, violations: &mut Violations) -> String {
    clean(field, text, limit, true, violations)
}

fn clean(field: &str, text: &str, limit: usize, multiline: bool, violations: &mut Violations) -> String {
    let clean: String = text.nfc().collect::<String>().replace("\r\n", "\n").trim().to_owned();
    if clean.chars().any(|c| forbidden(c) && !(multiline && matches!(c, '\n' | '\t'))) {
        violations.add(
            field,
            reason::FORBIDDEN_CHARACTER,
            "has a control or bidirectional-override character",
        );
    }
    if clean.chars().count() > limit {
        violations.too_long(field, limit);
    }
    clean
}

/// U+0000, control characters and the bidirectional overrides that make text read other than it is.
fn forbidden(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// A caller's text made fit for a message: cut, and without anything a terminal would act on.
pub fn printable(text: &str, limit: usize) -> String {
    text.chars().take(limit).map(|c| if forbidden(c) { '\u{FFFD}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_normalised_not_refused() {
        let mut violations = Violations::default();
        assert_eq!(required("name", "  Cafe\u{301} ", 4, &mut violations), "Café");
        assert!(violations.is_empty());
    }

    #[test]
    fn control_and_override_characters_are_forbidden() {
        for text in ["a\0b", "a\u{1b}[31m", "a\u{202e}b", "a\nb"] {
            let mut violations = Violations::default();
            line("name", text, 100, &mut violations);
            assert_eq!(violations.iter().next().unwrap().reason, reason::FORBIDDEN_CHARACTER, "{text:?}");
        }
        let mut violations = Violations::default();
        assert_eq!(block("note", "a\r\nb", 100, &mut violations), "a\nb");
        assert!(violations.is_empty());
    }

    #[test]
    fn scripts_and_formulas_are_text() {
        let mut violations = Violations::default();
        let text = "<script>'; DROP TABLE x;-- =1+1";
        assert_eq!(line("note", text, 100, &mut violations), text);
        assert!(violations.is_empty());
    }

    #[test]
    fn limits_count_characters() {
        let mut violations = Violations::default();
        required("name", "客户质量", 4, &mut violations);
        assert!(violations.is_empty());
        required("name", "客户质量管", 4, &mut violations);
        required("name", "  ", 4, &mut violations);
        let reasons: Vec<_> = violations.iter().map(|v| v.reason).collect();
        assert_eq!(reasons, [reason::FIELD_TOO_LONG, reason::FIELD_REQUIRED]);
    }
}
