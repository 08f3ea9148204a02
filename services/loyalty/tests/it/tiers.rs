//! Tiers: kept, reached and lost.

use cqm_loyalty::worker;
use cqm_proto::events::v1 as events;
use cqm_proto::loyalty::v1::tier_change;
use cqm_proto::loyalty::v1::tier_service_client::TierServiceClient;
use cqm_runtime::process::{Base, Service, Shared};
use cqm_testkit::{manager, representative, request_id};
use prost::Message;
use prost_types::FieldMask;
use tonic::Code;

use super::*;
use crate::audit::{audit, execute};

fn benefit(code: &str, value: &str) -> proto::tier::Benefit {
    proto::tier::Benefit { code: code.into(), text: text("优先服务", "Priority"), value: value.into() }
}

fn tier(code: &str, rank: i32, threshold: i64) -> proto::Tier {
    proto::Tier {
        code: code.into(),
        rank,
        display_name: text("金卡", "Gold"),
        threshold,
        benefits: vec![benefit("priority", "1"), benefit("points_multiplier", "1.5")],
        ..Default::default()
    }
}

impl Loyalty {
    fn tiers(&self) -> TierServiceClient<Line> {
        TierServiceClient::new(self.kit.channel.clone())
    }

    async fn create_tier(&self, tier: proto::Tier) -> Result<proto::Tier, Status> {
        let message = proto::CreateTierRequest { tier: Some(tier), request_id: request_id() };
        self.tiers().create_tier(manager(message)).await.map(Response::into_inner)
    }

    async fn update_tier(
        &self,
        tier: proto::Tier,
        paths: &[&str],
        etag: &str,
    ) -> Result<proto::Tier, Status> {
        let paths: Vec<String> = paths.iter().map(|path| (*path).into()).collect();
        let message = proto::UpdateTierRequest {
            tier: Some(tier),
            update_mask: (!paths.is_empty()).then_some(FieldMask { paths }),
            request_id: request_id(),
            etag: etag.into(),
        };
        self.tiers().update_tier(manager(message)).await.map(Response::into_inner)
    }

    async fn delete_tier(&self, name: &str, etag: &str) -> Result<proto::Tier, Status> {
        let message =
            proto::DeleteTierRequest { name: name.into(), request_id: request_id(), etag: etag.into() };
        self.tiers().delete_tier(manager(message)).await.map(Response::into_inner)
    }

    async fn get_tier(&self, name: &str) -> Result<proto::Tier, Status> {
        let message = proto::GetTierRequest { name: name.into() };
        self.tiers().get_tier(representative(message)).await.map(Response::into_inner)
    }

    /// Silver for 100 points, gold for 500.
    pub async fn silver_and_gold(&self) -> [String; 2] {
        let silver = self.create_tier(tier("silver", 20, 100)).await.expect("a tier");
        let gold = self.create_tier(tier("gold", 30, 500)).await.expect("a tier");
        [silver.name, gold.name]
    }

    /// A purchase of so many points, by a request whose id does not tell its time: the clock runs ahead by years.
    pub async fn buys(&self, customer: Uuid, points: i64) -> proto::EarnPointsResponse {
        let basis = purchase(points, 0, self.kit.clock.now());
        let message = proto::EarnPointsRequest { request_id: request_id(), ..earning(customer, basis) };
        self.earn(message).await.expect("a purchase earns points")
    }

    pub async fn stands(&self, customer: Uuid) -> proto::Member {
        let message = proto::GetMemberRequest { name: member_name(customer) };
        self.members.clone().get_member(manager(message)).await.expect("a member").into_inner()
    }

    async fn turns(
        &self,
        customer: Uuid,
        page_size: i32,
        page_token: &str,
    ) -> proto::ListTierChangesResponse {
        let message = proto::ListTierChangesRequest {
            member: member_name(customer),
            page_size,
            page_token: page_token.into(),
        };
        self.members.clone().list_tier_changes(manager(message)).await.expect("a member").into_inner()
    }

    /// Moves the clock to the first moment of a day.
    fn it_is(&self, day: &str) {
        let day: DateTime<Utc> = format!("{day}T00:00:00Z").parse().expect("a day");
        let gap = (day - self.kit.clock.now()).to_std().expect("the clock runs forward");
        self.kit.clock.advance(gap);
    }

    /// A worker's turn, as another replica would take it.
    async fn written_down(&self) -> usize {
        let base = Base {
            db: self.kit.db.clone(),
            cache: cqm_runtime::cache::Cache::new(&Default::default(), "loyalty").expect("a cache"),
            clock: self.kit.clock.clone(),
            shared: Shared::default(),
        };
        let app = App::new(base, RULES).expect("another replica");
        worker::let_time_pass(&app).await.expect("the worker's turn")
    }
}

fn day(time: Option<Timestamp>) -> String {
    time.map_or_else(String::new, |time| {
        DateTime::from_timestamp(time.seconds, 0).expect("a time").format("%F").to_string()
    })
}

#[tokio::test]
async fn a_tier_is_kept_with_its_benefits_changed_in_part_and_deleted() {
    let loyalty = Loyalty::start().await;
    let gold = loyalty.create_tier(tier("gold", 30, 500)).await.unwrap();
    assert!(gold.name.starts_with("tiers/"), "{}", gold.name);
    let expected = proto::Tier {
        name: gold.name.clone(),
        create_time: gold.create_time,
        update_time: gold.create_time,
        etag: "v1".into(),
        ..tier("gold", 30, 500)
    };
    assert_eq!(gold, expected);
    assert_eq!(gold.create_time.unwrap().seconds, loyalty.kit.clock.now().timestamp());
    assert_eq!(loyalty.get_tier(&gold.name).await.unwrap(), gold);

    // Without a mask what is populated is changed, and nothing else.
    loyalty.kit.clock.advance(Duration::from_secs(60));
    let named = proto::Tier { name: gold.name.clone(), ..Default::default() };
    let part = proto::Tier { threshold: 600, code: "ignored".into(), ..named.clone() };
    let changed = loyalty.update_tier(part, &[], "v1").await.unwrap();
    assert_eq!(
        changed,
        proto::Tier { threshold: 600, etag: "v2".into(), update_time: changed.update_time, ..gold.clone() }
    );
    assert_eq!(changed.update_time.unwrap().seconds, gold.create_time.unwrap().seconds + 60);
    let cleared = loyalty.update_tier(named.clone(), &["threshold", "benefits"], "").await.unwrap();
    assert_eq!((cleared.threshold, cleared.benefits.len(), cleared.etag.as_str()), (0, 0, "v3"));
    let same = loyalty.update_tier(named.clone(), &["threshold"], "v3").await.unwrap();
    assert_eq!(same, cleared, "nothing has changed");
    let all = proto::Tier { name: gold.name.clone(), ..tier("gold", 31, 700) };
    let all = loyalty.update_tier(all, &["*"], "").await.unwrap();
    assert_eq!((all.rank, all.threshold, all.benefits), (31, 700, gold.benefits.clone()));

    refused(loyalty.update_tier(named.clone(), &["threshold"], "v3").await, Code::Aborted, "ETAG_MISMATCH");
    refused(loyalty.delete_tier(&gold.name, "v1").await, Code::Aborted, "ETAG_MISMATCH");
    assert_eq!(loyalty.delete_tier(&gold.name, "v4").await.unwrap().etag, "v4", "as it was");
    let statuses = [
        loyalty.get_tier(&gold.name).await.unwrap_err(),
        loyalty.update_tier(named, &["threshold"], "").await.unwrap_err(),
        loyalty.delete_tier(&gold.name, "").await.unwrap_err(),
    ];
    for status in statuses {
        ours(Err::<(), _>(status), Code::NotFound, "TIER_NOT_FOUND");
    }
}

#[tokio::test]
async fn tiers_are_listed_by_rank_and_created_once_for_each_request() {
    let loyalty = Loyalty::start().await;
    let message = proto::CreateTierRequest { tier: Some(tier("t2", 2, 20)), request_id: request_id() };
    let first = loyalty.tiers().create_tier(manager(message.clone())).await.unwrap().into_inner();
    assert_eq!(loyalty.tiers().create_tier(manager(message)).await.unwrap().into_inner(), first);
    for rank in [5, 3, 1, 4] {
        loyalty.create_tier(tier(&format!("t{rank}"), rank, 10 * i64::from(rank))).await.unwrap();
    }
    let (mut codes, mut page_token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let message = proto::ListTiersRequest { page_size: 2, page_token };
        let page = loyalty.tiers().list_tiers(representative(message)).await.unwrap().into_inner();
        codes.extend(page.tiers.into_iter().map(|tier| tier.code));
        pages += 1;
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!((codes.join(" "), pages), ("t1 t2 t3 t4 t5".to_owned(), 3));
}

#[tokio::test]
async fn a_tier_that_does_not_fit_among_the_others_is_refused_with_the_one_in_its_way() {
    let loyalty = Loyalty::start().await;
    let [silver, gold] = loyalty.silver_and_gold().await;
    for (other, by) in [(tier("gold", 40, 900), &gold), (tier("other", 20, 50), &silver)] {
        let failure = ours(loyalty.create_tier(other).await, Code::AlreadyExists, "TIER_EXISTS");
        assert_eq!(&failure.facts["name"], by);
    }
    let failure =
        ours(loyalty.create_tier(tier("top", 40, 500)).await, Code::FailedPrecondition, "TIER_ORDER");
    assert_eq!(failure.facts["tier"], gold);
    let lowered = proto::Tier { name: gold.clone(), threshold: 100, ..Default::default() };
    let failure = ours(loyalty.update_tier(lowered, &[], "").await, Code::FailedPrecondition, "TIER_ORDER");
    assert_eq!(failure.facts["tier"], silver);
    for rank in 31..79 {
        loyalty.create_tier(tier(&format!("t{rank}"), rank, 1000 + i64::from(rank))).await.unwrap();
    }
    let failure =
        ours(loyalty.create_tier(tier("t79", 79, 2000)).await, Code::FailedPrecondition, "TOO_MANY_TIERS");
    assert_eq!(failure.facts["limit"], "50");
}

#[tokio::test]
async fn everything_wrong_with_a_tier_is_said_at_once() {
    let loyalty = Loyalty::start().await;
    let good = || tier("gold", 30, 500);
    let many = (0..21).map(|n| benefit(&format!("b{n}"), "")).collect();
    for (wrong, violated) in [
        (
            proto::Tier::default(),
            vec!["tier.code FIELD_REQUIRED", "tier.rank FIELD_RANGE", "tier.display_name FIELD_REQUIRED"],
        ),
        (proto::Tier { code: "Gold".into(), ..good() }, vec!["tier.code FIELD_FORMAT"]),
        (proto::Tier { code: "g".repeat(65), ..good() }, vec!["tier.code FIELD_FORMAT"]),
        (proto::Tier { rank: 1001, ..good() }, vec!["tier.rank FIELD_RANGE"]),
        (proto::Tier { threshold: -1, ..good() }, vec!["tier.threshold FIELD_RANGE"]),
        (
            proto::Tier { display_name: text("", &"x".repeat(201)), ..good() },
            vec!["tier.display_name.texts.en FIELD_TOO_LONG", "tier.display_name.texts.zh-CN FIELD_REQUIRED"],
        ),
        (
            proto::Tier { display_name: text("金\u{202e}卡", ""), ..good() },
            vec!["tier.display_name.texts.zh-CN FORBIDDEN_CHARACTER"],
        ),
        (proto::Tier { benefits: many, ..good() }, vec!["tier.benefits FIELD_TOO_LONG"]),
        (
            proto::Tier {
                benefits: vec![
                    benefit("lounge", ""),
                    benefit("lounge", "2"),
                    proto::tier::Benefit { code: String::new(), text: None, value: "\0".into() },
                ],
                ..good()
            },
            vec![
                "tier.benefits[1].code FIELD_FORMAT",
                "tier.benefits[2].code FIELD_REQUIRED",
                "tier.benefits[2].text FIELD_REQUIRED",
                "tier.benefits[2].value FORBIDDEN_CHARACTER",
            ],
        ),
    ] {
        assert_eq!(violations(loyalty.create_tier(wrong.clone()).await), violated, "{wrong:?}");
    }

    let empty = proto::CreateTierRequest { tier: None, request_id: "x".into() };
    let outcome = loyalty.tiers().create_tier(manager(empty)).await;
    assert_eq!(violations(outcome), ["request_id REQUEST_ID_FORMAT", "tier FIELD_REQUIRED"]);
    let wrong = proto::Tier { name: "tiers/gold".into(), rank: -1, ..Default::default() };
    assert_eq!(
        violations(loyalty.update_tier(wrong, &["rank", "code"], "1").await),
        [
            "etag FIELD_FORMAT",
            "tier.name FIELD_FORMAT",
            "update_mask.code FIELD_FORMAT",
            "tier.rank FIELD_RANGE",
        ],
    );
    assert_eq!(violations(loyalty.delete_tier("", "x").await), ["name FIELD_REQUIRED", "etag FIELD_FORMAT"]);
    let list = proto::ListTiersRequest { page_size: -1, page_token: "AAAA".into() };
    let outcome = loyalty.tiers().list_tiers(manager(list)).await;
    assert_eq!(violations(outcome), ["page_size FIELD_RANGE", "page_token PAGE_TOKEN_INVALID"]);
    let create = proto::CreateTierRequest { tier: Some(good()), request_id: String::new() };
    let outcome = loyalty.tiers().create_tier(representative(create)).await;
    refused(outcome, Code::PermissionDenied, "ROLE_MISSING");
}

#[tokio::test]
async fn a_member_reaches_a_tier_in_the_transaction_that_earns_it() {
    let mut loyalty = Loyalty::start().await;
    let [silver, gold] = loyalty.silver_and_gold().await;
    let customer = Uuid::now_v7();
    loyalty.given(customer, 1000).await;
    let member = loyalty.stands(customer).await;
    assert_eq!((member.tier.as_str(), member.qualifying_points), ("", 0), "a compensation does not qualify");
    assert_eq!((&member.next_tier, member.points_to_next_tier), (&silver, 100));
    assert_eq!((member.tier_start_time, member.tier_end_time), (None, None));

    loyalty.buys(customer, 130).await;
    let log = loyalty.kit.events.next().await;
    let told = events::TierChanged::decode(log[1].payload.as_slice()).unwrap();
    assert_eq!((log.len(), log[1].aggregate_version), (2, log[0].aggregate_version + 1));
    assert_eq!(
        told,
        events::TierChanged {
            member: member_name(customer),
            customer: name(customer),
            from: String::new(),
            to: silver.clone(),
            reason: "QUALIFIED".into(),
            points: 130,
            change_time: Some(Timestamp { seconds: loyalty.kit.clock.now().timestamp(), nanos: 0 }),
        },
    );
    let member = loyalty.stands(customer).await;
    assert_eq!((&member.tier, &member.next_tier), (&silver, &gold));
    assert_eq!((member.qualifying_points, member.points_to_next_tier), (130, 370));
    assert_eq!(
        (day(member.tier_start_time), day(member.tier_end_time)),
        ("2026-01-15".into(), "2027-01-01".into())
    );

    loyalty.buys(customer, 370).await;
    let member = loyalty.stands(customer).await;
    assert_eq!((&member.tier, member.next_tier.as_str(), member.points_to_next_tier), (&gold, "", 0));
    assert_eq!(loyalty.kit.events.next_types().await, ["PointsEarned", "TierChanged"]);
    audit(&loyalty.kit.db).await.unwrap();
}

#[tokio::test]
async fn new_members_begin_with_the_tier_that_takes_nothing() {
    let mut loyalty = Loyalty::start().await;
    let base = loyalty.create_tier(tier("base", 1, 0)).await.unwrap().name;
    let (enrolled, earner) = (Uuid::now_v7(), Uuid::now_v7());
    let member = loyalty.create(enrolled).await.unwrap();
    assert_eq!((&member.tier, member.etag.as_str(), member.tier_end_time), (&base, "v2", None));
    assert_eq!(loyalty.kit.events.next_types().await, ["MemberEnrolled", "TierChanged"]);
    loyalty.buys(earner, 5).await;
    assert_eq!(loyalty.stands(earner).await.tier, base);
    assert_eq!(loyalty.kit.events.next_types().await, ["MemberEnrolled", "TierChanged", "PointsEarned"]);
    assert_eq!(loyalty.turns(enrolled, 0, "").await.tier_changes.len(), 1);
    ours(loyalty.delete_tier(&base, "").await, Code::FailedPrecondition, "TIER_HELD");
    assert_eq!(loyalty.get_tier(&base).await.unwrap().code, "base", "it is still there");
}

#[tokio::test]
async fn a_tier_is_deleted_when_its_last_member_has_lost_it_and_history_remembers_it() {
    let mut loyalty = Loyalty::start().await;
    let [silver, _] = loyalty.silver_and_gold().await;
    let customer = Uuid::now_v7();
    loyalty.buys(customer, 100).await;
    ours(loyalty.delete_tier(&silver, "").await, Code::FailedPrecondition, "TIER_HELD");
    loyalty.it_is("2027-01-01");
    assert_eq!(loyalty.written_down().await, 1);
    loyalty.delete_tier(&silver, "").await.unwrap();
    let turns = loyalty.turns(customer, 0, "").await.tier_changes;
    assert_eq!(turns.iter().map(|turn| turn.from.as_str()).collect::<Vec<_>>(), [silver.as_str(), ""]);
    let types = loyalty.kit.events.next_types().await;
    assert_eq!(types, ["MemberEnrolled", "PointsEarned", "TierChanged", "TierChanged"]);
}

#[tokio::test]
async fn a_tier_is_lost_at_the_end_of_its_cycle_after_notice_whoever_looks_when() {
    let mut loyalty = Loyalty::start().await;
    let [silver, gold] = loyalty.silver_and_gold().await;
    let (busy, quiet) = (Uuid::now_v7(), Uuid::now_v7());
    for customer in [busy, quiet] {
        loyalty.buys(customer, 450).await;
    }
    loyalty.it_is("2026-02-28");
    for customer in [busy, quiet] {
        loyalty.buys(customer, 100).await;
    }
    assert_eq!(loyalty.kit.events.next().await.len(), 10);
    assert_eq!(day(loyalty.stands(busy).await.tier_end_time), "2027-01-01");

    loyalty.it_is("2026-12-01");
    assert_eq!(loyalty.written_down().await, 0);
    loyalty.it_is("2026-12-02");
    assert_eq!(loyalty.written_down().await, 2);
    let log = loyalty.kit.events.next().await;
    let told = events::TierDowngradeAnnounced::decode(log[0].payload.as_slice()).unwrap();
    assert_eq!((log.len(), &told.from, &told.to), (2, &gold, &silver));
    assert_eq!((day(told.change_time), told.points_missing), ("2027-01-01".into(), 400));
    assert_eq!(loyalty.written_down().await, 0, "once");

    // One of them does something about it.
    loyalty.it_is("2026-12-31");
    loyalty.buys(busy, 400).await;
    assert_eq!(loyalty.kit.events.next_types().await, ["PointsEarned"]);
    let before = loyalty.stands(quiet).await;
    assert_eq!(before.tier, gold);

    loyalty.it_is("2027-01-01");
    let (kept, lost) = (loyalty.stands(busy).await, loyalty.stands(quiet).await);
    assert_eq!((&kept.tier, day(kept.tier_end_time)), (&gold, "2027-02-01".into()));
    assert_eq!((&lost.tier, day(lost.tier_start_time)), (&silver, "2027-01-01".into()));
    assert_eq!((lost.qualifying_points, day(lost.tier_end_time)), (100, "2027-02-01".into()));
    assert_eq!(lost.etag, before.etag, "nothing is written by looking");
    loyalty.it_is("2027-01-20");
    let seen = loyalty.stands(quiet).await;
    let message = proto::ListMembersRequest::default();
    let listed = loyalty.members.clone().list_members(manager(message)).await.unwrap().into_inner();
    assert!(listed.members.contains(&seen), "a list says the same");
    loyalty.written_down().await;
    let settled = loyalty.stands(quiet).await;
    assert_eq!(
        settled,
        proto::Member { etag: settled.etag.clone(), update_time: settled.update_time, ..seen },
        "the answer does not depend on when it was written down"
    );
    let types = loyalty.kit.events.next_types().await;
    assert_eq!(types.iter().filter(|kind| *kind == "TierChanged").count(), 1);

    // Nobody looks for years, and everything is as of its own moment nevertheless.
    loyalty.it_is("2029-05-05");
    assert_eq!(loyalty.stands(quiet).await.tier, "");
    assert_eq!(loyalty.written_down().await, 2);
    let log = loyalty.kit.events.next().await;
    let mut told: Vec<_> = log
        .iter()
        .filter(|event| event.aggregate == member_name(busy))
        .map(|event| events::TierChanged::decode(event.payload.as_slice()).unwrap())
        .map(|told| (told.from, told.to, day(told.change_time), told.reason))
        .collect();
    told.sort_by(|a, b| a.2.cmp(&b.2));
    let ended = "CYCLE_ENDED".to_owned();
    assert_eq!(
        told,
        [
            (gold.clone(), silver.clone(), "2027-02-01".into(), ended.clone()),
            (silver.clone(), String::new(), "2027-12-01".into(), ended),
        ],
    );
    audit(&loyalty.kit.db).await.unwrap();
}

#[tokio::test]
async fn a_calendar_year_counts_from_nothing_and_its_tier_lasts_through_the_next() {
    let tiers = TiersConfig { window: WindowKind::CalendarYear, ..RULES.tiers };
    let mut loyalty = Loyalty::start_by(Config { tiers, ..RULES }).await;
    let [silver, gold] = loyalty.silver_and_gold().await;
    let customer = Uuid::now_v7();
    loyalty.buys(customer, 500).await;
    let member = loyalty.stands(customer).await;
    assert_eq!((&member.tier, day(member.tier_end_time)), (&gold, "2028-01-01".into()));
    loyalty.it_is("2027-03-01");
    loyalty.buys(customer, 120).await;
    assert_eq!(loyalty.stands(customer).await.qualifying_points, 120);
    loyalty.it_is("2028-01-01");
    let member = loyalty.stands(customer).await;
    assert_eq!((&member.tier, member.qualifying_points, member.points_to_next_tier), (&silver, 0, 500));
    loyalty.kit.events.next().await;
}

#[tokio::test]
async fn a_purchase_that_is_taken_back_no_longer_counts() {
    let mut loyalty = Loyalty::start().await;
    let [silver, _] = loyalty.silver_and_gold().await;
    let customer = Uuid::now_v7();
    let bought = loyalty.buys(customer, 90).await.entry.unwrap();
    loyalty.it_is("2026-03-10");
    loyalty.buys(customer, 30).await;
    let reverse = proto::ReverseTransactionRequest {
        transaction: bought.transaction,
        source: String::new(),
        request_id: request_id(),
        extent: Some(proto::reverse_transaction_request::Extent::Points(40)),
    };
    loyalty.ledger.reverse_transaction(manager(reverse)).await.unwrap();
    let member = loyalty.stands(customer).await;
    assert_eq!((&member.tier, member.qualifying_points), (&silver, 80));
    assert_eq!(day(member.tier_end_time), "2026-04-01");
    loyalty.it_is("2026-04-01");
    // Whoever is about the member writes down what time has changed, a freeze among them.
    let freeze = proto::FreezeMemberRequest { name: member_name(customer), ..Default::default() };
    let frozen = loyalty.members.freeze_member(manager(freeze)).await.unwrap().into_inner();
    assert_eq!((frozen.tier.as_str(), frozen.points_to_next_tier), ("", 20));
    assert_eq!(
        loyalty.kit.events.next_types().await,
        [
            "MemberEnrolled",
            "PointsEarned",
            "PointsEarned",
            "TierChanged",
            "EarningReversed",
            "TierDowngradeAnnounced",
            "TierChanged",
            "MemberFrozen",
        ],
    );
    audit(&loyalty.kit.db).await.unwrap();
}

#[tokio::test]
async fn many_earns_at_once_reach_a_tier_exactly_once() {
    let mut loyalty = Loyalty::start().await;
    let [silver, gold] = loyalty.silver_and_gold().await;
    let customer = Uuid::now_v7();
    let loyal = &loyalty;
    futures::future::join_all((0..60).map(|_| loyal.buys(customer, 10))).await;
    let log = loyalty.kit.events.next().await;
    let told: Vec<_> = log
        .iter()
        .filter(|event| event.event_type == "cqm.events.v1.TierChanged")
        .map(|event| events::TierChanged::decode(event.payload.as_slice()).unwrap())
        .map(|told| (told.to, told.points))
        .collect();
    assert_eq!(told, [(silver, 100), (gold, 500)]);
    assert_eq!(loyalty.stands(customer).await.qualifying_points, 600);
    audit(&loyalty.kit.db).await.unwrap();
}

#[tokio::test]
async fn a_members_tier_changes_are_listed_in_pages_the_newest_first() {
    let mut loyalty = Loyalty::start().await;
    let [silver, gold] = loyalty.silver_and_gold().await;
    let customer = Uuid::now_v7();
    loyalty.buys(customer, 100).await;
    loyalty.it_is("2026-02-10");
    loyalty.buys(customer, 400).await;
    loyalty.it_is("2028-01-01");
    loyalty.buys(customer, 100).await;
    loyalty.kit.events.next().await;

    let first = loyalty.turns(customer, 3, "").await;
    let rest = loyalty.turns(customer, 3, &first.next_page_token).await;
    assert_eq!(rest.next_page_token, "");
    let shown: Vec<_> = first
        .tier_changes
        .iter()
        .chain(&rest.tier_changes)
        .map(|turn| (turn.from.as_str(), turn.to.as_str(), day(turn.change_time), turn.points))
        .collect();
    let (silver, gold) = (silver.as_str(), gold.as_str());
    assert_eq!(
        shown,
        [
            ("", silver, "2028-01-01".to_owned(), 100),
            (silver, "", "2027-02-01".to_owned(), 0),
            (gold, silver, "2027-01-01".to_owned(), 400),
            (silver, gold, "2026-02-10".to_owned(), 500),
            ("", silver, "2026-01-15".to_owned(), 100),
        ],
    );
    assert_eq!(first.tier_changes[0].reason(), tier_change::Reason::Qualified);
    assert_eq!(first.tier_changes[1].reason(), tier_change::Reason::CycleEnded);

    let other = proto::ListTierChangesRequest {
        member: member_name(Uuid::now_v7()),
        page_size: 3,
        page_token: first.next_page_token,
    };
    let outcome = loyalty.members.list_tier_changes(manager(other.clone())).await;
    refused(outcome, Code::InvalidArgument, "PAGE_TOKEN_INVALID");
    let nobody = proto::ListTierChangesRequest { page_token: String::new(), ..other };
    ours(loyalty.members.list_tier_changes(manager(nobody)).await, Code::NotFound, "MEMBER_NOT_FOUND");
    let wrong = proto::ListTierChangesRequest { member: name(customer), page_size: -1, ..Default::default() };
    let outcome = loyalty.members.list_tier_changes(manager(wrong)).await;
    assert_eq!(violations(outcome), ["member FIELD_FORMAT", "page_size FIELD_RANGE"]);
}

#[tokio::test]
async fn a_tier_that_was_deleted_elsewhere_a_moment_ago_is_given_to_nobody() {
    let mut loyalty = Loyalty::start().await;
    let [silver, _] = loyalty.silver_and_gold().await;
    let customer = Uuid::now_v7();
    loyalty.buys(customer, 1).await;
    // Another replica deletes it; this one has just read the tiers.
    execute(&loyalty.kit.db, "DELETE FROM tier WHERE code = 'gold'").await.unwrap();
    loyalty.buys(customer, 600).await;
    assert_eq!(loyalty.stands(customer).await.tier, silver);
    let enrolled = ["MemberEnrolled", "PointsEarned", "PointsEarned", "TierChanged"];
    assert_eq!(loyalty.kit.events.next_types().await, enrolled);
}

#[tokio::test]
async fn a_tier_that_was_created_elsewhere_a_moment_ago_is_known_by_its_member() {
    let mut loyalty = Loyalty::start().await;
    let [silver, _] = loyalty.silver_and_gold().await;
    let customer = Uuid::now_v7();
    loyalty.buys(customer, 100).await;
    execute(
        &loyalty.kit.db,
        "INSERT INTO tier SELECT gen_random_uuid(), 'top', 90, 900, name_zh, name_en, benefits, 1, now(), now()
         FROM tier WHERE code = 'gold';
         UPDATE member SET tier_id = (SELECT id FROM tier WHERE code = 'top')",
    )
    .await
    .unwrap();
    let member = loyalty.stands(customer).await;
    assert!(member.tier != silver && member.next_tier.is_empty(), "nothing is above it: {member:?}");
    loyalty.buys(customer, 1).await;
    assert_eq!(loyalty.stands(customer).await.tier, member.tier, "and it is not taken for a lower one");
    loyalty.kit.events.next().await;
}
