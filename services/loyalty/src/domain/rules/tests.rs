use super::*;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn now() -> DateTime<Utc> {
    at("2026-01-15T01:30:00Z")
}

const CUSTOMER: Uuid = Uuid::from_u128(1);
const RULE: Uuid = Uuid::from_u128(10);
const PROGRAMME: Uuid = Uuid::from_u128(20);
const TIER: Uuid = Uuid::from_u128(30);

fn display_name() -> Text {
    Text { zh: "双倍".into(), en: String::new() }
}

fn programme() -> Programme {
    Programme {
        id: PROGRAMME,
        display_name: display_name(),
        state: State::Active,
        window: Window::default(),
        budget: None,
        utc_offset_minutes: 0,
        version: 1,
        create_time: now(),
        update_time: now(),
    }
}

/// Ten points for any purchase.
fn rule() -> Rule {
    Rule {
        id: RULE,
        programme: PROGRAMME,
        display_name: display_name(),
        trigger: Trigger::Purchase,
        window: Window::default(),
        conditions: Conditions::default(),
        effect: Effect::Fixed(10),
        delay: None,
        lifetime: None,
        budget: None,
        cap: None,
        velocity: None,
        version: 1,
        create_time: now(),
        update_time: now(),
    }
}

fn in_force(rule: Rule) -> InForce {
    InForce { programme: Arc::new(programme()), rule }
}

fn bought(units: i64) -> Facts {
    Facts {
        customer: CUSTOMER,
        basis: Basis::Purchase { units, time: now() },
        sourced: true,
        channel: "app".into(),
        products: vec!["kettle".into(), "cup".into()],
        segments: vec!["vip".into()],
        tier: None,
        bought_before: false,
    }
}

fn says(it: InForce, facts: &Facts, base: i64, usage: &Usage) -> Result<Verdict, Refusal> {
    Ok(evaluate(&[it], facts, base, usage, now())?[0])
}

fn asked(it: InForce, facts: &Facts) -> Verdict {
    says(it, facts, 0, &Usage::default()).unwrap()
}

fn applied(points: i64) -> Verdict {
    Verdict::Applied { points }
}

fn not(why: Why) -> Verdict {
    Verdict::NotApplied { why }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn counted(period: Period, start: &str, points: i64, awards: i64) -> Usage {
    let counter = Counter { start: at(start), points, awards };
    Usage::of([((CUSTOMER, RULE, period), counter)].into(), HashMap::new())
}

fn budgeted(rule: i64, programme: i64) -> Usage {
    let pot = |points| Pot::of(vec![Slice { number: 3, remaining: points }]);
    Usage::of(HashMap::new(), [(RULE, pot(rule)), (PROGRAMME, pot(programme))].into())
}

#[test]
fn each_effect_gives_whole_points_rounded_down() {
    for (effect, units, base, verdict) in [
        (Effect::Fixed(10), 0, 0, Ok(applied(10))),
        (Effect::PerUnit(15_000), 3, 3, Ok(applied(4))),
        (Effect::PerUnit(10_000), 7, 7, Ok(applied(7))),
        (Effect::PerUnit(1), 9_999, 9_999, Ok(not(Why::NoPoints))),
        (Effect::PerUnit(1), 10_000, 10_000, Ok(applied(1))),
        (Effect::PerUnit(10_000), 0, 0, Ok(not(Why::NoPoints))),
        (Effect::PerUnit(20_000), i64::MAX, 0, Err(Refusal::Overflow)),
        (Effect::Multiplier(20_000), 5, 5, Ok(applied(5))),
        (Effect::Multiplier(15_000), 5, 5, Ok(applied(2))),
        (Effect::Multiplier(30_000), 5, 0, Ok(not(Why::NoPoints))),
        (Effect::Multiplier(30_000), 5, i64::MAX, Err(Refusal::Overflow)),
    ] {
        let rule = Rule { effect, ..rule() };
        let said = says(in_force(rule), &bought(units), base, &Usage::default());
        assert_eq!(said, verdict, "{effect:?} of {units} and {base}");
    }
}

#[test]
fn a_rule_applies_when_all_of_its_conditions_hold() {
    let any = Conditions::default;
    for (conditions, verdict) in [
        (any(), applied(10)),
        (Conditions { channels: words(&["web", "app"]), ..any() }, applied(10)),
        (Conditions { channels: words(&["web"]), ..any() }, not(Why::SalesChannel)),
        (Conditions { products: words(&["pot", "cup"]), ..any() }, applied(10)),
        (Conditions { products: words(&["pot"]), ..any() }, not(Why::Product)),
        (Conditions { segments: words(&["vip"]), ..any() }, applied(10)),
        (Conditions { segments: words(&["new"]), ..any() }, not(Why::Segment)),
        (Conditions { minimum_units: 50, ..any() }, applied(10)),
        (Conditions { minimum_units: 51, ..any() }, not(Why::BelowMinimum)),
        (Conditions { tiers: vec![TIER], ..any() }, not(Why::Tier)),
        (Conditions { channels: words(&["app"]), products: words(&["pot"]), ..any() }, not(Why::Product)),
    ] {
        let rule = Rule { conditions: conditions.clone(), ..rule() };
        assert_eq!(asked(in_force(rule), &bought(50)), verdict, "{conditions:?}");
    }
    let for_tier = Rule { conditions: Conditions { tiers: vec![TIER], ..any() }, ..rule() };
    let gold = Facts { tier: Some(TIER), ..bought(1) };
    assert_eq!(asked(in_force(for_tier.clone()), &gold), applied(10));
    let silver = Facts { tier: Some(Uuid::nil()), ..bought(1) };
    assert_eq!(asked(in_force(for_tier), &silver), not(Why::Tier));
}

#[test]
fn each_trigger_is_for_one_thing_that_happens() {
    let bases = [
        (Basis::Purchase { units: 1, time: now() }, vec![Trigger::Purchase, Trigger::FirstPurchase]),
        (Basis::Survey, vec![Trigger::SurveyAnswered]),
        (Basis::Birthday, vec![Trigger::Birthday]),
        (Basis::Referral, vec![Trigger::Referral]),
        (Basis::Compensation { points: 5 }, vec![]),
        (Basis::Adjustment { points: 5 }, vec![]),
    ];
    for (basis, triggers) in bases {
        for trigger in Trigger::ALL {
            let verdict = if triggers.contains(trigger) { applied(10) } else { not(Why::OtherTrigger) };
            let facts = Facts { basis, ..bought(1) };
            let rule = Rule { trigger: *trigger, ..rule() };
            assert_eq!(asked(in_force(rule), &facts), verdict, "{trigger:?} for {basis:?}");
        }
    }
}

#[test]
fn a_first_purchase_is_known_by_its_source_and_comes_once() {
    let first = Rule { trigger: Trigger::FirstPurchase, ..rule() };
    for (facts, verdict) in [
        (bought(1), applied(10)),
        (Facts { bought_before: true, ..bought(1) }, not(Why::NotFirstPurchase)),
        (Facts { sourced: false, ..bought(1) }, not(Why::SourceMissing)),
    ] {
        assert_eq!(asked(in_force(first.clone()), &facts), verdict);
    }
}

#[test]
fn a_rule_counts_within_its_time_and_that_of_its_programme_by_when_it_happened() {
    let (early, late) = (at("2026-01-15T00:00:00Z"), at("2026-01-15T01:00:00Z"));
    let window = Window { start: Some(early), end: Some(late) };
    for (time, why_rule, why_programme) in [
        ("2026-01-14T23:59:59Z", Some(Why::NotStarted), Some(Why::ProgrammeNotStarted)),
        ("2026-01-15T00:00:00Z", None, None),
        // Reported half an hour after the end, but bought within it.
        ("2026-01-15T00:59:59Z", None, None),
        ("2026-01-15T01:00:00Z", Some(Why::Over), Some(Why::ProgrammeOver)),
        // A clock that runs ahead: now is over, too.
        ("2026-02-01T00:00:00Z", Some(Why::Over), Some(Why::ProgrammeOver)),
    ] {
        let facts = Facts { basis: Basis::Purchase { units: 1, time: at(time) }, ..bought(1) };
        let verdict = |why: Option<Why>| why.map_or(applied(10), not);
        let mine = in_force(Rule { window, ..rule() });
        assert_eq!(asked(mine, &facts), verdict(why_rule), "{time}");
        let theirs = InForce { programme: Arc::new(Programme { window, ..programme() }), rule: rule() };
        assert_eq!(asked(theirs, &facts), verdict(why_programme), "{time}");
    }
    let paused = Programme { state: State::Paused, ..programme() };
    let paused = InForce { programme: Arc::new(paused), rule: rule() };
    assert_eq!(paused.may_give(&bought(1), 0, now()), None);
    assert_eq!(asked(paused, &bought(1)), not(Why::ProgrammePaused));
}

#[test]
fn a_cap_leaves_what_is_left_of_it_and_a_limit_so_many_awards() {
    let cap = Some(Limit { most: 25, period: Period::Day });
    let velocity = Some(Limit { most: 2, period: Period::Day });
    let today = "2026-01-15T00:00:00Z";
    for (start, points, awards, by_cap, by_velocity) in [
        (today, 0, 0, applied(10), applied(10)),
        (today, 15, 1, applied(10), applied(10)),
        (today, 20, 2, applied(5), not(Why::VelocityReached)),
        (today, 25, 3, not(Why::CapReached), not(Why::VelocityReached)),
        // The cap was lowered since.
        (today, 90, 9, not(Why::CapReached), not(Why::VelocityReached)),
        // Yesterday's are forgotten; those of a replica that is ahead are not.
        ("2026-01-14T00:00:00Z", 25, 3, applied(10), applied(10)),
        ("2026-01-16T00:00:00Z", 25, 3, not(Why::CapReached), not(Why::VelocityReached)),
    ] {
        let usage = counted(Period::Day, start, points, awards);
        let said = |rule| says(in_force(rule), &bought(1), 0, &usage).unwrap();
        assert_eq!(said(Rule { cap, ..rule() }), by_cap, "{points} since {start}");
        assert_eq!(said(Rule { velocity, ..rule() }), by_velocity, "{awards} since {start}");
    }
    // Other periods and other customers have their own.
    let usage = counted(Period::Week, today, 25, 3);
    assert_eq!(says(in_force(Rule { cap, ..rule() }), &bought(1), 0, &usage), Ok(applied(10)));
    let usage = counted(Period::Day, today, 25, 3);
    let other = Facts { customer: Uuid::from_u128(2), ..bought(1) };
    assert_eq!(says(in_force(Rule { cap, ..rule() }), &other, 0, &usage), Ok(applied(10)));
    // More than the cap is never given at once.
    let much = Rule { effect: Effect::Fixed(100), cap, ..rule() };
    assert_eq!(asked(in_force(much), &bought(1)), applied(25));
}

#[test]
fn a_budget_gives_whole_awards_and_never_more_than_is_left() {
    let mine = Rule { budget: Some(1000), ..rule() };
    let with_budget =
        |rule| InForce { programme: Arc::new(Programme { budget: Some(1000), ..programme() }), rule };
    for (rule_left, programme_left, verdict) in [
        (10, 10, applied(10)),
        (9, 10, not(Why::BudgetExhausted)),
        (10, 9, not(Why::ProgrammeBudgetExhausted)),
        (0, 0, not(Why::BudgetExhausted)),
    ] {
        let usage = budgeted(rule_left, programme_left);
        assert_eq!(says(with_budget(mine.clone()), &bought(1), 0, &usage), Ok(verdict));
    }
    // A budget that nobody has loaded has nothing.
    assert_eq!(asked(in_force(mine.clone()), &bought(1)), not(Why::BudgetExhausted));
    // Of two rules of a programme the second gets what the first has left.
    let second = Rule { id: Uuid::from_u128(11), ..rule() };
    let both = [with_budget(rule()), with_budget(second)];
    for (left, verdicts) in
        [(20, [applied(10), applied(10)]), (19, [applied(10), not(Why::ProgrammeBudgetExhausted)])]
    {
        let said = evaluate(&both, &bought(1), 0, &budgeted(0, left), now()).unwrap();
        assert_eq!(said, verdicts, "{left} left");
    }
    // A cap may leave a part of an award; the budget must have the whole.
    let capped = Rule { cap: Some(Limit { most: 13, period: Period::Ever }), ..mine };
    let counter = Counter { start: DateTime::UNIX_EPOCH, points: 8, awards: 1 };
    for (left, verdict) in [(10, applied(5)), (9, not(Why::BudgetExhausted))] {
        let pot = Pot::of(vec![Slice { number: 0, remaining: left }]);
        let usage = Usage::of([((CUSTOMER, RULE, Period::Ever), counter)].into(), [(RULE, pot)].into());
        assert_eq!(says(in_force(capped.clone()), &bought(1), 0, &usage), Ok(verdict));
    }
}

#[test]
fn what_is_given_is_taken_from_every_budget_and_counted_once_a_period() {
    let cap = Some(Limit { most: 100, period: Period::Day });
    let velocity = Some(Limit { most: 5, period: Period::Month });
    let rule = Rule { budget: Some(100), cap, velocity, ..rule() };
    let programme = Arc::new(Programme { budget: Some(100), ..programme() });
    let it = InForce { programme, rule };
    let slices = vec![Slice { number: 2, remaining: 7 }, Slice { number: 3, remaining: 50 }];
    let pots = [(RULE, Pot::of(slices)), (PROGRAMME, Pot::of(vec![Slice { number: 0, remaining: 30 }]))];
    let mut usage = Usage::of(HashMap::new(), pots.into());
    usage.take(&it, CUSTOMER, 10, now());
    usage.take(&it, CUSTOMER, 10, now());
    assert_eq!((usage.left(RULE), usage.left(PROGRAMME)), (37, 10));
    let mut taken: Vec<_> = usage.taken().map(|(id, slice)| (id, slice.number, slice.remaining)).collect();
    taken.sort_unstable();
    assert_eq!(taken, [(RULE, 2, 0), (RULE, 3, 37), (PROGRAMME, 0, 10)]);
    let counters: HashMap<_, _> = usage.counted().map(|(key, counter)| (key.2, *counter)).collect();
    let counter = |start| Counter { start: at(start), points: 20, awards: 2 };
    assert_eq!(
        counters,
        HashMap::from([
            (Period::Day, counter("2026-01-15T00:00:00Z")),
            (Period::Month, counter("2026-01-01T00:00:00Z")),
        ])
    );
}

#[test]
fn what_may_be_given_is_never_less_than_what_is() {
    let cap = Some(Limit { most: 7, period: Period::Day });
    let tiers = Conditions { tiers: vec![TIER], ..Conditions::default() };
    for (rule, may) in [
        (rule(), Some(10)),
        (Rule { cap, ..rule() }, Some(7)),
        // Of the member nothing is known yet.
        (Rule { conditions: tiers, ..rule() }, Some(10)),
        (Rule { trigger: Trigger::FirstPurchase, ..rule() }, Some(10)),
        (Rule { trigger: Trigger::Birthday, ..rule() }, None),
        (Rule { effect: Effect::PerUnit(1), ..rule() }, None),
    ] {
        let facts = Facts { bought_before: true, ..bought(1) };
        assert_eq!(in_force(rule.clone()).may_give(&facts, 0, now()), may, "{rule:?}");
    }
}

#[test]
fn an_award_waits_and_lasts_as_its_rule_says_or_else_as_the_base_does() {
    let base = BaseRules {
        referral_points: 0,
        points_per_unit: 1,
        survey_points: 50,
        purchase_delay: TimeDelta::days(14),
        lifetime: Some(TimeDelta::days(365)),
    };
    let days = TimeDelta::days;
    for (delay, lifetime, available, expires) in [
        (None, None, 14, Some(379)),
        (Some(0), None, 0, Some(365)),
        (Some(1), Some(30), 1, Some(31)),
        (None, Some(0), 14, None),
    ] {
        let rule = Rule { delay: delay.map(days), lifetime: lifetime.map(days), ..rule() };
        let award = in_force(rule).award(10, &bought(1).basis, &base, now());
        assert_eq!((award.points, award.rule, award.earned_at), (10, Some(RULE), now()));
        assert_eq!(award.available_at, now() + days(available));
        assert_eq!(award.expires_at, expires.map(|expires| now() + days(expires)));
    }
}
