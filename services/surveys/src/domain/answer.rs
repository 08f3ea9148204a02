//! Answers: whether they fit the questions, and what they say of the customer's satisfaction.

use std::collections::HashMap;

use cqm_rpc::Personal;

use super::questionnaire::{Kind, NPS_MAX, Question};

/// The answer to one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub question_id: String,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Choice(String),
    Choices(Vec<String>),
    Rating(i32),
    Nps(i32),
    Words(Personal<String>),
}

impl Value {
    /// An empty selection and empty words are no answer.
    fn is_blank(&self) -> bool {
        match self {
            Self::Choice(id) => id.is_empty(),
            Self::Choices(ids) => ids.is_empty(),
            Self::Words(words) => words.expose().is_empty(),
            Self::Rating(_) | Self::Nps(_) => false,
        }
    }
}

/// One thing wrong with the answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which of the given answers, from 0; `None` when one is missing.
    pub place: Option<usize>,
    pub wrong: Wrong,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// The questionnaire has no question with the id.
    Unknown,
    /// The question was answered before in the same list.
    Repeated,
    /// The question needs an answer.
    Required { question_id: String },
    /// Completes "must be …".
    Kind(&'static str),
    /// Completes "must be …".
    Value(String),
}

/// Checks the answers against the questions of a published version and returns them in the questions' order, blank
/// ones left out; or everything that is wrong.
pub fn check(questions: &[Question], given: Vec<Answer>) -> Result<Vec<Answer>, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut placed: HashMap<&str, (usize, Answer)> = HashMap::new();
    for (place, answer) in given.into_iter().enumerate() {
        let mut fault = |wrong| faults.push(Fault { place: Some(place), wrong });
        let Some(question) = questions.iter().find(|question| question.id == answer.question_id) else {
            fault(Wrong::Unknown);
            continue;
        };
        if placed.contains_key(question.id.as_str()) {
            fault(Wrong::Repeated);
            continue;
        }
        if let Err(wrong) = fits(&question.kind, &answer.value) {
            fault(wrong);
        }
        placed.insert(&question.id, (place, answer));
    }
    let mut answers = Vec::new();
    for question in questions {
        match placed.remove(question.id.as_str()) {
            Some((_, answer)) if !answer.value.is_blank() => answers.push(answer),
            left_out if question.required => faults.push(Fault {
                place: left_out.map(|(place, _)| place),
                wrong: Wrong::Required { question_id: question.id.clone() },
            }),
            _ => {}
        }
    }
    if faults.is_empty() { Ok(answers) } else { Err(faults) }
}

fn fits(kind: &Kind, value: &Value) -> Result<(), Wrong> {
    match (kind, value) {
        (Kind::SingleChoice { choices }, Value::Choice(id)) => {
            let known = id.is_empty() || choices.iter().any(|choice| choice.id == *id);
            ensure(known, || "one of the question's choices".to_owned())
        }
        (Kind::MultipleChoice { choices, min_choices, max_choices }, Value::Choices(ids)) => {
            if ids.is_empty() {
                return Ok(());
            }
            ensure(ids.iter().all(|id| choices.iter().any(|choice| choice.id == *id)), || {
                "some of the question's choices".to_owned()
            })?;
            ensure(ids.iter().enumerate().all(|(index, id)| !ids[..index].contains(id)), || {
                "choices that differ".to_owned()
            })?;
            ensure((*min_choices..=*max_choices).contains(&ids.len()), || {
                format!("{min_choices} to {max_choices} choices")
            })
        }
        (Kind::Rating { scale_max, .. }, Value::Rating(rating)) => {
            ensure((1..=*scale_max).contains(rating), || format!("1 to {scale_max}"))
        }
        (Kind::Nps { .. }, Value::Nps(score)) => {
            ensure((0..=NPS_MAX).contains(score), || format!("0 to {NPS_MAX}"))
        }
        (Kind::FreeText { max_length }, Value::Words(words)) => {
            ensure(words.expose().chars().count() <= *max_length, || {
                format!("at most {max_length} characters")
            })
        }
        (Kind::SingleChoice { .. }, _) => Err(Wrong::Kind("one choice")),
        (Kind::MultipleChoice { .. }, _) => Err(Wrong::Kind("several choices")),
        (Kind::Rating { .. }, _) => Err(Wrong::Kind("a rating")),
        (Kind::Nps { .. }, _) => Err(Wrong::Kind("a likelihood to recommend")),
        (Kind::FreeText { .. }, _) => Err(Wrong::Kind("text")),
    }
}

fn ensure(holds: bool, expected: impl FnOnce() -> String) -> Result<(), Wrong> {
    if holds { Ok(()) } else { Err(Wrong::Value(expected())) }
}

/// Whether the answers call for somebody to get in touch.
///
/// With ratings: one of them is poor, which is below what counts as satisfied and in the lowest two fifths of its scale
/// (1 or 2 of 5), or the worst. Without a rating: a detractor (0-6). Ratings come first because they are about what
/// just happened, while a likelihood to recommend is about everything.
pub fn is_dissatisfied(questions: &[Question], answers: &[Answer]) -> bool {
    let kind_of = |answer: &Answer| {
        questions.iter().find(|question| question.id == answer.question_id).map(|question| &question.kind)
    };
    let mut ratings = answers
        .iter()
        .filter_map(|answer| match (kind_of(answer)?, &answer.value) {
            (Kind::Rating { scale_max, positive_from, .. }, Value::Rating(rating)) => {
                Some(is_poor(*rating, *scale_max, *positive_from))
            }
            _ => None,
        })
        .peekable();
    if ratings.peek().is_some() {
        return ratings.any(|poor| poor);
    }
    answers.iter().any(|answer| matches!(answer.value, Value::Nps(0..=6)))
}

fn is_poor(rating: i32, scale_max: i32, positive_from: i32) -> bool {
    rating < positive_from && (rating == 1 || 5 * rating <= 2 * scale_max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::questionnaire::{Choice, LocalizedText};

    fn question(id: &str, required: bool, kind: Kind) -> Question {
        Question { id: id.to_owned(), prompt: LocalizedText::default(), required, kind }
    }

    fn choices(ids: &[&str]) -> Vec<Choice> {
        ids.iter().map(|id| Choice { id: (*id).to_owned(), label: LocalizedText::default() }).collect()
    }

    fn rating(scale_max: i32, positive_from: i32) -> Kind {
        Kind::Rating {
            scale_max,
            positive_from,
            low_label: LocalizedText::default(),
            high_label: LocalizedText::default(),
        }
    }

    fn nps() -> Kind {
        Kind::Nps { low_label: LocalizedText::default(), high_label: LocalizedText::default() }
    }

    fn questions() -> Vec<Question> {
        vec![
            question("one", false, Kind::SingleChoice { choices: choices(&["a", "b"]) }),
            question(
                "some",
                false,
                Kind::MultipleChoice { choices: choices(&["a", "b", "c"]), min_choices: 2, max_choices: 2 },
            ),
            question("rate", true, rating(5, 4)),
            question("nps", false, nps()),
            question("words", false, Kind::FreeText { max_length: 3 }),
        ]
    }

    fn words(text: &str) -> Value {
        Value::Words(Personal::new(text.to_owned()))
    }

    fn picks(ids: &[&str]) -> Value {
        Value::Choices(ids.iter().map(|id| (*id).to_owned()).collect())
    }

    fn answer(question_id: &str, value: Value) -> Answer {
        Answer { question_id: question_id.to_owned(), value }
    }

    #[test]
    fn each_value_against_each_question() {
        let kind = |expected| Some(Wrong::Kind(expected));
        let value = |expected: &str| Some(Wrong::Value(expected.to_owned()));
        let table = [
            ("one", Value::Choice("b".into()), None),
            ("one", Value::Choice("c".into()), value("one of the question's choices")),
            ("one", picks(&["a"]), kind("one choice")),
            ("some", picks(&["c", "a"]), None),
            ("some", picks(&[]), None),
            ("some", picks(&["a"]), value("2 to 2 choices")),
            ("some", picks(&["a", "b", "c"]), value("2 to 2 choices")),
            ("some", picks(&["a", "a"]), value("choices that differ")),
            ("some", picks(&["a", "z"]), value("some of the question's choices")),
            ("some", Value::Choice("a".into()), kind("several choices")),
            ("rate", Value::Rating(1), None),
            ("rate", Value::Rating(5), None),
            ("rate", Value::Rating(0), value("1 to 5")),
            ("rate", Value::Rating(6), value("1 to 5")),
            ("rate", Value::Nps(5), kind("a rating")),
            ("nps", Value::Nps(0), None),
            ("nps", Value::Nps(10), None),
            ("nps", Value::Nps(11), value("0 to 10")),
            ("nps", Value::Nps(-1), value("0 to 10")),
            ("nps", Value::Rating(3), kind("a likelihood to recommend")),
            ("words", words("很满意"), None),
            ("words", words("很满意的"), value("at most 3 characters")),
            ("words", Value::Rating(1), kind("text")),
            ("none", words(""), Some(Wrong::Unknown)),
        ];
        for (id, given, expected) in table {
            let mut all = vec![answer(id, given.clone())];
            if id != "rate" {
                all.push(answer("rate", Value::Rating(3)));
            }
            let wrong = check(&questions(), all).err().map(|faults| faults[0].wrong.clone());
            assert_eq!(wrong, expected, "{id} {given:?}");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let given = vec![
            answer("nps", Value::Nps(11)),
            answer("none", Value::Nps(1)),
            answer("nps", Value::Nps(1)),
            answer("one", Value::Rating(1)),
        ];
        let faults = check(&questions(), given).unwrap_err();
        let places: Vec<_> = faults.iter().map(|fault| fault.place).collect();
        assert_eq!(places, [Some(0), Some(1), Some(2), Some(3), None]);
        assert_eq!(faults[2].wrong, Wrong::Repeated);
        assert_eq!(faults[4].wrong, Wrong::Required { question_id: "rate".into() });
    }

    #[test]
    fn answers_come_back_in_the_order_of_the_questions_without_blanks() {
        let given = vec![
            answer("words", words("")),
            answer("rate", Value::Rating(4)),
            answer("some", picks(&[])),
            answer("one", Value::Choice("a".into())),
        ];
        let ids: Vec<_> =
            check(&questions(), given).unwrap().into_iter().map(|answer| answer.question_id).collect();
        assert_eq!(ids, ["one", "rate"]);
    }

    #[test]
    fn a_blank_answer_does_not_answer_a_required_question() {
        let questions = [question("words", true, Kind::FreeText { max_length: 3 })];
        let faults = check(&questions, vec![answer("words", words(""))]).unwrap_err();
        assert_eq!(
            faults,
            [Fault { place: Some(0), wrong: Wrong::Required { question_id: "words".into() } }]
        );
    }

    #[test]
    fn dissatisfaction_by_scale() {
        for (scale_max, positive_from, poor) in
            [(5, 4, 2), (10, 9, 4), (7, 6, 2), (4, 3, 1), (3, 2, 1), (2, 2, 1), (5, 2, 1)]
        {
            let questions = [question("rate", true, rating(scale_max, positive_from))];
            for value in 1..=scale_max {
                let dissatisfied = is_dissatisfied(&questions, &[answer("rate", Value::Rating(value))]);
                assert_eq!(
                    dissatisfied,
                    value <= poor,
                    "{value} of {scale_max}, satisfied from {positive_from}"
                );
            }
        }
    }

    #[test]
    fn a_likelihood_to_recommend_counts_where_nothing_was_rated() {
        let questions = [question("rate", false, rating(5, 4)), question("nps", false, nps())];
        let nps = |score| answer("nps", Value::Nps(score));
        let rate = |value| answer("rate", Value::Rating(value));
        for (answers, expected) in [
            (vec![], false),
            (vec![nps(6)], true),
            (vec![nps(7)], false),
            (vec![rate(5), nps(0)], false),
            (vec![rate(2), nps(10)], true),
        ] {
            assert_eq!(is_dissatisfied(&questions, &answers), expected, "{answers:?}");
        }
    }

    #[test]
    fn one_poor_rating_among_good_ones_is_enough() {
        let questions = [question("a", false, rating(5, 4)), question("b", false, rating(5, 4))];
        assert!(is_dissatisfied(&questions, &[answer("a", Value::Rating(5)), answer("b", Value::Rating(1))]));
        assert!(!is_dissatisfied(
            &questions,
            &[answer("a", Value::Rating(5)), answer("b", Value::Rating(3))]
        ));
    }
}
