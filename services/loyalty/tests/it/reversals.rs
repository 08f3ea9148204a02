//! What was earned or spent is taken back.

use cqm_loyalty::domain::book::Book;
use cqm_proto::events::v1 as events;
use cqm_proto::loyalty::v1::reverse_transaction_request::Extent;
use prost::Message;
use tonic::Code;

use super::*;
use crate::audit::audit;

pub fn reversing(transaction: &str, extent: Option<Extent>) -> proto::ReverseTransactionRequest {
    proto::ReverseTransactionRequest {
        transaction: transaction.into(),
        extent,
        source: "refunds/1".into(),
        request_id: Uuid::now_v7().to_string(),
    }
}

impl Loyalty {
    pub async fn reverse(
        &self,
        message: proto::ReverseTransactionRequest,
    ) -> Result<proto::ReverseTransactionResponse, Status> {
        let request = request(Role::AfterSales, message);
        self.ledger.clone().reverse_transaction(request).await.map(Response::into_inner)
    }
}

#[tokio::test]
async fn a_refund_takes_back_what_the_purchase_gave_and_what_was_spent_of_it_is_owed() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    let earned = loyalty.given(customer, 100).await.entry.unwrap().transaction;
    loyalty.given(customer, 40).await;
    loyalty.redeem(spending(customer, 70)).await.unwrap();
    loyalty.kit.events.next().await;

    let message = reversing(&earned, None);
    let reversed = loyalty.reverse(message.clone()).await.unwrap();
    assert_eq!((reversed.points, reversed.left), (100, 0));
    let account = reversed.account.clone().unwrap();
    assert_eq!((account.available, account.debt, account.lifetime_earned), (40, 70, 40));
    let (_, told) = loyalty.kit.events.only::<events::EarningReversed>().await;
    assert_eq!((told.transaction.as_str(), told.points, told.debt), (earned.as_str(), 100, 70));
    assert_eq!(loyalty.reverse(message).await.unwrap().encode_to_vec(), reversed.encode_to_vec());

    let again = loyalty.reverse(reversing(&earned, None)).await;
    ours(again, Code::FailedPrecondition, "ALREADY_REVERSED");

    // What is earned next pays it off, and the points that were given are told whole.
    let next = loyalty.given(customer, 90).await;
    let account = next.account.unwrap();
    assert_eq!((next.points, account.available, account.debt), (90, 60, 0));
    audit(&loyalty.kit.db).await.unwrap();
}

#[tokio::test]
async fn partial_refunds_add_up_and_go_no_further() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    for points in [30, 70] {
        loyalty.given(customer, points).await;
    }
    let spent = loyalty.redeem(spending(customer, 100)).await.unwrap().entries[0].transaction.clone();
    let share = |part| Some(Extent::UpTo(proto::Share { part, whole: 999 }));
    let mut back = Vec::new();
    for part in [333, 666, 999] {
        let reversed = loyalty.reverse(reversing(&spent, share(part))).await.unwrap();
        back.push((reversed.points, reversed.left));
    }
    assert_eq!(back, [(33, 67), (33, 34), (34, 0)]);
    let exceeded = loyalty.reverse(reversing(&spent, Some(Extent::Points(1)))).await;
    ours(exceeded, Code::FailedPrecondition, "ALREADY_REVERSED");
    let ledger = audit(&loyalty.kit.db).await.unwrap();
    assert_eq!((ledger[&customer].available(), ledger[&customer].balance(Book::Redeemed)), (100, 0));
    assert_eq!(ledger[&customer].lots.iter().map(|lot| lot.remaining).collect::<Vec<_>>(), [30, 70]);
    let types = loyalty.kit.events.next_types().await;
    assert_eq!(types, ["PointsRedeemed", "SpendingReversed", "SpendingReversed", "SpendingReversed"]);
}

#[tokio::test]
async fn of_many_refunds_at_once_no_more_goes_back_than_was_spent() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    loyalty.given(customer, 100).await;
    let spent = loyalty.redeem(spending(customer, 100)).await.unwrap().entries[0].transaction.clone();
    let messages: Vec<_> = (0..12).map(|_| reversing(&spent, Some(Extent::Points(10)))).collect();
    let loyal = &loyalty;
    let outcomes =
        futures::future::join_all(messages.iter().map(|message| loyal.reverse(message.clone()))).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 10);
    assert_eq!(audit(&loyalty.kit.db).await.unwrap()[&customer].available(), 100);
    assert_eq!(loyalty.kit.events.next().await.len(), 11);
}

#[tokio::test]
async fn what_is_wrong_with_a_reversal_is_told() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    let share = |part, whole| Some(Extent::UpTo(proto::Share { part, whole }));
    let transaction = format!("members/{customer}/transactions/{}", Uuid::now_v7());
    for (message, found) in [
        (reversing("", None), vec!["transaction FIELD_REQUIRED"]),
        (reversing("members/1/transactions/2", None), vec!["transaction FIELD_FORMAT"]),
        (reversing(&transaction, Some(Extent::Points(0))), vec!["points FIELD_RANGE"]),
        (reversing(&transaction, share(-1, 0)), vec!["up_to.whole FIELD_RANGE", "up_to.part FIELD_RANGE"]),
        (reversing(&transaction, share(3, 2)), vec!["up_to.part FIELD_ORDER"]),
    ] {
        assert_eq!(violations(loyalty.reverse(message).await), found);
    }
    ours(loyalty.reverse(reversing(&transaction, None)).await, Code::NotFound, "TRANSACTION_NOT_FOUND");
    loyalty.given(customer, 10).await;
    ours(loyalty.reverse(reversing(&transaction, None)).await, Code::NotFound, "TRANSACTION_NOT_FOUND");
    let held = loyalty.hold(crate::holds::holding(customer, 5)).await.unwrap();
    let newest = proto::ListEntriesRequest { customer: name(customer), page_size: 1, ..Default::default() };
    let newest = loyalty.ledger.clone().list_entries(request(Role::Supervisor, newest)).await;
    let placed = newest.unwrap().into_inner().entries.remove(0);
    assert_eq!(placed.hold, held.hold.unwrap().name);
    let refused = loyalty.reverse(reversing(&placed.transaction, None)).await;
    assert_eq!(ours(refused, Code::FailedPrecondition, "NOT_REVERSIBLE").facts["kind"], "HOLD");
    loyalty.kit.events.next().await;
}
