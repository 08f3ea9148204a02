//! What points are worth that have not been spent, at any past day, by what was expected then.

use std::collections::BTreeMap;

use chrono::{Days, NaiveDate};
use cqm_loyalty::domain::book::Book;
use cqm_proto::google::r#type::Date;
use cqm_testkit::request_id;
use tonic::Code;

use super::*;
use crate::audit::execute;
use crate::reports::{Past, date, month};

/// A point for every 10 of sales, which buys something for 1.
fn expecting(effective: NaiveDate, rate: i32) -> proto::BreakageEstimate {
    proto::BreakageEstimate {
        effective_date: Some(date(effective)),
        redemption_rate_bp: rate,
        stand_alone_price: Some(usd(1, 0)),
        sale_price: Some(usd(10, 0)),
        reason: "the last three years".into(),
        ..Default::default()
    }
}

fn usd(units: i64, nanos: i32) -> Money {
    Money { currency_code: "USD".into(), units, nanos }
}

/// An amount in millionths.
#[track_caller]
fn micros(amount: Option<&Money>) -> i64 {
    let amount = amount.expect("an estimate is known");
    assert_eq!((amount.currency_code.as_str(), amount.nanos % 1000), ("USD", 0));
    amount.units * 1_000_000 + i64::from(amount.nanos / 1000)
}

impl Loyalty {
    async fn expect(&self, estimate: proto::BreakageEstimate) -> Result<proto::BreakageEstimate, Status> {
        let message = proto::CreateBreakageEstimateRequest {
            breakage_estimate: Some(estimate),
            request_id: request_id(),
        };
        let request = request(Role::ServiceManager, message);
        self.reports().create_breakage_estimate(request).await.map(Response::into_inner)
    }

    async fn liability(&self, message: proto::GetLiabilityRequest) -> proto::Liability {
        let liability = self.reports().get_liability(request(Role::Supervisor, message)).await;
        let liability = liability.expect("an answer").into_inner();
        adds_up(&liability);
        liability
    }

    async fn liability_on(&self, day: NaiveDate, since: Option<NaiveDate>) -> proto::Liability {
        let message = proto::GetLiabilityRequest {
            date: Some(date(day)),
            since_date: since.map(date),
            known_time: None,
        };
        self.liability(message).await
    }

    fn years_pass(&self, years: u64) {
        self.kit.clock.advance(Duration::from_secs(years * 365 * DAY));
    }

    async fn spend(&self, customer: Uuid, points: i64) {
        let message = proto::RedeemPointsRequest { request_id: request_id(), ..spending(customer, points) };
        self.redeem(message).await.expect("an answer");
    }
}

/// The cohorts come to the total, and each to itself.
#[track_caller]
fn adds_up(liability: &proto::Liability) {
    let total = liability.total.as_ref().expect("a total");
    let parts: Vec<_> =
        liability.cohorts.iter().map(|cohort| cohort.figures.as_ref().expect("figures")).collect();
    for field in [
        |figures: &proto::LiabilityFigures| figures.issued,
        |figures: &proto::LiabilityFigures| figures.redeemed,
        |figures: &proto::LiabilityFigures| figures.expired,
        |figures: &proto::LiabilityFigures| figures.outstanding,
        |figures: &proto::LiabilityFigures| figures.expected_redemptions,
        |figures: &proto::LiabilityFigures| figures.expected_breakage,
    ] {
        assert_eq!(parts.iter().map(|part| field(part)).sum::<i64>(), field(total));
    }
    for part in parts.iter().chain([&total]) {
        assert_eq!(part.issued, part.redeemed + part.expired + part.outstanding);
        assert_eq!(part.outstanding, part.expected_redemptions + part.expected_breakage);
        assert_eq!(
            part.recognized_since.is_some(),
            liability.since_date.is_some() && liability.estimate.is_some()
        );
        if liability.estimate.is_none() {
            assert!(part.allocated.is_none() && part.recognized.is_none() && part.deferred.is_none());
        } else {
            let [allocated, recognized, deferred] =
                [&part.allocated, &part.recognized, &part.deferred].map(|amount| micros(amount.as_ref()));
            assert_eq!(allocated, recognized + deferred);
        }
    }
    if liability.estimate.is_some() {
        let sum = |of: fn(&proto::LiabilityFigures) -> &Option<Money>| -> i64 {
            parts.iter().map(|part| micros(of(part).as_ref())).sum()
        };
        assert_eq!(sum(|figures| &figures.deferred), micros(total.deferred.as_ref()));
        assert_eq!(sum(|figures| &figures.recognized), micros(total.recognized.as_ref()));
    }
}

#[tokio::test]
async fn the_example_of_the_standard_comes_out_of_the_ledger() {
    for (rate, deferred, recognized, catch_up) in
        [(9_900, 1_250_425_863, 3_489_774_684, -82_870_639), (9_200, 672_783_481, 4_067_417_066, 222_940_034)]
    {
        let mut loyalty = Loyalty::start().await;
        let customer = Uuid::now_v7();
        let first = loyalty.expect(expecting(loyalty.today(), 9_700)).await.unwrap();
        loyalty.given(customer, 10_000).await;
        let sold = loyalty.today();
        let figures = loyalty.liability_on(sold, None).await.total.unwrap();
        // 8,842.30 of the 100,000 that were paid.
        assert_eq!(figures.allocated, Some(usd(8_842, 297_174_000)));
        assert_eq!((figures.recognized, figures.deferred), (Some(usd(0, 0)), Some(usd(8_842, 297_174_000))));
        assert_eq!((figures.expected_redemptions, figures.expected_breakage), (9_700, 300));

        loyalty.years_pass(1);
        loyalty.spend(customer, 4_500).await;
        let second = loyalty.today();
        let figures = loyalty.liability_on(second, Some(sold)).await.total.unwrap();
        assert_eq!(figures.recognized_since, Some(usd(4_102, 96_627_000)));
        assert_eq!(figures.catch_up_since, Some(usd(0, 0)));

        loyalty.years_pass(1);
        let changed = loyalty.expect(expecting(loyalty.today(), rate)).await.unwrap();
        loyalty.spend(customer, 4_000).await;
        let third = loyalty.today();
        let report = loyalty.liability_on(third, Some(second)).await;
        assert_eq!(report.estimate.as_ref(), Some(&changed));
        assert_eq!(report.since_estimate.as_ref(), Some(&first));
        assert_eq!(report.cohorts[0].allocation_estimate, first.name);
        assert_eq!(report.cohorts[0].month, Some(Date { day: 0, ..date(sold) }));
        let figures = report.total.unwrap();
        assert_eq!(micros(figures.deferred.as_ref()), deferred);
        assert_eq!(micros(figures.recognized_since.as_ref()), recognized);
        assert_eq!(micros(figures.catch_up_since.as_ref()), catch_up);

        // What was reported before stays as it was, whether it is read from entries or from sums of days.
        let before = loyalty.liability_on(second, Some(sold)).await;
        assert_eq!(before.estimate.as_ref(), Some(&first));
        assert_eq!(before.total.as_ref().unwrap().recognized_since, Some(usd(4_102, 96_627_000)));
        loyalty.kit.clock.advance(Duration::from_secs(2 * DAY));
        assert!(loyalty.close_days().await.len() > 2 * 365);
        assert_eq!(loyalty.liability_on(second, Some(sold)).await.total, before.total);
        assert_eq!(loyalty.liability_on(third, Some(second)).await.total, Some(figures));
        loyalty.kit.events.next().await;
    }
}

#[tokio::test]
async fn the_points_of_every_cohort_at_every_past_day_are_those_of_the_entries() {
    let past = Past::live(45).await;
    let loyalty = &past.loyalty;
    let (entries, lots) = past.entries().await;
    let days: Vec<NaiveDate> = past.stood.keys().copied().step_by(9).collect();
    let check = async || {
        for day in &days {
            // Issued, redeemed less owed, expired, outstanding, by the month of earning.
            let mut expected: BTreeMap<NaiveDate, [i64; 4]> = BTreeMap::new();
            for entry in entries.iter().filter(|entry| entry.create_time.date_naive() <= *day) {
                let cohort = month(lots[&(entry.customer, entry.lot)].earned_at.date_naive());
                let sums = expected.entry(cohort).or_default();
                for (book, sign) in [(entry.debit, -1), (entry.credit, 1)] {
                    match book {
                        Book::Issued => sums[0] -= sign * entry.points,
                        Book::Redeemed | Book::ClawbackDebt => sums[1] += sign * entry.points,
                        Book::Expired => sums[2] += sign * entry.points,
                        Book::Available | Book::Pending | Book::Held => sums[3] += sign * entry.points,
                    }
                }
            }
            let report = loyalty.liability_on(*day, None).await;
            let found: Vec<_> = report
                .cohorts
                .iter()
                .map(|cohort| {
                    let figures = cohort.figures.as_ref().unwrap();
                    let points = [figures.issued, figures.redeemed, figures.expired, figures.outstanding];
                    (cohort.month.unwrap(), points)
                })
                .collect();
            let expected: Vec<_> = expected
                .iter()
                .rev()
                .map(|(month, points)| (Date { day: 0, ..date(*month) }, *points))
                .collect();
            assert_eq!(found, expected, "{day}");
            let stood = &past.stood[day];
            let members = ["member:available", "member:pending", "member:held"];
            let outstanding: i64 = members.iter().map(|account| stood[*account]).sum();
            assert_eq!(report.total.unwrap().outstanding, outstanding, "{day}");
        }
    };
    check().await;
    loyalty.close_days().await;
    check().await;
}

#[tokio::test]
async fn a_past_day_is_reported_by_what_was_expected_then_and_says_so() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    loyalty.given(customer, 1_000).await;
    loyalty.spend(customer, 100).await;
    let day = loyalty.today();
    let nothing = loyalty.liability_on(day, None).await;
    assert_eq!((nothing.estimate, nothing.total.unwrap().expected_breakage), (None, 0));

    // The books of the day are closed four days later.
    loyalty.kit.clock.advance(Duration::from_secs(4 * DAY));
    let late = loyalty.expect(expecting(day, 8_000)).await.unwrap();
    assert_eq!((late.version, late.actor.as_str()), (1, "service_manager"));
    assert_eq!(loyalty.liability_on(day, None).await.estimate, None, "nobody knew");
    let with = |known: DateTime<Utc>| proto::GetLiabilityRequest {
        date: Some(date(day)),
        since_date: None,
        known_time: Some(Timestamp { seconds: known.timestamp(), nanos: 0 }),
    };
    let now = loyalty.kit.clock.now();
    assert_eq!(loyalty.liability(with(now)).await.estimate, Some(late.clone()));

    // A correction for the same day counts from when it was made.
    loyalty.kit.clock.advance(Duration::from_secs(DAY));
    let corrected = loyalty.expect(expecting(day, 7_000)).await.unwrap();
    assert_eq!(loyalty.liability(with(now)).await.estimate, Some(late.clone()));
    let report = loyalty.liability(with(loyalty.kit.clock.now())).await;
    assert_eq!(report.estimate, Some(corrected.clone()));
    assert_eq!((report.total.unwrap().expected_redemptions, report.cohorts.len()), (600, 1));

    // One for a day to come is known, and not in force.
    let future = loyalty.expect(expecting(loyalty.today() + Days::new(30), 5_000)).await.unwrap();
    let report = loyalty.liability(proto::GetLiabilityRequest::default()).await;
    assert_eq!((report.date, report.estimate), (Some(date(loyalty.today())), Some(corrected.clone())));

    let get =
        |name: &str| request(Role::CrmSpecialist, proto::GetBreakageEstimateRequest { name: name.into() });
    let read = loyalty.reports().get_breakage_estimate(get(&late.name)).await.unwrap().into_inner();
    assert_eq!(read, late);
    let stranger = format!("breakageEstimates/{}", Uuid::now_v7());
    let missing = loyalty.reports().get_breakage_estimate(get(&stranger)).await;
    ours(missing, Code::NotFound, "BREAKAGE_ESTIMATE_NOT_FOUND");
    assert_eq!(
        violations(loyalty.reports().get_breakage_estimate(get("estimates/1")).await),
        ["name FIELD_FORMAT"]
    );
    let list = async |page_token: &str| {
        let message = proto::ListBreakageEstimatesRequest { page_size: 2, page_token: page_token.into() };
        let request = request(Role::Supervisor, message);
        loyalty.reports().list_breakage_estimates(request).await.unwrap().into_inner()
    };
    let first = list("").await;
    assert_eq!(first.breakage_estimates, [future, corrected]);
    let second = list(&first.next_page_token).await;
    assert_eq!((second.breakage_estimates, second.next_page_token.as_str()), (vec![late], ""));
    for statement in ["UPDATE breakage_estimate SET redemption_rate = 1", "DELETE FROM breakage_estimate"] {
        let refused = execute(&loyalty.kit.db, statement).await.unwrap_err();
        assert!(refused.contains("the ledger is append-only"), "{statement}: {refused}");
    }
    loyalty.kit.events.next().await;
}

#[tokio::test]
async fn versions_that_are_made_at_once_are_counted_without_a_gap_and_repeats_make_none() {
    let loyalty = Loyalty::start().await;
    let today = loyalty.today();
    let message = proto::CreateBreakageEstimateRequest {
        breakage_estimate: Some(expecting(today, 9_000)),
        request_id: request_id(),
    };
    let create = async || {
        let request = request(Role::ServiceManager, message.clone());
        loyalty.reports().create_breakage_estimate(request).await.unwrap().into_inner()
    };
    assert_eq!(create().await, create().await);
    let made =
        futures::future::join_all(
            (0..3).map(|rate| {
                let loyal = &loyalty;
                async move {
                    cqm_testkit::persistent(|| loyal.expect(expecting(today, rate))).await.unwrap().version
                }
            }),
        );
    let mut versions = made.await;
    versions.sort_unstable();
    assert_eq!(versions, [2, 3, 4]);
    // Amounts of two currencies cannot be added up.
    let yuan = |units| Some(Money { currency_code: "CNY".into(), units, nanos: 0 });
    let other = proto::BreakageEstimate {
        stand_alone_price: yuan(1),
        sale_price: yuan(10),
        ..expecting(today, 9_000)
    };
    let failure = ours(loyalty.expect(other).await, Code::FailedPrecondition, "ESTIMATE_CURRENCY");
    assert_eq!(failure.facts["currency"], "USD");
}

#[tokio::test]
async fn an_estimate_is_told_everything_that_is_wrong_with_it() {
    let loyalty = Loyalty::start().await;
    let today = loyalty.today();
    let good = || expecting(today, 9_700);
    let field = |wrong: &[&str]| -> Vec<String> {
        wrong.iter().map(|wrong| format!("breakage_estimate.{wrong}")).collect()
    };
    for (estimate, wrong) in [
        (
            proto::BreakageEstimate { redemption_rate_bp: -1, ..Default::default() },
            field(&[
                "effective_date FIELD_REQUIRED",
                "redemption_rate_bp FIELD_RANGE",
                "stand_alone_price FIELD_REQUIRED",
                "reason FIELD_REQUIRED",
            ]),
        ),
        (
            proto::BreakageEstimate { redemption_rate_bp: 10_001, reason: "x".repeat(501), ..good() },
            field(&["redemption_rate_bp FIELD_RANGE", "reason FIELD_TOO_LONG"]),
        ),
        (
            proto::BreakageEstimate {
                effective_date: Some(Date { year: 2026, month: 2, day: 29 }),
                ..good()
            },
            field(&["effective_date FIELD_FORMAT"]),
        ),
        (expecting(today + Days::new(367), 9_700), field(&["effective_date FIELD_RANGE"])),
        (expecting("1999-12-31".parse().unwrap(), 9_700), field(&["effective_date FIELD_RANGE"])),
        (
            proto::BreakageEstimate {
                stand_alone_price: Some(usd(0, 0)),
                sale_price: Some(usd(0, 999)),
                ..good()
            },
            field(&["stand_alone_price FIELD_RANGE", "sale_price.nanos FIELD_RANGE"]),
        ),
        (
            proto::BreakageEstimate {
                stand_alone_price: Some(usd(1_000, 1_000)),
                sale_price: Some(Money { currency_code: "dollars".into(), units: -1, nanos: 0 }),
                ..good()
            },
            field(&[
                "stand_alone_price FIELD_RANGE",
                "sale_price.currency_code FIELD_FORMAT",
                "sale_price FIELD_RANGE",
                "sale_price.currency_code FIELD_FORMAT",
            ]),
        ),
        (
            proto::BreakageEstimate { stand_alone_price: Some(usd(i64::MAX, 0)), sale_price: None, ..good() },
            field(&["stand_alone_price FIELD_RANGE"]),
        ),
    ] {
        assert_eq!(violations(loyalty.expect(estimate.clone()).await), wrong, "{estimate:?}");
    }
    let message = proto::CreateBreakageEstimateRequest { breakage_estimate: None, request_id: "1".into() };
    let outcome = loyalty.reports().create_breakage_estimate(request(Role::ServiceManager, message)).await;
    assert_eq!(violations(outcome), ["breakage_estimate FIELD_REQUIRED", "request_id REQUEST_ID_FORMAT"]);
    let message =
        proto::CreateBreakageEstimateRequest { breakage_estimate: Some(good()), ..Default::default() };
    let outcome = loyalty.reports().create_breakage_estimate(request(Role::Supervisor, message)).await;
    refused(outcome, Code::PermissionDenied, "ROLE_MISSING");
    // The ends of the ranges are good.
    let ends = proto::BreakageEstimate {
        redemption_rate_bp: 10_000,
        stand_alone_price: Some(usd(0, 1_000)),
        sale_price: Some(usd(100_000, 0)),
        ..expecting(today + Days::new(366), 0)
    };
    let made = loyalty.expect(ends.clone()).await.unwrap();
    assert_eq!((made.stand_alone_price, made.sale_price), (ends.stand_alone_price, ends.sale_price));
}
