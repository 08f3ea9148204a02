//! Which time is open.
//!
//! The rules are in the wall time of one zone, as people say them; what is asked and answered is in UTC. Each open span is
//! turned into two moments before anything is added up, so that an hour that the clock shows twice, or never, counts as
//! long as it lasts.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike, Days, MappedLocalTime, NaiveDate, NaiveTime, TimeDelta, TimeZone, Utc};
use chrono_tz::{GapInfo, Tz};

/// Minutes of a day.
const DAY: u16 = 24 * 60;

/// How many days a calendar is looked through, 20 years. What policies allow is always found within them: no target is
/// longer than 52 weeks' open time, and no more weeks than there are holidays and working days have less of it.
const LOOK_AHEAD: usize = 7305;

/// Hours of one day, in minutes from its midnight. They belong to the day that they begin on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours {
    start: u16,
    end: u16,
}

impl Hours {
    /// `None` unless they begin within the day and last for a minute to a whole day.
    pub const fn new(start: u16, end: u16) -> Option<Self> {
        if start < DAY && start < end && end - start <= DAY { Some(Self { start, end }) } else { None }
    }

    pub const fn start(self) -> u16 {
        self.start
    }

    /// More than 1440 on the next day.
    pub const fn end(self) -> u16 {
        self.end
    }

    pub const fn ends_within_its_day(self) -> bool {
        self.end <= DAY
    }
}

/// A calendar as people say it. The hours of each day are in their order and do not overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    pub zone: Tz,
    /// From Monday.
    pub week: [Vec<Hours>; 7],
    /// The hours in which a date is closed, none of them beyond it; without any, the whole date is.
    pub holidays: BTreeMap<NaiveDate, Vec<Hours>>,
    /// The hours of dates that neither the week nor a holiday is asked for.
    pub working_days: BTreeMap<NaiveDate, Vec<Hours>>,
}

/// Which time is open: some of every week, less the holidays, and the working days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    rules: Rules,
    /// The hours of the dates that are not as their day of the week.
    dated: BTreeMap<NaiveDate, Vec<Hours>>,
}

impl Calendar {
    /// `None` when no day of the week is open: such a calendar comes to an end.
    pub fn new(rules: Rules) -> Option<Self> {
        if rules.week.iter().all(Vec::is_empty) {
            return None;
        }
        let holidays = rules.holidays.iter().map(|(date, closed)| {
            let usual = &rules.week[weekday(*date)];
            (*date, if closed.is_empty() { Vec::new() } else { without(usual, closed) })
        });
        let working_days = rules.working_days.iter().map(|(date, hours)| (*date, hours.clone()));
        // The last one counts.
        let dated = holidays.chain(working_days).collect();
        Some(Self { rules, dated })
    }

    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What a week without holidays is open, hours that overlap with those of the day before counted twice.
    pub fn weekly(&self) -> TimeDelta {
        let minutes: u32 =
            self.rules.week.iter().flatten().map(|hours| u32::from(hours.end - hours.start)).sum();
        TimeDelta::minutes(minutes.into())
    }

    /// The first moment at which so much open time has passed since `start`; `start` itself when none is asked for. Never
    /// later than the calendar is looked through.
    pub fn deadline(&self, start: DateTime<Utc>, open_time: TimeDelta) -> DateTime<Utc> {
        if open_time <= TimeDelta::zero() {
            return start;
        }
        let mut left = open_time;
        for (open, close) in self.spans(start) {
            if left <= close - open {
                return open + left;
            }
            left -= close - open;
        }
        start + TimeDelta::days(LOOK_AHEAD as i64)
    }

    /// The open time from one moment to another; nothing when the other is not later.
    pub fn elapsed(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> TimeDelta {
        self.spans(from)
            .take_while(|(open, _)| *open < to)
            .map(|(open, close)| close.min(to) - open)
            .fold(TimeDelta::zero(), |sum, span| sum + span)
    }

    /// The open spans from a moment on, in their order, none of them overlapping.
    fn spans(&self, from: DateTime<Utc>) -> impl Iterator<Item = (DateTime<Utc>, DateTime<Utc>)> {
        let today = from.with_timezone(&self.rules.zone).date_naive();
        // The hours of the day before may reach into this one.
        let days = (today - Days::new(1)).iter_days().take(LOOK_AHEAD);
        let spans = days.flat_map(move |day| {
            self.hours(day)
                .iter()
                .map(move |hours| (self.moment(day, hours.start), self.moment(day, hours.end)))
        });
        let mut reached = from;
        spans.filter_map(move |(open, close)| {
            let open = open.max(reached);
            reached = reached.max(close);
            (open < close).then_some((open, close))
        })
    }

    fn hours(&self, day: NaiveDate) -> &[Hours] {
        self.dated.get(&day).unwrap_or(&self.rules.week[weekday(day)])
    }

    /// When the clock on the wall first shows so many minutes after a day's midnight; when it is put forward over them, the
    /// moment at which it is.
    fn moment(&self, day: NaiveDate, minutes: u16) -> DateTime<Utc> {
        let zone = &self.rules.zone;
        let shown = day.and_time(NaiveTime::MIN) + TimeDelta::minutes(minutes.into());
        match zone.from_local_datetime(&shown) {
            MappedLocalTime::Single(moment) | MappedLocalTime::Ambiguous(moment, _) => moment.to_utc(),
            MappedLocalTime::None => {
                let end = GapInfo::new(&shown, zone).and_then(|gap| gap.end);
                end.expect("a clock that is put forward goes on from somewhere").to_utc()
            }
        }
    }
}

fn weekday(date: NaiveDate) -> usize {
    date.weekday().num_days_from_monday() as usize
}

/// What is left of `open` without `closed`.
fn without(open: &[Hours], closed: &[Hours]) -> Vec<Hours> {
    closed.iter().fold(open.to_vec(), |left, gap| {
        let parts = left.into_iter().flat_map(|hours| {
            let before = Hours { end: hours.end.min(gap.start), ..hours };
            let after = Hours { start: hours.start.max(gap.end), ..hours };
            [before, after]
        });
        parts.filter(|part| part.start < part.end).collect()
    })
}

#[cfg(test)]
mod tests;
