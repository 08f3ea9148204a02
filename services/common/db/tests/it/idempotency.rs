use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cqm_db::{Db, EventsConfig, idempotency};
use cqm_proto::complaints::v1::{AcknowledgeComplaintRequest, Complaint};
use cqm_rpc::{Call, Clock, Error, reason};
use uuid::Uuid;

use crate::{call, database};

fn message(request_id: &str, name: &str) -> AcknowledgeComplaintRequest {
    AcknowledgeComplaintRequest { name: name.into(), request_id: request_id.into(), ..Default::default() }
}

async fn run(
    db: &Db,
    call: &Call,
    message: &AcknowledgeComplaintRequest,
    runs: &AtomicUsize,
) -> Result<Complaint, Error> {
    db.mutate(call, "acknowledge", message, async |_| {
        let run = runs.fetch_add(1, Ordering::SeqCst);
        Ok(Complaint { name: format!("complaints/{run}"), ..Default::default() })
    })
    .await
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer_and_another_body_is_refused() {
    let db = database().await;
    let runs = AtomicUsize::new(0);
    let id = Uuid::new_v4().to_string();
    let first = run(&db, &call(), &message(&id, "a"), &runs).await.unwrap();
    let again = run(&db, &call(), &message(&id, "a"), &runs).await.unwrap();
    assert_eq!(first, again);
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    let reused = run(&db, &call(), &message(&id, "b"), &runs).await.unwrap_err();
    assert_eq!(
        (reused.code(), reused.reason()),
        (tonic::Code::FailedPrecondition, reason::REQUEST_ID_REUSED)
    );
}

#[tokio::test]
async fn ids_belong_to_their_caller_and_absent_ones_are_not_remembered() {
    let db = database().await;
    let runs = AtomicUsize::new(0);
    let id = Uuid::new_v4().to_string();
    let mut other = call();
    other.caller.subject = "somebody else".into();
    run(&db, &call(), &message(&id, "a"), &runs).await.unwrap();
    run(&db, &other, &message(&id, "a"), &runs).await.unwrap();
    run(&db, &call(), &message("", "a"), &runs).await.unwrap();
    run(&db, &call(), &message("", "a"), &runs).await.unwrap();
    assert_eq!(runs.load(Ordering::SeqCst), 4);
    let malformed = run(&db, &call(), &message("not-a-uuid", "a"), &runs).await.unwrap_err();
    assert_eq!(malformed.reason(), reason::REQUEST_ID_FORMAT);
}

#[tokio::test]
async fn a_refused_request_is_decided_anew() {
    let db = database().await;
    let id = Uuid::new_v4().to_string();
    let refused = db
        .mutate(&call(), "refused", &message(&id, "a"), async |_| -> Result<Complaint, Error> {
            Err(Error::refused(reason::QUOTA))
        })
        .await;
    assert!(refused.is_err());
    let runs = AtomicUsize::new(0);
    run(&db, &call(), &message(&id, "a"), &runs).await.unwrap();
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_repeats_run_once() {
    let db = database().await;
    let runs = AtomicUsize::new(0);
    let id = Uuid::now_v7().to_string();
    let (message, call) = (message(&id, "a"), call());
    let answers = futures::future::join_all((0..16).map(|_| run(&db, &call, &message, &runs))).await;
    let names: std::collections::BTreeSet<String> =
        answers.into_iter().map(|answer| answer.unwrap().name).collect();
    assert_eq!(names.len(), 1);
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_request_in_flight_is_waited_for_and_then_told() {
    let db = database().await;
    let message = message(&Uuid::new_v4().to_string(), "a");
    let runs = AtomicUsize::new(0);
    db.mutate(&call(), "outer", &message, async |_| {
        let inner = run(&db, &call(), &message, &runs).await.unwrap_err();
        assert_eq!((inner.code(), inner.reason()), (tonic::Code::Aborted, reason::REQUEST_ID_IN_FLIGHT));
        Ok(Complaint::default())
    })
    .await
    .unwrap();
    assert_eq!(runs.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_id_too_old_to_be_remembered_is_refused_never_taken_as_new() {
    let clock = Clock::fixed(Clock::system().now());
    let config = database().await.config().clone();
    let events = EventsConfig::default();
    let remember = events.remember;
    let db = Db::new(config, events, clock.clone()).unwrap();
    let runs = AtomicUsize::new(0);
    let (timed, untimed) = (Uuid::now_v7().to_string(), Uuid::new_v4().to_string());
    for id in [&timed, &untimed] {
        run(&db, &call(), &message(id, "a"), &runs).await.unwrap();
    }
    clock.advance(remember + Duration::from_secs(10));
    let before = clock.now() - remember;
    let forgotten =
        db.tx(&call(), "forget", async |tx| idempotency::forget(tx, before, 100).await).await.unwrap();
    assert_eq!(forgotten, 2);
    for id in [&timed, &untimed] {
        let error = run(&db, &call(), &message(id, "a"), &runs).await.unwrap_err();
        assert_eq!(error.reason(), reason::REQUEST_ID_EXPIRED);
    }
    assert_eq!(runs.load(Ordering::SeqCst), 2);
}
