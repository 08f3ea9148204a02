//! What the database itself refuses, whatever the code above it does.

use super::*;
use crate::audit::{audit, execute};

#[tokio::test]
async fn entries_are_never_changed_or_removed() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    loyalty.given(customer, 100).await;
    let before = audit(&loyalty.kit.db).await.unwrap();
    for (table, statement) in [
        ("entry", "UPDATE entry SET points = points + 1"),
        ("entry", "UPDATE entry SET actor = 'nobody' WHERE false"),
        ("entry", "DELETE FROM entry"),
        ("entry", "TRUNCATE entry CASCADE"),
        ("entry_source", "UPDATE entry_source SET sequence = 2"),
        ("entry_source", "DELETE FROM entry_source"),
    ] {
        let refused = execute(&loyalty.kit.db, statement).await.unwrap_err();
        assert!(refused.contains("the ledger is append-only"), "{statement}: {refused}");
        assert!(refused.ends_with(table), "{statement}: {refused}");
    }
    assert_eq!(audit(&loyalty.kit.db).await.unwrap(), before);
}

#[tokio::test]
async fn nobody_can_be_given_less_than_nothing_or_more_than_was_issued() {
    let mut loyalty = Loyalty::start().await;
    loyalty.given(Uuid::now_v7(), 100).await;
    for (statement, constraint) in [
        ("UPDATE member SET available = -1, issued = issued - 101", "member_available_check"),
        ("UPDATE member SET available = available + 1", "member_sum_zero"),
        ("UPDATE member SET issued = issued + 1", "member_sum_zero"),
        ("UPDATE lot SET remaining = -1, spent = 101", "lot_remaining_check"),
        ("UPDATE lot SET remaining = remaining + 1", "lot_whole"),
        ("UPDATE lot SET spent = 1", "lot_whole"),
    ] {
        let refused = execute(&loyalty.kit.db, statement).await.unwrap_err();
        assert!(refused.contains(constraint), "{statement}: {refused}");
    }
}

#[tokio::test]
async fn the_database_knows_that_one_source_gives_once() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    let message =
        proto::EarnPointsRequest { source: "complaints/1".into(), ..earning(customer, compensation(10)) };
    loyalty.earn(message).await.unwrap();
    loyalty.kit.events.next().await;
    let copy = "INSERT INTO entry_source
                SELECT customer_id, reason, source, 2, gen_random_uuid() FROM entry_source";
    let refused = execute(&loyalty.kit.db, copy).await.unwrap_err();
    assert!(refused.contains(cqm_loyalty::error::constraint::ENTRY_SOURCE_ONCE), "{refused}");
}
