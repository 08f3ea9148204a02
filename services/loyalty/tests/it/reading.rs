//! Entries in pages, and the trial balance.

use std::time::Duration;

use cqm_loyalty::domain::book::Book;
use tonic::Code;

use super::*;
use crate::audit::audit;

impl Loyalty {
    async fn entries(
        &self,
        customer: Uuid,
        page_size: i32,
        token: &str,
    ) -> Result<proto::ListEntriesResponse, Status> {
        let message =
            proto::ListEntriesRequest { customer: name(customer), page_size, page_token: token.into() };
        self.ledger
            .clone()
            .list_entries(request(Role::TechnicalSupport, message))
            .await
            .map(Response::into_inner)
    }

    async fn trial_balance(&self) -> proto::GetTrialBalanceResponse {
        let message = request(Role::Supervisor, proto::GetTrialBalanceRequest {});
        self.ledger.clone().get_trial_balance(message).await.expect("a ledger adds up").into_inner()
    }
}

#[tokio::test]
async fn entries_are_listed_in_pages_the_newest_first_and_stay_in_place_when_new_ones_come() {
    let mut loyalty = Loyalty::start().await;
    let (customer, other) = (Uuid::now_v7(), Uuid::now_v7());
    let mut given = Vec::new();
    for points in 1..=5 {
        given.push(loyalty.given(customer, points).await.entry.unwrap());
    }
    loyalty.given(other, 77).await;
    given.reverse();

    let first = loyalty.entries(customer, 2, "").await.unwrap();
    assert_eq!(first.entries, given[..2]);
    loyalty.given(customer, 6).await;
    let second = loyalty.entries(customer, 2, &first.next_page_token).await.unwrap();
    assert_eq!(second.entries, given[2..4]);
    let third = loyalty.entries(customer, 2, &second.next_page_token).await.unwrap();
    assert_eq!((third.entries.as_slice(), third.next_page_token.as_str()), (&given[4..], ""));

    refused(
        loyalty.entries(other, 2, &first.next_page_token).await,
        Code::InvalidArgument,
        "PAGE_TOKEN_INVALID",
    );
}

#[tokio::test]
async fn a_member_without_entries_has_an_empty_list_and_a_stranger_has_none() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    ours(loyalty.entries(customer, 0, "").await, Code::NotFound, "MEMBER_NOT_FOUND");
    loyalty.create(customer).await.unwrap();
    loyalty.kit.events.next().await;
    assert_eq!(loyalty.entries(customer, 0, "").await.unwrap(), proto::ListEntriesResponse::default());
}

#[tokio::test]
async fn the_trial_balance_adds_up_all_members() {
    let mut loyalty = Loyalty::start().await;
    let empty = loyalty.trial_balance().await;
    assert_eq!(
        (empty.accounts.len(), empty.members, empty.entries, empty.difference),
        (Book::ALL.len(), 0, 0, 0)
    );
    assert!(empty.accounts.iter().all(|account| account.debit == 0 && account.credit == 0));

    let (one, two) = (Uuid::now_v7(), Uuid::now_v7());
    loyalty.given(one, 100).await;
    loyalty.given(two, 40).await;
    loyalty.redeem(spending(one, 30)).await.unwrap();
    loyalty.earn(earning(two, adjustment(-15))).await.unwrap();
    assert_eq!(loyalty.kit.events.next_types().await, ["PointsRedeemed", "PointsDeducted"]);
    loyalty.kit.clock.advance(Duration::from_secs(9));

    let balance = loyalty.trial_balance().await;
    let stands = |account: &str| {
        let found =
            balance.accounts.iter().find(|known| known.account == account).expect("the account is listed");
        (found.debit, found.credit)
    };
    assert_eq!(stands("programme:issued"), (125, 0));
    assert_eq!(stands("programme:redeemed"), (0, 30));
    assert_eq!(stands("member:available"), (0, 95));
    assert_eq!(stands("member:held"), (0, 0));
    assert_eq!((balance.members, balance.entries, balance.difference), (2, 4, 0));
    assert_eq!(balance.read_time.unwrap().seconds, loyalty.kit.clock.now().timestamp());
    audit(&loyalty.kit.db).await.unwrap();
}
