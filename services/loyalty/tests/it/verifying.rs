//! The check of the ledger finds what was changed past the service, and names it.

use cqm_proto::loyalty::v1::ledger_fault::Check;
use futures::TryStreamExt;
use tonic::Code;

use super::*;
use crate::audit::execute;

impl Loyalty {
    async fn verify(&self, customer: Option<Uuid>) -> Result<Vec<proto::VerifyLedgerResponse>, Status> {
        let customer = customer.map(name).unwrap_or_default();
        let request = request(Role::Supervisor, proto::VerifyLedgerRequest { customer });
        self.ledger.clone().verify_ledger(request).await?.into_inner().try_collect().await
    }

    pub async fn faults(&self) -> Vec<(Check, String, i64)> {
        let answers = self.verify(None).await.unwrap();
        let faults = answers.iter().flat_map(|answer| &answer.faults);
        faults.map(|fault| (fault.check(), fault.member.clone(), fault.sequence)).collect()
    }
}

/// A ledger with a bit of everything.
async fn some_history() -> (Loyalty, Uuid) {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    for points in [10, 20, 30] {
        loyalty.given(customer, points).await;
    }
    loyalty.redeem(spending(customer, 15)).await.unwrap();
    loyalty.hold(crate::holds::holding(customer, 7)).await.unwrap();
    loyalty.given(Uuid::now_v7(), 1).await;
    loyalty.kit.events.next().await;
    (loyalty, customer)
}

#[tokio::test]
async fn a_ledger_that_nobody_touched_is_in_order_and_the_check_says_how_far_it_is() {
    let (loyalty, customer) = some_history().await;
    // More than one step's worth of members.
    let others: Vec<Uuid> = (0..220).map(|_| Uuid::now_v7()).collect();
    let loyal = &loyalty;
    futures::future::join_all(others.iter().map(|customer| loyal.create(*customer))).await;
    let answers = loyalty.verify(None).await.unwrap();
    let told: Vec<_> = answers
        .iter()
        .map(|answer| (answer.members, answer.members_total, answer.faults_total, answer.done))
        .collect();
    assert_eq!(told, [(200, 222, 0, false), (222, 222, 0, true)]);
    assert_eq!(answers[1].entries, 7);

    let one = loyalty.verify(Some(customer)).await.unwrap();
    assert_eq!((one.len(), one[0].members, one[0].entries, one[0].done), (1, 1, 6, true));
    ours(loyalty.verify(Some(Uuid::now_v7())).await, Code::NotFound, "MEMBER_NOT_FOUND");
    let mut loyalty = loyalty;
    loyalty.kit.events.next().await;
}

#[tokio::test]
async fn one_altered_byte_of_an_entry_is_found_and_named() {
    let (loyalty, customer) = some_history().await;
    for altered in [
        "actor = 'coordinatos'",
        "points = 21, balance_after = 31",
        "source = 'orders/1'",
        "create_time = create_time + interval '1 microsecond'",
        "request_id = gen_random_uuid()",
        "hash = set_byte(hash, 31, get_byte(hash, 31) # 1)",
    ] {
        // Whoever owns the tables can take the guards away. The chain still tells.
        let statement = format!(
            "BEGIN;
             CREATE TEMP TABLE kept AS SELECT * FROM entry WHERE customer_id = '{customer}' AND sequence = 2;
             ALTER TABLE entry DISABLE TRIGGER entry_append_only;
             UPDATE entry SET {altered} WHERE customer_id = '{customer}' AND sequence = 2;
             COMMIT"
        );
        execute(&loyalty.kit.db, &statement).await.unwrap();
        let faults = loyalty.faults().await;
        let at: Vec<_> = faults.iter().filter(|fault| fault.0 == Check::Chain).collect();
        assert_eq!(at[0], &(Check::Chain, member_name(customer), 2), "{altered}: {faults:?}");
        let statement = format!(
            "BEGIN;
             DELETE FROM entry WHERE customer_id = '{customer}' AND sequence = 2;
             INSERT INTO entry SELECT * FROM kept;
             DROP TABLE kept;
             ALTER TABLE entry ENABLE TRIGGER entry_append_only;
             COMMIT"
        );
        execute(&loyalty.kit.db, &statement).await.unwrap();
        assert_eq!(loyalty.faults().await, [], "as it was");
    }
}

#[tokio::test]
async fn a_balance_a_lot_or_a_hold_that_does_not_belong_is_found() {
    let (loyalty, customer) = some_history().await;
    let member = member_name(customer);
    for (statement, undo, check) in [
        (
            "UPDATE member SET available = available + 5, issued = issued + 5",
            "UPDATE member SET available = available - 5, issued = issued - 5",
            Check::Balance,
        ),
        (
            "UPDATE lot SET remaining = remaining - 1, spent = spent + 1 WHERE amount = 30",
            "UPDATE lot SET remaining = remaining + 1, spent = spent - 1 WHERE amount = 30",
            Check::Lot,
        ),
        ("UPDATE hold_lot SET points = points - 1", "UPDATE hold_lot SET points = points + 1", Check::Hold),
        (
            "UPDATE member SET entry_count = entry_count + 1",
            "UPDATE member SET entry_count = entry_count - 1",
            Check::Sequence,
        ),
        (
            "UPDATE member SET hash = set_byte(hash, 0, get_byte(hash, 0) # 1)",
            "UPDATE member SET hash = set_byte(hash, 0, get_byte(hash, 0) # 1)",
            Check::Chain,
        ),
    ] {
        execute(&loyalty.kit.db, statement).await.unwrap();
        let faults = loyalty.faults().await;
        assert!(faults.iter().any(|fault| fault.0 == check && fault.1 == member), "{statement}: {faults:?}");
        execute(&loyalty.kit.db, undo).await.unwrap();
        assert_eq!(loyalty.faults().await, [], "as it was");
    }
}

#[tokio::test]
async fn a_source_that_could_give_points_again_is_found() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    let message =
        proto::EarnPointsRequest { source: "complaints/1".into(), ..earning(customer, compensation(10)) };
    loyalty.earn(message).await.unwrap();
    loyalty.kit.events.next().await;
    assert_eq!(loyalty.faults().await, []);
    let open = "ALTER TABLE entry_source DISABLE TRIGGER entry_source_append_only";
    execute(&loyalty.kit.db, &format!("{open}; UPDATE entry_source SET source = 'complaints/2'"))
        .await
        .unwrap();
    assert_eq!(loyalty.faults().await, [(Check::Source, member_name(customer), 1)]);
    execute(&loyalty.kit.db, "UPDATE entry_source SET source = 'complaints/1'").await.unwrap();
    let more = "INSERT INTO entry_source SELECT customer_id, reason, 'complaints/2', 7, transaction_id FROM entry_source";
    execute(&loyalty.kit.db, more).await.unwrap();
    assert_eq!(loyalty.faults().await, [(Check::Source, member_name(customer), 0)]);
}

#[tokio::test]
async fn an_entry_that_is_gone_is_missed() {
    let (loyalty, customer) = some_history().await;
    let statement = format!(
        "ALTER TABLE entry DISABLE TRIGGER entry_append_only;
         DELETE FROM entry WHERE customer_id = '{customer}' AND sequence = 3"
    );
    execute(&loyalty.kit.db, &statement).await.unwrap();
    let faults = loyalty.faults().await;
    assert!(faults.contains(&(Check::Sequence, member_name(customer), 4)), "{faults:?}");
}
