//! What the database itself refuses, whatever the code above it does.

use super::*;
use crate::audit::{audit, execute};

#[tokio::test]
async fn entries_and_postings_are_never_changed_or_removed() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    loyalty.given(customer, 100).await;
    let before = audit(&loyalty.kit.db).await.unwrap();
    for (table, statement) in [
        ("entry", "UPDATE entry SET points = points + 1"),
        ("entry", "UPDATE entry SET actor = 'nobody' WHERE false"),
        ("entry", "DELETE FROM entry"),
        ("entry", "TRUNCATE entry CASCADE"),
        ("posting", "UPDATE posting SET amount = 1 WHERE amount = 100"),
        ("posting", "UPDATE posting SET hash = hash"),
        ("posting", "DELETE FROM posting WHERE false"),
        ("posting", "TRUNCATE posting"),
    ] {
        let refused = execute(&loyalty.kit.db, statement).await.unwrap_err();
        assert!(refused.contains("the ledger is append-only"), "{statement}: {refused}");
        assert!(refused.ends_with(table), "{statement}: {refused}");
    }
    assert_eq!(audit(&loyalty.kit.db).await.unwrap(), before);
}

#[tokio::test]
async fn a_transaction_that_does_not_add_up_to_zero_is_refused() {
    let mut loyalty = Loyalty::start().await;
    loyalty.given(Uuid::now_v7(), 100).await;
    let forged = |amount: i64| {
        format!(
            "INSERT INTO posting
             SELECT customer_id, account, 2, gen_random_uuid(), entry_sequence, {amount}, balance_after + {amount}, hash
             FROM posting WHERE account = 'member:available'"
        )
    };
    let refused = execute(&loyalty.kit.db, &forged(5)).await.unwrap_err();
    assert!(refused.contains("do not add up to zero"), "{refused}");
}

#[tokio::test]
async fn nobody_can_be_given_less_than_nothing() {
    let mut loyalty = Loyalty::start().await;
    loyalty.given(Uuid::now_v7(), 100).await;
    for (statement, constraint) in [
        (
            "UPDATE ledger_account SET debit = 101 WHERE account = 'member:available'",
            "ledger_account_not_negative",
        ),
        ("UPDATE lot SET remaining = -1", "lot_remaining_within"),
        ("UPDATE lot SET remaining = amount + 1", "lot_remaining_within"),
        (
            "UPDATE ledger_account SET account = 'member:other' WHERE account = 'member:available'",
            "ledger_account_known",
        ),
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
    let copy = "INSERT INTO entry SELECT customer_id, 2, gen_random_uuid(), transaction_id, kind, reason, source, lot_id,
                                         points, balance_after, actor, request_id, create_time FROM entry";
    let refused = execute(&loyalty.kit.db, copy).await.unwrap_err();
    assert!(refused.contains(cqm_loyalty::error::constraint::ENTRY_SOURCE_ONCE), "{refused}");
}

#[tokio::test]
async fn a_byte_altered_past_the_database_s_guard_is_found_and_named() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    for points in [10, 20, 30] {
        loyalty.given(customer, points).await;
    }
    audit(&loyalty.kit.db).await.unwrap();
    // Whoever owns the tables can take the guards away. The chain still tells.
    let altered = "ALTER TABLE entry DISABLE TRIGGER entry_append_only;
                   UPDATE entry SET actor = 'coordinatos' WHERE sequence = 2;
                   ALTER TABLE entry ENABLE TRIGGER entry_append_only";
    execute(&loyalty.kit.db, altered).await.unwrap();
    let found = audit(&loyalty.kit.db).await.unwrap_err();
    assert!(found.starts_with("chain of") && found.ends_with("broken at 2"), "{found}");
}
