//! Responses and summaries.

use chrono::{DateTime, Utc};
use cqm_proto::surveys::v1 as proto;
use cqm_rpc::{Error, PageRequest, Personal, ResourceName, Violations, any_name, reason, text, time};
use uuid::Uuid;

use super::content::{MAX_CHOICES, MAX_QUESTIONS, MAX_WORDS};
use super::version_name;
use crate::domain::answer::{Answer, Fault, Value, Wrong};
use crate::domain::response::{Mode, Response};
use crate::domain::summary::QuestionSummary;
use crate::error::{ANSWER_KIND, ANSWER_REQUIRED, ANSWER_VALUE, QUESTION_UNKNOWN};
use crate::store::responses::Filter;
use crate::{CUSTOMERS, INVITATIONS, QUESTIONNAIRES, RESPONSES};

/// Answers as they were given: whether they fit the questions is told by [`crate::domain::answer::check`].
#[derive(Clone, Debug)]
pub(in crate::grpc) struct Submission {
    pub answers: Vec<Answer>,
    pub mode: Mode,
}

pub(in crate::grpc) fn submission(
    message: &proto::SubmitResponseRequest,
) -> Result<(&str, Submission), Error> {
    let mut violations = Violations::default();
    if message.token.is_empty() {
        violations.required("token");
    }
    let answers = answers(&message.answers, &mut violations);
    violations.optional_request_id(&message.request_id);
    violations.finish()?;
    Ok((&message.token, Submission { answers, mode: Mode::Online }))
}

pub(in crate::grpc) fn recording(
    message: &proto::RecordResponseRequest,
) -> Result<(ResourceName, Submission), Error> {
    let mut violations = Violations::default();
    let name = ResourceName::parse(INVITATIONS, "invitation", &message.invitation, &mut violations);
    let answers = answers(&message.answers, &mut violations);
    violations.optional_request_id(&message.request_id);
    let mode = match violations.choice("mode", message.mode).and_then(read_mode) {
        Some(Mode::Online) => {
            violations.format("mode", "MODE_PHONE or MODE_FACE_TO_FACE");
            None
        }
        mode => mode,
    };
    violations.finish()?;
    let mode = mode.expect("no violation means that there is a mode");
    Ok((name.expect("no violation means that there is a name"), Submission { answers, mode }))
}

/// Everything that can be told without knowing the questions.
fn answers(given: &[proto::Answer], violations: &mut Violations) -> Vec<Answer> {
    if given.len() > MAX_QUESTIONS {
        violations.add("answers", reason::FIELD_TOO_LONG, format!("has more than {MAX_QUESTIONS} answers"));
        return Vec::new();
    }
    let mut read = Vec::new();
    for (index, answer) in given.iter().enumerate() {
        if answer.question_id.is_empty() {
            violations.required(&format!("answers[{index}].question_id"));
        }
        if let Some(value) = value(index, answer.value.as_ref(), violations) {
            read.push(Answer { question_id: answer.question_id.clone(), value });
        }
    }
    read
}

fn value(index: usize, given: Option<&proto::answer::Value>, violations: &mut Violations) -> Option<Value> {
    use proto::answer::Value as Given;
    let Some(given) = given else {
        violations.required(&format!("answers[{index}].value"));
        return None;
    };
    Some(match given {
        Given::Choice(id) => Value::Choice(id.clone()),
        Given::Choices(choices) => {
            if choices.ids.len() > MAX_CHOICES {
                let field = format!("answers[{index}].choices.ids");
                violations.add(
                    &field,
                    reason::FIELD_TOO_LONG,
                    format!("has more than {MAX_CHOICES} choices"),
                );
            }
            Value::Choices(choices.ids.clone())
        }
        Given::Rating(rating) => Value::Rating(*rating),
        Given::Nps(score) => Value::Nps(*score),
        Given::Text(words) => {
            let words = text::block(&format!("answers[{index}].text"), words, MAX_WORDS, violations);
            Value::Words(Personal::new(words))
        }
    })
}

/// What is wrong with the answers, by the paths of the message they came in.
pub(in crate::grpc) fn faults(answers: &[Answer], faults: Vec<Fault>) -> Error {
    let mut violations = Violations::default();
    for Fault { place, wrong } in faults {
        let answer = place.and_then(|place| Some((place, answers.get(place)?)));
        let question_id =
            answer.map_or_else(|| "answers".to_owned(), |(place, _)| format!("answers[{place}].question_id"));
        let value = answer.map_or_else(
            || "answers".to_owned(),
            |(place, answer)| format!("answers[{place}].{}", field_of(&answer.value)),
        );
        match wrong {
            Wrong::Unknown => {
                violations.add(&question_id, QUESTION_UNKNOWN, "is no question of the questionnaire")
            }
            Wrong::Repeated => violations.format(&question_id, "a question that was not answered before"),
            Wrong::Required { question_id } => {
                violations.add(&value, ANSWER_REQUIRED, format!("must answer the question {question_id}"));
            }
            Wrong::Kind(expected) => violations.add(&value, ANSWER_KIND, format!("must be {expected}")),
            Wrong::Value(expected) => violations.add(&value, ANSWER_VALUE, format!("must be {expected}")),
        }
    }
    Error::Invalid(violations)
}

fn field_of(value: &Value) -> &'static str {
    match value {
        Value::Choice(_) => "choice",
        Value::Choices(_) => "choices",
        Value::Rating(_) => "rating",
        Value::Nps(_) => "nps",
        Value::Words(_) => "text",
    }
}

pub(in crate::grpc) fn name(name: &str) -> Result<ResourceName, Error> {
    let mut violations = Violations::default();
    let name = ResourceName::parse(RESPONSES, "name", name, &mut violations);
    violations.finish()?;
    Ok(name.expect("no violation means that there is a name"))
}

pub(in crate::grpc) fn list(
    message: &proto::ListResponsesRequest,
) -> Result<(PageRequest<Uuid>, Filter), Error> {
    let mut violations = Violations::default();
    let customer = ResourceName::parse_optional(CUSTOMERS, "customer", &message.customer, &mut violations);
    let questionnaire = ResourceName::parse_optional(
        QUESTIONNAIRES,
        "questionnaire",
        &message.questionnaire,
        &mut violations,
    );
    let subject = any_name("subject", &message.subject, &mut violations);
    let query = ["responses", &message.customer, &message.questionnaire, &message.subject];
    let page = PageRequest::parse(message.page_size, &message.page_token, &query, &mut violations);
    violations.finish()?;
    let filter = Filter {
        customer_id: customer.map(|customer| customer.id()),
        questionnaire_id: questionnaire.map(|questionnaire| questionnaire.id()),
        subject: (!subject.is_empty()).then_some(subject),
    };
    Ok((page, filter))
}

/// Sum up these responses.
#[derive(Clone, Debug)]
pub(in crate::grpc) struct Summarize {
    pub questionnaire_id: Uuid,
    /// `None` is the latest version.
    pub number: Option<i32>,
    pub start: Option<DateTime<Utc>>,
    pub end: Option<DateTime<Utc>>,
}

pub(in crate::grpc) fn summary(message: &proto::SummarizeResponsesRequest) -> Result<Summarize, Error> {
    let mut violations = Violations::default();
    let name = ResourceName::parse(QUESTIONNAIRES, "questionnaire", &message.questionnaire, &mut violations);
    if message.version < 0 {
        violations.range("version", "0 or more");
    }
    let start = time::optional("start_time", message.start_time.as_ref(), &mut violations);
    let end = time::optional("end_time", message.end_time.as_ref(), &mut violations);
    if start.is_some_and(|start| end.is_some_and(|end| start > end)) {
        violations.order("start_time", "no later than end_time");
    }
    violations.finish()?;
    Ok(Summarize {
        questionnaire_id: name.expect("no violation means that there is a name").id(),
        number: (message.version != 0).then_some(message.version),
        start,
        end,
    })
}

pub(in crate::grpc) fn confirmation(response: &Response) -> proto::SubmitResponseResponse {
    proto::SubmitResponseResponse {
        response: ResourceName::new(RESPONSES, response.id).to_string(),
        create_time: Some(time::wire(response.create_time)),
    }
}

pub(in crate::grpc) fn answer(response: &Response) -> proto::Response {
    proto::Response {
        name: ResourceName::new(RESPONSES, response.id).to_string(),
        invitation: ResourceName::new(INVITATIONS, response.invitation_id).to_string(),
        questionnaire_version: version_name(response.questionnaire_id, response.number),
        customer: ResourceName::new(CUSTOMERS, response.customer_id).to_string(),
        subject: response.subject.name.clone(),
        subject_version: response.subject.version,
        answers: response.answers.iter().map(show_answer).collect(),
        dissatisfied: response.dissatisfied,
        mode: show_mode(response.mode).into(),
        create_time: Some(time::wire(response.create_time)),
    }
}

fn show_answer(answer: &Answer) -> proto::Answer {
    use proto::answer::Value as Shown;
    let value = match &answer.value {
        Value::Choice(id) => Shown::Choice(id.clone()),
        Value::Choices(ids) => Shown::Choices(proto::Choices { ids: ids.clone() }),
        Value::Rating(rating) => Shown::Rating(*rating),
        Value::Nps(score) => Shown::Nps(*score),
        Value::Words(words) => Shown::Text(words.expose().clone()),
    };
    proto::Answer { question_id: answer.question_id.clone(), value: Some(value) }
}

pub(in crate::grpc) fn question_summary(summary: QuestionSummary) -> proto::QuestionSummary {
    proto::QuestionSummary {
        question_id: summary.question_id,
        answered: summary.answered,
        omitted: summary.omitted,
        counts: summary
            .counts
            .into_iter()
            .map(|(value, count)| proto::AnswerCount { value, count })
            .collect(),
        nps: summary.nps.map(|nps| proto::NpsScore {
            n: nps.counts.n(),
            promoters: nps.counts.promoters,
            passives: nps.counts.passives,
            detractors: nps.counts.detractors,
            score_basis_points: nps.score.score,
            margin_basis_points: nps.margin,
            interval_low_basis_points: nps.score.low,
            interval_high_basis_points: nps.score.high,
        }),
        csat: summary.csat.map(|csat| proto::CsatScore {
            n: csat.n,
            positive: csat.positive,
            positive_from: csat.positive_from,
            score_basis_points: csat.score.score,
            interval_low_basis_points: csat.score.low,
            interval_high_basis_points: csat.score.high,
            mean_milli: csat.mean_milli,
        }),
    }
}

fn read_mode(mode: proto::response::Mode) -> Option<Mode> {
    Mode::ALL.iter().copied().find(|known| show_mode(*known) == mode)
}

fn show_mode(mode: Mode) -> proto::response::Mode {
    match mode {
        Mode::Online => proto::response::Mode::Online,
        Mode::Phone => proto::response::Mode::Phone,
        Mode::FaceToFace => proto::response::Mode::FaceToFace,
    }
}
