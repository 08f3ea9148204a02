//! Releases of personal data: written before they are told, in one chain, and found out when somebody was at them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cqm_db::Db;
use cqm_db::audit::{self, Auditor, Check, Fault, Filter, ReleaseLane, Released, Walk};
use cqm_proto::options::v1::{PersonalKind, Purpose as Code};
use cqm_proto::{Kinds, Subjects};
use cqm_rpc::{Call, Error, Purpose, Release, ReleaseLog};
use diesel_async::SimpleAsyncConnection;
use uuid::Uuid;

use crate::{call, database};

fn release(caller: &str, customers: &[Uuid]) -> Release {
    let mut call = Call::internal("/cqm.customers.v1.CustomerService/GetCustomer", Duration::from_secs(10));
    call.caller.subject = caller.into();
    let names: BTreeSet<String> = customers.iter().map(|id| format!("customers/{id}")).collect();
    Release {
        call,
        purpose: Purpose { code: Code::ComplaintHandling, reference: "complaints/7".into() },
        kinds: Kinds::of(&[PersonalKind::Phone]),
        subjects: Subjects { resources: names.clone(), customers: names },
    }
}

async fn rows(db: &Db, filter: Filter) -> Vec<Released> {
    db.read(&call(), "rows", async |conn| audit::list(conn, &filter, None, 1000).await).await.unwrap()
}

async fn faults_with(db: &Db, anchor: Option<(i64, Vec<u8>)>) -> Vec<(i64, Check)> {
    let faults = db
        .read(&call(), "verify", async |conn| {
            let mut walk = Walk::new(audit::end(conn).await?, anchor.clone());
            let mut faults: Vec<Fault> = Vec::new();
            loop {
                faults.extend(walk.step(conn).await?);
                if walk.is_done() {
                    return Ok::<_, Error>(faults);
                }
            }
        })
        .await
        .unwrap();
    faults.into_iter().map(|fault| (fault.sequence, fault.check)).collect()
}

async fn faults(db: &Db) -> Vec<(i64, Check)> {
    faults_with(db, None).await
}

async fn execute(db: &Db, statement: &str) -> Result<(), String> {
    db.read(&call(), "execute", async |conn| Ok::<_, Error>(conn.batch_execute(statement).await))
        .await
        .unwrap()
        .map_err(|error| error.to_string())
}

/// What somebody can do who owns the tables.
async fn tamper(db: &Db, statement: &str) {
    let statement = format!(
        "ALTER TABLE audit_release DISABLE TRIGGER USER; {statement}; ALTER TABLE audit_release ENABLE TRIGGER USER"
    );
    execute(db, &statement).await.unwrap();
}

/// A log of five releases.
async fn log() -> Db {
    let db = database().await;
    let auditor = Auditor::new(db.clone(), ReleaseLane::default());
    for n in 1..=5 {
        auditor.write(release("staff-7", &[Uuid::from_u128(n)])).await.unwrap();
    }
    assert_eq!(faults(&db).await, []);
    db
}

#[tokio::test(flavor = "multi_thread")]
async fn releases_of_two_processes_at_once_make_one_chain_and_none_is_lost() {
    let db = database().await;
    // Two processes: a lane and a pool for each.
    let processes = [0, 1].map(|_| Arc::new(Auditor::new(db.sibling(2).unwrap(), ReleaseLane::default())));
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..400_u128 {
        let auditor = processes[n as usize % 2].clone();
        tasks
            .spawn(async move { auditor.write(release(&format!("staff-{n}"), &[Uuid::from_u128(n)])).await });
    }
    while let Some(written) = tasks.join_next().await {
        written.unwrap().unwrap();
    }
    let rows = rows(&db, Filter::default()).await;
    let sequences: Vec<i64> = rows.iter().map(|row| row.sequence).collect();
    assert_eq!(sequences, (1..=400).rev().collect::<Vec<_>>());
    let callers: BTreeSet<&str> = rows.iter().map(|row| row.caller.as_str()).collect();
    assert_eq!(callers.len(), 400);
    assert_eq!(faults(&db).await, []);
}

#[tokio::test]
async fn a_release_tells_who_saw_whose_data_and_what_for() {
    let db = database().await;
    let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let auditor = Auditor::new(db.clone(), ReleaseLane::default());
    let written = release("staff-7", &[one, other]);
    let trace = written.call.trace.trace_id_hex();
    auditor.write(written).await.unwrap();
    let row = rows(&db, Filter::default()).await.remove(0);
    assert_eq!((row.sequence, row.caller.as_str(), row.reference.as_str()), (1, "staff-7", "complaints/7"));
    assert_eq!(row.method, "cqm.customers.v1.CustomerService/GetCustomer");
    assert_eq!((row.purpose, row.kinds), (Code::ComplaintHandling.into(), vec![PersonalKind::Phone.into()]));
    assert_eq!((row.customers, row.trace_id), (vec![one, other], trace));
    assert_eq!(row.resources, [format!("customers/{one}"), format!("customers/{other}")]);
}

#[tokio::test]
async fn releases_are_found_by_customer_caller_purpose_and_time() {
    let db = database().await;
    let auditor = Auditor::new(db.clone(), ReleaseLane::default());
    let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    auditor.write(release("staff-7", &[one, other])).await.unwrap();
    auditor.write(release("staff-8", &[other])).await.unwrap();
    let first =
        rows(&db, Filter { caller: Some("staff-7".into()), ..Default::default() }).await.remove(0).time;
    let second =
        rows(&db, Filter { caller: Some("staff-8".into()), ..Default::default() }).await.remove(0).time;
    let found = async |filter: Filter| -> Vec<i64> {
        rows(&db, filter).await.into_iter().map(|row| row.sequence).collect()
    };
    assert_eq!(found(Filter { customer: Some(one), ..Default::default() }).await, [1]);
    assert_eq!(found(Filter { customer: Some(other), ..Default::default() }).await, [2, 1]);
    assert_eq!(found(Filter { customer: Some(Uuid::from_u128(3)), ..Default::default() }).await, [0_i64; 0]);
    assert_eq!(found(Filter { caller: Some("staff-8".into()), ..Default::default() }).await, [2]);
    let handling = Some(Code::ComplaintHandling.into());
    assert_eq!(found(Filter { purpose: handling, ..Default::default() }).await, [2, 1]);
    let legal = Some(Code::LegalObligation.into());
    assert_eq!(found(Filter { purpose: legal, ..Default::default() }).await, [0_i64; 0]);
    assert!(first < second, "{first} {second}");
    assert_eq!(found(Filter { from: Some(second), ..Default::default() }).await, [2]);
    assert_eq!(found(Filter { until: Some(second), ..Default::default() }).await, [1]);
}

#[tokio::test]
async fn releases_are_never_changed_or_removed() {
    let db = log().await;
    for statement in [
        "UPDATE audit_release SET caller = 'nobody'",
        "UPDATE audit_release SET caller = 'nobody' WHERE false",
        "DELETE FROM audit_release",
        "TRUNCATE audit_release",
        "DELETE FROM audit_head",
    ] {
        let refused = execute(&db, statement).await.unwrap_err();
        assert!(refused.contains("the audit log is append-only"), "{statement}: {refused}");
    }
    assert_eq!(rows(&db, Filter::default()).await.len(), 5);
}

#[tokio::test]
async fn an_altered_release_is_named() {
    for column in [
        "time = time + interval '1 microsecond'",
        "caller = 'staff-8'",
        "roles = '{1}'",
        "purpose = 2",
        "reference = ''",
        "method = 'x'",
        "kinds = '{}'",
        "customers = '{}'",
        "resources = '{}'",
        "trace_id = ''",
    ] {
        let db = log().await;
        tamper(&db, &format!("UPDATE audit_release SET {column} WHERE sequence = 3")).await;
        assert_eq!(faults(&db).await, [(3, Check::Hash)], "{column}");
    }
}

#[tokio::test]
async fn a_release_that_was_taken_out_is_named() {
    let db = log().await;
    tamper(&db, "DELETE FROM audit_release WHERE sequence IN (2, 3)").await;
    // What follows the gap does not follow what stands before it.
    assert_eq!(faults(&db).await, [(2, Check::Missing), (4, Check::Hash)]);
}

#[tokio::test]
async fn a_tail_that_was_cut_off_or_put_there_is_found() {
    let db = log().await;
    tamper(&db, "DELETE FROM audit_release WHERE sequence = 5").await;
    assert_eq!(faults(&db).await, [(5, Check::Missing)]);

    let db = log().await;
    let more = "INSERT INTO audit_release SELECT 6, time, caller, roles, purpose, reference, method, kinds, customers,
                resources, trace_id, hash FROM audit_release WHERE sequence = 5";
    tamper(&db, more).await;
    assert_eq!(faults(&db).await, [(6, Check::End)]);

    let db = log().await;
    tamper(&db, "UPDATE audit_release SET hash = '\\x00' WHERE sequence = 5").await;
    assert_eq!(faults(&db).await, [(5, Check::Hash), (5, Check::End)]);
}

#[tokio::test]
async fn a_chain_that_was_made_anew_does_not_end_in_the_hash_that_was_kept() {
    let db = log().await;
    let kept = rows(&db, Filter::default()).await.remove(0);
    assert_eq!(faults_with(&db, Some((5, kept.hash.clone()))).await, []);
    // Somebody who owns the tables writes the whole log anew, by the same code.
    tamper(&db, "TRUNCATE audit_release; UPDATE audit_head SET sequence = 0, hash = '\\x'").await;
    let auditor = Auditor::new(db.clone(), ReleaseLane::default());
    for n in 1..=5 {
        auditor.write(release("somebody else", &[Uuid::from_u128(n)])).await.unwrap();
    }
    assert_eq!(faults(&db).await, [], "it is right in itself");
    assert_eq!(faults_with(&db, Some((5, kept.hash.clone()))).await, [(5, Check::Anchor)]);
    tamper(&db, "TRUNCATE audit_release; UPDATE audit_head SET sequence = 0, hash = '\\x'").await;
    assert_eq!(faults_with(&db, Some((5, kept.hash))).await, [(5, Check::Anchor)], "and gone altogether");
}

#[tokio::test]
async fn what_could_not_be_written_is_not_told_and_the_next_is_written_again() {
    let db = log().await;
    execute(&db, "ALTER TABLE audit_head RENAME TO audit_head_away").await.unwrap();
    let auditor = Auditor::new(db.clone(), ReleaseLane::default());
    let (one, other) = tokio::join!(
        auditor.write(release("staff-7", &[Uuid::from_u128(6)])),
        auditor.write(release("staff-7", &[Uuid::from_u128(7)])),
    );
    assert!(one.is_err() && other.is_err());
    execute(&db, "ALTER TABLE audit_head_away RENAME TO audit_head").await.unwrap();
    auditor.write(release("staff-7", &[Uuid::from_u128(8)])).await.unwrap();
    assert_eq!(rows(&db, Filter::default()).await.len(), 6);
    assert_eq!(faults(&db).await, []);
}
