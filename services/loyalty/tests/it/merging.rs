//! A customer turns out to be another one: what the one has as a member becomes the other's.

use std::collections::BTreeMap;

use cqm_loyalty::domain::book::Book;
use cqm_proto::events::v1 as events;
use cqm_proto::google::r#type::Date;
use cqm_proto::loyalty::v1::earning_rule::{PointsCap, Trigger};
use cqm_proto::loyalty::v1::entry::{Kind, Reason};
use cqm_proto::loyalty::v1::get_statement_request::Period;
use cqm_proto::loyalty::v1::reverse_transaction_request::Extent;
use cqm_proto::loyalty::v1::{earning_rule, hold, member, voucher};
use cqm_proto::subjects::v1::subject_service_client::SubjectServiceClient;
use cqm_proto::subjects::v1::{EraseSubjectRequest, MergeSubjectRequest, RestrictSubjectRequest, Subject};
use cqm_testkit::{coordinator, eventually, manager, persistent, representative};
use futures::future::join_all;
use prost::Message;
use tonic::Code;

use super::*;
use crate::audit::{Audited, audit, execute};
use crate::earning_rules::{birthday, sourced};
use crate::holds::{committing, holding};
use crate::programmes::{fixed, plain};
use crate::reports::date;
use crate::reversals::reversing;
use crate::rewards::{gift, taking};
use crate::vouchers::consuming;

/// Purchases are pending for two days, points end thirty days later.
const RULES: Config = Config {
    purchase_delay: Duration::from_secs(2 * DAY),
    lifetime: Duration::from_secs(30 * DAY),
    ..crate::RULES
};

impl Loyalty {
    pub async fn merge(&self, customer: Uuid, survivor: Uuid) -> Result<Subject, Status> {
        let message = MergeSubjectRequest {
            customer: name(customer),
            survivor: name(survivor),
            request_id: Uuid::new_v4().to_string(),
        };
        let mut subjects = SubjectServiceClient::new(self.kit.channel.clone());
        subjects.merge_subject(coordinator(message)).await.map(Response::into_inner)
    }

    /// Merges, tells the types of the events and what was moved, and has the whole ledger checked.
    async fn merged(
        &mut self,
        customer: Uuid,
        survivor: Uuid,
    ) -> (Vec<String>, BTreeMap<String, i64>, BTreeMap<Uuid, Audited>) {
        self.kit.events.next().await;
        self.merge(customer, survivor).await.expect("a merge");
        let log = self.kit.events.next().await;
        let last = log.last().expect("the receipt comes last");
        let receipt = events::SubjectMerged::decode(last.payload.as_slice()).expect("a receipt");
        let types = log.iter().map(|event| event.event_type.trim_start_matches("cqm.events.v1.").to_owned());
        let types = types.collect();
        assert_eq!(self.faults().await, []);
        (types, receipt.moved.into_iter().collect(), audit(&self.kit.db).await.expect("a ledger in order"))
    }

    async fn positions(&self) -> Vec<(String, i64, i64)> {
        let message = request(Role::Supervisor, proto::GetTrialBalanceRequest {});
        let balance = self.ledger.clone().get_trial_balance(message).await.expect("an answer").into_inner();
        balance.accounts.into_iter().map(|of| (of.account, of.debit, of.credit)).collect()
    }
}

/// The same thing of the other member: names tell whose something is.
fn of(survivor: Uuid, customer: Uuid, name: &str) -> String {
    name.replace(&customer.to_string(), &survivor.to_string())
}

/// What was said to somebody who used the old name: the one that stays.
#[track_caller]
fn sent_on<A: std::fmt::Debug>(outcome: Result<A, Status>, customer: Uuid, survivor: Uuid) {
    let failure = cqm_testkit::refused(outcome, Code::FailedPrecondition, "CUSTOMER_MERGED");
    let facts: Vec<_> = failure.facts.into_iter().collect();
    assert_eq!(facts, [("customer".to_owned(), name(customer)), ("survivor".to_owned(), name(survivor))]);
}

#[tokio::test]
async fn everything_of_a_member_is_the_survivors_and_the_sum_of_both_is_what_it_was() {
    let mut loyalty = Loyalty::start_by(RULES).await;
    let (customer, survivor) = (Uuid::now_v7(), Uuid::now_v7());
    loyalty.given(survivor, 40).await;
    loyalty.given(customer, 100).await;
    let now = loyalty.kit.clock.now();
    loyalty.earn(earning(customer, purchase(25, 0, now))).await.unwrap();
    loyalty.redeem(spending(customer, 30)).await.unwrap();
    loyalty.hold(holding(customer, 20)).await.unwrap();
    let before = (loyalty.positions().await, audit(&loyalty.kit.db).await.unwrap());

    let (types, moved, after) = loyalty.merged(customer, survivor).await;
    assert_eq!(types, ["PointsMoved", "PointsMoved", "SubjectMerged"]);
    let counted = [("holds", 1), ("lots", 2), ("members", 1), ("referrals", 0), ("vouchers", 0)];
    assert_eq!(moved, counted.into_iter().map(|(what, count)| (what.to_owned(), count)).collect());
    assert_eq!(loyalty.positions().await, before.0);
    let account = loyalty.account(survivor).await.unwrap();
    assert_eq!((account.available, account.pending, account.held), (90, 25, 20));
    assert_eq!((account.lifetime_earned, account.lifetime_redeemed), (165, 30));
    assert!(after[&customer].balances.is_empty());
    // The lots came by their ids and with their times, behind the one that was there.
    let times = |audited: &Audited| -> Vec<_> {
        audited.lots.iter().map(|lot| (lot.id, lot.earned_at, lot.available_at, lot.expires_at)).collect()
    };
    let came: Vec<_> = times(&before.1[&survivor]).into_iter().chain(times(&before.1[&customer])).collect();
    assert_eq!(times(&after[&survivor]), came);

    // Told again, by another request too, it stays as it is.
    assert_eq!(loyalty.merge(customer, survivor).await.unwrap().survivor, name(survivor));
    assert_eq!(loyalty.kit.events.next_types().await, [""; 0]);
    assert_eq!(audit(&loyalty.kit.db).await.unwrap(), after);
    loyalty.kit.clock.advance(Duration::from_secs(2 * DAY));
    assert_eq!(
        loyalty.account(survivor).await.unwrap().available,
        135,
        "the hold ran out, the points matured"
    );
    loyalty.kit.clock.advance(Duration::from_secs(40 * DAY));
    let account = loyalty.account(survivor).await.unwrap();
    assert_eq!((account.available, account.lifetime_expired), (0, 135));
}

#[tokio::test]
async fn what_time_has_done_to_either_is_written_down_first() {
    let mut loyalty = Loyalty::start_by(RULES).await;
    let (customer, survivor) = (Uuid::now_v7(), Uuid::now_v7());
    loyalty.given(survivor, 10).await;
    loyalty.given(customer, 100).await;
    loyalty.kit.clock.advance(Duration::from_secs(20 * DAY));
    // The clock runs ahead of the one that ids are made by.
    let later = |customer, points| proto::EarnPointsRequest {
        request_id: Uuid::new_v4().to_string(),
        ..earning(customer, compensation(points))
    };
    loyalty.earn(later(customer, 7)).await.unwrap();
    loyalty.kit.clock.advance(Duration::from_secs(15 * DAY));
    let (types, ..) = loyalty.merged(customer, survivor).await;
    let passed = types.iter().filter(|name| *name == "PointsExpired").count();
    assert_eq!((passed, types.len()), (2, 5), "{types:?}");
    let account = loyalty.account(survivor).await.unwrap();
    assert_eq!((account.available, account.lifetime_expired), (7, 110));
}

#[tokio::test]
async fn a_hold_is_spent_or_given_back_under_the_name_that_stays() {
    let mut loyalty = Loyalty::start().await;
    let (customer, survivor) = (Uuid::now_v7(), Uuid::now_v7());
    loyalty.given(customer, 100).await;
    loyalty.given(survivor, 1).await;
    let mut holds = Vec::new();
    for points in [30, 20] {
        holds.push(loyalty.hold(holding(customer, points)).await.unwrap().hold.unwrap().name);
    }
    loyalty.merged(customer, survivor).await;
    sent_on(loyalty.commit(committing(&holds[0], 10, true)).await, customer, survivor);
    sent_on(loyalty.release(&holds[1]).await, customer, survivor);

    let [first, second] = [0, 1].map(|at: usize| of(survivor, customer, &holds[at]));
    let spent = loyalty.commit(committing(&first, 10, true)).await.unwrap();
    assert_eq!((spent.hold.unwrap().state(), spent.account.unwrap().available), (hold::State::Committed, 71));
    let released = loyalty.release(&second).await.unwrap();
    let account = released.account.unwrap();
    assert_eq!((account.available, account.held, account.lifetime_redeemed), (91, 0, 10));
    ours(loyalty.release(&second).await, Code::FailedPrecondition, "HOLD_STATE");
    assert_eq!(loyalty.faults().await, []);
    assert_eq!(loyalty.kit.events.next_types().await, ["PointsRedeemed", "HoldReleased", "HoldReleased"]);
}

#[tokio::test]
async fn what_was_earned_or_spent_under_the_old_name_is_taken_back_under_the_other() {
    let mut loyalty = Loyalty::start().await;
    let (customer, survivor, third) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    // The same places among the entries of both.
    let own = loyalty.given(survivor, 500).await.entry.unwrap().transaction;
    let earned = loyalty.given(customer, 100).await.entry.unwrap().transaction;
    let spent = loyalty.redeem(spending(customer, 80)).await.unwrap().entries[0].transaction.clone();
    loyalty.reverse(reversing(&earned, Some(Extent::Points(30)))).await.unwrap();
    // Twenty were there, ten are owed.
    assert_eq!(loyalty.account(customer).await.unwrap().debt, 10);
    loyalty.merged(customer, survivor).await;
    assert_eq!(loyalty.account(survivor).await.unwrap().debt, 10);
    sent_on(loyalty.reverse(reversing(&spent, None)).await, customer, survivor);

    let here = |transaction: &str| of(survivor, customer, transaction);
    let back = loyalty.reverse(reversing(&here(&spent), Some(Extent::Points(50)))).await.unwrap();
    let account = back.account.unwrap();
    assert_eq!((back.points, back.left, account.available, account.debt), (50, 30, 540, 0));
    let first = &back.entries[0];
    assert_eq!((first.reverses, &first.reverses_member), (2, &member_name(customer)));
    let half = Extent::UpTo(proto::Share { part: 1, whole: 2 });
    let back = loyalty.reverse(reversing(&here(&earned), Some(half))).await.unwrap();
    assert_eq!((back.points, back.left), (20, 50), "thirty of the fifty were taken before");

    // What is left of it under a third name, and no more.
    loyalty.merged(survivor, third).await;
    let there = |transaction: &str| of(third, customer, transaction);
    let back = loyalty.reverse(reversing(&there(&earned), None)).await.unwrap();
    assert_eq!((back.points, back.left), (50, 0));
    let back = loyalty.reverse(reversing(&there(&spent), None)).await.unwrap();
    assert_eq!((back.points, back.left), (30, 0));
    for transaction in [&earned, &spent] {
        let again = loyalty.reverse(reversing(&there(transaction), None)).await;
        ours(again, Code::FailedPrecondition, "ALREADY_REVERSED");
    }
    let back = loyalty.reverse(reversing(&of(third, survivor, &own), None)).await.unwrap();
    assert_eq!((back.points, back.entries[0].reverses_member.clone()), (500, member_name(survivor)));
    let account = back.account.unwrap();
    assert_eq!((account.available, account.debt, account.lifetime_earned), (0, 0, 0));
    sent_on(loyalty.account(customer).await, customer, third);
    assert_eq!(loyalty.faults().await, []);
    loyalty.kit.events.next().await;
}

#[tokio::test]
async fn who_is_frozen_under_the_old_name_stays_frozen() {
    let mut loyalty = Loyalty::start().await;
    let (customer, survivor) = (Uuid::now_v7(), Uuid::now_v7());
    loyalty.given(customer, 100).await;
    let freeze = proto::FreezeMemberRequest { name: member_name(customer), ..Default::default() };
    loyalty.members.freeze_member(manager(freeze)).await.unwrap();
    let (types, ..) = loyalty.merged(customer, survivor).await;
    assert_eq!(types, ["MemberEnrolled", "PointsMoved", "PointsMoved", "MemberFrozen", "SubjectMerged"]);
    let spent = loyalty.redeem(spending(survivor, 1)).await;
    ours(spent, Code::FailedPrecondition, "ACCOUNT_FROZEN");
    assert_eq!(loyalty.stands(survivor).await.state(), member::State::Frozen);

    let list = proto::ListMembersRequest { state: member::State::Merged.into(), ..Default::default() };
    let listed = loyalty.members.list_members(manager(list)).await.unwrap().into_inner().members;
    assert_eq!(listed.iter().map(|of| of.name.as_str()).collect::<Vec<_>>(), [member_name(customer)]);
}

#[tokio::test]
async fn both_names_count_for_the_tier_and_no_tier_is_lost() {
    let mut loyalty = Loyalty::start().await;
    let [silver, gold] = loyalty.silver_and_gold().await;
    let (customer, survivor) = (Uuid::now_v7(), Uuid::now_v7());
    loyalty.buys(customer, 300).await;
    loyalty.buys(survivor, 250).await;
    let (types, ..) = loyalty.merged(customer, survivor).await;
    assert_eq!(types, ["PointsMoved", "PointsMoved", "TierChanged", "SubjectMerged"]);
    let member = loyalty.stands(survivor).await;
    assert_eq!((&member.tier, member.qualifying_points), (&gold, 550));

    // Silver by a purchase that was returned since is kept until its cycle ends.
    let (other, newcomer) = (Uuid::now_v7(), Uuid::now_v7());
    let bought = loyalty.buys(other, 100).await.entry.unwrap().transaction;
    loyalty.reverse(reversing(&bought, None)).await.unwrap();
    loyalty.merged(other, newcomer).await;
    let member = loyalty.stands(newcomer).await;
    assert_eq!((&member.tier, member.qualifying_points), (&silver, 0));
    let list = proto::ListTierChangesRequest { member: member_name(newcomer), ..Default::default() };
    let turns = loyalty.members.list_tier_changes(manager(list)).await.unwrap().into_inner().tier_changes;
    assert_eq!((turns.len(), turns[0].reason()), (1, proto::tier_change::Reason::Merged));
}

#[tokio::test]
async fn vouchers_are_used_and_taken_back_by_who_has_them_now() {
    let mut loyalty = Loyalty::start().await;
    let reward = loyalty.offer(proto::Reward { most_per_member: 3, ..gift(60) }).await;
    let (customer, survivor) = (Uuid::now_v7(), Uuid::now_v7());
    loyalty.given(customer, 130).await;
    loyalty.given(survivor, 130).await;
    let used = loyalty.send(taking(customer, &reward)).await.unwrap();
    let returned = loyalty.send(taking(customer, &reward)).await.unwrap().voucher.unwrap().name;
    loyalty.send(taking(survivor, &reward)).await.unwrap();
    let (_, moved, _) = loyalty.merged(customer, survivor).await;
    assert_eq!(moved["vouchers"], 2);

    let voucher = loyalty.validate(&used.code).await.unwrap().voucher.unwrap();
    assert_eq!(voucher.name, of(survivor, customer, &used.voucher.unwrap().name));
    let consumed = loyalty.consume(consuming(&used.code)).await.unwrap();
    assert_eq!((consumed.name, consumed.state), (voucher.name, voucher::State::Consumed.into()));
    sent_on(loyalty.voucher(&returned).await, customer, survivor);
    sent_on(loyalty.cancel(&returned).await, customer, survivor);
    let limit = loyalty.send(taking(survivor, &reward)).await;
    ours(limit, Code::FailedPrecondition, "REWARD_LIMIT");

    let cancelled = loyalty.cancel(&of(survivor, customer, &returned)).await.unwrap();
    assert_eq!(cancelled.account.unwrap().available, 10 + 70 + 60);
    loyalty.send(taking(survivor, &reward)).await.unwrap();
    assert_eq!(loyalty.faults().await, []);
    loyalty.kit.events.next().await;
}

#[tokio::test]
async fn a_code_is_found_while_its_voucher_gets_another_name() {
    let mut loyalty = Loyalty::start().await;
    let reward = loyalty.offer(gift(60)).await;
    let (customer, survivor) = (Uuid::now_v7(), Uuid::now_v7());
    loyalty.given(customer, 60).await;
    let taken = loyalty.send(taking(customer, &reward)).await.unwrap();
    let moving = format!(
        "BEGIN;
         UPDATE voucher SET customer_id = '{survivor}';
         UPDATE voucher_code SET customer_id = '{survivor}';
         SELECT pg_sleep(0.3);
         COMMIT"
    );
    let asleep = format!(
        "SELECT to_jsonb(pid)::text AS row FROM pg_stat_activity
         WHERE wait_event = 'PgSleep' AND query LIKE '%{survivor}%'"
    );
    let use_it = async {
        eventually("both rows are locked", async || !loyalty.kit.rows(&asleep).await.is_empty()).await;
        loyalty.consume(consuming(&taken.code)).await
    };
    let (moved, used) = tokio::join!(execute(&loyalty.kit.db, &moving), use_it);
    moved.unwrap();
    assert_eq!(used.unwrap().name, of(survivor, customer, &taken.voucher.unwrap().name));
    loyalty.kit.events.next().await;
}

#[tokio::test]
async fn what_gave_points_once_under_the_old_name_gives_none_under_the_other() {
    let mut loyalty = Loyalty::start().await;
    let programme = loyalty.programme(plain()).await;
    loyalty.rule(fixed(&programme, Trigger::Birthday, 88)).await;
    loyalty.rule(fixed(&programme, Trigger::FirstPurchase, 20)).await;
    let cap = Some(PointsCap { points: 15, period: earning_rule::Period::Day.into() });
    let capped = fixed(&programme, Trigger::SurveyAnswered, 10);
    loyalty.rule(proto::EarningRule { cap, ..capped }).await;
    let (customer, survivor) = (Uuid::now_v7(), Uuid::now_v7());
    let now = loyalty.kit.clock.now();
    let bought =
        |of, source: String| proto::EarnPointsRequest { source, ..earning(of, purchase(30, 0, now)) };
    let nested = |of: Uuid| format!("{}/purchases/{}", name(of), Uuid::nil());
    assert_eq!(loyalty.earn(bought(customer, "orders/1".into())).await.unwrap().points, 50);
    loyalty.earn(bought(customer, nested(customer))).await.unwrap();
    loyalty.earn(earning(customer, birthday(2026))).await.unwrap();
    loyalty.earn(sourced(customer, Basis::Survey(proto::SurveyBasis {}))).await.unwrap();
    let before = loyalty.account(customer).await.unwrap().available;
    loyalty.merged(customer, survivor).await;

    for again in [
        bought(survivor, "orders/1".into()),
        bought(survivor, nested(customer)),
        bought(survivor, nested(survivor)),
        earning(survivor, birthday(2026)),
    ] {
        let answer = loyalty.earn(again.clone()).await.unwrap();
        assert_eq!(answer.account.unwrap().available, before, "{again:?}");
        assert!(answer.entry.unwrap().name.starts_with(&member_name(customer)), "the first answer's entry");
    }
    assert_eq!(loyalty.kit.events.next_types().await, [""; 0]);
    // Something new is no first purchase, and what a rule has given today counts.
    assert_eq!(loyalty.earn(bought(survivor, "orders/2".into())).await.unwrap().points, 30);
    let survey = sourced(survivor, Basis::Survey(proto::SurveyBasis {}));
    assert_eq!(loyalty.earn(survey).await.unwrap().points, 50 + 5);
    assert_eq!(loyalty.faults().await, []);
    loyalty.kit.events.next().await;
}

#[tokio::test]
async fn whoever_was_brought_in_was_brought_in_by_the_one_who_stays() {
    let mut loyalty = Loyalty::start().await;
    let [customer, survivor, bert, carl, dora] = std::array::from_fn(|_| Uuid::now_v7());
    let code = loyalty.create(customer).await.unwrap().referral_code;
    loyalty.brought_in(survivor, &code).await.unwrap();
    let berts = loyalty.brought_in(bert, &code).await.unwrap().referral_code;
    let (_, moved, _) = loyalty.merged(customer, survivor).await;
    assert_eq!(moved["referrals"], 1);

    loyalty.brought_in(carl, &code).await.unwrap();
    let log = loyalty.kit.events.next().await;
    let told = events::MemberReferred::decode(log[1].payload.as_slice()).unwrap();
    assert_eq!(told.referrer, name(survivor), "the old code is as good as the other");
    for (member, code, reason) in [(survivor, &code, "REFERRAL_SELF"), (survivor, &berts, "REFERRAL_CYCLE")] {
        ours(loyalty.brought_in(member, code).await, Code::FailedPrecondition, reason);
    }
    sent_on(loyalty.brought_in(customer, &berts).await, customer, survivor);
    // The survivor was brought in by nobody else.
    loyalty.buys(survivor, 10).await;
    assert_eq!(loyalty.kit.events.next_types().await, ["PointsEarned"]);

    // Who was told to be brought in, and has bought nothing, is so under a name that was no member.
    loyalty.merged(bert, dora).await;
    loyalty.buys(dora, 10).await;
    let log = loyalty.kit.events.next().await;
    let told = events::ReferralQualified::decode(log[1].payload.as_slice()).unwrap();
    assert_eq!((told.customer, told.referrer), (name(dora), name(customer)));
    ours(loyalty.brought_in(survivor, &berts).await, Code::FailedPrecondition, "REFERRAL_CYCLE");
}

#[tokio::test]
async fn a_name_that_was_no_member_has_nothing_and_never_becomes_one() {
    let mut loyalty = Loyalty::start().await;
    let (customer, survivor) = (Uuid::now_v7(), Uuid::now_v7());
    let (types, moved, _) = loyalty.merged(customer, survivor).await;
    assert_eq!(types, ["SubjectMerged"]);
    assert_eq!((moved.len(), moved.values().sum::<i64>()), (5, 0));
    sent_on(loyalty.create(customer).await, customer, survivor);
    sent_on(loyalty.earn(earning(customer, compensation(5))).await, customer, survivor);
    sent_on(loyalty.account(customer).await, customer, survivor);
    ours(loyalty.account(survivor).await, Code::NotFound, "MEMBER_NOT_FOUND");
    assert_eq!(loyalty.kit.count("member").await, 0);
}

#[tokio::test]
async fn whatever_is_asked_under_the_old_name_is_told_the_other() {
    let mut loyalty = Loyalty::start().await;
    let reward = loyalty.offer(gift(0)).await;
    let (customer, survivor) = (Uuid::now_v7(), Uuid::now_v7());
    let earned = loyalty.given(customer, 100).await.entry.unwrap().transaction;
    let placed = loyalty.hold(holding(customer, 10)).await.unwrap().hold.unwrap().name;
    loyalty.merged(customer, survivor).await;
    let old = member_name(customer);
    let by = |outcome: Result<(), Status>| sent_on(outcome, customer, survivor);
    by(loyalty.create(customer).await.map(drop));
    by(loyalty.earn(earning(customer, compensation(5))).await.map(drop));
    by(loyalty.redeem(spending(customer, 5)).await.map(drop));
    by(loyalty.hold(holding(customer, 5)).await.map(drop));
    by(loyalty.reverse(reversing(&earned, None)).await.map(drop));
    by(loyalty.send(taking(customer, &reward)).await.map(drop));
    by(loyalty.account(customer).await.map(drop));
    by(loyalty.statement(customer, this_month(&loyalty)).await.map(drop));
    let mut members = loyalty.members.clone();
    let get = proto::GetMemberRequest { name: old.clone() };
    by(members.get_member(manager(get)).await.map(drop));
    let freeze = proto::FreezeMemberRequest { name: old.clone(), ..Default::default() };
    by(members.freeze_member(manager(freeze)).await.map(drop));
    let list = proto::ListTierChangesRequest { member: old.clone(), ..Default::default() };
    by(members.list_tier_changes(manager(list)).await.map(drop));
    let mut ledger = loyalty.ledger.clone();
    let get = proto::GetHoldRequest { name: placed };
    by(ledger.get_hold(representative(get)).await.map(drop));
    let list = proto::ListHoldsRequest { customer: name(customer), ..Default::default() };
    by(ledger.list_holds(representative(list)).await.map(drop));
    let list = proto::ListVouchersRequest { customer: name(customer), ..Default::default() };
    by(loyalty.vouchers().list_vouchers(representative(list)).await.map(drop));
    let explain = proto::ExplainEarningRequest { earning: Some(earning(customer, compensation(5))) };
    by(loyalty.rules().explain_earning(representative(explain)).await.map(drop));
    assert_eq!(loyalty.kit.events.next_types().await, [""; 0]);

    // What happened under it is still listed, to the entries by which everything went.
    let history = loyalty.history(customer).await;
    assert_eq!(history[0].reason(), Reason::Compensation);
    let went: Vec<_> = history[2..].iter().map(|of| (of.kind(), of.reason(), of.moved)).collect();
    assert_eq!(went, [(Kind::Merge, Reason::Merge, 90), (Kind::Merge, Reason::Merge, 10)]);
    assert!(history[2..].iter().all(|of| of.source == member_name(survivor)));
}

fn this_month(loyalty: &Loyalty) -> Period {
    Period::Month(Date { day: 0, ..date(loyalty.today()) })
}

#[tokio::test]
async fn the_statement_tells_what_came_and_calls_it_neither_earned_nor_spent() {
    let mut loyalty = Loyalty::start().await;
    let (customer, survivor) = (Uuid::now_v7(), Uuid::now_v7());
    loyalty.given(survivor, 40).await;
    let earned = loyalty.given(customer, 100).await.entry.unwrap().transaction;
    loyalty.redeem(spending(customer, 30)).await.unwrap();
    loyalty.hold(holding(customer, 25)).await.unwrap();
    loyalty.reverse(reversing(&earned, Some(Extent::Points(60)))).await.unwrap();
    let (.., after) = loyalty.merged(customer, survivor).await;
    let (statement, entries) = loyalty.statement(survivor, this_month(&loyalty)).await.unwrap();
    assert_eq!((statement.earned, statement.redeemed, statement.reversed), (40, 0, 0));
    assert_eq!((statement.merged, statement.debt_merged, statement.debt_incurred), (25, 15, 0));
    let closing = statement.closing.unwrap();
    assert_eq!((closing.points, closing.held, closing.debt, statement.difference), (65, 25, 15, 0));
    let came: Vec<_> = entries[1..].iter().map(|of| (of.kind(), of.source.clone())).collect();
    assert!(
        !came.is_empty() && came.iter().all(|of| *of == (Kind::Merge, member_name(customer))),
        "{came:?}"
    );
    assert_eq!(after[&survivor].balance(Book::Redeemed), 30, "and still everything that was spent is known");

    // On the books of the day both sides are nothing: what was issued and redeemed is what it would have been.
    let message =
        proto::GetPeriodTrialBalanceRequest { last_date: Some(date(loyalty.today())), first_date: None };
    let books = loyalty.reports().get_period_trial_balance(request(Role::Supervisor, message)).await;
    let turned = |account: &str| {
        let books = books.as_ref().unwrap().get_ref();
        let of = books.accounts.iter().find(|of| of.account == account).unwrap();
        (of.debits, of.credits, of.closing)
    };
    assert_eq!(turned("programme:issued"), (140, 60, 80));
    assert_eq!(turned("programme:redeemed"), (0, 30, 30));
}

#[tokio::test]
async fn calls_that_meet_the_merge_come_before_it_or_are_sent_on_and_no_point_is_lost() {
    let mut loyalty = Loyalty::start().await;
    for member in [true, false] {
        let (customer, survivor) = (Uuid::now_v7(), Uuid::now_v7());
        if member {
            loyalty.given(customer, 1).await;
            loyalty.given(survivor, 1).await;
        }
        let loyal = &loyalty;
        let call = async |to: Uuid, number: u64| {
            // Spread over the merge, whenever that is.
            tokio::time::sleep(Duration::from_micros(number * 150)).await;
            let message = earning(to, compensation(1));
            match persistent(|| loyal.earn(message.clone())).await {
                Ok(answer) => answer.points,
                Err(status) => {
                    sent_on(Err::<(), _>(status), customer, survivor);
                    0
                }
            }
        };
        let old = join_all((0..60).map(|number| call(customer, number)));
        let new = join_all((0..60).map(|number| call(survivor, number)));
        let merge = async {
            tokio::time::sleep(Duration::from_millis(4)).await;
            persistent(|| loyal.merge(customer, survivor)).await.unwrap();
        };
        let (old, new, ()) = tokio::join!(old, new, merge);
        let given: i64 = old.into_iter().chain(new).sum();
        loyalty.kit.events.next().await;
        let available = loyalty.account(survivor).await.unwrap().available;
        assert_eq!(available, given + if member { 2 } else { 0 });
        let ledger = audit(&loyalty.kit.db).await.unwrap();
        assert!(ledger.get(&customer).is_none_or(|left| left.balances.is_empty()));
        sent_on(loyalty.account(customer).await, customer, survivor);
    }
}

#[tokio::test]
async fn who_is_forgotten_is_forgotten_under_every_name() {
    let mut loyalty = Loyalty::start().await;
    let (customer, survivor) = (Uuid::now_v7(), Uuid::now_v7());
    loyalty.given(customer, 10).await;
    loyalty.merged(customer, survivor).await;
    let subjects = SubjectServiceClient::new(loyalty.kit.channel.clone());
    let restrict = async || {
        let message = RestrictSubjectRequest { customer: name(survivor), ..Default::default() };
        subjects.clone().restrict_subject(coordinator(message)).await.unwrap().into_inner().blockers
    };
    assert_eq!(restrict().await, ["UNREDEEMED_POINTS"], "what came with the other name");
    loyalty.redeem(spending(survivor, 10)).await.unwrap();
    eventually("the service sees that there is nothing left", async || restrict().await.is_empty()).await;
    let erase = EraseSubjectRequest { customer: name(survivor), ..Default::default() };
    subjects.clone().erase_subject(coordinator(erase)).await.unwrap();
    let log = loyalty.kit.events.next().await;
    let told = events::SubjectErased::decode(log.last().unwrap().payload.as_slice()).unwrap();
    assert_eq!(told.erased["pseudonymous_members"], 2);
}
