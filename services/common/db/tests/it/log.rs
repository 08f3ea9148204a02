use std::time::Duration;

use chrono::DateTime;
use cqm_db::Db;
use cqm_db::log::{self, Look, NewEvent, Park, ParkedState, Sequencer, feed, parked};
use cqm_proto::events::v1::ComplaintClosed;
use cqm_rpc::{Error, Reason, TraceContext};
use diesel_async::SimpleAsyncConnection;
use uuid::Uuid;

use crate::{call, database};

pub fn event(aggregate: &str, version: i64) -> NewEvent {
    NewEvent::new(aggregate, version, DateTime::UNIX_EPOCH, &ComplaintClosed::default())
}

pub async fn append(db: &Db, events: &[NewEvent]) {
    let trace = TraceContext::fresh(false);
    db.tx(&call(), "append", async |tx| log::append(tx, &trace, events).await).await.unwrap();
}

async fn sequence(db: &Db) -> usize {
    Sequencer::turn(db, &call()).await.unwrap()
}

async fn read(db: &Db, after: i64, hash: &[u8]) -> Result<log::Batch, Error> {
    db.read(&call(), "read", async |conn| feed::read(conn, after, hash, 100).await).await
}

fn reason(result: Result<impl std::fmt::Debug, Error>) -> Reason {
    result.unwrap_err().reason()
}

#[tokio::test]
async fn events_get_contiguous_positions_and_a_chain_that_shows_tampering() {
    let db = database().await;
    append(&db, &[event("a", 1), event("a", 2)]).await;
    append(&db, &[event("b", 1)]).await;
    assert_eq!(sequence(&db).await, 3);
    assert_eq!(sequence(&db).await, 0);
    let batch = read(&db, 0, &[]).await.unwrap();
    let seen: Vec<_> =
        batch.events.iter().map(|e| (e.position, e.aggregate.as_str(), e.aggregate_version)).collect();
    assert_eq!(seen, [(1, "a", 1), (2, "a", 2), (3, "b", 1)]);
    assert_eq!(batch.head_position, 3);
    let verified = db.read(&call(), "verify", async |conn| log::verify(conn).await).await;
    assert_eq!(verified.unwrap(), 3);
    db.tx(&call(), "tamper", async |tx| -> Result<(), Error> {
        Ok(tx.batch_execute("UPDATE event_log SET payload = 'x' WHERE position = 2").await?)
    })
    .await
    .unwrap();
    let verified = db.read(&call(), "verify", async |conn| log::verify(conn).await).await;
    assert_eq!(reason(verified), log::LOG_DIVERGED);
}

#[tokio::test]
async fn a_look_tells_what_waits_and_where_the_log_ends() {
    let db = database().await;
    let look = async || Sequencer::look(&db, &call()).await.unwrap();
    assert_eq!(look().await, Look { head: 0, waiting: false });
    append(&db, &[event("a", 1), event("a", 2)]).await;
    assert_eq!(look().await, Look { head: 0, waiting: true });
    assert_eq!(sequence(&db).await, 2);
    assert_eq!(look().await, Look { head: 2, waiting: false });
}

#[tokio::test]
async fn a_version_of_an_aggregate_happens_once() {
    let db = database().await;
    append(&db, &[event("a", 1)]).await;
    let trace = TraceContext::fresh(false);
    let twice = db.tx(&call(), "append", async |tx| log::append(tx, &trace, &[event("a", 1)]).await).await;
    assert_eq!(twice.unwrap_err().code(), tonic::Code::Internal);
}

#[tokio::test]
async fn a_transaction_that_commits_late_is_not_skipped() {
    let db = database().await;
    let trace = TraceContext::fresh(false);
    db.tx(&call(), "late", async |tx| {
        log::append(tx, &trace, &[event("late", 1)]).await?;
        // Its id is drawn; another transaction draws a later one, commits first, and is sequenced and read.
        append(&db, &[event("early", 1)]).await;
        assert_eq!(sequence(&db).await, 1);
        Ok::<_, Error>(())
    })
    .await
    .unwrap();
    let first = read(&db, 0, &[]).await.unwrap().events.remove(0);
    assert_eq!(first.aggregate, "early");
    assert_eq!(sequence(&db).await, 1);
    let rest = read(&db, first.position, &first.hash).await.unwrap().events;
    assert_eq!(rest.iter().map(|e| e.aggregate.as_str()).collect::<Vec<_>>(), ["late"]);
}

#[tokio::test]
async fn a_cursor_of_another_history_is_told_never_skipped() {
    let db = database().await;
    append(&db, &[event("a", 1), event("a", 2)]).await;
    sequence(&db).await;
    let events = read(&db, 0, &[]).await.unwrap().events;
    assert_eq!(reason(read(&db, 1, &events[1].hash).await), log::LOG_DIVERGED);
    assert_eq!(reason(read(&db, 3, &events[1].hash).await), log::LOG_DIVERGED);
    assert_eq!(reason(read(&db, 2, &[]).await), log::LOG_DIVERGED);
    let wrong = events[0].hash.clone();
    let acked = db.tx(&call(), "ack", async |tx| feed::ack(tx, "c", "", 2, &wrong).await).await;
    assert_eq!(reason(acked), log::LOG_DIVERGED);
}

#[tokio::test]
async fn one_reader_at_a_time_and_a_successor_after_the_lease() {
    let db = database().await;
    append(&db, &[event("a", 1)]).await;
    sequence(&db).await;
    let hash = read(&db, 0, &[]).await.unwrap().events.remove(0).hash;
    let claim = async |reader: &'static str, lease: u64| {
        db.tx(&call(), "claim", async |tx| feed::claim(tx, "c", reader, Duration::from_millis(lease)).await)
            .await
    };
    claim("one", 60_000).await.unwrap();
    claim("one", 60_000).await.unwrap();
    assert_eq!(reason(claim("two", 60_000).await), log::FEED_CLAIMED);
    let stranger = db.tx(&call(), "ack", async |tx| feed::ack(tx, "c", "two", 1, &hash).await).await;
    assert_eq!(reason(stranger), log::FEED_CLAIMED);
    db.tx(&call(), "ack", async |tx| feed::ack(tx, "c", "one", 1, &hash).await).await.unwrap();
    // A lease of zero is over at once.
    claim("one", 0).await.unwrap();
    claim("two", 60_000).await.unwrap();
    let late = db.tx(&call(), "ack", async |tx| feed::ack(tx, "c", "one", 1, &hash).await).await;
    assert_eq!(reason(late), log::FEED_CLAIMED);
    let cursor = db.read(&call(), "cursor", async |conn| feed::cursor(conn, "c").await).await.unwrap();
    assert_eq!((cursor.position, cursor.hash, cursor.reader.as_str()), (1, hash, "two"));
}

#[tokio::test]
async fn a_parked_aggregate_waits_for_a_decision_and_for_what_came_behind_it() {
    let db = database().await;
    append(&db, &[event("sick", 1), event("well", 1), event("sick", 2)]).await;
    sequence(&db).await;
    let events = read(&db, 0, &[]).await.unwrap().events;
    let poison = events[0].clone();
    let park = Park {
        consumer: "c".into(),
        aggregate: "sick".into(),
        event_id: poison.event_id,
        position: poison.position,
        event_type: poison.event_type.clone(),
        reason: "CUSTOMER_NOT_FOUND".into(),
        detail_code: "NOT_FOUND".into(),
        attempts: 5,
    };
    let last = events[2].clone();
    db.tx(&call(), "park", async |tx| {
        feed::claim(tx, "c", "r", Duration::from_secs(60)).await?;
        parked::park(tx, &park).await?;
        feed::ack(tx, "c", "r", last.position, &last.hash).await
    })
    .await
    .unwrap();
    let names = ["sick".to_owned(), "well".to_owned()];
    let among = db.read(&call(), "among", async |conn| parked::among(conn, "c", &names).await).await.unwrap();
    assert_eq!(among, ["sick"]);
    let listed =
        db.read(&call(), "list", async |conn| parked::list(conn, "c", None, 10).await).await.unwrap();
    assert_eq!((listed.len(), listed[0].waiting_events, listed[0].state), (1, 2, ParkedState::Parked));
    assert_eq!(listed[0].park, park);

    let other = Uuid::now_v7();
    let mismatch =
        db.tx(&call(), "discard", async |tx| parked::discard(tx, "c", "sick", other, "ann").await).await;
    assert_eq!(reason(mismatch), log::PARKED_EVENT_MISMATCH);
    let unknown = db.tx(&call(), "retry", async |tx| parked::request_retry(tx, "c", "well").await).await;
    assert_eq!(reason(unknown), log::PARKED_NOT_FOUND);
    db.tx(&call(), "retry", async |tx| parked::request_retry(tx, "c", "sick").await).await.unwrap();
    let requested =
        db.read(&call(), "req", async |conn| parked::requested(conn, "c", 10).await).await.unwrap();
    assert_eq!(requested[0].state, ParkedState::RetryRequested);

    let behind = db
        .read(&call(), "behind", async |conn| feed::read_aggregate(conn, "sick", poison.position, 10).await)
        .await
        .unwrap();
    assert_eq!(behind.iter().map(|e| e.aggregate_version).collect::<Vec<_>>(), [2]);
    let unpark = async |through: i64| {
        db.tx(&call(), "unpark", async |tx| parked::unpark(tx, "c", "sick", through).await).await.unwrap()
    };
    assert!(!unpark(poison.position).await, "its second event is behind the cursor and not handled");
    assert!(unpark(last.position).await);
    let listed =
        db.read(&call(), "list", async |conn| parked::list(conn, "c", None, 10).await).await.unwrap();
    assert!(listed.is_empty());
}

#[tokio::test]
#[should_panic(expected = "2 events that it did not look at")]
async fn a_test_that_does_not_look_at_all_its_events_fails() {
    let db = database().await;
    let mut events = cqm_testkit::Events::of(&db);
    append(&db, &[event("a", 1)]).await;
    assert_eq!(events.next().await.len(), 1);
    append(&db, &[event("a", 2), event("a", 3)]).await;
}

#[tokio::test]
async fn reactions_begin_where_nothing_is_done_twice() {
    let db = database().await;
    let register = async |reactions: &[(&str, &str)]| -> Vec<(String, i64)> {
        let given: Vec<_> = reactions.iter().map(|(id, old)| ((*id).to_owned(), (*old).to_owned())).collect();
        let found = db
            .tx(&call(), "register", async |tx| log::reactions::register(tx, "coordinator", &given).await)
            .await
            .unwrap();
        found.into_iter().map(|it| (it.id, it.start_position)).collect()
    };
    let starts = |rows: &[(&str, i64)]| -> Vec<(String, i64)> {
        rows.iter().map(|(id, start)| ((*id).to_owned(), *start)).collect()
    };
    let versions: Vec<NewEvent> = (1..=3).map(|version| event("a", version)).collect();
    append(&db, &versions).await;
    sequence(&db).await;
    // Who was there before anybody wrote it down has been there from the start.
    assert_eq!(register(&[("points", "")]).await, starts(&[("points", 0)]));

    let read = self::read(&db, 0, &[]).await.unwrap();
    db.tx(&call(), "ack", async |tx| {
        feed::claim(tx, "coordinator", "one", Duration::from_secs(60)).await?;
        feed::ack(tx, "coordinator", "one", 2, &read.events[1].hash).await
    })
    .await
    .unwrap();
    // An addition begins behind what is done; a new version behind what the old one may have done.
    let now = register(&[("message", ""), ("points", ""), ("points-2", "points")]).await;
    assert_eq!(now, starts(&[("message", 2), ("points", 0), ("points-2", 3)]));

    append(&db, &[event("a", 4)]).await;
    sequence(&db).await;
    assert_eq!(
        register(&[("points-2", "points")]).await,
        now,
        "said once, it stays, also what is not named again"
    );
}

#[tokio::test]
async fn a_claim_that_was_given_back_is_free_and_only_its_holder_gives_it_back() {
    let db = database().await;
    let minute = Duration::from_secs(60);
    let claim = async |reader: &str| {
        db.tx(&call(), "claim", async |tx| feed::claim(tx, "coordinator", reader, minute).await).await
    };
    let release = async |reader: &str| {
        db.tx(&call(), "release", async |tx| feed::release(tx, "coordinator", reader).await).await.unwrap()
    };
    claim("one").await.unwrap();
    assert!(!release("two").await);
    assert_eq!(reason(claim("two").await), log::FEED_CLAIMED);
    assert!(release("one").await);
    claim("two").await.unwrap();
    assert!(!release("one").await, "it is the other one's now");
    assert_eq!(reason(claim("one").await), log::FEED_CLAIMED);
}
