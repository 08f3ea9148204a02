//! Questionnaires.

use cqm_proto::surveys::v1 as proto;
use cqm_rpc::{Error, Etag, Mask, PageRequest, ResourceName, Violations, time};
use uuid::Uuid;

use super::content::{questions, title};
use super::version_name;
use crate::QUESTIONNAIRES;
use crate::domain::questionnaire::{
    Changes, Choice, Content, Kind, LocalizedText, Purpose, Question, Questionnaire, State, Version,
};
use crate::store::questionnaires::Filter;

pub(in crate::grpc) fn name(name: &str) -> Result<ResourceName, Error> {
    let (name, _) = existing(name, "", "")?;
    Ok(name)
}

/// The name and the etag of a request that changes what exists; an empty `request_id` is none.
pub(in crate::grpc) fn existing(
    name: &str,
    etag: &str,
    request_id: &str,
) -> Result<(ResourceName, Option<Etag>), Error> {
    let mut violations = Violations::default();
    let name = ResourceName::parse(QUESTIONNAIRES, "name", name, &mut violations);
    let etag = Etag::parse("etag", etag, &mut violations);
    violations.optional_request_id(request_id);
    violations.finish()?;
    Ok((name.expect("no violation means that there is a name"), etag))
}

/// `questionnaires/{uuid}/versions/{number}`
pub(in crate::grpc) fn read_version_name(name: &str) -> Result<(Uuid, i32), Error> {
    let parse = || {
        let (questionnaire, number) = name.split_once("/versions/")?;
        let id = ResourceName::find(QUESTIONNAIRES, questionnaire)?.id();
        let number: i32 = number.parse().ok().filter(|number| *number > 0)?;
        (version_name(id, number) == name).then_some((id, number))
    };
    let mut violations = Violations::default();
    let found = parse();
    match (name.is_empty(), found) {
        (true, _) => violations.required("name"),
        (false, None) => violations.format("name", "questionnaires/{uuid}/versions/{number}"),
        (false, Some(_)) => {}
    }
    violations.finish()?;
    Ok(found.expect("no violation means that there is a name"))
}

pub(in crate::grpc) fn draft(
    message: &proto::CreateQuestionnaireRequest,
) -> Result<(Purpose, Content), Error> {
    let mut violations = Violations::default();
    violations.optional_request_id(&message.request_id);
    let Some(given) = &message.questionnaire else {
        violations.required("questionnaire");
        return Err(Error::Invalid(violations));
    };
    let purpose = purpose("questionnaire.purpose", given.purpose, &mut violations);
    let content = Content {
        title: title(given, &mut violations),
        questions: questions(given, &mut violations),
        incentive: given.incentive,
    };
    violations.finish()?;
    Ok((purpose.expect("no violation means that there is a purpose"), content))
}

pub(in crate::grpc) fn changes(
    message: &proto::UpdateQuestionnaireRequest,
) -> Result<(ResourceName, Option<Etag>, Changes), Error> {
    let mut violations = Violations::default();
    violations.optional_request_id(&message.request_id);
    let Some(given) = &message.questionnaire else {
        violations.required("questionnaire");
        return Err(Error::Invalid(violations));
    };
    let name = ResourceName::parse(QUESTIONNAIRES, "questionnaire.name", &given.name, &mut violations);
    let etag = Etag::parse("etag", &message.etag, &mut violations);
    let populated = |field: &str| match field {
        "title" => given.title.is_some(),
        "questions" => !given.questions.is_empty(),
        _ => given.incentive,
    };
    let paths = message.update_mask.as_ref().map(|mask| mask.paths.as_slice());
    let mask = Mask::parse(paths, &["title", "questions", "incentive"], populated, &mut violations);
    let changes = Changes {
        title: mask.has("title").then(|| title(given, &mut violations)),
        questions: mask.has("questions").then(|| questions(given, &mut violations)),
        incentive: mask.has("incentive").then_some(given.incentive),
    };
    violations.finish()?;
    Ok((name.expect("no violation means that there is a name"), etag, changes))
}

pub(in crate::grpc) fn list(
    message: &proto::ListQuestionnairesRequest,
) -> Result<(PageRequest<Uuid>, Filter), Error> {
    let mut violations = Violations::default();
    let filter = Filter {
        purpose: violations.optional_choice("purpose", message.purpose).and_then(read_purpose),
        state: violations.optional_choice("state", message.state).and_then(read_state),
    };
    let query =
        ["questionnaires", filter.purpose.map_or("", Purpose::name), filter.state.map_or("", State::name)];
    let page = PageRequest::parse(message.page_size, &message.page_token, &query, &mut violations);
    violations.finish()?;
    Ok((page, filter))
}

pub(super) fn purpose(field: &str, number: i32, violations: &mut Violations) -> Option<Purpose> {
    violations.choice(field, number).and_then(read_purpose)
}

pub(in crate::grpc) fn answer(questionnaire: &Questionnaire) -> proto::Questionnaire {
    proto::Questionnaire {
        name: ResourceName::new(QUESTIONNAIRES, questionnaire.id).to_string(),
        purpose: show_purpose(questionnaire.purpose).into(),
        title: Some(show_text(&questionnaire.content.title)),
        questions: questionnaire.content.questions.iter().map(show_question).collect(),
        incentive: questionnaire.content.incentive,
        state: show_state(questionnaire.state).into(),
        latest_version: questionnaire.latest_version,
        create_time: Some(time::wire(questionnaire.create_time)),
        update_time: Some(time::wire(questionnaire.update_time)),
        etag: Etag::of(questionnaire.version).to_string(),
    }
}

pub(in crate::grpc) fn version(version: &Version) -> proto::QuestionnaireVersion {
    proto::QuestionnaireVersion {
        name: version_name(version.questionnaire_id, version.number),
        purpose: show_purpose(version.purpose).into(),
        title: Some(show_text(&version.content.title)),
        questions: version.content.questions.iter().map(show_question).collect(),
        incentive: version.content.incentive,
        create_time: Some(time::wire(version.create_time)),
    }
}

fn show_text(text: &LocalizedText) -> proto::LocalizedText {
    proto::LocalizedText { texts: text.0.clone() }
}

fn show_label(text: &LocalizedText) -> Option<proto::LocalizedText> {
    (!text.is_empty()).then(|| show_text(text))
}

fn show_question(question: &Question) -> proto::Question {
    use proto::question::Kind as Shown;
    // The bounds were read from int32.
    let number = |value: usize| i32::try_from(value).unwrap_or(i32::MAX);
    let kind = match &question.kind {
        Kind::SingleChoice { choices } => {
            Shown::SingleChoice(proto::SingleChoice { choices: show_choices(choices) })
        }
        Kind::MultipleChoice { choices, min_choices, max_choices } => {
            Shown::MultipleChoice(proto::MultipleChoice {
                choices: show_choices(choices),
                min_choices: number(*min_choices),
                max_choices: number(*max_choices),
            })
        }
        Kind::Rating { scale_max, positive_from, low_label, high_label } => Shown::Rating(proto::Rating {
            scale_max: *scale_max,
            positive_from: *positive_from,
            low_label: show_label(low_label),
            high_label: show_label(high_label),
        }),
        Kind::Nps { low_label, high_label } => {
            Shown::Nps(proto::Nps { low_label: show_label(low_label), high_label: show_label(high_label) })
        }
        Kind::FreeText { max_length } => Shown::FreeText(proto::FreeText { max_length: number(*max_length) }),
    };
    proto::Question {
        id: question.id.clone(),
        prompt: Some(show_text(&question.prompt)),
        required: question.required,
        kind: Some(kind),
    }
}

fn show_choices(choices: &[Choice]) -> Vec<proto::Choice> {
    let show =
        |choice: &Choice| proto::Choice { id: choice.id.clone(), label: Some(show_text(&choice.label)) };
    choices.iter().map(show).collect()
}

fn read_purpose(purpose: proto::Purpose) -> Option<Purpose> {
    Purpose::ALL.iter().copied().find(|known| show_purpose(*known) == purpose)
}

fn show_purpose(purpose: Purpose) -> proto::Purpose {
    match purpose {
        Purpose::ComplaintHandling => proto::Purpose::ComplaintHandling,
        Purpose::Satisfaction => proto::Purpose::Satisfaction,
        Purpose::Relationship => proto::Purpose::Relationship,
        Purpose::ReturnVisit => proto::Purpose::ReturnVisit,
        Purpose::Demand => proto::Purpose::Demand,
    }
}

fn read_state(state: proto::questionnaire::State) -> Option<State> {
    State::ALL.iter().copied().find(|known| show_state(*known) == state)
}

fn show_state(state: State) -> proto::questionnaire::State {
    match state {
        State::Draft => proto::questionnaire::State::Draft,
        State::Published => proto::questionnaire::State::Published,
        State::Retired => proto::questionnaire::State::Retired,
    }
}
