//! Messages that no handler should have to think about: refused with everything that is wrong with them.

use tonic::Code;

use super::*;

#[tokio::test]
async fn an_earn_is_told_everything_that_is_wrong_with_it() {
    let loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    let good = || earning(customer, compensation(5));
    let empty = proto::EarnPointsRequest::default();
    for (message, wrong) in [
        (empty, vec!["customer FIELD_REQUIRED", "basis FIELD_REQUIRED", "request_id REQUEST_ID_REQUIRED"]),
        (
            proto::EarnPointsRequest {
                customer: member_name(customer),
                basis: Some(compensation(1_000_001)),
                source: "customers/1\u{202e}".into(),
                request_id: "1".into(),
                ..Default::default()
            },
            vec![
                "customer FIELD_FORMAT",
                "compensation.points FIELD_RANGE",
                "source FORBIDDEN_CHARACTER",
                "request_id REQUEST_ID_FORMAT",
            ],
        ),
        (
            proto::EarnPointsRequest { customer: name(customer).to_uppercase(), ..good() },
            vec!["customer FIELD_FORMAT"],
        ),
        (
            proto::EarnPointsRequest { source: format!("orders/{}", "1".repeat(200)), ..good() },
            vec!["source FIELD_TOO_LONG"],
        ),
        (
            proto::EarnPointsRequest { source: "orders/1\0".into(), ..good() },
            vec!["source FORBIDDEN_CHARACTER"],
        ),
        (
            proto::EarnPointsRequest { source: "'; DROP TABLE entry;--".into(), ..good() },
            vec!["source FIELD_FORMAT"],
        ),
        (
            proto::EarnPointsRequest { basis: Some(adjustment(0)), ..good() },
            vec!["adjustment.points FIELD_RANGE"],
        ),
        (
            proto::EarnPointsRequest { basis: Some(purchase(-1, 0, DateTime::UNIX_EPOCH)), ..good() },
            vec!["purchase.amount.units FIELD_RANGE"],
        ),
    ] {
        assert_eq!(violations(loyalty.earn(message.clone()).await), wrong, "{message:?}");
    }
    assert_eq!(loyalty.kit.count("idempotency").await, 0);
}

#[tokio::test]
async fn a_spend_is_told_everything_that_is_wrong_with_it() {
    let loyalty = Loyalty::start().await;
    let good = || spending(Uuid::now_v7(), 5);
    for (message, wrong) in [
        (
            proto::RedeemPointsRequest::default(),
            vec!["customer FIELD_REQUIRED", "points FIELD_RANGE", "request_id REQUEST_ID_REQUIRED"],
        ),
        (proto::RedeemPointsRequest { points: -1, ..good() }, vec!["points FIELD_RANGE"]),
        (proto::RedeemPointsRequest { points: i64::MIN, ..good() }, vec!["points FIELD_RANGE"]),
        (proto::RedeemPointsRequest { etag: "W/\"1\"".into(), ..good() }, vec!["etag FIELD_FORMAT"]),
    ] {
        assert_eq!(violations(loyalty.redeem(message.clone()).await), wrong, "{message:?}");
    }
}

#[tokio::test]
async fn lists_refuse_sizes_tokens_and_states_that_make_no_sense() {
    let mut loyalty = Loyalty::start().await;
    let list = proto::ListMembersRequest { page_size: -1, page_token: "AAAA".into(), state: 99 };
    let outcome = loyalty.members.list_members(request(Role::ServiceManager, list)).await;
    assert_eq!(
        violations(outcome),
        vec!["state ENUM_UNKNOWN", "page_size FIELD_RANGE", "page_token PAGE_TOKEN_INVALID",],
    );
    let list = proto::ListEntriesRequest {
        customer: "customers/x".into(),
        page_size: -5,
        page_token: "no token!".into(),
    };
    let outcome = loyalty.ledger.list_entries(request(Role::ServiceManager, list)).await;
    assert_eq!(
        violations(outcome),
        vec!["customer FIELD_FORMAT", "page_size FIELD_RANGE", "page_token PAGE_TOKEN_INVALID",],
    );
}

#[tokio::test]
async fn names_of_other_things_are_no_members() {
    let mut loyalty = Loyalty::start().await;
    let id = Uuid::now_v7();
    for (wrong, reason) in [
        (String::new(), "FIELD_REQUIRED"),
        (name(id), "FIELD_FORMAT"),
        (format!("members/{}", id.simple()), "FIELD_FORMAT"),
        (format!("members/{id}/entries/{id}"), "FIELD_FORMAT"),
    ] {
        let get = proto::GetMemberRequest { name: wrong.clone() };
        let outcome = loyalty.members.get_member(request(Role::ServiceManager, get)).await;
        assert_eq!(violations(outcome), [format!("name {reason}")], "{wrong}");
        let freeze = proto::FreezeMemberRequest { name: wrong.clone(), ..Default::default() };
        let outcome = loyalty.members.freeze_member(request(Role::ServiceManager, freeze)).await;
        assert_eq!(violations(outcome), [format!("name {reason}")], "{wrong}");
    }
    let create = proto::CreateMemberRequest {
        customer: member_name(id),
        request_id: "x".into(),
        referral_code: "01AB9-XYZ7U".into(),
    };
    let outcome = loyalty.members.create_member(request(Role::ServiceManager, create)).await;
    assert_eq!(
        violations(outcome),
        ["customer FIELD_FORMAT", "request_id REQUEST_ID_FORMAT", "referral_code FIELD_FORMAT"]
    );
}

#[tokio::test]
async fn points_are_spent_and_given_by_the_roles_of_the_contract_only() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    let spend = request(Role::Coordinator, spending(customer, 1));
    refused(loyalty.ledger.redeem_points(spend).await, Code::PermissionDenied, "ROLE_MISSING");
    let earn = request(Role::ServiceRepresentative, earning(customer, compensation(1)));
    let failure = refused(loyalty.ledger.earn_points(earn).await, Code::PermissionDenied, "ROLE_MISSING");
    assert_eq!(failure.facts["permission"], "cqm.loyalty.v1.LedgerService/EarnPoints");
}
