//! The coordinator when services, readers or the log itself fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cqm_gateway::backend::Backend;
use cqm_gateway::config::ReadingConfig;
use cqm_proto::loyalty::v1::{EarnPointsRequest, EarnPointsResponse};
use cqm_rpc::{Error, Refusal, reason};
use cqm_testkit::eventually;

use crate::coordinator::{Scene, purchase, quick};
use crate::desk::Seen;
use crate::office::event;

const PURCHASE: &str = "customers/1/purchases/1";

#[tokio::test(flavor = "multi_thread")]
async fn what_may_come_by_itself_is_waited_for_without_an_end() {
    let scene = Scene::at(Backend::CustomerData).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    scene.desk.on("EarnPoints", move |_| match count.fetch_add(1, Ordering::SeqCst) {
        call @ 0..40 if call % 2 == 0 => {
            Err(Error::Unavailable { reason: reason::STORAGE_UNAVAILABLE, source: None })
        }
        0..40 => Err(Error::Conflict { reason: reason::REQUEST_ID_IN_FLIGHT, source: None }),
        _ => Ok(EarnPointsResponse::default()),
    });
    let coordinator = scene.coordinator();
    scene.source.happened(PURCHASE, 1, &purchase("customers/1", PURCHASE)).await;
    eventually("forty tries", || async { calls.load(Ordering::SeqCst) >= 40 }).await;
    scene.through().await;
    coordinator.stop().await;
    assert_eq!(calls.load(Ordering::SeqCst), 41);
    assert!(scene.source.parked().await.is_empty());
    // One command, however often it was sent.
    let ids: std::collections::BTreeSet<String> = scene
        .desk
        .seen("EarnPoints")
        .iter()
        .map(|seen| seen.read::<cqm_proto::loyalty::v1::EarnPointsRequest>().request_id)
        .collect();
    assert_eq!(ids.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_that_is_well_does_not_get_done_is_parked_and_the_others_go_on() {
    let scene = Scene::at(Backend::CustomerData).await;
    scene.desk.on("EarnPoints", |seen| {
        let message: EarnPointsRequest = seen.read();
        let large = message.customer == "customers/1";
        if large { Err(Error::DeadlinePassed) } else { Ok(EarnPointsResponse::default()) }
    });
    let coordinator = scene.coordinator();
    let other = "customers/2/purchases/1";
    scene
        .source
        .all_happened(&[
            event(PURCHASE, 1, &purchase("customers/1", PURCHASE)),
            event(other, 1, &purchase("customers/2", other)),
        ])
        .await;
    scene.through().await;
    coordinator.stop().await;
    let parked = scene.source.parked().await;
    let park = &parked[0].park;
    assert_eq!((parked.len(), park.aggregate.as_str(), park.attempts), (1, PURCHASE, 5));
    assert_eq!((park.reason.as_str(), park.detail_code.as_str()), ("DEADLINE_PASSED", "DEADLINE_EXCEEDED"));
    // Each try had more time, up to a limit.
    let calls = scene.desk.seen("EarnPoints");
    let calls = calls.iter().filter(|seen| seen.read::<EarnPointsRequest>().customer == "customers/1");
    let seconds = |seen: &Seen| {
        seen.header("grpc-timeout")?.trim_end_matches('m').parse().ok().map(|ms: u32| ms / 1000)
    };
    assert_eq!(calls.filter_map(seconds).collect::<Vec<_>>(), [4, 9, 19, 29, 29]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_does_not_get_done_whose_database_is_away_waits_for_it() {
    let scene = Scene::at(Backend::CustomerData).await;
    scene.desk.on::<EarnPointsResponse>("EarnPoints", |_| Err(Error::DeadlinePassed));
    scene.quiet.tamper("ALTER TABLE event_ack RENAME TO away").await;
    let coordinator = scene.coordinator();
    scene.source.happened(PURCHASE, 1, &purchase("customers/1", PURCHASE)).await;
    eventually("more tries than a refusal has", || async { scene.desk.seen("EarnPoints").len() > 12 }).await;
    assert!(scene.source.parked().await.is_empty());
    let _ledger = scene.points_ledger();
    scene.through().await;
    coordinator.stop().await;
    assert!(scene.source.parked().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_given_long_ago_is_an_answer() {
    for reason in [reason::REQUEST_ID_EXPIRED, reason::REQUEST_ID_REUSED] {
        let scene = Scene::at(Backend::CustomerData).await;
        scene.desk.on::<EarnPointsResponse>("EarnPoints", move |_| Err(Refusal::new(reason).into()));
        let coordinator = scene.coordinator();
        scene.source.happened(PURCHASE, 1, &purchase("customers/1", PURCHASE)).await;
        scene.through().await;
        coordinator.stop().await;
        assert!(scene.source.parked().await.is_empty());
        assert_eq!(scene.desk.seen("EarnPoints").len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_about_somebody_who_is_to_be_forgotten_does_not_happen_and_parks_nothing() {
    for reason in [reason::CUSTOMER_RESTRICTED, reason::CUSTOMER_ERASED] {
        let scene = Scene::at(Backend::CustomerData).await;
        scene.desk.on::<EarnPointsResponse>("EarnPoints", move |_| Err(Refusal::new(reason).into()));
        let coordinator = scene.coordinator();
        scene.source.happened(PURCHASE, 1, &purchase("customers/1", PURCHASE)).await;
        scene.through().await;
        coordinator.stop().await;
        assert!(scene.source.parked().await.is_empty());
        assert_eq!(scene.desk.seen("EarnPoints").len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_coordinator_works_and_another_takes_over_when_it_falls_silent() {
    let scene = Scene::at(Backend::CustomerData).await;
    let ledger = scene.points_ledger();
    let reader = |name: &str| ReadingConfig { reader: Some(name.to_owned()), ..quick() };
    let first = scene.coordinator_with(reader("first"));
    eventually("the first one's claim", || async { scene.source.cursor().await.reader == "first" }).await;
    let second = scene.coordinator_with(reader("second"));
    for number in 0..100 {
        let name = format!("customers/1/purchases/{number}");
        scene.source.happened(&name, 1, &purchase("customers/1", &name)).await;
    }
    scene.through().await;
    assert_eq!(scene.source.cursor().await.reader, "first");
    assert_eq!(scene.desk.seen("EarnPoints").len(), 100, "nothing was sent twice");

    first.stop().await;
    let name = "customers/1/purchases/last";
    scene.source.happened(name, 1, &purchase("customers/1", name)).await;
    scene.through().await;
    assert_eq!(scene.source.cursor().await.reader, "second");
    second.stop().await;
    assert_eq!(ledger.lock().unwrap().len(), 101);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_takes_longer_than_the_lease_keeps_its_claim() {
    let scene = Scene::with_lease(Backend::CustomerData, Duration::from_millis(1500)).await;
    scene.desk.stuck("EarnPoints", true);
    let reading = ReadingConfig { reader: Some("first".to_owned()), ..quick() };
    let first = scene.coordinator_with(reading.clone());
    scene.source.happened(PURCHASE, 1, &purchase("customers/1", PURCHASE)).await;
    eventually("the command", || async { !scene.desk.seen("EarnPoints").is_empty() }).await;
    let second = scene.coordinator_with(ReadingConfig { reader: Some("second".to_owned()), ..reading });
    let started = Instant::now();
    eventually("two leases", || async { started.elapsed() > Duration::from_millis(3000) }).await;
    assert_eq!(scene.source.cursor().await.reader, "first");
    assert_eq!(scene.desk.seen("EarnPoints").len(), 1);
    scene.desk.stuck("EarnPoints", false);
    scene.through().await;
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_the_middle_of_a_batch_is_bounded_and_leaves_the_batch_to_the_next() {
    let scene = Scene::with_lease(Backend::CustomerData, Duration::from_millis(500)).await;
    let ledger = scene.points_ledger();
    scene.desk.stuck("EarnPoints", true);
    let coordinator = scene.coordinator_with(ReadingConfig { drain: Duration::from_millis(300), ..quick() });
    let other = "customers/1/purchases/2";
    scene
        .source
        .all_happened(&[
            event(PURCHASE, 1, &purchase("customers/1", PURCHASE)),
            event(other, 1, &purchase("customers/1", other)),
        ])
        .await;
    eventually("the commands", || async { scene.desk.seen("EarnPoints").len() == 2 }).await;
    let started = Instant::now();
    coordinator.stop().await;
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert_eq!(scene.source.cursor().await.position, 0, "nothing was acknowledged");

    scene.desk.stuck("EarnPoints", false);
    let coordinator = scene.coordinator();
    scene.through().await;
    coordinator.stop().await;
    assert_eq!(ledger.lock().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_not_the_one_that_was_read_stops_the_source() {
    let scene = Scene::at(Backend::CustomerData).await;
    let coordinator = scene.coordinator();
    scene.source.happened(PURCHASE, 1, &purchase("customers/1", PURCHASE)).await;
    scene.through().await;
    coordinator.stop().await;

    // The source lost its tail and went on with something else.
    scene
        .source
        .tamper("UPDATE event_log SET hash = decode(repeat('ab', 32), 'hex') WHERE position = 1")
        .await;
    let other = "customers/1/purchases/2";
    scene.source.happened(other, 1, &purchase("customers/1", other)).await;
    let coordinator = scene.coordinator();
    // The four sources beside it are read; that is how we know that this one had its turn.
    let started = Instant::now();
    eventually("some turns", || async { started.elapsed() > Duration::from_millis(700) }).await;
    assert_eq!(scene.source.cursor().await.position, 1);
    assert_eq!(scene.desk.seen("EarnPoints").len(), 1);
    assert!(scene.source.parked().await.is_empty());
    let started = Instant::now();
    coordinator.stop().await;
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_away_is_read_when_it_comes_back() {
    let scene = Scene::at(Backend::CustomerData).await;
    let ledger = scene.points_ledger();
    let coordinator = scene.coordinator();
    scene.source.happened(PURCHASE, 1, &purchase("customers/1", PURCHASE)).await;
    scene.through().await;
    // Every statement fails until the table is back.
    scene.source.tamper("ALTER TABLE event_head RENAME TO event_head_away").await;
    let started = Instant::now();
    eventually("some turns", || async { started.elapsed() > Duration::from_millis(300) }).await;
    scene.source.tamper("ALTER TABLE event_head_away RENAME TO event_head").await;
    let other = "customers/1/purchases/2";
    scene.source.happened(other, 1, &purchase("customers/1", other)).await;
    scene.through().await;
    coordinator.stop().await;
    assert_eq!(ledger.lock().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_ends_gives_the_source_back_and_nobody_waits_for_the_lease() {
    let scene = Scene::with_lease(Backend::CustomerData, Duration::from_secs(3600)).await;
    let ledger = scene.points_ledger();
    let reader = |name: &str| ReadingConfig { reader: Some(name.to_owned()), ..quick() };
    let first = scene.coordinator_with(reader("first"));
    eventually("the first one's claim", || async { scene.source.cursor().await.reader == "first" }).await;
    let second = scene.coordinator_with(reader("second"));
    first.stop().await;
    scene.source.happened(PURCHASE, 1, &purchase("customers/1", PURCHASE)).await;
    scene.through().await;
    assert_eq!(scene.source.cursor().await.reader, "second");
    second.stop().await;
    assert_eq!(scene.source.cursor().await.reader, "");
    assert_eq!(ledger.lock().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reaction_leaves_events_alone_that_are_not_its_own() {
    let scene = Scene::at(Backend::CustomerData).await;
    let ledger = scene.points_ledger();
    scene.source.tamper("INSERT INTO event_reaction VALUES ('coordinator', 'purchase-points', '', 2)").await;
    for number in 1..=3 {
        let name = format!("customers/1/purchases/{number}");
        scene.source.happened(&name, 1, &purchase("customers/1", &name)).await;
    }
    let coordinator = scene.coordinator();
    scene.through().await;
    coordinator.stop().await;
    let sources: Vec<String> = ledger.lock().unwrap().iter().map(|(_, source)| source.clone()).collect();
    assert_eq!(sources, ["customers/1/purchases/3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_is_older_than_the_one_before_stands_by_and_leaves_the_source_free() {
    let scene = Scene::with_lease(Backend::CustomerData, Duration::from_secs(3600)).await;
    scene
        .source
        .tamper(
            "INSERT INTO event_reaction VALUES ('coordinator', 'points-of-tomorrow', 'purchase-points', 0)",
        )
        .await;
    scene.source.happened(PURCHASE, 1, &purchase("customers/1", PURCHASE)).await;
    let mut coordinator = scene.coordinator();
    coordinator.running.ready().await;
    eventually("the source is free", || async { scene.source.cursor().await.reader.is_empty() }).await;
    coordinator.stop().await;
    assert_eq!(scene.source.cursor().await.position, 0);
    assert!(scene.desk.seen("EarnPoints").is_empty());
}
