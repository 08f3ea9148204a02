//! What one question was answered, over many responses.

use std::collections::HashMap;

use super::questionnaire::{Choice, Kind, NPS_MAX, Question};
use super::statistics::{Recommendation, Score, satisfaction};

/// How often what was answered, as the store counts it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub responses: i64,
    pub dissatisfied: i64,
    pub questions: HashMap<String, Answers>,
}

/// The answers to one question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    pub answered: i64,
    /// Of ratings and likelihoods.
    pub scores: HashMap<i32, i64>,
    pub choices: HashMap<String, i64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuestionSummary {
    pub question_id: String,
    pub answered: i64,
    pub omitted: i64,
    /// In the order of the scale or of the choices, zeros included; empty for free text.
    pub counts: Vec<(String, i64)>,
    pub nps: Option<Nps>,
    pub csat: Option<Csat>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nps {
    pub counts: Recommendation,
    pub score: Score,
    pub margin: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Csat {
    pub n: i64,
    pub positive: i64,
    pub positive_from: i32,
    pub score: Score,
    /// In thousandths.
    pub mean_milli: i32,
}

/// Sums up question by question, in the order of the questionnaire.
pub fn summarize(questions: &[Question], tally: &Tally) -> Vec<QuestionSummary> {
    let nothing = Answers::default();
    questions
        .iter()
        .map(|question| {
            let answers = tally.questions.get(&question.id).unwrap_or(&nothing);
            let (mut nps, mut csat) = (None, None);
            let counts = match &question.kind {
                Kind::SingleChoice { choices } | Kind::MultipleChoice { choices, .. } => {
                    by_choice(choices, answers)
                }
                Kind::Rating { scale_max, positive_from, .. } => {
                    csat = self::csat(*positive_from, answers);
                    by_score(1..=*scale_max, answers)
                }
                Kind::Nps { .. } => {
                    nps = self::nps(answers);
                    by_score(0..=NPS_MAX, answers)
                }
                Kind::FreeText { .. } => Vec::new(),
            };
            QuestionSummary {
                question_id: question.id.clone(),
                answered: answers.answered,
                omitted: tally.responses - answers.answered,
                counts,
                nps,
                csat,
            }
        })
        .collect()
}

fn by_choice(choices: &[Choice], answers: &Answers) -> Vec<(String, i64)> {
    choices
        .iter()
        .map(|choice| (choice.id.clone(), answers.choices.get(&choice.id).copied().unwrap_or(0)))
        .collect()
}

fn by_score(scale: std::ops::RangeInclusive<i32>, answers: &Answers) -> Vec<(String, i64)> {
    scale.map(|score| (score.to_string(), answers.scores.get(&score).copied().unwrap_or(0))).collect()
}

fn nps(answers: &Answers) -> Option<Nps> {
    let mut counts = Recommendation::default();
    for (score, count) in &answers.scores {
        counts.add(*score, *count);
    }
    Some(Nps { counts, score: counts.score()?, margin: counts.margin()? })
}

fn csat(positive_from: i32, answers: &Answers) -> Option<Csat> {
    let n: i64 = answers.scores.values().sum();
    let positive =
        answers.scores.iter().filter(|(score, _)| **score >= positive_from).map(|(_, count)| count).sum();
    let total: i64 = answers.scores.iter().map(|(score, count)| i64::from(*score) * count).sum();
    let score = satisfaction(positive, n)?;
    Some(Csat {
        n,
        positive,
        positive_from,
        score,
        mean_milli: (total as f64 * 1000.0 / n as f64).round() as i32,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::questionnaire::LocalizedText;

    fn question(id: &str, kind: Kind) -> Question {
        Question { id: id.to_owned(), prompt: LocalizedText::default(), required: false, kind }
    }

    fn questions() -> Vec<Question> {
        let choices =
            ["a", "b"].map(|id| Choice { id: id.to_owned(), label: LocalizedText::default() }).to_vec();
        let (low_label, high_label) = (LocalizedText::default(), LocalizedText::default());
        vec![
            question("pick", Kind::MultipleChoice { choices, min_choices: 0, max_choices: 2 }),
            question(
                "rate",
                Kind::Rating {
                    scale_max: 5,
                    positive_from: 4,
                    low_label: low_label.clone(),
                    high_label: high_label.clone(),
                },
            ),
            question("nps", Kind::Nps { low_label, high_label }),
            question("words", Kind::FreeText { max_length: 10 }),
        ]
    }

    fn answers(answered: i64, scores: &[(i32, i64)], choices: &[(&str, i64)]) -> Answers {
        Answers {
            answered,
            scores: scores.iter().copied().collect(),
            choices: choices.iter().map(|(id, count)| ((*id).to_owned(), *count)).collect(),
        }
    }

    #[test]
    fn each_kind_is_summed_up_in_its_own_way() {
        let tally = Tally {
            responses: 4,
            dissatisfied: 1,
            questions: HashMap::from([
                ("pick".to_owned(), answers(3, &[], &[("b", 3), ("a", 1)])),
                ("rate".to_owned(), answers(4, &[(5, 2), (4, 1), (2, 1)], &[])),
                ("nps".to_owned(), answers(2, &[(10, 1), (3, 1)], &[])),
                ("words".to_owned(), answers(1, &[], &[])),
            ]),
        };
        let summaries = summarize(&questions(), &tally);
        let numbers: Vec<_> =
            summaries.iter().map(|it| (it.question_id.as_str(), it.answered, it.omitted)).collect();
        assert_eq!(numbers, [("pick", 3, 1), ("rate", 4, 0), ("nps", 2, 2), ("words", 1, 3)]);
        assert_eq!(summaries[0].counts, [("a".to_owned(), 1), ("b".to_owned(), 3)]);
        let counts: Vec<_> = summaries[1].counts.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [0, 1, 0, 1, 2]);
        let csat = summaries[1].csat.unwrap();
        assert_eq!(
            (csat.n, csat.positive, csat.positive_from, csat.score.score, csat.mean_milli),
            (4, 3, 4, 7500, 4000)
        );
        assert_eq!(summaries[2].counts.len(), 11);
        let nps = summaries[2].nps.unwrap();
        assert_eq!((nps.counts.promoters, nps.counts.detractors, nps.score.score), (1, 1, 0));
        assert!(summaries[3].counts.is_empty() && summaries[3].nps.is_none() && summaries[3].csat.is_none());
    }

    #[test]
    fn without_responses_there_are_zeros_and_no_scores() {
        for summary in summarize(&questions(), &Tally::default()) {
            assert_eq!((summary.answered, summary.omitted), (0, 0));
            assert!(summary.nps.is_none() && summary.csat.is_none());
            assert!(summary.counts.iter().all(|(_, count)| *count == 0));
        }
    }
}
