//! Calendars: a zone, a week, and dates that are not as their day of the week.

use std::collections::BTreeMap;

use chrono::{Datelike, NaiveDate};
use chrono_tz::Tz;
use cqm_proto::complaints::v1::sla_calendar::{Day, DayHours, Holiday, WorkingDay};
use cqm_proto::complaints::v1::{SlaCalendar, SlaHours};
use cqm_proto::google::r#type::Date;
use cqm_rpc::{Violations, reason};

use crate::domain::sla::{Calendar, Hours, Rules};

const MOST_DATES: usize = 366;
const MOST_HOURS: usize = 12;
const HOUR: u16 = 60;
const DAY: u16 = 24 * HOUR;

/// `None` when something is wrong with it.
pub fn read(field: &str, given: Option<&SlaCalendar>, violations: &mut Violations) -> Option<Calendar> {
    let Some(given) = given else {
        violations.required(field);
        return None;
    };
    let faults = violations.len();
    let zone = zone(&format!("{field}.time_zone"), &given.time_zone, violations);
    let week = week(&format!("{field}.weekly"), &given.weekly, violations);
    let holidays =
        dates(&format!("{field}.holidays"), &given.holidays, violations, |field, day, violations| {
            let closed = hours(&format!("{field}.closed_hours"), &day.closed_hours, violations);
            if closed.iter().any(|hours| !hours.ends_within_its_day()) {
                violations.format(&format!("{field}.closed_hours"), "hours that end on the date");
            }
            (day.date, closed)
        });
    let working_days =
        dates(&format!("{field}.working_days"), &given.working_days, violations, |field, day, violations| {
            (day.date, open_hours(&format!("{field}.hours"), &day.hours, violations))
        });
    if violations.len() > faults {
        return None;
    }
    Calendar::new(Rules { zone: zone?, week, holidays, working_days })
}

fn zone(field: &str, name: &str, violations: &mut Violations) -> Option<Tz> {
    if name.is_empty() {
        violations.required(field);
        return None;
    }
    let zone = name.parse().ok();
    if zone.is_none() {
        violations.format(field, "the IANA name of a zone");
    }
    zone
}

/// From Monday.
fn week(field: &str, given: &[DayHours], violations: &mut Violations) -> [Vec<Hours>; 7] {
    let mut week: [Vec<Hours>; 7] = Default::default();
    if given.is_empty() {
        violations.required(field);
    }
    let mut told = [false; 7];
    // More of them than there are days repeat one.
    for (index, day) in given.iter().take(week.len() + 1).enumerate() {
        let field = format!("{field}[{index}]");
        let open = open_hours(&format!("{field}.hours"), &day.hours, violations);
        let Some(day) = violations.choice::<Day>(&format!("{field}.day"), day.day) else { continue };
        // The unspecified one, which is 0, is none of the choices.
        let place = day as usize - 1;
        if std::mem::replace(&mut told[place], true) {
            violations.format(&format!("{field}.day"), "another day than those before it");
        }
        week[place] = open;
    }
    week
}

/// The dates of a list, each once, with their hours.
fn dates<T>(
    field: &str,
    given: &[T],
    violations: &mut Violations,
    read: impl Fn(&str, &T, &mut Violations) -> (Option<Date>, Vec<Hours>),
) -> BTreeMap<NaiveDate, Vec<Hours>> {
    let mut dates = BTreeMap::new();
    if given.len() > MOST_DATES {
        violations.add(field, reason::FIELD_TOO_LONG, format!("has more than {MOST_DATES} items"));
        return dates;
    }
    for (index, item) in given.iter().enumerate() {
        let item_field = format!("{field}[{index}]");
        let (date, hours) = read(&item_field, item, violations);
        let Some(date) = read_date(&format!("{item_field}.date"), date, violations) else { continue };
        if dates.insert(date, hours).is_some() {
            violations.format(&format!("{item_field}.date"), "another date than those before it");
        }
    }
    dates
}

fn read_date(field: &str, given: Option<Date>, violations: &mut Violations) -> Option<NaiveDate> {
    let Some(given) = given else {
        violations.required(field);
        return None;
    };
    let part = |part: i32| u32::try_from(part).ok();
    let date = part(given.month)
        .zip(part(given.day))
        .filter(|_| (1..=9999).contains(&given.year))
        .and_then(|(month, day)| NaiveDate::from_ymd_opt(given.year, month, day));
    if date.is_none() {
        violations.format(field, "a date of the years 1 to 9999");
    }
    date
}

/// [`hours`], of which there must be some.
fn open_hours(field: &str, given: &[SlaHours], violations: &mut Violations) -> Vec<Hours> {
    if given.is_empty() {
        violations.required(field);
    }
    hours(field, given, violations)
}

fn hours(field: &str, given: &[SlaHours], violations: &mut Violations) -> Vec<Hours> {
    if given.len() > MOST_HOURS {
        violations.add(field, reason::FIELD_TOO_LONG, format!("has more than {MOST_HOURS} items"));
        return Vec::new();
    }
    let mut read: Vec<Hours> = Vec::new();
    for (index, hours) in given.iter().enumerate() {
        let field = |name: &str| format!("{field}[{index}].{name}");
        let start = minutes(&field("start"), &hours.start, DAY - 1, violations);
        let end = minutes(&field("end"), &hours.end, DAY, violations);
        let Some((start, end)) = start.zip(end) else { continue };
        // An end that is not after the start lies on the next day.
        let end = if end > start { end } else { end + DAY };
        if read.last().is_some_and(|before| start < before.end()) {
            violations.order(&field("start"), "not before the end of the hours before it");
        }
        read.extend(Hours::new(start, end));
    }
    read
}

/// "09:30" as minutes from midnight.
fn minutes(field: &str, text: &str, last: u16, violations: &mut Violations) -> Option<u16> {
    if text.is_empty() {
        violations.required(field);
        return None;
    }
    let digits = |part: &str| {
        let plain = part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_digit());
        plain.then(|| part.parse::<u16>().ok()).flatten()
    };
    let minutes = text.split_once(':').and_then(|(hour, minute)| {
        let minute = digits(minute).filter(|minute| *minute < HOUR)?;
        Some(digits(hour)? * HOUR + minute)
    });
    let minutes = minutes.filter(|minutes| *minutes <= last);
    if minutes.is_none() {
        let latest = if last < DAY { "23:59" } else { "24:00" };
        violations.format(field, &format!("a time from \"00:00\" to \"{latest}\""));
    }
    minutes
}

pub fn write(rules: &Rules) -> SlaCalendar {
    let days = rules.week.iter().zip(1..).filter(|(hours, _)| !hours.is_empty());
    SlaCalendar {
        time_zone: rules.zone.name().to_owned(),
        weekly: days.map(|(hours, day)| DayHours { day, hours: write_hours(hours) }).collect(),
        holidays: rules
            .holidays
            .iter()
            .map(|(date, closed)| Holiday { date: write_date(*date), closed_hours: write_hours(closed) })
            .collect(),
        working_days: rules
            .working_days
            .iter()
            .map(|(date, hours)| WorkingDay { date: write_date(*date), hours: write_hours(hours) })
            .collect(),
    }
}

fn write_date(date: NaiveDate) -> Option<Date> {
    let part = u32::cast_signed;
    Some(Date { year: date.year(), month: part(date.month()), day: part(date.day()) })
}

fn write_hours(hours: &[Hours]) -> Vec<SlaHours> {
    let text = |minutes: u16| format!("{:02}:{:02}", minutes / HOUR, minutes % HOUR);
    hours
        .iter()
        .map(|hours| {
            let end = if hours.ends_within_its_day() { hours.end() } else { hours.end() - DAY };
            SlaHours { start: text(hours.start()), end: text(end) }
        })
        .collect()
}
