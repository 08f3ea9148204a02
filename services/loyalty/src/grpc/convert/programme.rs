//! Programmes.

use chrono::{DateTime, Utc};
use cqm_proto::loyalty::v1 as proto;
use cqm_rpc::{Error, Etag, Mask, PageRequest, ResourceName, Violations, time};
use prost_types::Timestamp;
use uuid::Uuid;

use super::{PROGRAMMES, localized};
use crate::domain::programme::{Programme, State, Window};
use crate::domain::text::Text;

pub(super) const NAME_LIMIT: usize = 100;
/// The most that a budget is.
const MOST_BUDGET: i64 = 1_000_000_000_000;
const OFFSETS: std::ops::RangeInclusive<i32> = -720..=840;
const MUTABLE: [&str; 4] = ["display_name", "start_time", "end_time", "budget"];

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
    let display_name = display_name(given, &mut violations);
    let window = window("programme", given.start_time.as_ref(), given.end_time.as_ref(), &mut violations);
    let budget = budget("programme.budget", given.budget, &mut violations);
    if !OFFSETS.contains(&given.utc_offset_minutes) {
        violations.range("programme.utc_offset_minutes", "-720 to 840");
    }
    violations.optional_request_id(&message.request_id);
    violations.finish()?;
    Ok(Programme {
        id,
        display_name,
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
    display_name: Option<Text>,
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
            "display_name" => given.display_name.is_some(),
            "start_time" => given.start_time.is_some(),
            "end_time" => given.end_time.is_some(),
            _ => given.budget != 0,
        };
        let paths = message.update_mask.as_ref().map(|mask| mask.paths.as_slice());
        let mask = Mask::parse(paths, &MUTABLE, populated, &mut violations);
        let display_name = mask.has("display_name").then(|| display_name(given, &mut violations));
        let mut at = |path: &str, given: Option<&Timestamp>| {
            mask.has(path).then(|| time::optional(&format!("programme.{path}"), given, &mut violations))
        };
        let (start, end) =
            (at("start_time", given.start_time.as_ref()), at("end_time", given.end_time.as_ref()));
        let budget = mask.has("budget").then(|| budget("programme.budget", given.budget, &mut violations));
        let etag = Etag::parse("etag", &message.etag, &mut violations);
        violations.optional_request_id(&message.request_id);
        violations.finish()?;
        let name = name.expect("no violations, so there is a name");
        Ok(Self { name, etag, display_name, start, end, budget })
    }

    /// The programme with what is to be written of it; refused when the parts do not fit together.
    pub fn apply(&self, before: &Programme) -> Result<Programme, Error> {
        let mut programme = before.clone();
        if let Some(display_name) = &self.display_name {
            programme.display_name.clone_from(display_name);
        }
        programme.window = merge(before.window, self.start, self.end);
        programme.budget = self.budget.unwrap_or(before.budget);
        let mut violations = Violations::default();
        check_order("programme", &programme.window, &mut violations);
        violations.finish()?;
        Ok(programme)
    }
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
        display_name: localized::write(&it.display_name),
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

fn display_name(given: &proto::Programme, violations: &mut Violations) -> Text {
    localized::required("programme.display_name", given.display_name.as_ref(), NAME_LIMIT, violations)
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
