use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cqm_db::{Conn, Db, OnConflict};
use cqm_rpc::{Call, Error, reason};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Uuid as SqlUuid};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use uuid::Uuid;

use crate::{call, database};

#[derive(QueryableByName)]
struct Value {
    #[diesel(sql_type = BigInt)]
    value: i64,
}

async fn put(tx: &mut Conn, id: Uuid, value: i64) -> Result<(), Error> {
    diesel::sql_query(
        "INSERT INTO counter VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET value = excluded.value",
    )
    .bind::<SqlUuid, _>(id)
    .bind::<BigInt, _>(value)
    .execute(tx)
    .await
    .on_conflict("counter_floor", || Error::refused(reason::FIELD_RANGE))?;
    Ok(())
}

async fn get(db: &Db, id: Uuid) -> Option<i64> {
    db.read(&call(), "get", async |conn| -> Result<_, Error> {
        Ok(diesel::sql_query("SELECT value FROM counter WHERE id = $1")
            .bind::<SqlUuid, _>(id)
            .get_result::<Value>(conn)
            .await
            .optional()?)
    })
    .await
    .unwrap()
    .map(|row| row.value)
}

#[tokio::test]
async fn an_error_rolls_everything_back_and_an_expected_constraint_has_its_answer() {
    let db = database().await;
    let id = Uuid::now_v7();
    let refused = db
        .tx(&call(), "refused", async |tx| {
            put(tx, id, 5).await?;
            put(tx, id, -1).await
        })
        .await;
    assert_eq!(refused.unwrap_err().reason(), reason::FIELD_RANGE);
    assert_eq!(get(&db, id).await, None);
}

#[tokio::test]
async fn an_unexpected_constraint_is_internal() {
    let db = database().await;
    let error = db
        .tx(&call(), "unexpected", async |tx| -> Result<(), Error> {
            tx.batch_execute("INSERT INTO counter VALUES (gen_random_uuid(), -1)").await?;
            Ok(())
        })
        .await
        .unwrap_err();
    assert_eq!(error.code(), tonic::Code::Internal);
}

#[tokio::test]
async fn a_swallowed_error_is_no_commit() {
    let db = database().await;
    let id = Uuid::now_v7();
    let outcome = db
        .tx(&call(), "swallowed", async |tx| -> Result<(), Error> {
            put(tx, id, 1).await?;
            let _ = tx.batch_execute("SELECT no_such_column").await;
            Ok(())
        })
        .await;
    assert!(outcome.is_err(), "a transaction that Postgres aborted was acknowledged");
    assert_eq!(get(&db, id).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlocks_are_run_again_and_lose_nothing() {
    let db = database().await;
    let (a, b) = (Uuid::now_v7(), Uuid::now_v7());
    db.tx(&call(), "seed", async |tx| {
        put(tx, a, 0).await?;
        put(tx, b, 0).await
    })
    .await
    .unwrap();
    let met = tokio::sync::Barrier::new(2);
    let runs = AtomicUsize::new(0);
    let add = async |first: Uuid, second: Uuid| {
        db.tx(&call(), "cross", async |tx| -> Result<(), Error> {
            let first_run = runs.fetch_add(1, Ordering::SeqCst) < 2;
            // Deadlock detection comes after one second: longer than the usual lock timeout.
            tx.batch_execute("SET LOCAL lock_timeout = '5s'").await?;
            for (index, id) in [first, second].into_iter().enumerate() {
                diesel::sql_query("UPDATE counter SET value = value + 1 WHERE id = $1")
                    .bind::<SqlUuid, _>(id)
                    .execute(tx)
                    .await?;
                if index == 0 && first_run {
                    met.wait().await;
                }
            }
            Ok(())
        })
        .await
    };
    let (one, two) = tokio::join!(add(a, b), add(b, a));
    one.unwrap();
    two.unwrap();
    assert_eq!(AtomicUsize::load(&runs, Ordering::SeqCst), 3, "exactly one of the two ran again");
    assert_eq!((get(&db, a).await, get(&db, b).await), (Some(2), Some(2)));
}

#[tokio::test]
async fn a_lock_that_is_held_too_long_is_a_conflict_without_another_try() {
    let db = database().await;
    let id = Uuid::now_v7();
    db.tx(&call(), "seed", async |tx| put(tx, id, 0).await).await.unwrap();
    let runs = AtomicUsize::new(0);
    db.tx(&call(), "holder", async |tx| -> Result<(), Error> {
        put(tx, id, 1).await?;
        let blocked = db
            .tx(&call(), "blocked", async |tx| {
                runs.fetch_add(1, Ordering::SeqCst);
                put(tx, id, 2).await
            })
            .await
            .unwrap_err();
        assert_eq!(blocked.reason(), reason::TRANSACTION_CONFLICT);
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(AtomicUsize::load(&runs, Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_deadline_ends_a_statement() {
    let db = database().await;
    let short = Call::internal("short", Duration::from_millis(100));
    let error = db
        .tx(&short, "slow", async |tx| -> Result<(), Error> {
            tx.batch_execute("SELECT pg_sleep(30)").await?;
            Ok(())
        })
        .await
        .unwrap_err();
    assert_eq!(error.code(), tonic::Code::DeadlineExceeded);
    // A call of its own: Postgres may have ended the statement within the last millisecond of the first one.
    let late = Call::internal("late", Duration::ZERO);
    let error = db.tx(&late, "late", async |tx| put(tx, Uuid::now_v7(), 1).await).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_caller_who_hangs_up_leaves_no_open_transaction_in_the_pool() {
    let db = database().await.sibling(1).unwrap();
    let id = Uuid::now_v7();
    let written = tokio::sync::Notify::new();
    let cut_off = async {
        db.tx(&call(), "cut_off", async |tx| -> Result<(), Error> {
            put(tx, id, 1).await?;
            written.notify_one();
            std::future::pending().await
        })
        .await
    };
    tokio::select! {
        _ = cut_off => unreachable!("it never ends by itself"),
        () = written.notified() => {}
    }
    // The pool has one connection: the next user gets it, or a new one, and finds no transaction on it.
    assert_eq!(get(&db, id).await, None);
    db.tx(&call(), "after", async |tx| put(tx, id, 2).await).await.unwrap();
    assert_eq!(get(&db, id).await, Some(2));
}

#[tokio::test]
async fn a_full_pool_is_an_overload_not_a_queue() {
    let mut config = database().await.config().clone();
    config.max_connections = 1;
    config.acquire_timeout = Duration::from_millis(50);
    let db = Db::new(config, cqm_db::EventsConfig::default(), cqm_rpc::Clock::system()).unwrap();
    db.tx(&call(), "holder", async |tx| -> Result<(), Error> {
        tx.batch_execute("SELECT 1").await?;
        let error = db.read(&call(), "waits", async |_| Ok::<_, Error>(())).await.unwrap_err();
        assert_eq!(error.reason(), reason::OVERLOADED);
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_database_that_is_gone_is_unavailable_at_once() {
    let config = cqm_db::DatabaseConfig::new("host=/nonexistent user=nobody dbname=none".to_owned().into());
    let db = Db::new(config, cqm_db::EventsConfig::default(), cqm_rpc::Clock::system()).unwrap();
    for _ in 0..3 {
        let error = db.read(&call(), "gone", async |_| Ok::<_, Error>(())).await.unwrap_err();
        assert_eq!(error.reason(), reason::STORAGE_UNAVAILABLE);
        assert_eq!(error.code(), tonic::Code::Unavailable);
    }
}

/// The compiler's promise that a handler may run on any thread.
#[test]
fn transactions_are_send() {
    fn send<T: Send>(_: T) {}
    let _ = |db: &'static Db, call: &'static Call, id: Uuid| {
        send(async move {
            let command = String::from("borrowed by the closure");
            db.tx(call, "send", async |tx| -> Result<usize, Error> {
                put(tx, id, 1).await?;
                Ok(command.len())
            })
            .await
        });
    };
}
