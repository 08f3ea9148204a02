//! Programmes and their rules, kept: made, changed, turned on and off.

use cqm_proto::loyalty::v1::earning_rule as wire;
use cqm_proto::loyalty::v1::earning_rule::effect::Kind;
use cqm_proto::loyalty::v1::earning_rule_service_client::EarningRuleServiceClient;
use cqm_proto::loyalty::v1::programme::State;
use cqm_proto::loyalty::v1::programme_service_client::ProgrammeServiceClient;
use prost_types::FieldMask;
use tonic::Code;

use super::*;

impl Loyalty {
    pub fn programmes(&self) -> ProgrammeServiceClient<Line> {
        ProgrammeServiceClient::new(self.kit.channel.clone())
    }

    pub fn rules(&self) -> EarningRuleServiceClient<Line> {
        EarningRuleServiceClient::new(self.kit.channel.clone())
    }

    pub async fn draft(&self, programme: proto::Programme) -> Result<proto::Programme, Status> {
        let message = proto::CreateProgrammeRequest { programme: Some(programme), request_id: String::new() };
        let made = self.programmes().create_programme(request(Role::CrmSpecialist, message)).await;
        made.map(Response::into_inner)
    }

    /// The name of a programme that is active.
    pub async fn programme(&self, programme: proto::Programme) -> String {
        let name = self.draft(programme).await.expect("a draft").name;
        self.activate(&name).await.expect("it is turned on");
        name
    }

    pub async fn activate(&self, name: &str) -> Result<proto::Programme, Status> {
        let message = proto::ActivateProgrammeRequest { name: name.into(), ..Default::default() };
        let turned = self.programmes().activate_programme(request(Role::CrmSpecialist, message)).await;
        turned.map(Response::into_inner)
    }

    pub async fn pause(&self, name: &str) -> Result<proto::Programme, Status> {
        let message = proto::PauseProgrammeRequest { name: name.into(), ..Default::default() };
        let turned = self.programmes().pause_programme(request(Role::CrmSpecialist, message)).await;
        turned.map(Response::into_inner)
    }

    async fn end(&self, name: &str) -> Result<proto::Programme, Status> {
        let message = proto::EndProgrammeRequest { name: name.into(), ..Default::default() };
        let turned = self.programmes().end_programme(request(Role::CrmSpecialist, message)).await;
        turned.map(Response::into_inner)
    }

    pub async fn read_programme(&self, name: &str) -> Result<proto::Programme, Status> {
        let message = proto::GetProgrammeRequest { name: name.into() };
        self.programmes().get_programme(request(Role::Supervisor, message)).await.map(Response::into_inner)
    }

    pub async fn make_rule(&self, rule: proto::EarningRule) -> Result<proto::EarningRule, Status> {
        let message = proto::CreateEarningRuleRequest { earning_rule: Some(rule), request_id: String::new() };
        let made = self.rules().create_earning_rule(request(Role::CrmSpecialist, message)).await;
        made.map(Response::into_inner)
    }

    /// The name of a rule that was made.
    pub async fn rule(&self, rule: proto::EarningRule) -> String {
        self.make_rule(rule).await.expect("a rule").name
    }

    pub async fn read_rule(&self, name: &str) -> Result<proto::EarningRule, Status> {
        let message = proto::GetEarningRuleRequest { name: name.into() };
        self.rules().get_earning_rule(request(Role::Supervisor, message)).await.map(Response::into_inner)
    }

    pub async fn change_rule(
        &self,
        rule: proto::EarningRule,
        paths: &[&str],
        etag: &str,
    ) -> Result<proto::EarningRule, Status> {
        let message = proto::UpdateEarningRuleRequest {
            earning_rule: Some(rule),
            update_mask: mask(paths),
            etag: etag.into(),
            request_id: String::new(),
        };
        let changed = self.rules().update_earning_rule(request(Role::CrmSpecialist, message)).await;
        changed.map(Response::into_inner)
    }

    async fn change_programme(
        &self,
        programme: proto::Programme,
        paths: &[&str],
        etag: &str,
    ) -> Result<proto::Programme, Status> {
        let message = proto::UpdateProgrammeRequest {
            programme: Some(programme),
            update_mask: mask(paths),
            etag: etag.into(),
            request_id: String::new(),
        };
        let changed = self.programmes().update_programme(request(Role::CrmSpecialist, message)).await;
        changed.map(Response::into_inner)
    }
}

fn mask(paths: &[&str]) -> Option<FieldMask> {
    (!paths.is_empty()).then(|| FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() })
}

/// A programme without a budget.
pub fn plain() -> proto::Programme {
    proto::Programme { display_name: text("春节", ""), ..Default::default() }
}

/// A rule that gives so many points for each of what it is for.
pub fn fixed(programme: &str, trigger: wire::Trigger, points: i64) -> proto::EarningRule {
    giving(programme, trigger, Kind::FixedPoints(points))
}

pub fn giving(programme: &str, trigger: wire::Trigger, kind: Kind) -> proto::EarningRule {
    proto::EarningRule {
        programme: programme.into(),
        display_name: text("奖励", ""),
        trigger: trigger.into(),
        effect: Some(wire::Effect { kind: Some(kind) }),
        ..Default::default()
    }
}

fn seconds(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

#[tokio::test]
async fn a_programme_is_prepared_turned_on_and_off_and_ended_for_ever() {
    let loyalty = Loyalty::start().await;
    let given = proto::Programme {
        name: "ignored".into(),
        display_name: text("春节", "New year"),
        start_time: seconds(1_000),
        end_time: seconds(2_000),
        budget: 100,
        utc_offset_minutes: 480,
        state: State::Ended.into(),
        ..Default::default()
    };
    let made = loyalty.draft(given.clone()).await.unwrap();
    let expected = proto::Programme {
        name: made.name.clone(),
        state: State::Draft.into(),
        budget_left: 100,
        create_time: made.create_time,
        update_time: made.create_time,
        etag: "v1".into(),
        ..given
    };
    assert_eq!(made, expected);
    assert!(made.name.starts_with("programmes/"));
    assert_eq!(loyalty.read_programme(&made.name).await.unwrap(), made);

    let refused = ours(loyalty.pause(&made.name).await, Code::FailedPrecondition, "PROGRAMME_STATE");
    assert_eq!((refused.facts["state"].as_str(), refused.facts["action"].as_str()), ("DRAFT", "pause"));
    for (turned, state, etag) in [
        (loyalty.activate(&made.name).await, State::Active, "v2"),
        (loyalty.pause(&made.name).await, State::Paused, "v3"),
        (loyalty.activate(&made.name).await, State::Active, "v4"),
        (loyalty.end(&made.name).await, State::Ended, "v5"),
    ] {
        let turned = turned.unwrap();
        assert_eq!((turned.state(), turned.etag.as_str()), (state, etag));
    }
    ours(loyalty.activate(&made.name).await, Code::FailedPrecondition, "PROGRAMME_STATE");
    let named = proto::Programme { name: made.name.clone(), ..plain() };
    ours(loyalty.change_programme(named, &[], "").await, Code::FailedPrecondition, "PROGRAMME_STATE");
    let rule = fixed(&made.name, wire::Trigger::Purchase, 1);
    ours(loyalty.make_rule(rule).await, Code::FailedPrecondition, "PROGRAMME_STATE");
}

#[tokio::test]
async fn a_rule_is_read_as_it_was_written() {
    let loyalty = Loyalty::start().await;
    let programme = loyalty.draft(plain()).await.unwrap().name;
    let given = proto::EarningRule {
        start_time: seconds(1_000),
        end_time: seconds(2_000),
        conditions: Some(wire::Conditions {
            sales_channels: vec!["app".into()],
            product_codes: vec!["kettle-1.5".into(), "cup".into()],
            tiers: vec![format!("tiers/{}", Uuid::now_v7())],
            segments: vec!["vip".into()],
            minimum_units: 20,
        }),
        delay: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        lifetime: Some(prost_types::Duration { seconds: 0, nanos: 0 }),
        budget: 1_000,
        cap: Some(wire::PointsCap { points: 50, period: wire::Period::Month.into() }),
        velocity_limit: Some(wire::VelocityLimit { awards: 3, period: wire::Period::Day.into() }),
        ..giving(&programme, wire::Trigger::Purchase, Kind::PointsPerUnit(15_000))
    };
    let made = loyalty.make_rule(given.clone()).await.unwrap();
    let expected = proto::EarningRule {
        name: made.name.clone(),
        budget_left: 1_000,
        create_time: made.create_time,
        update_time: made.create_time,
        etag: "v1".into(),
        ..given
    };
    assert_eq!(made, expected);
    assert!(made.name.starts_with("earningRules/"));
    assert_eq!(loyalty.read_rule(&made.name).await.unwrap(), made);
}

#[tokio::test]
async fn an_update_writes_what_its_mask_names_over_what_was_read() {
    let loyalty = Loyalty::start().await;
    let programme = loyalty.draft(proto::Programme { budget: 50, ..plain() }).await.unwrap();
    let named = || proto::Programme { name: programme.name.clone(), ..Default::default() };
    let renamed = proto::Programme { display_name: text("元宵", ""), ..named() };
    let changed = loyalty.change_programme(renamed.clone(), &[], "v1").await.unwrap();
    assert_eq!((changed.display_name, changed.budget, changed.etag.as_str()), (text("元宵", ""), 50, "v2"));
    refused(loyalty.change_programme(renamed.clone(), &[], "v1").await, Code::Aborted, "ETAG_MISMATCH");
    let same = loyalty.change_programme(renamed, &[], "").await.unwrap();
    assert_eq!(same.etag, "v2", "nothing has changed");
    let without = loyalty.change_programme(named(), &["budget"], "v2").await.unwrap();
    assert_eq!((without.budget, without.budget_left, without.etag.as_str()), (0, 0, "v3"));
    assert_eq!(loyalty.kit.count("budget_slice").await, 0);

    let rule = loyalty.make_rule(fixed(&programme.name, wire::Trigger::Birthday, 5)).await.unwrap();
    let named = || proto::EarningRule { name: rule.name.clone(), ..Default::default() };
    let cap = wire::PointsCap { points: 50, period: wire::Period::Ever.into() };
    let capped = proto::EarningRule { cap: Some(cap), budget: 160, ..named() };
    let changed = loyalty.change_rule(capped, &[], "v1").await.unwrap();
    let expected = proto::EarningRule {
        cap: Some(cap),
        budget: 160,
        budget_left: 160,
        etag: "v2".into(),
        ..rule.clone()
    };
    assert_eq!(changed, expected);
    let emptied = loyalty.change_rule(named(), &["cap"], "").await.unwrap();
    assert_eq!((emptied.cap, emptied.budget), (None, 160));
    // What does not fit to what stays is refused.
    let per_unit =
        proto::EarningRule { effect: Some(wire::Effect { kind: Some(Kind::PointsPerUnit(1)) }), ..named() };
    assert_eq!(
        violations(loyalty.change_rule(per_unit, &[], "").await),
        ["earning_rule.effect.points_per_unit FIELD_FORMAT"]
    );
    assert_eq!(
        violations(loyalty.change_rule(named(), &["trigger", "effect"], "").await),
        ["update_mask.trigger FIELD_FORMAT", "earning_rule.effect FIELD_REQUIRED"]
    );
    let early = proto::EarningRule { start_time: seconds(2_000), ..named() };
    loyalty.change_rule(early, &[], "").await.unwrap();
    let late = proto::EarningRule { end_time: seconds(2_000), ..named() };
    assert_eq!(violations(loyalty.change_rule(late, &[], "").await), ["earning_rule.end_time FIELD_ORDER"]);
}

#[tokio::test]
async fn programmes_and_rules_are_listed_in_pages_the_newest_first() {
    let loyalty = Loyalty::start().await;
    let mut programmes = Vec::new();
    for _ in 0..3 {
        programmes.insert(0, loyalty.draft(plain()).await.unwrap().name);
    }
    let list = async |state: State, token: &str| {
        let message =
            proto::ListProgrammesRequest { page_size: 2, page_token: token.into(), state: state.into() };
        let listed = loyalty.programmes().list_programmes(request(Role::Supervisor, message)).await;
        let listed = listed.unwrap().into_inner();
        let names: Vec<_> = listed.programmes.into_iter().map(|programme| programme.name).collect();
        (names, listed.next_page_token)
    };
    let (first, token) = list(State::Unspecified, "").await;
    let (second, end) = list(State::Unspecified, &token).await;
    assert_eq!(([first, second].concat(), end.as_str()), (programmes.clone(), ""));
    loyalty.activate(&programmes[1]).await.unwrap();
    assert_eq!(list(State::Active, "").await.0, [programmes[1].clone()]);

    let mut rules = Vec::new();
    for points in 1..=3 {
        rules.insert(0, loyalty.rule(fixed(&programmes[0], wire::Trigger::Referral, points)).await);
    }
    let other = loyalty.rule(fixed(&programmes[1], wire::Trigger::Referral, 9)).await;
    let list = async |programme: &str, token: &str| {
        let message = proto::ListEarningRulesRequest {
            page_size: 2,
            page_token: token.into(),
            programme: programme.into(),
        };
        let listed = loyalty.rules().list_earning_rules(request(Role::Supervisor, message)).await;
        let listed = listed.unwrap().into_inner();
        let names: Vec<_> = listed.earning_rules.into_iter().map(|rule| rule.name).collect();
        (names, listed.next_page_token)
    };
    let (first, token) = list(&programmes[0], "").await;
    let (second, end) = list(&programmes[0], &token).await;
    assert_eq!(([first, second].concat(), end.as_str()), (rules.clone(), ""));
    assert_eq!(list("", "").await.0, [other, rules[0].clone()]);
}

#[tokio::test]
async fn no_more_programmes_run_and_no_more_rules_are_made_than_an_earn_can_be_held_against() {
    let loyalty = Loyalty::start().await;
    let mut names = Vec::new();
    for _ in 0..10 {
        names.push(loyalty.programme(plain()).await);
    }
    let eleventh = loyalty.draft(plain()).await.unwrap().name;
    let failure = ours(loyalty.activate(&eleventh).await, Code::FailedPrecondition, "PROGRAMME_LIMIT");
    assert_eq!(failure.facts["limit"], "10");
    // One that is paused keeps its place.
    loyalty.pause(&names[0]).await.unwrap();
    ours(loyalty.activate(&eleventh).await, Code::FailedPrecondition, "PROGRAMME_LIMIT");
    loyalty.activate(&names[0]).await.unwrap();
    loyalty.end(&names[1]).await.unwrap();
    loyalty.activate(&eleventh).await.unwrap();

    for _ in 0..40 {
        loyalty.rule(fixed(&eleventh, wire::Trigger::Birthday, 1)).await;
    }
    let another = loyalty.make_rule(fixed(&eleventh, wire::Trigger::Birthday, 1)).await;
    let failure = ours(another, Code::FailedPrecondition, "EARNING_RULE_LIMIT");
    assert_eq!(failure.facts["limit"], "40");
}

#[tokio::test]
async fn what_is_wrong_with_a_programme_or_a_rule_is_told_at_once() {
    let loyalty = Loyalty::start().await;
    let languages = [("en".to_owned(), "x".repeat(101)), ("fr".to_owned(), "a".to_owned())];
    let wrong = proto::Programme {
        display_name: Some(proto::LocalizedText { texts: languages.into() }),
        start_time: seconds(10),
        end_time: seconds(10),
        budget: -1,
        utc_offset_minutes: 841,
        ..Default::default()
    };
    assert_eq!(
        violations(loyalty.draft(wrong).await),
        [
            "programme.display_name.texts.en FIELD_TOO_LONG",
            "programme.display_name.texts.fr FIELD_FORMAT",
            "programme.display_name.texts.zh-CN FIELD_REQUIRED",
            "programme.end_time FIELD_ORDER",
            "programme.budget FIELD_RANGE",
            "programme.utc_offset_minutes FIELD_RANGE",
        ]
    );
    let nothing = proto::CreateEarningRuleRequest::default();
    let outcome = loyalty.rules().create_earning_rule(request(Role::CrmSpecialist, nothing)).await;
    assert_eq!(violations(outcome), ["earning_rule FIELD_REQUIRED"]);
    assert_eq!(
        violations(loyalty.make_rule(proto::EarningRule::default()).await),
        [
            "earning_rule.programme FIELD_REQUIRED",
            "earning_rule.display_name FIELD_REQUIRED",
            "earning_rule.trigger ENUM_UNKNOWN",
            "earning_rule.effect FIELD_REQUIRED",
        ]
    );
    let programme = format!("programmes/{}", Uuid::now_v7());
    let good = || fixed(&programme, wire::Trigger::Purchase, 1);
    let conditions = |conditions| proto::EarningRule { conditions: Some(conditions), ..good() };
    let kind = |trigger, kind| giving(&programme, trigger, kind);
    let any = wire::Conditions::default;
    let purchase = wire::Trigger::Purchase;
    let odd = || vec!["a b".to_owned(), "x".repeat(65), String::new()];
    for (rule, told) in [
        (proto::EarningRule { trigger: 99, ..good() }, vec!["trigger ENUM_UNKNOWN"]),
        (kind(purchase, Kind::FixedPoints(0)), vec!["effect.fixed_points FIELD_RANGE"]),
        (kind(purchase, Kind::FixedPoints(1_000_001)), vec!["effect.fixed_points FIELD_RANGE"]),
        (kind(purchase, Kind::PointsPerUnit(0)), vec!["effect.points_per_unit FIELD_RANGE"]),
        (kind(purchase, Kind::Multiplier(10_000)), vec!["effect.multiplier FIELD_RANGE"]),
        (
            kind(wire::Trigger::SurveyAnswered, Kind::PointsPerUnit(1)),
            vec!["effect.points_per_unit FIELD_FORMAT"],
        ),
        (kind(wire::Trigger::Birthday, Kind::Multiplier(20_000)), vec!["effect.multiplier FIELD_FORMAT"]),
        (
            conditions(wire::Conditions { sales_channels: odd(), ..any() }),
            vec![
                "conditions.sales_channels[0] FIELD_FORMAT",
                "conditions.sales_channels[1] FIELD_FORMAT",
                "conditions.sales_channels[2] FIELD_FORMAT",
            ],
        ),
        (
            conditions(wire::Conditions {
                sales_channels: vec!["a".into(); 51],
                product_codes: vec!["a".into(); 101],
                segments: vec!["a".into(); 51],
                tiers: vec!["tiers/1".into()],
                minimum_units: -1,
            }),
            vec![
                "conditions.minimum_units FIELD_RANGE",
                "conditions.sales_channels FIELD_TOO_LONG",
                "conditions.product_codes FIELD_TOO_LONG",
                "conditions.tiers[0] FIELD_FORMAT",
                "conditions.segments FIELD_TOO_LONG",
            ],
        ),
        (
            proto::EarningRule {
                trigger: wire::Trigger::Referral.into(),
                ..conditions(wire::Conditions { minimum_units: 1, ..any() })
            },
            vec!["conditions.minimum_units FIELD_FORMAT"],
        ),
        (
            proto::EarningRule {
                delay: Some(prost_types::Duration { seconds: -1, nanos: 0 }),
                lifetime: Some(prost_types::Duration { seconds: 0, nanos: 1 }),
                budget: 1_000_000_000_001,
                cap: Some(wire::PointsCap { points: 0, period: 0 }),
                velocity_limit: Some(wire::VelocityLimit { awards: 1_000_001, period: 99 }),
                ..good()
            },
            vec![
                "delay FIELD_RANGE",
                "lifetime FIELD_RANGE",
                "budget FIELD_RANGE",
                "cap.points FIELD_RANGE",
                "cap.period ENUM_UNKNOWN",
                "velocity_limit.awards FIELD_RANGE",
                "velocity_limit.period ENUM_UNKNOWN",
            ],
        ),
    ] {
        let told: Vec<_> = told.iter().map(|told| format!("earning_rule.{told}")).collect();
        assert_eq!(violations(loyalty.make_rule(rule.clone()).await), told, "{rule:?}");
    }
    let failure = loyalty.make_rule(good()).await;
    ours(failure, Code::NotFound, "PROGRAMME_NOT_FOUND");
    ours(loyalty.read_programme(&programme).await, Code::NotFound, "PROGRAMME_NOT_FOUND");
    ours(loyalty.activate(&programme).await, Code::NotFound, "PROGRAMME_NOT_FOUND");
    let rule = format!("earningRules/{}", Uuid::now_v7());
    ours(loyalty.read_rule(&rule).await, Code::NotFound, "EARNING_RULE_NOT_FOUND");
    assert_eq!(violations(loyalty.read_rule(&programme).await), ["name FIELD_FORMAT"]);
}
