//! Members who bring in others.

use std::collections::BTreeSet;

use cqm_proto::events::v1 as events;
use cqm_proto::loyalty::v1::entry::Reason as WireReason;
use cqm_testkit::manager;
use prost::Message;
use tonic::Code;

use super::*;
use crate::audit::{audit, execute};

impl Loyalty {
    pub async fn brought_in(&self, customer: Uuid, referral_code: &str) -> Result<proto::Member, Status> {
        let message = proto::CreateMemberRequest {
            customer: name(customer),
            referral_code: referral_code.into(),
            ..Default::default()
        };
        self.members.clone().create_member(manager(message)).await.map(Response::into_inner)
    }
}

fn referral(referred: Uuid) -> Basis {
    Basis::Referral(proto::ReferralBasis { referred: name(referred) })
}

#[tokio::test]
async fn whoever_brings_a_customer_in_is_rewarded_when_they_first_buy_something() {
    let mut loyalty = Loyalty::start().await;
    let (anna, bert) = (Uuid::now_v7(), Uuid::now_v7());
    let code = loyalty.create(anna).await.unwrap().referral_code;
    loyalty.kit.events.next().await;

    // As people type it.
    let typed = format!("{}-{}", &code[..5], &code[5..]).to_lowercase();
    let member = loyalty.brought_in(bert, &typed).await.unwrap();
    assert_eq!((member.name.as_str(), member.etag.as_str()), (member_name(bert).as_str(), "v2"));
    assert!(member.referral_code != code);
    let log = loyalty.kit.events.next().await;
    assert_eq!(log.len(), 2);
    assert_eq!((log[1].aggregate.as_str(), log[1].aggregate_version), (member_name(bert).as_str(), 2));
    assert_eq!(
        events::MemberReferred::decode(log[1].payload.as_slice()).unwrap(),
        events::MemberReferred { member: member_name(bert), customer: name(bert), referrer: name(anna) },
    );
    assert_eq!(loyalty.brought_in(bert, &code).await.unwrap(), member, "told again, nothing changes");
    assert_eq!(loyalty.kit.count("referral").await, 1);

    loyalty.given(bert, 5).await;
    let now = loyalty.kit.clock.now();
    loyalty.earn(earning(bert, purchase(0, 0, now))).await.unwrap();
    assert_eq!(loyalty.kit.events.next_types().await, [""; 0], "what earns nothing is no purchase");
    loyalty.earn(earning(bert, purchase(20, 0, now))).await.unwrap();
    let log = loyalty.kit.events.next().await;
    assert_eq!(
        events::ReferralQualified::decode(log[1].payload.as_slice()).unwrap(),
        events::ReferralQualified { member: member_name(bert), customer: name(bert), referrer: name(anna) },
    );
    loyalty.earn(earning(bert, purchase(20, 0, now))).await.unwrap();
    assert_eq!(loyalty.kit.events.next_types().await, ["PointsEarned"], "the first purchase only");

    // What the coordinator makes of it; twice, should it ever be told twice.
    let reward = || earning(anna, referral(bert));
    let given = loyalty.earn(reward()).await.unwrap();
    assert_eq!((given.points, given.entry.unwrap().reason()), (100, WireReason::Referral));
    assert_eq!(loyalty.earn(reward()).await.unwrap().account.unwrap().available, 100);
    assert_eq!(loyalty.kit.events.next_types().await, ["PointsEarned"]);
    audit(&loyalty.kit.db).await.unwrap();
}

#[tokio::test]
async fn who_cannot_have_been_brought_in_is_refused_with_the_reason() {
    let mut loyalty = Loyalty::start().await;
    let [anna, bert, carl, dora, emil] = std::array::from_fn(|_| Uuid::now_v7());
    let annas = loyalty.create(anna).await.unwrap().referral_code;
    let berts = loyalty.brought_in(bert, &annas).await.unwrap().referral_code;
    let carls = loyalty.brought_in(carl, &berts).await.unwrap().referral_code;
    // Points have made a member of the customer.
    loyalty.earn(earning(dora, compensation(1))).await.unwrap();
    loyalty.kit.events.next().await;

    let unknown = if annas == "0000000000" { "0000000001" } else { "0000000000" };
    for (customer, code, reason) in [
        (emil, unknown, "REFERRAL_CODE_UNKNOWN"),
        (anna, unknown, "REFERRAL_CODE_UNKNOWN"),
        (anna, &annas, "REFERRAL_SELF"),
        (bert, &berts, "REFERRAL_SELF"),
        (anna, &berts, "REFERRAL_CYCLE"),
        (anna, &carls, "REFERRAL_CYCLE"),
        (bert, &carls, "REFERRAL_CYCLE"),
        (carl, &annas, "REFERRAL_NOT_NEW"),
        (dora, &annas, "REFERRAL_NOT_NEW"),
    ] {
        ours(loyalty.brought_in(customer, code).await, Code::FailedPrecondition, reason);
    }
    assert_eq!((loyalty.kit.count("member").await, loyalty.kit.count("referral").await), (4, 2));
    assert_eq!(loyalty.kit.events.next_types().await, [""; 0]);
}

#[tokio::test]
async fn callers_who_all_name_somebody_else_agree_on_one() {
    let mut loyalty = Loyalty::start().await;
    let mut codes = Vec::new();
    for _ in 0..6 {
        codes.push(loyalty.create(Uuid::now_v7()).await.unwrap().referral_code);
    }
    loyalty.kit.events.next().await;
    let (loyal, customer) = (&loyalty, Uuid::now_v7());
    let outcomes = futures::future::join_all(codes.iter().map(|code| loyal.brought_in(customer, code))).await;
    let (accepted, late): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(accepted.len(), 1);
    for outcome in late {
        ours(outcome, Code::FailedPrecondition, "REFERRAL_NOT_NEW");
    }
    assert_eq!(loyalty.kit.events.next_types().await, ["MemberEnrolled", "MemberReferred"]);
    assert_eq!(loyalty.kit.count("referral").await, 1);
}

#[tokio::test]
async fn every_member_has_a_code_of_their_own_however_they_became_one() {
    let mut loyalty = Loyalty::start().await;
    let mut codes = BTreeSet::new();
    for number in 0..20 {
        let customer = Uuid::now_v7();
        if number % 2 == 0 {
            loyalty.create(customer).await.unwrap();
        } else {
            loyalty.earn(earning(customer, compensation(1))).await.unwrap();
        }
        let get = proto::GetMemberRequest { name: member_name(customer) };
        let code = loyalty.members.get_member(manager(get)).await.unwrap().into_inner().referral_code;
        assert!(code.len() == 10 && code.bytes().all(|symbol| symbol.is_ascii_alphanumeric()), "{code}");
        codes.insert(code);
    }
    assert_eq!(codes.len(), 20);
    loyalty.kit.events.next().await;
}

#[tokio::test]
async fn a_code_that_another_member_has_is_made_up_anew() {
    let mut loyalty = Loyalty::start().await;
    loyalty.create(Uuid::now_v7()).await.unwrap();
    // Every second member would get the code of the first.
    execute(
        &loyalty.kit.db,
        "CREATE SEQUENCE tries;
         CREATE FUNCTION take_the_first_code() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             IF nextval('tries') % 2 = 1 THEN
                 NEW.referral_code := (SELECT referral_code FROM member ORDER BY create_time, customer_id LIMIT 1);
             END IF;
             RETURN NEW;
         END $$;
         CREATE TRIGGER take_the_first_code BEFORE INSERT ON member
             FOR EACH ROW EXECUTE FUNCTION take_the_first_code()",
    )
    .await
    .unwrap();
    loyalty.create(Uuid::now_v7()).await.unwrap();
    loyalty.earn(earning(Uuid::now_v7(), compensation(1))).await.unwrap();
    assert_eq!(loyalty.kit.count("member").await, 3);
    let types = loyalty.kit.events.next_types().await;
    assert_eq!(types, ["MemberEnrolled", "MemberEnrolled", "MemberEnrolled", "PointsEarned"]);
}
