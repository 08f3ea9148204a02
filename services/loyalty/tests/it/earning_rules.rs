//! What the programmes' rules give, to whom, how often, and what they say about it.

use cqm_loyalty::domain::book::Book;
use cqm_proto::events::v1 as events;
use cqm_proto::loyalty::v1::earning_rule as wire;
use cqm_proto::loyalty::v1::earning_rule::effect::Kind;
use cqm_proto::loyalty::v1::earning_rule::{Period, Trigger};
use cqm_proto::loyalty::v1::rule_verdict::Why;
use cqm_runtime::process;
use cqm_testkit::{eventually, settings};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::audit::audit;
use crate::programmes::{fixed, giving, plain};
use crate::reversals::reversing;

impl Loyalty {
    pub async fn history(&self, customer: Uuid) -> Vec<proto::Entry> {
        let message = proto::ListEntriesRequest { customer: name(customer), ..Default::default() };
        let listed = self.ledger.clone().list_entries(request(Role::Supervisor, message)).await;
        let mut entries = listed.expect("a member").into_inner().entries;
        entries.reverse();
        entries
    }

    async fn explain(&self, earning: &proto::EarnPointsRequest) -> proto::ExplainEarningResponse {
        let message = proto::ExplainEarningRequest { earning: Some(earning.clone()) };
        let told = self.rules().explain_earning(request(Role::ServiceRepresentative, message)).await;
        told.expect("it is explained").into_inner()
    }

    async fn simulate(
        &self,
        earning: &proto::EarnPointsRequest,
    ) -> Result<proto::SimulateEarningResponse, Status> {
        let message = proto::SimulateEarningRequest { earning: Some(earning.clone()) };
        let told = self.rules().simulate_earning(request(Role::ServiceRepresentative, message)).await;
        told.map(Response::into_inner)
    }

    /// Points of a purchase for so many whole units.
    pub async fn buys_points(&self, customer: Uuid, units: i64) -> i64 {
        let now = self.kit.clock.now();
        self.earn(sourced(customer, purchase(units, 0, now))).await.expect("points are given").points
    }

    /// What every table of the service holds, to see that nothing has changed.
    async fn rows(&self) -> String {
        let tables = [
            "member",
            "lot",
            "entry",
            "hold",
            "budget_slice",
            "earning_counter",
            "programme",
            "earning_rule",
            "idempotency",
            "event_log",
            "event_pending",
        ];
        let mut rows = String::new();
        for table in tables {
            let query =
                format!("SELECT to_jsonb(t)::text AS row FROM {table} AS t ORDER BY to_jsonb(t)::text");
            rows += &format!("{table} {:?}\n", self.kit.rows(&query).await);
        }
        rows
    }
}

/// A request about something that has not happened before.
pub fn sourced(customer: Uuid, basis: Basis) -> proto::EarnPointsRequest {
    proto::EarnPointsRequest { source: format!("orders/{}", Uuid::now_v7()), ..earning(customer, basis) }
}

pub fn birthday(year: i32) -> Basis {
    Basis::Birthday(proto::BirthdayBasis { year })
}

fn referral(referred: Uuid) -> Basis {
    Basis::Referral(proto::ReferralBasis { referred: name(referred) })
}

fn days(days: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds: days * DAY as i64, nanos: 0 })
}

#[tokio::test]
async fn rules_give_beside_the_base_rule_a_lot_and_an_entry_each() {
    let mut loyalty = Loyalty::start().await;
    let programme = loyalty.programme(plain()).await;
    let half = loyalty.rule(giving(&programme, Trigger::Purchase, Kind::PointsPerUnit(5_000))).await;
    let double = loyalty.rule(giving(&programme, Trigger::Purchase, Kind::Multiplier(20_000))).await;
    let in_app = loyalty
        .rule(proto::EarningRule {
            conditions: Some(wire::Conditions { sales_channels: vec!["app".into()], ..Default::default() }),
            delay: days(2),
            lifetime: days(10),
            ..fixed(&programme, Trigger::Purchase, 100)
        })
        .await;
    loyalty.rule(fixed(&programme, Trigger::SurveyAnswered, 1)).await;

    let (customer, now) = (Uuid::now_v7(), loyalty.kit.clock.now());
    let message = proto::EarnPointsRequest {
        sales_channel: "app".into(),
        ..sourced(customer, purchase(11, 990_000_000, now))
    };
    let answer = loyalty.earn(message.clone()).await.unwrap();
    assert_eq!(answer.points, 11 + 5 + 11 + 100);
    let account = answer.account.clone().unwrap();
    assert_eq!((account.available, account.pending, account.lifetime_earned), (27, 100, 127));

    let entries = loyalty.history(customer).await;
    let found: Vec<_> = entries.iter().map(|entry| (entry.rule.as_str(), entry.moved)).collect();
    assert_eq!(
        found,
        [("", 11), (half.as_str(), 5), (double.as_str(), 11), (in_app.as_str(), 100)],
        "in the order of their creation"
    );
    assert!(entries.iter().all(|entry| entry.transaction == entries[0].transaction));
    assert_eq!(answer.entry.as_ref(), entries.last());
    let lots = audit(&loyalty.kit.db).await.unwrap().remove(&customer).unwrap().lots;
    assert_eq!(lots.len(), 4);
    let last = lots.iter().find(|lot| lot.amount == 100).unwrap();
    assert_eq!(last.available_at, now + chrono::TimeDelta::days(2));
    assert_eq!(last.expires_at, Some(now + chrono::TimeDelta::days(12)));

    let log = loyalty.kit.events.next().await;
    let told = <events::PointsEarned as prost::Message>::decode(log[1].payload.as_slice()).unwrap();
    assert_eq!((log.len(), told.points, told.balance), (2, 127, 27));

    // The same purchase again, and the same request again, are the first ones.
    let again = proto::EarnPointsRequest { request_id: Uuid::now_v7().to_string(), ..message.clone() };
    assert_eq!(loyalty.earn(again).await.unwrap(), answer);
    assert_eq!(loyalty.earn(message).await.unwrap(), answer);
}

#[tokio::test]
async fn points_of_a_purchase_that_is_worth_less_than_a_point_may_come_from_a_rule_alone() {
    let mut loyalty = Loyalty::start().await;
    let programme = loyalty.programme(plain()).await;
    let rule = loyalty.rule(fixed(&programme, Trigger::Purchase, 3)).await;
    let customer = Uuid::now_v7();
    assert_eq!(loyalty.buys_points(customer, 0).await, 3);
    let entries = loyalty.history(customer).await;
    assert_eq!((entries.len(), entries[0].rule.as_str()), (1, rule.as_str()));
    loyalty.kit.events.next().await;
}

#[tokio::test]
async fn a_first_purchase_is_rewarded_once() {
    let mut loyalty = Loyalty::start().await;
    let programme = loyalty.programme(plain()).await;
    loyalty.rule(fixed(&programme, Trigger::FirstPurchase, 100)).await;
    let (customer, other, old) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    // Nobody could tell this one from the next.
    let now = loyalty.kit.clock.now();
    assert_eq!(loyalty.earn(earning(customer, purchase(1, 0, now))).await.unwrap().points, 1);
    // What a survey gave is no purchase.
    loyalty.earn(sourced(customer, Basis::Survey(proto::SurveyBasis {}))).await.unwrap();
    assert_eq!(loyalty.buys_points(customer, 1).await, 101);
    assert_eq!(loyalty.buys_points(customer, 1).await, 1);
    // Of many at once it is one.
    let calls = (0..20).map(|_| loyalty.buys_points(other, 1));
    let points: i64 = futures::future::join_all(calls).await.into_iter().sum();
    assert_eq!(points, 120);
    // Who bought before there was a rule has bought before.
    loyalty.pause(&programme).await.unwrap();
    loyalty.buys_points(old, 1).await;
    loyalty.activate(&programme).await.unwrap();
    assert_eq!(loyalty.buys_points(old, 1).await, 1);
    loyalty.kit.events.next().await;
}

#[tokio::test]
async fn a_birthday_is_rewarded_once_a_year_and_a_referral_once_for_each_who_came() {
    let mut loyalty = Loyalty::start().await;
    let programme = loyalty.programme(plain()).await;
    loyalty.rule(fixed(&programme, Trigger::Birthday, 88)).await;
    loyalty.rule(fixed(&programme, Trigger::Referral, 30)).await;
    let (customer, one, two) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    for (basis, available, rewarded, source, reason) in [
        (birthday(2026), 88, true, format!("{}/birthdays/2026", name(customer)), "BIRTHDAY"),
        (birthday(2026), 88, false, String::new(), ""),
        (birthday(2027), 176, true, format!("{}/birthdays/2027", name(customer)), "BIRTHDAY"),
        // The base rule gives a hundred for each.
        (referral(one), 306, true, name(one), "REFERRAL"),
        (referral(one), 306, false, String::new(), ""),
        (referral(two), 436, true, name(two), "REFERRAL"),
    ] {
        let answer = loyalty.earn(earning(customer, basis)).await.unwrap();
        assert_eq!(answer.account.unwrap().available, available);
        let events = loyalty.kit.events.next().await;
        let Some(event) = events.last().filter(|_| rewarded) else {
            assert!(!rewarded && events.is_empty());
            continue;
        };
        let told = <events::PointsEarned as prost::Message>::decode(event.payload.as_slice()).unwrap();
        assert_eq!((told.source, told.reason.as_str()), (source, reason));
    }
    audit(&loyalty.kit.db).await.unwrap();
}

#[tokio::test]
async fn what_is_wrong_with_the_facts_of_an_earn_is_told_at_once() {
    let loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    let good = || earning(customer, compensation(5));
    for (message, wrong) in [
        (
            proto::EarnPointsRequest {
                sales_channel: "the app".into(),
                product_codes: vec!["ok".into(), "\u{202e}".into(), String::new()],
                segments: vec!["x".repeat(65)],
                ..good()
            },
            vec![
                "sales_channel FIELD_FORMAT",
                "product_codes[1] FIELD_FORMAT",
                "product_codes[2] FIELD_FORMAT",
                "segments[0] FIELD_FORMAT",
            ],
        ),
        (
            proto::EarnPointsRequest {
                product_codes: vec!["a".into(); 101],
                segments: vec!["a".into(); 51],
                ..good()
            },
            vec!["product_codes FIELD_TOO_LONG", "segments FIELD_TOO_LONG"],
        ),
        (earning(customer, birthday(1899)), vec!["birthday.year FIELD_RANGE"]),
        (sourced(customer, birthday(2026)), vec!["source FIELD_FORMAT"]),
        (earning(customer, referral(customer)), vec!["referral.referred FIELD_FORMAT"]),
        (
            earning(customer, Basis::Referral(proto::ReferralBasis::default())),
            vec!["referral.referred FIELD_REQUIRED"],
        ),
    ] {
        assert_eq!(violations(loyalty.earn(message.clone()).await), wrong, "{message:?}");
        let wrong: Vec<_> = wrong.iter().map(|wrong| format!("earning.{wrong}")).collect();
        // Whoever only asks needs no request id.
        let asked = proto::EarnPointsRequest { request_id: String::new(), ..message };
        assert_eq!(violations(loyalty.simulate(&asked).await), wrong, "{asked:?}");
    }
    let nothing = proto::ExplainEarningRequest::default();
    let outcome = loyalty.rules().explain_earning(request(Role::Supervisor, nothing)).await;
    assert_eq!(violations(outcome), ["earning FIELD_REQUIRED"]);
}

#[tokio::test]
async fn a_member_gets_no_more_than_the_cap_in_a_period_and_all_of_it_in_the_next() {
    let mut loyalty = Loyalty::start().await;
    // By the calendar of Beijing: the clock stands at half past nine in the morning there.
    let programme = loyalty.programme(proto::Programme { utc_offset_minutes: 480, ..plain() }).await;
    let cap = |points, period: Period| Some(wire::PointsCap { points, period: period.into() });
    loyalty
        .rule(proto::EarningRule {
            cap: cap(25, Period::Day),
            ..fixed(&programme, Trigger::SurveyAnswered, 10)
        })
        .await;
    let customer = Uuid::now_v7();
    let answers = async |loyalty: &Loyalty, customer| {
        let message = sourced(customer, Basis::Survey(proto::SurveyBasis {}));
        loyalty.earn(message).await.unwrap().points - 50
    };
    for points in [10, 10, 5, 0, 0] {
        assert_eq!(answers(&loyalty, customer).await, points);
    }
    assert_eq!(answers(&loyalty, Uuid::now_v7()).await, 10, "others have their own");
    // A second before midnight, and at midnight.
    loyalty.kit.clock.advance(Duration::from_secs(14 * 60 * 60 + 30 * 60 - 1));
    assert_eq!(answers(&loyalty, customer).await, 0);
    loyalty.kit.clock.advance(Duration::from_secs(1));
    // Of many at once no more than the cap.
    let calls = (0..10).map(|_| answers(&loyalty, customer));
    let points: i64 = futures::future::join_all(calls).await.into_iter().sum();
    assert_eq!(points, 25);
    // One row, whatever the number of days.
    let counted = format!("earning_counter WHERE customer_id = '{customer}'");
    assert_eq!(loyalty.kit.count(&counted).await, 1);
    loyalty.kit.events.next().await;
}

#[tokio::test]
async fn a_member_gets_something_no_more_often_than_the_velocity_limit_says() {
    let mut loyalty = Loyalty::start().await;
    let programme = loyalty.programme(plain()).await;
    let cap = wire::PointsCap { points: 50, period: Period::Ever.into() };
    loyalty
        .rule(proto::EarningRule {
            velocity_limit: Some(wire::VelocityLimit { awards: 2, period: Period::Week.into() }),
            cap: Some(cap),
            ..fixed(&programme, Trigger::Purchase, 20)
        })
        .await;
    let customer = Uuid::now_v7();
    let mut given = Vec::new();
    // Thursday, Thursday, Thursday; Monday, Monday: 50 in all, for ever.
    for pause in [0, 0, 0, 4, 0] {
        loyalty.kit.clock.advance(Duration::from_secs(pause * DAY));
        given.push(loyalty.buys_points(customer, 0).await);
    }
    assert_eq!(given, [20, 20, 0, 10, 0]);
    loyalty.kit.events.next().await;
}

#[tokio::test]
async fn explaining_and_simulating_say_what_the_earn_then_does_and_change_nothing() {
    let mut loyalty = Loyalty::start().await;
    let programme = loyalty.programme(proto::Programme { budget: 205, ..plain() }).await;
    let capped = proto::EarningRule {
        cap: Some(wire::PointsCap { points: 15, period: Period::Month.into() }),
        budget: 1_000,
        ..fixed(&programme, Trigger::Purchase, 10)
    };
    let limited = proto::EarningRule {
        velocity_limit: Some(wire::VelocityLimit { awards: 1, period: Period::Ever.into() }),
        ..giving(&programme, Trigger::Purchase, Kind::Multiplier(30_000))
    };
    let rules = [
        loyalty.rule(capped).await,
        loyalty.rule(limited).await,
        loyalty.rule(fixed(&programme, Trigger::FirstPurchase, 100)).await,
        loyalty.rule(fixed(&programme, Trigger::Birthday, 7)).await,
        loyalty.rule(fixed(&programme, Trigger::Purchase, 60)).await,
    ];
    let paused = loyalty.programme(plain()).await;
    let in_paused = loyalty.rule(fixed(&paused, Trigger::Purchase, 1_000)).await;
    loyalty.pause(&paused).await.unwrap();

    let customer = Uuid::now_v7();
    let now = loyalty.kit.clock.now();
    let said = |points| (points, Why::Unspecified);
    let not = |why| (0, why);
    let paused = not(Why::ProgrammePaused);
    let other = not(Why::OtherTrigger);
    for (units, verdicts) in [
        (10, vec![said(10), said(20), said(100), other, said(60), paused]),
        (
            10,
            vec![
                said(5),
                not(Why::VelocityReached),
                not(Why::NotFirstPurchase),
                other,
                not(Why::ProgrammeBudgetExhausted),
                paused,
            ],
        ),
        (
            10,
            vec![
                not(Why::CapReached),
                not(Why::VelocityReached),
                not(Why::NotFirstPurchase),
                other,
                not(Why::ProgrammeBudgetExhausted),
                paused,
            ],
        ),
    ] {
        let message = sourced(customer, purchase(units, 0, now));
        let before = loyalty.rows().await;
        let explained = loyalty.explain(&message).await;
        let simulated = loyalty.simulate(&message).await.unwrap();
        assert_eq!(loyalty.rows().await, before, "nothing has changed");

        let told: Vec<_> = explained.verdicts.iter().map(|it| (it.points, it.why())).collect();
        assert_eq!(told, verdicts);
        let names: Vec<_> = explained.verdicts.iter().map(|it| it.rule.clone()).collect();
        assert_eq!(names, [rules.as_slice(), std::slice::from_ref(&in_paused)].concat());
        assert!(explained.verdicts.iter().all(|it| it.applied == (it.points > 0)));
        let left = loyalty.read_rule(&rules[0]).await.unwrap().budget_left;
        assert_eq!(
            (explained.verdicts[0].budget_left, explained.verdicts[1].budget_left),
            (Some(left), None)
        );
        let left = loyalty.read_programme(&programme).await.unwrap().budget_left;
        assert_eq!(explained.verdicts[0].programme_budget_left, Some(left));
        assert_eq!((explained.base_points, explained.already_rewarded), (units, false));

        let entries = loyalty.entries_so_far(customer).await;
        let answer = loyalty.earn(message.clone()).await.unwrap();
        let account = proto::Account { etag: String::new(), ..answer.account.clone().unwrap() };
        assert_eq!((explained.points, simulated.points), (answer.points, answer.points));
        assert_eq!(simulated.account, Some(account));
        let made = loyalty.history(customer).await.split_off(entries);
        let made: Vec<_> = made.into_iter().map(|entry| (entry.rule, entry.moved)).collect();
        let awards: Vec<_> = simulated.awards.into_iter().map(|it| (it.rule, it.points)).collect();
        assert_eq!(awards, made);

        // Now it has been rewarded.
        let explained = loyalty.explain(&message).await;
        assert_eq!((explained.already_rewarded, explained.points), (true, 0));
        assert!(explained.verdicts.iter().all(|it| it.why() == Why::AlreadyRewarded && !it.applied));
        let simulated = loyalty.simulate(&message).await.unwrap();
        assert_eq!((simulated.awards.len(), simulated.points), (0, answer.points));
    }
    assert_eq!(loyalty.read_programme(&programme).await.unwrap().budget_left, 10);

    // Corrections go by no rule, and are refused as they would be.
    let taken = loyalty.simulate(&earning(customer, adjustment(-5))).await.unwrap();
    let account = loyalty.account(customer).await.unwrap();
    assert_eq!((taken.points, taken.account.unwrap().available), (-5, account.available - 5));
    let too_much = loyalty.simulate(&earning(customer, adjustment(-1_000))).await;
    ours(too_much, tonic::Code::FailedPrecondition, "INSUFFICIENT_POINTS");
    loyalty.kit.events.next().await;
}

impl Loyalty {
    async fn entries_so_far(&self, customer: Uuid) -> usize {
        if self.account(customer).await.is_ok() { self.history(customer).await.len() } else { 0 }
    }
}

#[tokio::test]
async fn a_paused_programme_gives_nothing_here_at_once_and_elsewhere_within_its_second() {
    let mut loyalty = Loyalty::start().await;
    let stop = CancellationToken::new();
    let replica = settings::<App>(loyalty.kit.database(), RULES);
    let mut replica = process::start::<App>(replica, loyalty.kit.clock.clone(), stop.clone()).await.unwrap();
    replica.ready().await;
    let elsewhere = LedgerServiceClient::new(loyalty.kit.line(replica.address()).await);

    let programme = loyalty.draft(plain()).await.unwrap().name;
    loyalty.rule(fixed(&programme, Trigger::Purchase, 10)).await;
    let customer = Uuid::now_v7();
    let now = loyalty.kit.clock.now();
    let there = async || {
        let message = sourced(customer, purchase(1, 0, now));
        persistent(|| earn(&elsewhere, message.clone())).await.unwrap().points
    };
    assert_eq!((loyalty.buys_points(customer, 1).await, there().await), (1, 1), "a draft gives nothing");
    loyalty.activate(&programme).await.unwrap();
    assert_eq!(loyalty.buys_points(customer, 1).await, 11);
    eventually("the other replica gives by the rule", async || there().await == 11).await;
    loyalty.pause(&programme).await.unwrap();
    assert_eq!(loyalty.buys_points(customer, 1).await, 1);
    eventually("the other replica gives nothing by it", async || there().await == 1).await;
    loyalty.kit.events.next().await;
    stop.cancel();
    replica.join().await;
}

#[tokio::test]
async fn a_reversal_takes_a_part_of_each_award_and_returns_nothing_to_budgets_and_limits() {
    let mut loyalty = Loyalty::start().await;
    let programme = loyalty.programme(proto::Programme { budget: 100, ..plain() }).await;
    let rule = loyalty
        .rule(proto::EarningRule {
            budget: 60,
            cap: Some(wire::PointsCap { points: 50, period: Period::Ever.into() }),
            ..fixed(&programme, Trigger::FirstPurchase, 30)
        })
        .await;
    let customer = Uuid::now_v7();
    assert_eq!(loyalty.buys_points(customer, 10).await, 40);
    let transaction = loyalty.history(customer).await[0].transaction.clone();

    let part = proto::reverse_transaction_request::Extent::Points(10);
    let reversed = loyalty.reverse(reversing(&transaction, Some(part))).await.unwrap();
    let taken: Vec<_> = reversed.entries.iter().map(|entry| entry.moved).collect();
    // A quarter of each: 2.5 and 7.5, of which the first is rounded up.
    assert_eq!(taken, [3, 7]);
    let reversed = loyalty.reverse(reversing(&transaction, None)).await.unwrap();
    assert_eq!((reversed.points, reversed.left), (30, 0));
    assert_eq!(loyalty.account(customer).await.unwrap().available, 0);

    assert_eq!(loyalty.read_rule(&rule).await.unwrap().budget_left, 30);
    assert_eq!(loyalty.read_programme(&programme).await.unwrap().budget_left, 70);
    assert_eq!(loyalty.buys_points(customer, 10).await, 10, "a purchase that was taken back was the first");
    let counters = loyalty.kit.table("earning_counter").await;
    assert_eq!((counters.len(), counters[0]["points"].as_i64()), (1, Some(30)));
    assert_eq!(audit(&loyalty.kit.db).await.unwrap()[&customer].balance(Book::Available), 10);
    loyalty.kit.events.next().await;
}

#[tokio::test]
async fn a_rule_for_a_tier_gives_to_the_members_who_hold_it() {
    let mut loyalty = Loyalty::start().await;
    let [silver, _] = loyalty.silver_and_gold().await;
    let programme = loyalty.programme(plain()).await;
    loyalty
        .rule(proto::EarningRule {
            conditions: Some(wire::Conditions { tiers: vec![silver], ..Default::default() }),
            ..fixed(&programme, Trigger::Purchase, 7)
        })
        .await;
    let customer = Uuid::now_v7();
    // The second purchase reaches the tier; what it is worth was decided before.
    let mut given = Vec::new();
    for units in [60, 60, 60] {
        given.push(loyalty.buys_points(customer, units).await);
    }
    assert_eq!(given, [60, 60, 67]);
    loyalty.kit.events.next().await;
    audit(&loyalty.kit.db).await.unwrap();
}
