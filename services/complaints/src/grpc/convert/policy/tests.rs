use cqm_proto::complaints::v1::sla_calendar::{Day, DayHours, Holiday, WorkingDay};
use cqm_proto::google::r#type::Date;
use cqm_rpc::reason::{
    ENUM_UNKNOWN, FIELD_FORMAT, FIELD_ORDER, FIELD_RANGE, FIELD_REQUIRED, FIELD_TOO_LONG, REQUEST_ID_FORMAT,
};

use super::super::command::tests::{expected, violations};
use super::*;

fn hours(start: &str, end: &str) -> wire::SlaHours {
    wire::SlaHours { start: start.to_owned(), end: end.to_owned() }
}

fn date(year: i32, month: i32, day: i32) -> Option<Date> {
    Some(Date { year, month, day })
}

fn seconds(seconds: i64) -> Option<Duration> {
    Some(Duration { seconds, nanos: 0 })
}

fn given() -> wire::SlaPolicy {
    wire::SlaPolicy {
        calendar: Some(wire::SlaCalendar {
            time_zone: "Asia/Shanghai".to_owned(),
            weekly: vec![
                DayHours {
                    day: Day::Monday.into(),
                    hours: vec![hours("09:00", "12:00"), hours("13:00", "24:00")],
                },
                DayHours { day: Day::Sunday.into(), hours: vec![hours("22:00", "06:00")] },
            ],
            holidays: vec![
                Holiday { date: date(2026, 10, 1), closed_hours: vec![] },
                Holiday { date: date(2026, 10, 8), closed_hours: vec![hours("15:00", "24:00")] },
            ],
            working_days: vec![WorkingDay { date: date(2026, 10, 10), hours: vec![hours("08:00", "08:00")] }],
        }),
        targets: (1..=4)
            .map(|severity| wire::SlaTarget {
                severity,
                first_response: seconds(3600),
                resolution: seconds(86_400),
            })
            .collect(),
        warning_percent: 75,
        ..Default::default()
    }
}

fn publish(policy: wire::SlaPolicy) -> Result<Publish, Error> {
    Publish::parse(&wire::PublishSlaPolicyRequest { sla_policy: Some(policy), request_id: String::new() })
}

fn with_calendar(change: impl FnOnce(&mut wire::SlaCalendar)) -> Result<Publish, Error> {
    let mut policy = given();
    change(policy.calendar.as_mut().unwrap());
    publish(policy)
}

#[test]
fn a_policy_is_shown_as_it_was_published() {
    let now: DateTime<Utc> = "2026-01-15T01:30:00Z".parse().unwrap();
    let shown = policy(&publish(given()).unwrap().at(7, now));
    let set =
        wire::SlaPolicy { name: "slaPolicies/7".to_owned(), create_time: Some(time::wire(now)), ..given() };
    assert_eq!(shown, set);
    // And can be published as it is shown, whatever its name.
    assert_eq!(publish(shown).unwrap(), publish(given()).unwrap());

    let default = publish(wire::SlaPolicy { warning_percent: 0, ..given() }).unwrap();
    assert_eq!(policy(&default.at(1, now)).warning_percent, 80);
}

#[test]
fn everything_that_is_missing_in_a_policy_is_said_at_once() {
    let nothing = wire::PublishSlaPolicyRequest { sla_policy: None, request_id: "x".to_owned() };
    assert_eq!(
        violations(Publish::parse(&nothing)),
        expected(&[("request_id", REQUEST_ID_FORMAT), ("sla_policy", FIELD_REQUIRED)])
    );
    assert_eq!(
        violations(publish(wire::SlaPolicy::default())),
        expected(&[("sla_policy.calendar", FIELD_REQUIRED), ("sla_policy.targets", FIELD_REQUIRED)])
    );
    let empty = wire::SlaPolicy {
        calendar: Some(wire::SlaCalendar {
            holidays: vec![Holiday::default()],
            working_days: vec![WorkingDay::default()],
            ..Default::default()
        }),
        targets: vec![wire::SlaTarget::default()],
        ..Default::default()
    };
    assert_eq!(
        violations(publish(empty)),
        expected(&[
            ("sla_policy.calendar.time_zone", FIELD_REQUIRED),
            ("sla_policy.calendar.weekly", FIELD_REQUIRED),
            ("sla_policy.calendar.holidays[0].date", FIELD_REQUIRED),
            ("sla_policy.calendar.working_days[0].hours", FIELD_REQUIRED),
            ("sla_policy.calendar.working_days[0].date", FIELD_REQUIRED),
            ("sla_policy.targets[0].severity", ENUM_UNKNOWN),
            ("sla_policy.targets[0].first_response", FIELD_REQUIRED),
            ("sla_policy.targets[0].resolution", FIELD_REQUIRED),
            ("sla_policy.targets", FIELD_REQUIRED),
        ])
    );
}

#[test]
fn hours_are_times_of_the_clock_in_their_order() {
    let monday = |list: &[(&str, &str)]| {
        let list = list.iter().map(|(start, end)| hours(start, end)).collect();
        with_calendar(|calendar| calendar.weekly[0].hours = list)
    };
    const FIRST: &str = "sla_policy.calendar.weekly[0].hours[0]";
    for (start, end) in [("00:00", "24:00"), ("00:00", "00:00"), ("23:59", "23:58"), ("22:00", "06:00")] {
        assert!(monday(&[(start, end)]).is_ok(), "{start} {end}");
    }
    assert!(monday(&[("09:00", "12:00"), ("12:00", "13:00")]).is_ok());
    for wrong in ["9:00", "09:60", "24:00", "25:00", "0900", "09:00:00", "+9:00", "09:0x", "九点", " 09:00"]
    {
        let said = violations(monday(&[(wrong, "23:00")]));
        assert_eq!(said, expected(&[(&format!("{FIRST}.start"), FIELD_FORMAT)]), "{wrong}");
    }
    let said = violations(monday(&[("", "24:01")]));
    let both = [(&*format!("{FIRST}.start"), FIELD_REQUIRED), (&*format!("{FIRST}.end"), FIELD_FORMAT)];
    assert_eq!(said, expected(&both));
    let second = [("sla_policy.calendar.weekly[0].hours[1].start", FIELD_ORDER)];
    assert_eq!(violations(monday(&[("09:00", "12:00"), ("11:59", "13:00")])), expected(&second));
    assert_eq!(violations(monday(&[("22:00", "06:00"), ("23:00", "24:00")])), expected(&second));
    let many: Vec<(&str, &str)> = vec![("09:00", "12:00"); 13];
    assert_eq!(
        violations(monday(&many)),
        expected(&[("sla_policy.calendar.weekly[0].hours", FIELD_TOO_LONG)])
    );
    assert_eq!(violations(monday(&[])), expected(&[("sla_policy.calendar.weekly[0].hours", FIELD_REQUIRED)]));
}

#[test]
fn zones_days_and_dates_are_real_and_stand_once() {
    for zone in ["Mars/Olympus", "asia/shanghai", "+08:00", "CET "] {
        let said = violations(with_calendar(|calendar| calendar.time_zone = zone.to_owned()));
        assert_eq!(said, expected(&[("sla_policy.calendar.time_zone", FIELD_FORMAT)]), "{zone}");
    }
    let twice = with_calendar(|calendar| calendar.weekly[1].day = Day::Monday.into());
    assert_eq!(violations(twice), expected(&[("sla_policy.calendar.weekly[1].day", FIELD_FORMAT)]));
    for day in [0, 8, -1] {
        let unknown = with_calendar(|calendar| calendar.weekly[1].day = day);
        assert_eq!(violations(unknown), expected(&[("sla_policy.calendar.weekly[1].day", ENUM_UNKNOWN)]));
    }
    for (year, month, day) in
        [(2026, 2, 29), (2026, 0, 1), (2026, 13, 1), (0, 1, 1), (10_000, 1, 1), (2026, -1, 1)]
    {
        let unreal = with_calendar(|calendar| calendar.holidays[1].date = date(year, month, day));
        assert_eq!(violations(unreal), expected(&[("sla_policy.calendar.holidays[1].date", FIELD_FORMAT)]));
    }
    let twice = with_calendar(|calendar| calendar.holidays[1].date = calendar.holidays[0].date);
    assert_eq!(violations(twice), expected(&[("sla_policy.calendar.holidays[1].date", FIELD_FORMAT)]));
    let over = with_calendar(|calendar| calendar.holidays[1].closed_hours = vec![hours("22:00", "06:00")]);
    assert_eq!(violations(over), expected(&[("sla_policy.calendar.holidays[1].closed_hours", FIELD_FORMAT)]));
    let many = with_calendar(|calendar| calendar.working_days = vec![calendar.working_days[0].clone(); 367]);
    assert_eq!(violations(many), expected(&[("sla_policy.calendar.working_days", FIELD_TOO_LONG)]));
}

#[test]
fn each_severity_has_targets_that_the_calendar_can_keep() {
    let parsed = |change: fn(&mut Vec<wire::SlaTarget>)| {
        let mut policy = given();
        change(&mut policy.targets);
        publish(policy)
    };
    let with = |change| violations(parsed(change));
    assert_eq!(
        with(|targets| targets[3].severity = 1),
        expected(&[("sla_policy.targets[3].severity", FIELD_FORMAT)])
    );
    assert_eq!(with(|targets| targets.truncate(3)), expected(&[("sla_policy.targets", FIELD_REQUIRED)]));
    assert_eq!(
        with(|targets| targets.extend([targets[0]])),
        expected(&[("sla_policy.targets[4].severity", FIELD_FORMAT)])
    );
    // 22 hours a week: 3 and 11 on Mondays, 8 on Sundays.
    assert!(parsed(|targets| targets[0].resolution = seconds(52 * 22 * 3600)).is_ok());
    for wrong in
        [Some((52 * 22 * 3600 + 1, 0)), Some((0, 0)), Some((-1, 0)), Some((1, 1)), Some((i64::MAX, 0))]
    {
        let mut policy = given();
        policy.targets[2].first_response = wrong.map(|(seconds, nanos)| Duration { seconds, nanos });
        let said = violations(publish(policy));
        assert_eq!(said, expected(&[("sla_policy.targets[2].first_response", FIELD_RANGE)]), "{wrong:?}");
    }
    for percent in [-1, 101] {
        let said = violations(publish(wire::SlaPolicy { warning_percent: percent, ..given() }));
        assert_eq!(said, expected(&[("sla_policy.warning_percent", FIELD_RANGE)]));
    }
}

#[test]
fn a_policy_has_one_name() {
    assert_eq!(policy_version("slaPolicies/12").unwrap(), 12);
    assert_eq!(violations(policy_version("")), expected(&[("name", FIELD_REQUIRED)]));
    for wrong in [
        "slaPolicies/0",
        "slaPolicies/-1",
        "slaPolicies/+1",
        "slaPolicies/01",
        "slaPolicies/1/",
        "slaPolicies",
        "slaPolicies1",
        "policies/1",
        "slaPolicies/9223372036854775808",
    ] {
        assert_eq!(violations(policy_version(wrong)), expected(&[("name", FIELD_FORMAT)]), "{wrong}");
    }
}
