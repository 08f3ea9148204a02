//! Members.

use std::time::Duration;

use cqm_proto::events::v1 as events;
use cqm_proto::loyalty::v1::member::State;
use tonic::Code;

use super::*;

impl Loyalty {
    async fn member(&self, customer: Uuid) -> Result<proto::Member, Status> {
        let message = proto::GetMemberRequest { name: member_name(customer) };
        self.members.clone().get_member(request(Role::AfterSales, message)).await.map(Response::into_inner)
    }

    async fn freeze(&self, customer: Uuid, etag: &str) -> Result<proto::Member, Status> {
        let message = proto::FreezeMemberRequest {
            name: member_name(customer),
            request_id: Uuid::now_v7().to_string(),
            etag: etag.into(),
        };
        self.members.clone().freeze_member(request(Role::Supervisor, message)).await.map(Response::into_inner)
    }

    async fn unfreeze(&self, customer: Uuid, etag: &str) -> Result<proto::Member, Status> {
        let message = proto::UnfreezeMemberRequest {
            name: member_name(customer),
            request_id: Uuid::now_v7().to_string(),
            etag: etag.into(),
        };
        self.members
            .clone()
            .unfreeze_member(request(Role::Supervisor, message))
            .await
            .map(Response::into_inner)
    }

    async fn list(&self, message: proto::ListMembersRequest) -> Result<proto::ListMembersResponse, Status> {
        self.members
            .clone()
            .list_members(request(Role::ServiceManager, message))
            .await
            .map(Response::into_inner)
    }
}

#[tokio::test]
async fn a_customer_becomes_a_member_once() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    let member = loyalty.create(customer).await.unwrap();
    assert_eq!((member.name.clone(), member.customer.clone()), (member_name(customer), name(customer)));
    assert_eq!((member.state(), member.etag.as_str()), (State::Active, "v1"));
    assert_eq!(member.create_time.unwrap().seconds, loyalty.kit.clock.now().timestamp());
    let (logged, event) = loyalty.kit.events.only::<events::MemberEnrolled>().await;
    assert_eq!((logged.aggregate, logged.aggregate_version), (member_name(customer), 1));
    assert_eq!((event.member, event.customer), (member_name(customer), name(customer)));

    loyalty.kit.clock.advance(Duration::from_secs(60));
    assert_eq!(loyalty.create(customer).await.unwrap(), member, "as they are");
    assert_eq!(loyalty.member(customer).await.unwrap(), member);
    let account = loyalty.account(customer).await.unwrap();
    assert_eq!((account.available, account.entry_count, account.etag), (0, 0, member.etag));
    assert_eq!(loyalty.kit.count("member").await, 1);
}

#[tokio::test]
async fn who_is_no_member_is_not_found_the_same_way_everywhere() {
    let loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    let statuses = [
        loyalty.member(customer).await.unwrap_err(),
        loyalty.account(customer).await.unwrap_err(),
        loyalty.freeze(customer, "").await.unwrap_err(),
        loyalty.unfreeze(customer, "v1").await.unwrap_err(),
        loyalty.redeem(spending(customer, 1)).await.unwrap_err(),
    ];
    for status in &statuses {
        ours(Err::<(), _>(status.clone()), Code::NotFound, "MEMBER_NOT_FOUND");
        assert_eq!(status.details(), statuses[0].details());
    }
}

#[tokio::test]
async fn a_frozen_member_earns_but_does_not_spend_until_they_are_unfrozen() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    loyalty.given(customer, 100).await;

    let frozen = loyalty.freeze(customer, "v2").await.unwrap();
    assert_eq!((frozen.state(), frozen.etag.as_str()), (State::Frozen, "v3"));
    let (logged, event) = loyalty.kit.events.only::<events::MemberFrozen>().await;
    assert_eq!((logged.aggregate_version, event.member), (3, member_name(customer)));

    ours(loyalty.redeem(spending(customer, 1)).await, Code::FailedPrecondition, "ACCOUNT_FROZEN");
    assert_eq!(loyalty.given(customer, 5).await.account.unwrap().available, 105);

    let failure = ours(loyalty.freeze(customer, "").await, Code::FailedPrecondition, "MEMBER_STATE");
    assert_eq!((failure.facts["state"].as_str(), failure.facts["action"].as_str()), ("FROZEN", "freeze"));
    // Which version is asked before which state.
    refused(loyalty.freeze(customer, "v2").await, Code::Aborted, "ETAG_MISMATCH");

    let active = loyalty.unfreeze(customer, "v4").await.unwrap();
    assert_eq!((active.state(), active.etag.as_str()), (State::Active, "v5"));
    assert_eq!(loyalty.member(customer).await.unwrap(), active);
    let (logged, event) = loyalty.kit.events.only::<events::MemberUnfrozen>().await;
    assert_eq!((logged.aggregate_version, event.customer), (5, name(customer)));
    let failure = ours(loyalty.unfreeze(customer, "").await, Code::FailedPrecondition, "MEMBER_STATE");
    assert_eq!((failure.facts["state"].as_str(), failure.facts["action"].as_str()), ("ACTIVE", "unfreeze"));

    assert_eq!(loyalty.redeem(spending(customer, 105)).await.unwrap().account.unwrap().available, 0);
    assert_eq!(loyalty.kit.events.next_types().await, ["PointsRedeemed"]);
}

#[tokio::test]
async fn members_are_listed_in_pages_the_newest_first() {
    let mut loyalty = Loyalty::start().await;
    // Two at each moment, so that the time alone does not order them.
    let mut customers = Vec::new();
    for _ in 0..3 {
        let mut pair = [Uuid::new_v4(), Uuid::new_v4()];
        pair.sort();
        for customer in pair {
            loyalty.create(customer).await.unwrap();
            customers.push(member_name(customer));
        }
        loyalty.kit.clock.advance(Duration::from_secs(1));
    }
    customers.reverse();
    loyalty.kit.events.next().await;

    let (mut found, mut page_token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page =
            loyalty.list(proto::ListMembersRequest { page_size: 4, page_token, state: 0 }).await.unwrap();
        found.extend(page.members.into_iter().map(|member| member.name));
        pages += 1;
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!((found, pages), (customers, 2));
}

#[tokio::test]
async fn members_are_listed_by_state_and_a_token_stays_with_its_list() {
    let mut loyalty = Loyalty::start().await;
    let customers = [Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7()];
    for customer in customers {
        loyalty.create(customer).await.unwrap();
        loyalty.kit.clock.advance(Duration::from_secs(1));
    }
    loyalty.freeze(customers[1], "").await.unwrap();
    loyalty.kit.events.next().await;

    let listed = async |state: State, page_size| {
        let message = proto::ListMembersRequest { state: state.into(), page_size, ..Default::default() };
        let page = loyalty.list(message).await.unwrap();
        (page.members.into_iter().map(|member| member.name).collect::<Vec<_>>(), page.next_page_token)
    };
    assert_eq!(listed(State::Frozen, 0).await, (vec![member_name(customers[1])], String::new()));
    let (first, page_token) = listed(State::Active, 1).await;
    assert_eq!(first, [member_name(customers[2])]);

    let other = proto::ListMembersRequest { page_token: page_token.clone(), ..Default::default() };
    refused(loyalty.list(other).await, Code::InvalidArgument, "PAGE_TOKEN_INVALID");
    let same = proto::ListMembersRequest { page_token, state: State::Active.into(), page_size: 1 };
    let rest = loyalty.list(same).await.unwrap();
    assert_eq!(rest.members[0].name, member_name(customers[0]));
}
