//! Programmes.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use cqm_proto::loyalty::v1 as proto;
use cqm_rpc::{Error, Etag, Mask, PageRequest, ResourceName, Violations, text, time};
use prost_types::Timestamp;
use uuid::Uuid;

use super::PROGRAMMES;
use crate::domain::programme::{Names, Programme, State, Window};

const NAME_LIMIT: usize = 100;
const ZH: &str = "zh-CN";
const EN: &str = "en";
/// The most that a budget is.
const MOST_BUDGET: i64 = 1_000_000_000_000;
const OFFSETS: std::ops::RangeInclusive<i32> = -720..=840;
const MUTABLE: [&str; 4] = ["display_names", "start_time", "end_time", "budget"];

pub fn name(id: Uuid) -> ResourceName {
    ResourceName::new(PROGRAMMES, id)
}

/// Reads a programme that is to be created; the id is the service's to give.
pub fn create(
    message: &proto::CreateProgrammeRequest,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<Programme, Error> {
    let mut violations = Violations::default();
    let Some(given) = &message.programme else {
        violations.required("programme");
        return Err(Error::Invalid(violations));
    };
    let names = names("programme", &given.display_names, &mut violations);
    let window = window("programme", given.start_time.as_ref(), given.end_time.as_ref(), &mut violations);
    let budget = budget("programme.budget", given.budget, &mut violations);
    if !OFFSETS.contains(&given.utc_offset_minutes) {
        violations.range("programme.utc_offset_minutes", "-720 to 840");
    }
    violations.optional_request_id(&message.request_id);
    violations.finish()?;
    Ok(Programme {
        id,
        names,
        state: State::Draft,
        window,
        budget,
        utc_offset_minutes: given.utc_offset_minutes,
        version: 1,
        create_time: now,
        update_time: now,
    })
}

/// What is to be written of a programme. What is `None` stays.
#[derive(Clone, Debug)]
pub struct Update {
    pub name: ResourceName,
    pub etag: Option<Etag>,
    names: Option<Names>,
    start: Option<Option<DateTime<Utc>>>,
    end: Option<Option<DateTime<Utc>>>,
    budget: Option<Option<i64>>,
}

impl Update {
    pub fn parse(message: &proto::UpdateProgrammeRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let Some(given) = &message.programme else {
            violations.required("programme");
            return Err(Error::Invalid(violations));
        };
        let name = ResourceName::parse(PROGRAMMES, "programme.name", &given.name, &mut violations);
        let populated = |path: &str| match path {
            "display_names" => !given.display_names.is_empty(),
            "start_time" => given.start_time.is_some(),
            "end_time" => given.end_time.is_some(),
            _ => given.budget != 0,
        };
        let paths = message.update_mask.as_ref().map(|mask| mask.paths.as_slice());
        let mask = Mask::parse(paths, &MUTABLE, populated, &mut violations);
        let names =
            mask.has("display_names").then(|| names("programme", &given.display_names, &mut violations));
        let mut at = |path: &str, given: Option<&Timestamp>| {
            mask.has(path).then(|| time::optional(&format!("programme.{path}"), given, &mut violations))
        };
        let (start, end) =
            (at("start_time", given.start_time.as_ref()), at("end_time", given.end_time.as_ref()));
        let budget = mask.has("budget").then(|| budget("programme.budget", given.budget, &mut violations));
        let etag = Etag::parse("etag", &message.etag, &mut violations);
        violations.optional_request_id(&message.request_id);
        violations.finish()?;
        Ok(Self { name: name.expect("no violations, so there is a name"), etag, names, start, end, budget })
    }

    /// The programme with what is to be written of it; refused when the parts do not fit together.
    pub fn apply(&self, before: &Programme) -> Result<Programme, Error> {
        let mut programme = before.clone();
        if let Some(names) = &self.names {
            programme.names.clone_from(names);
        }
        programme.window = merge(before.window, self.start, self.end);
        programme.budget = self.budget.unwrap_or(before.budget);
        let mut violations = Violations::default();
        check_order("programme", &programme.window, &mut violations);
        violations.finish()?;
        Ok(programme)
    }
}

/// A state is to be turned: of what, and by whom it was read.
pub fn turn(name: &str, etag: &str, request_id: &str) -> Result<(ResourceName, Option<Etag>), Error> {
    let mut violations = Violations::default();
    let name = ResourceName::parse(PROGRAMMES, "name", name, &mut violations);
    let etag = Etag::parse("etag", etag, &mut violations);
    violations.optional_request_id(request_id);
    violations.finish()?;
    Ok((name.expect("no violations, so there is a name"), etag))
}

/// A page of programmes is asked for, the newest first.
pub fn list(message: &proto::ListProgrammesRequest) -> Result<(PageRequest<Uuid>, Option<State>), Error> {
    let mut violations = Violations::default();
    let state = violations
        .optional_choice("state", message.state)
        .and_then(|state| State::ALL.iter().copied().find(|known| show_state(*known) == state));
    let query = ["programmes", state.map_or("", State::name)];
    let page = PageRequest::parse(message.page_size, &message.page_token, &query, &mut violations);
    violations.finish()?;
    Ok((page, state))
}

pub fn answer(it: &Programme, budget_left: i64) -> proto::Programme {
    proto::Programme {
        name: name(it.id).to_string(),
        display_names: show_names(&it.names),
        start_time: it.window.start.map(time::wire),
        end_time: it.window.end.map(time::wire),
        budget: it.budget.unwrap_or(0),
        utc_offset_minutes: it.utc_offset_minutes,
        state: show_state(it.state).into(),
        budget_left,
        create_time: Some(time::wire(it.create_time)),
        update_time: Some(time::wire(it.update_time)),
        etag: Etag::of(it.version).to_string(),
    }
}

fn show_state(state: State) -> proto::programme::State {
    match state {
        State::Draft => proto::programme::State::Draft,
        State::Active => proto::programme::State::Active,
        State::Paused => proto::programme::State::Paused,
        State::Ended => proto::programme::State::Ended,
    }
}

pub(super) fn names(of: &str, given: &BTreeMap<String, String>, violations: &mut Violations) -> Names {
    let field = |tag: &str| format!("{of}.display_names.{}", text::printable(tag, 64));
    if !given.contains_key(ZH) {
        violations.required(&field(ZH));
    }
    let mut names = Names { zh: String::new(), en: String::new() };
    for (tag, name) in given {
        match tag.as_str() {
            ZH => names.zh = text::required(&field(tag), name, NAME_LIMIT, violations),
            EN => names.en = text::required(&field(tag), name, NAME_LIMIT, violations),
            _ => violations.format(&field(tag), "of one of the suite's languages, \"zh-CN\" and \"en\""),
        }
    }
    names
}

pub(super) fn show_names(names: &Names) -> BTreeMap<String, String> {
    let mut shown = BTreeMap::from([(ZH.to_owned(), names.zh.clone())]);
    if !names.en.is_empty() {
        shown.insert(EN.to_owned(), names.en.clone());
    }
    shown
}

pub(super) fn window(
    of: &str,
    start: Option<&Timestamp>,
    end: Option<&Timestamp>,
    violations: &mut Violations,
) -> Window {
    let window = Window {
        start: time::optional(&format!("{of}.start_time"), start, violations),
        end: time::optional(&format!("{of}.end_time"), end, violations),
    };
    check_order(of, &window, violations);
    window
}

pub(super) fn check_order(of: &str, window: &Window, violations: &mut Violations) {
    if !window.is_in_order() {
        violations.order(&format!("{of}.end_time"), "after start_time");
    }
}

pub(super) fn merge(
    before: Window,
    start: Option<Option<DateTime<Utc>>>,
    end: Option<Option<DateTime<Utc>>>,
) -> Window {
    Window { start: start.unwrap_or(before.start), end: end.unwrap_or(before.end) }
}

pub(super) fn budget(field: &str, given: i64, violations: &mut Violations) -> Option<i64> {
    if !(0..=MOST_BUDGET).contains(&given) {
        violations.range(field, &format!("0 to {MOST_BUDGET}"));
    }
    Some(given).filter(|budget| *budget > 0)
}
