//! Points for what happened.

use cqm_loyalty::domain::book::Book;
use cqm_proto::events::v1 as events;
use cqm_proto::loyalty::v1::earning_rule::Trigger;
use cqm_proto::loyalty::v1::entry::{Kind, Reason};
use cqm_testkit::until;
use futures::StreamExt;
use futures::stream;
use prost::Message;
use tonic::Code;

use super::*;
use crate::audit::audit;
use crate::programmes::{fixed, plain};

#[tokio::test]
async fn the_first_purchase_makes_a_member_with_an_entry_for_its_whole_units() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    let now = loyalty.kit.clock.now();
    let source = format!("customers/{customer}/purchases/{}", Uuid::now_v7());
    let message = proto::EarnPointsRequest {
        source: source.clone(),
        ..earning(customer, purchase(11, 770_000_000, now))
    };
    let answer = loyalty.earn(message).await.unwrap();

    let entry = answer.entry.unwrap();
    assert!(entry.name.starts_with(&format!("members/{customer}/entries/")), "{}", entry.name);
    assert_eq!((entry.kind(), entry.reason()), (Kind::Earn, Reason::Purchase));
    assert_eq!((entry.points, entry.balance_after, answer.points), (11, 11, 11));
    assert_eq!((entry.source.as_str(), entry.actor.as_str()), (source.as_str(), "coordinator"));
    assert_eq!(entry.create_time.unwrap().seconds, now.timestamp());
    let account = answer.account.unwrap();
    assert_eq!(
        account,
        proto::Account {
            member: member_name(customer),
            available: 11,
            lifetime_earned: 11,
            entry_count: 1,
            etag: "v2".into(),
            ..Default::default()
        },
    );
    assert_eq!(loyalty.account(customer).await.unwrap(), account);

    let log = loyalty.kit.events.next().await;
    let facts: Vec<_> =
        log.iter().map(|e| (e.aggregate.clone(), e.aggregate_version, e.event_type.as_str())).collect();
    assert_eq!(
        facts,
        [
            (member_name(customer), 1, "cqm.events.v1.MemberEnrolled"),
            (member_name(customer), 2, "cqm.events.v1.PointsEarned"),
        ],
    );
    let enrolled = events::MemberEnrolled::decode(log[0].payload.as_slice()).unwrap();
    assert_eq!((enrolled.member, enrolled.customer), (member_name(customer), name(customer)));
    assert_eq!(
        events::PointsEarned::decode(log[1].payload.as_slice()).unwrap(),
        events::PointsEarned {
            member: member_name(customer),
            entry: entry.name,
            customer: name(customer),
            points: 11,
            reason: "PURCHASE".into(),
            source,
            balance: 11,
        },
    );

    let ledger = audit(&loyalty.kit.db).await.unwrap();
    assert_eq!(ledger[&customer].entries, [11]);
    assert_eq!(ledger[&customer].balances, [(Book::Issued, 11), (Book::Available, 11)].into());
}

#[tokio::test]
async fn every_basis_earns_by_the_programmes_rule() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    let now = loyalty.kit.clock.now();
    for (basis, points, balance, kind, reason, event) in [
        (Basis::Survey(proto::SurveyBasis {}), 50, 50, Kind::Earn, Reason::SurveyAnswered, "PointsEarned"),
        (compensation(300), 300, 350, Kind::Earn, Reason::Compensation, "PointsEarned"),
        (purchase(7, 990_000_000, now), 7, 357, Kind::Earn, Reason::Purchase, "PointsEarned"),
        (adjustment(3), 3, 360, Kind::Adjust, Reason::Adjustment, "PointsEarned"),
        // Over two lots, so that there are two entries; the last of them is the answer's.
        (adjustment(-70), -70, 290, Kind::Adjust, Reason::Adjustment, "PointsDeducted"),
    ] {
        loyalty.kit.clock.advance(Duration::from_secs(1));
        let answer = loyalty.earn(earning(customer, basis)).await.unwrap();
        let entry = answer.entry.unwrap();
        assert_eq!(answer.points, points);
        assert_eq!((entry.kind(), entry.reason(), entry.balance_after), (kind, reason, balance));
        assert_eq!(answer.account.unwrap().available, balance);
        assert_eq!(loyalty.kit.events.next_types().await.last().map(String::as_str), Some(event));
    }
    // Purchases count from when they were made, so the correction took the oldest first: 7 bought, 50 for the
    // survey, 13 of the compensation.
    let ledger = audit(&loyalty.kit.db).await.unwrap();
    assert_eq!(ledger[&customer].entries, [50, 300, 7, 3, -7, -50, -13]);
    let account = loyalty.account(customer).await.unwrap();
    assert_eq!((account.lifetime_earned, account.lifetime_redeemed), (290, 0));
}

/// Looked at by what Postgres counts, not by time. The plans are those of a ledger that was empty when they were made.
#[tokio::test(flavor = "multi_thread")]
async fn an_earn_reads_no_more_of_who_has_earned_often() {
    const EARNS: u32 = 400;
    let mut loyalty = Loyalty::start().await;
    let programme = loyalty.programme(plain()).await;
    // For which it has to be known who has bought before.
    loyalty.rule(fixed(&programme, Trigger::FirstPurchase, 20)).await;
    let customer = Uuid::now_v7();
    let now = loyalty.kit.clock.now();
    let earns = (0..EARNS).map(|number| {
        let source = format!("purchases/{number}");
        loyalty.earn(proto::EarnPointsRequest { source, ..earning(customer, purchase(1, 0, now)) })
    });
    let earned: Vec<_> = stream::iter(earns).buffer_unordered(16).collect().await;
    assert!(earned.iter().all(Result::is_ok), "{earned:?}");
    assert!(loyalty.kit.events.next().await.len() > EARNS as usize);
    // Connections tell what they have read when they end.
    loyalty.kit.stop().await;
    for table in ["entry_source", "entry", "lot"] {
        let counted = format!(
            "SELECT to_jsonb(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::text AS row
             FROM pg_stat_user_tables
             WHERE schemaname = current_schema() AND relname = '{table}' AND n_tup_ins >= {EARNS}"
        );
        let read = until("the connections have told", async || loyalty.kit.rows(&counted).await.pop()).await;
        let each = read.as_f64().unwrap() / f64::from(EARNS);
        assert!(each < 10.0, "{each} rows of {table} were read for each earn");
    }
}

#[tokio::test]
async fn what_is_worth_no_points_leaves_no_entry() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    let now = loyalty.kit.clock.now();
    let answer = loyalty.earn(earning(customer, purchase(0, 990_000_000, now))).await.unwrap();
    assert_eq!((answer.entry, answer.points), (None, 0));
    let account = answer.account.unwrap();
    assert_eq!((account.available, account.entry_count, account.etag.as_str()), (0, 0, "v1"));
    // The customer has bought something and takes part from then on.
    assert_eq!(loyalty.kit.events.next_types().await, ["MemberEnrolled"]);
    assert_eq!(loyalty.kit.count("entry").await, 0);
}

#[tokio::test]
async fn one_source_gives_points_once_whatever_the_request_is_called() {
    let mut loyalty = Loyalty::start().await;
    let (customer, other) = (Uuid::now_v7(), Uuid::now_v7());
    let sourced = |customer, points| proto::EarnPointsRequest {
        source: "complaints/1".into(),
        ..earning(customer, compensation(points))
    };
    let first = loyalty.earn(sourced(customer, 100)).await.unwrap();
    let repeat = loyalty.earn(sourced(customer, 250)).await.unwrap();
    assert_eq!(repeat, first, "the first effect stands");
    assert_eq!(loyalty.kit.events.next_types().await, ["MemberEnrolled", "PointsEarned"]);

    // Another customer, another reason, and a correction for the same source are other things.
    assert_eq!(loyalty.earn(sourced(other, 30)).await.unwrap().account.unwrap().available, 30);
    for basis in [Basis::Survey(proto::SurveyBasis {}), adjustment(5), adjustment(5)] {
        let message = proto::EarnPointsRequest { source: "complaints/1".into(), ..earning(customer, basis) };
        loyalty.earn(message).await.unwrap();
    }
    assert_eq!(loyalty.kit.events.next().await.len(), 5);
    assert_eq!(audit(&loyalty.kit.db).await.unwrap()[&customer].entries, [100, 50, 5, 5]);
}

#[tokio::test]
async fn a_correction_takes_no_more_than_there_is_and_opens_no_account_for_it() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    ours(
        loyalty.earn(earning(customer, adjustment(-1))).await,
        Code::FailedPrecondition,
        "INSUFFICIENT_POINTS",
    );
    assert_eq!(loyalty.kit.count("member").await, 0);

    loyalty.given(customer, 10).await;
    let failure = ours(
        loyalty.earn(earning(customer, adjustment(-11))).await,
        Code::FailedPrecondition,
        "INSUFFICIENT_POINTS",
    );
    assert_eq!(failure.facts["available"], "10");
    assert_eq!(loyalty.account(customer).await.unwrap().available, 10);
}

#[tokio::test]
async fn points_beyond_64_bits_are_refused_and_change_nothing() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    let now = loyalty.kit.clock.now();
    loyalty.earn(earning(customer, purchase(i64::MAX, 0, now))).await.unwrap();
    loyalty.kit.events.next().await;
    ours(loyalty.earn(earning(customer, purchase(1, 0, now))).await, Code::OutOfRange, "BALANCE_OVERFLOW");
    assert_eq!(audit(&loyalty.kit.db).await.unwrap()[&customer].entries, [i64::MAX]);

    // And all of it can be spent again.
    let spent = loyalty.redeem(spending(customer, i64::MAX)).await.unwrap();
    assert_eq!(spent.account.unwrap().available, 0);
    assert_eq!(loyalty.kit.events.next_types().await, ["PointsRedeemed"]);
    audit(&loyalty.kit.db).await.unwrap();
}
