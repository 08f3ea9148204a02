use proptest::prelude::*;

use super::*;

fn at(time: &str) -> DateTime<Utc> {
    time.parse().unwrap()
}

fn on(date: &str) -> NaiveDate {
    date.parse().unwrap()
}

/// "09:00-17:00", with hours over 24 on the next day.
fn hours(text: &str) -> Hours {
    let minutes = |text: &str| {
        let (hour, minute) = text.split_once(':').unwrap();
        hour.parse::<u16>().unwrap() * 60 + minute.parse::<u16>().unwrap()
    };
    let (start, end) = text.split_once('-').unwrap();
    Hours::new(minutes(start), minutes(end)).unwrap()
}

fn all(texts: &[&str]) -> Vec<Hours> {
    texts.iter().map(|text| hours(text)).collect()
}

/// The same hours from Monday to Friday.
fn office(zone: Tz, open: &[&str]) -> Rules {
    let day = || all(open);
    let week = [day(), day(), day(), day(), day(), Vec::new(), Vec::new()];
    Rules { zone, week, holidays: BTreeMap::new(), working_days: BTreeMap::new() }
}

/// The same hours each day.
fn always(zone: Tz, open: &[&str]) -> Rules {
    Rules { week: [(); 7].map(|()| all(open)), ..office(zone, open) }
}

fn made(rules: Rules) -> Calendar {
    Calendar::new(rules).unwrap()
}

fn minutes(minutes: i64) -> TimeDelta {
    TimeDelta::minutes(minutes)
}

#[test]
fn an_hour_from_friday_afternoon_ends_on_monday_morning() {
    let calendar = made(office(Tz::UTC, &["09:00-17:00"]));
    // A Friday.
    let start = at("2026-01-16T16:30:00Z");
    assert_eq!(calendar.deadline(start, minutes(60)), at("2026-01-19T09:30:00Z"));
    // What just fits ends with the day, not with the beginning of the next.
    assert_eq!(calendar.deadline(start, minutes(30)), at("2026-01-16T17:00:00Z"));
    assert_eq!(calendar.elapsed(start, at("2026-01-19T09:30:00Z")), minutes(60));
    assert_eq!(calendar.elapsed(at("2026-01-17T00:00:00Z"), at("2026-01-18T23:00:00Z")), minutes(0));
}

#[test]
fn what_comes_in_before_the_day_begins_counts_from_its_beginning() {
    let calendar = made(office(Tz::Asia__Shanghai, &["09:00-12:00", "13:30-18:00"]));
    // 07:00 and 12:15 of a Thursday in Shanghai.
    assert_eq!(calendar.deadline(at("2026-01-14T23:00:00Z"), minutes(1)), at("2026-01-15T01:01:00Z"));
    assert_eq!(calendar.deadline(at("2026-01-15T04:15:00Z"), minutes(60)), at("2026-01-15T06:30:00Z"));
    assert_eq!(calendar.elapsed(at("2026-01-15T03:30:00Z"), at("2026-01-15T06:00:00Z")), minutes(60));
}

#[test]
fn nothing_is_due_before_it_begins_and_no_time_passes_backwards() {
    let calendar = made(office(Tz::UTC, &["09:00-17:00"]));
    let saturday = at("2026-01-17T10:00:00Z");
    for none in [minutes(0), minutes(-5), TimeDelta::MIN] {
        assert_eq!(calendar.deadline(saturday, none), saturday);
    }
    assert_eq!(calendar.elapsed(saturday, at("2026-01-14T10:00:00Z")), minutes(0));
}

#[test]
fn a_night_shift_belongs_to_the_day_it_begins_on() {
    let mut rules = office(Tz::Asia__Shanghai, &["22:00-30:00"]);
    // A Friday and the Monday after it.
    rules.holidays.insert(on("2026-01-16"), Vec::new());
    rules.holidays.insert(on("2026-01-19"), Vec::new());
    let calendar = made(rules);
    let shanghai = |time: &str| at(&format!("{time}:00+08:00"));
    // Thursday's shift goes on into the holiday; Friday's is not there; Monday has none to begin with.
    let evening = shanghai("2026-01-15T23:00");
    assert_eq!(calendar.deadline(evening, minutes(7 * 60)), shanghai("2026-01-16T06:00"));
    assert_eq!(calendar.deadline(evening, minutes(7 * 60 + 1)), shanghai("2026-01-20T22:01"));
    // Whoever comes in the small hours meets the shift of the day before.
    assert_eq!(calendar.deadline(shanghai("2026-01-21T03:00"), minutes(60)), shanghai("2026-01-21T04:00"));
}

#[test]
fn a_shift_that_reaches_into_the_next_days_hours_counts_once() {
    let calendar = made(always(Tz::UTC, &["06:00-29:00"]));
    assert_eq!(calendar.elapsed(at("2026-01-05T06:00:00Z"), at("2026-01-06T06:00:00Z")), minutes(23 * 60));
    let calendar = made(always(Tz::UTC, &["06:00-30:00"]));
    assert_eq!(calendar.elapsed(at("2026-01-05T06:00:00Z"), at("2026-01-07T06:00:00Z")), minutes(48 * 60));
    // The shift is there until 08:00, the next begins at 06:00.
    let mut rules = always(Tz::UTC, &["06:00-07:00"]);
    rules.week[0] = all(&["10:00-32:00"]);
    let calendar = made(rules);
    assert_eq!(calendar.elapsed(at("2026-01-06T05:00:00Z"), at("2026-01-06T09:00:00Z")), minutes(3 * 60));
}

#[test]
fn a_date_of_its_own_counts_before_a_holiday_and_a_holiday_before_the_week() {
    let mut rules = office(Tz::UTC, &["09:00-17:00"]);
    // Monday to Wednesday.
    rules.holidays.insert(on("2026-01-12"), Vec::new());
    rules.holidays.insert(on("2026-01-13"), all(&["08:00-10:00", "12:00-16:30"]));
    rules.holidays.insert(on("2026-01-14"), Vec::new());
    rules.working_days.insert(on("2026-01-14"), all(&["10:00-11:00"]));
    // A Sunday that makes up for it.
    rules.working_days.insert(on("2026-01-18"), all(&["09:00-12:00"]));
    let calendar = made(rules);
    let open = |date: &str| {
        let day = on(date).and_time(NaiveTime::MIN).and_utc();
        calendar.elapsed(day, day + TimeDelta::days(1)).num_minutes()
    };
    let found = ["12", "13", "14", "15", "16", "17", "18"].map(|day| open(&format!("2026-01-{day}")));
    assert_eq!(found, [0, 120 + 30, 60, 480, 480, 0, 180]);
    let start = at("2026-01-13T16:50:00Z");
    assert_eq!(calendar.deadline(start, minutes(71)), at("2026-01-15T09:01:00Z"));
}

/// As the State Council has ordered it for 2026: the Spring Festival from Sunday the 15th to Monday the 23rd of February,
/// made up for on Saturday the 14th and Saturday the 28th.
#[test]
fn the_spring_festival_is_made_up_for_at_weekends() {
    let mut rules = office(Tz::Asia__Shanghai, &["09:00-12:00", "13:00-18:00"]);
    rules.holidays = on("2026-02-15").iter_days().take(9).map(|date| (date, Vec::new())).collect();
    for date in ["2026-02-14", "2026-02-28"] {
        rules.working_days.insert(on(date), all(&["09:00-12:00", "13:00-18:00"]));
    }
    let calendar = made(rules);
    let shanghai = |time: &str| at(&format!("{time}:00+08:00"));
    let (first, last) = (shanghai("2026-02-01T00:00"), shanghai("2026-03-01T00:00"));
    // 20 days from Monday to Friday less 6 of the festival, and 2 Saturdays.
    assert_eq!(calendar.elapsed(first, last), TimeDelta::hours(8 * (20 - 6 + 2)));
    // An hour from half past five on the last Saturday: Tuesday the 24th is the next day at work.
    assert_eq!(calendar.deadline(shanghai("2026-02-14T17:30"), minutes(60)), shanghai("2026-02-24T09:30"));
}

#[test]
fn a_night_in_which_the_clock_is_put_forward_is_an_hour_shorter() {
    // 02:00 to 03:00 is left out on the 29th of March in Berlin.
    let berlin = made(always(Tz::Europe__Berlin, &["22:00-30:00"]));
    let (evening, morning) = (at("2026-03-28T21:00:00Z"), at("2026-03-29T04:00:00Z"));
    assert_eq!(berlin.elapsed(evening, morning), minutes(7 * 60));
    assert_eq!(berlin.deadline(evening, minutes(7 * 60)), morning);
    // What begins and ends in what is left out is not there; what begins in it begins with its end.
    let gap = made(always(Tz::Europe__Berlin, &["02:15-02:45"]));
    let midnight = at("2026-03-28T23:00:00Z");
    assert_eq!(gap.elapsed(midnight, midnight + TimeDelta::hours(23)), minutes(0));
    let gap = made(always(Tz::Europe__Berlin, &["02:30-04:00"]));
    assert_eq!(gap.deadline(midnight, minutes(1)), at("2026-03-29T01:01:00Z"));
    assert_eq!(gap.elapsed(midnight, midnight + TimeDelta::hours(23)), minutes(60));
}

#[test]
fn a_night_in_which_the_clock_is_put_back_is_an_hour_longer() {
    // 02:00 to 03:00 comes twice on the 25th of October in Berlin.
    let berlin = made(always(Tz::Europe__Berlin, &["22:00-30:00"]));
    let (evening, morning) = (at("2026-10-24T20:00:00Z"), at("2026-10-25T05:00:00Z"));
    assert_eq!(berlin.elapsed(evening, morning), minutes(9 * 60));
    assert_eq!(berlin.deadline(evening, minutes(9 * 60)), morning);
    // The first of the two is meant, at both ends: what meets there meets still.
    let halves = made(always(Tz::Europe__Berlin, &["00:00-02:30", "02:30-06:00"]));
    let midnight = at("2026-10-24T22:00:00Z");
    assert_eq!(halves.elapsed(midnight, at("2026-10-25T00:30:00Z")), minutes(150));
    assert_eq!(halves.elapsed(midnight, morning), minutes(7 * 60));
}

#[test]
fn a_calendar_that_is_never_open_is_refused_and_one_that_hardly_is_comes_to_an_end() {
    let never = Rules { week: Default::default(), ..office(Tz::UTC, &[]) };
    let mut only_once = never.clone();
    only_once.working_days.insert(on("2026-01-14"), all(&["10:00-11:00"]));
    assert!(Calendar::new(never.clone()).is_none() && Calendar::new(only_once).is_none());

    let mut week = never.week.clone();
    week[0] = all(&["10:00-10:01"]);
    let hardly = made(Rules { week, ..never });
    let start = at("2026-01-14T10:00:00Z");
    assert_eq!(hardly.deadline(start, TimeDelta::MAX), start + TimeDelta::days(7305));
    assert_eq!(hardly.elapsed(start, DateTime::<Utc>::MAX_UTC), minutes(1043));
}

#[test]
fn hours_begin_within_their_day_and_last_a_day_at_most() {
    for (start, end, are) in [
        (0, 1, true),
        (0, 1440, true),
        (1439, 2879, true),
        (1440, 1441, false),
        (9, 9, false),
        (0, 1441, false),
    ] {
        assert_eq!(Hours::new(start, end).is_some(), are, "{start} {end}");
    }
}

/// Hours of a day that do not overlap, some of them over midnight.
fn some_hours() -> impl Strategy<Value = Vec<Hours>> {
    prop::collection::btree_set(0_u16..1440, 0..5).prop_flat_map(|starts| {
        let starts: Vec<u16> = starts.into_iter().collect();
        let lengths = prop::collection::vec(1_u16..1440, starts.len());
        lengths.prop_map(move |lengths| {
            let ends = starts.iter().skip(1).copied().chain([2880]);
            let hours = starts.iter().zip(ends).zip(lengths);
            hours
                .map(|((start, next), length)| Hours::new(*start, next.min(start + length)).unwrap())
                .collect()
        })
    })
}

fn some_rules(zones: &'static [Tz]) -> impl Strategy<Value = Rules> {
    let dates = || {
        let date = (0_u64..40).prop_map(|days| on("2026-03-10") + Days::new(days));
        prop::collection::btree_map(date, some_hours(), 0..6)
    };
    let week = prop::array::uniform7(some_hours());
    (prop::sample::select(zones), week, dates(), dates()).prop_map(|(zone, week, holidays, working_days)| {
        let within = |hours: Vec<Hours>| hours.into_iter().filter(|it| it.ends_within_its_day()).collect();
        let holidays = holidays.into_iter().map(|(date, hours)| (date, within(hours))).collect();
        Rules { zone, week, holidays, working_days }
    })
}

const ZONES: &[Tz] =
    &[Tz::UTC, Tz::Asia__Shanghai, Tz::Europe__Berlin, Tz::America__New_York, Tz::Australia__Lord_Howe];
/// Where the clock is never put forward or back.
const EVEN_ZONES: &[Tz] = &[Tz::UTC, Tz::Asia__Shanghai, Tz::Asia__Kathmandu];

fn some_moment() -> impl Strategy<Value = DateTime<Utc>> {
    (0_i64..60 * 86_400).prop_map(|seconds| at("2026-03-05T00:00:00Z") + TimeDelta::seconds(seconds))
}

proptest! {
    #[test]
    fn the_time_to_a_deadline_is_the_time_that_was_asked_for(
        rules in some_rules(ZONES), start in some_moment(), seconds in 1_i64..400_000,
    ) {
        let Some(calendar) = Calendar::new(rules) else { return Ok(()) };
        // What a week is open is always reached.
        let target = TimeDelta::seconds(seconds).min(calendar.weekly());
        let due = calendar.deadline(start, target);
        prop_assert_eq!(calendar.elapsed(start, due), target);
        // And not a moment earlier.
        prop_assert!(calendar.elapsed(start, due - TimeDelta::microseconds(1)) < target);
    }

    #[test]
    fn the_deadline_of_the_time_that_has_passed_is_when_it_had(
        rules in some_rules(ZONES), start in some_moment(), end in some_moment(),
    ) {
        let Some(calendar) = Calendar::new(rules) else { return Ok(()) };
        let passed = calendar.elapsed(start, end);
        let due = calendar.deadline(start, passed);
        prop_assert!(start >= end || due <= end);
        prop_assert_eq!(calendar.elapsed(start, due), passed);
    }

    #[test]
    fn time_passes_the_same_in_one_go_or_in_two(
        rules in some_rules(ZONES), mut moments in prop::array::uniform3(some_moment()),
    ) {
        let Some(calendar) = Calendar::new(rules) else { return Ok(()) };
        moments.sort();
        let [first, second, third] = moments;
        let both = calendar.elapsed(first, second) + calendar.elapsed(second, third);
        prop_assert_eq!(calendar.elapsed(first, third), both);
    }

    #[test]
    fn the_open_time_is_that_of_every_minute_by_itself(
        rules in some_rules(EVEN_ZONES), start in some_moment(), length in 1_i64..5_000,
    ) {
        let Some(calendar) = Calendar::new(rules.clone()) else { return Ok(()) };
        let start = start - TimeDelta::seconds(start.timestamp() % 60);
        let is_open = |minute: i64| {
            let shown = (start + minutes(minute)).with_timezone(&rules.zone).naive_local();
            // What began today, and what began yesterday and lasts.
            [0, 1].into_iter().any(|ago| {
                let day = shown.date() - Days::new(ago);
                let after = u16::try_from((shown - day.and_time(NaiveTime::MIN)).num_minutes()).unwrap();
                let within = |hours: &Hours| hours.start() <= after && after < hours.end();
                match (rules.working_days.get(&day), rules.holidays.get(&day)) {
                    (Some(open), _) => open.iter().any(within),
                    (None, Some(closed)) if closed.is_empty() => false,
                    (None, closed) => {
                        rules.week[weekday(day)].iter().any(within)
                            && closed.is_none_or(|closed| !closed.iter().any(within))
                    }
                }
            })
        };
        let open = (0..length).filter(|minute| is_open(*minute)).count();
        prop_assert_eq!(calendar.elapsed(start, start + minutes(length)).num_minutes(), open as i64);
    }
}
