//! Many calls in one transaction, over a table of counters.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cqm_db::{Batch, Coalescer, Conn, Db, EventsConfig, OnConflict, Patience, Request, Verdict, statement};
use cqm_proto::loyalty::v1::RedeemPointsRequest;
use cqm_rpc::{Call, Clock, Error, reason};
use cqm_testkit::{TestDatabase, eventually};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Uuid as SqlUuid};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use futures::future::join_all;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::{MIGRATIONS, call};

#[derive(Clone, Debug)]
enum Command {
    Add(Uuid, i64),
    /// Panics while it is decided.
    Panic(Uuid),
    /// The database refuses what follows from it.
    Break(Uuid),
    /// The connection is lost while it is written.
    Cut(Uuid, i64),
    /// An error of the database is swallowed while it is written.
    Swallow(Uuid, i64),
}

impl Command {
    fn counter(&self) -> Uuid {
        match self {
            Self::Add(id, _)
            | Self::Panic(id)
            | Self::Break(id)
            | Self::Cut(id, _)
            | Self::Swallow(id, _) => *id,
        }
    }
}

/// Adds to counters. Remembers how many requests each transaction carried.
#[derive(Clone, Default)]
struct Adding {
    sizes: Arc<Mutex<Vec<usize>>>,
    /// Ids of requests that lose their connection, once each.
    cuts: Arc<Mutex<BTreeSet<Uuid>>>,
    /// Where the next transaction stops that has written.
    stop: Arc<Mutex<Option<Stop>>>,
}

/// A transaction that has written tells its backend's process, and goes on when it is told to.
struct Stop {
    reached: oneshot::Sender<i32>,
    go_on: oneshot::Receiver<()>,
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = diesel::sql_types::Integer)]
    number: i32,
}

#[derive(Default)]
struct Counters {
    values: BTreeMap<Uuid, i64>,
    changed: BTreeSet<Uuid>,
    cut: bool,
    swallow: bool,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = BigInt)]
    value: i64,
}

impl Batch for Adding {
    type Command = Command;
    type State = Counters;
    const NAME: &'static str = "add";

    fn about(command: &Command) -> Uuid {
        command.counter()
    }

    async fn load(
        &self,
        mut conn: &Conn,
        requests: &[&Request<Command>],
        patience: Patience,
    ) -> Result<Counters, Error> {
        self.sizes.lock().unwrap().push(requests.len());
        let ids: Vec<Uuid> = requests.iter().map(|request| request.command.counter()).collect();
        let query = match patience {
            Patience::Skip => {
                "SELECT id, value FROM counter WHERE id = ANY($1) ORDER BY id FOR UPDATE SKIP LOCKED"
            }
            Patience::Wait => "SELECT id, value FROM counter WHERE id = ANY($1) ORDER BY id FOR UPDATE",
        };
        let rows: Vec<Row> = statement(query).bind::<Array<SqlUuid>, _>(ids).load(&mut conn).await?;
        Ok(Counters {
            values: rows.into_iter().map(|row| (row.id, row.value)).collect(),
            ..Default::default()
        })
    }

    fn decide(&self, state: &mut Counters, request: &Request<Command>) -> Verdict {
        let id = request.command.counter();
        let Some(value) = state.values.get_mut(&id) else {
            return Verdict::Busy;
        };
        match request.command {
            Command::Add(_, amount) | Command::Cut(_, amount) | Command::Swallow(_, amount) => {
                if *value + amount < 0 {
                    return Verdict::Refused(Error::refused(reason::FIELD_RANGE));
                }
                *value += amount;
                if matches!(request.command, Command::Cut(..)) {
                    state.cut = self.cuts.lock().unwrap().insert(id);
                }
                state.swallow |= matches!(request.command, Command::Swallow(..));
            }
            Command::Panic(_) => panic!("a decision that panics, as the test wants it"),
            Command::Break(_) => *value = -1,
        }
        state.changed.insert(id);
        // The answer is a message; the counter's value is its points.
        Verdict::Done(prost::Message::encode_to_vec(&answer(*value)))
    }

    async fn write(&self, mut conn: &Conn, state: &Counters) -> Result<(), Error> {
        let (ids, values): (Vec<_>, Vec<_>) = state.changed.iter().map(|id| (*id, state.values[id])).unzip();
        statement("UPDATE counter SET value = new.value FROM unnest($1, $2) AS new (id, value) WHERE counter.id = new.id")
            .bind::<Array<SqlUuid>, _>(ids)
            .bind::<Array<BigInt>, _>(values)
            .execute(&mut conn)
            .await
            .on_conflict("counter_floor", || Error::internal("the floor was broken"))?;
        if state.swallow {
            let failed = statement("SELECT 1 / 0").execute(&mut conn).await;
            assert!(failed.is_err());
        }
        if state.cut {
            statement("SELECT pg_terminate_backend(pg_backend_pid())").execute(&mut conn).await?;
        }
        let stop = self.stop.lock().unwrap().take();
        if let Some(Stop { reached, go_on }) = stop {
            let backend: Number =
                statement("SELECT pg_backend_pid() AS number").get_result(&mut conn).await?;
            reached.send(backend.number).unwrap();
            go_on.await.unwrap();
        }
        Ok(())
    }
}

fn answer(value: i64) -> RedeemPointsRequest {
    RedeemPointsRequest { points: value, ..Default::default() }
}

/// A database with counters at zero, and one replica that adds to them.
struct Desk {
    db: Db,
    batch: Adding,
    coalescer: Coalescer<Command>,
}

impl Desk {
    async fn open(counters: &[Uuid]) -> Self {
        let database = TestDatabase::migrated(MIGRATIONS).await;
        let db = Db::new(database.config(), EventsConfig::default(), Clock::system()).unwrap();
        let ids = counters.to_vec();
        db.tx(&call(), "counters", async |tx| -> Result<(), Error> {
            diesel::sql_query("INSERT INTO counter SELECT unnest($1), 0")
                .bind::<Array<SqlUuid>, _>(ids.clone())
                .execute(tx)
                .await?;
            Ok(())
        })
        .await
        .unwrap();
        Self { db, batch: Adding::default(), coalescer: Coalescer::default() }
    }

    async fn send(&self, id: Uuid, command: Command) -> Result<i64, Error> {
        self.send_as(&call(), id, command).await
    }

    async fn send_as(&self, call: &Call, id: Uuid, command: Command) -> Result<i64, Error> {
        // What the message says is what makes two requests the same; the command stands in for its contents.
        let message = RedeemPointsRequest {
            source: format!("{command:?}"),
            request_id: id.to_string(),
            ..Default::default()
        };
        let answer: RedeemPointsRequest =
            self.coalescer.submit(&self.db, &self.batch, call, &message, command).await?;
        Ok(answer.points)
    }

    async fn add(&self, counter: Uuid, amount: i64) -> Result<i64, Error> {
        self.send(Uuid::now_v7(), Command::Add(counter, amount)).await
    }

    async fn value(&self, counter: Uuid) -> i64 {
        self.db
            .read(&call(), "value", async |conn| -> Result<_, Error> {
                Ok(diesel::sql_query("SELECT id, value FROM counter WHERE id = $1")
                    .bind::<SqlUuid, _>(counter)
                    .get_result::<Row>(conn)
                    .await?
                    .value)
            })
            .await
            .unwrap()
    }

    /// Whether some statement waits for what this backend has locked.
    async fn is_waited_for(&self, backend: i32) -> bool {
        self.db
            .read(&call(), "waiting", async |conn| -> Result<_, Error> {
                let sql = "SELECT count(*)::int AS number FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid))";
                let waiting: Number = diesel::sql_query(sql)
                    .bind::<diesel::sql_types::Integer, _>(backend)
                    .get_result(conn)
                    .await?;
                Ok(waiting.number > 0)
            })
            .await
            .unwrap()
    }

    fn sizes(&self) -> Vec<usize> {
        self.batch.sizes.lock().unwrap().clone()
    }
}

fn ids<const N: usize>() -> [Uuid; N] {
    std::array::from_fn(|_| Uuid::now_v7())
}

#[tokio::test]
async fn a_swallowed_error_is_no_commit() {
    let [counter, other] = ids();
    let desk = Desk::open(&[counter, other]).await;
    let (swallowed, added) =
        tokio::join!(desk.send(Uuid::now_v7(), Command::Swallow(counter, 5)), desk.add(other, 7));
    assert!(matches!(swallowed, Err(Error::Internal { .. })), "{swallowed:?}");
    assert_eq!(added.unwrap(), 7, "the neighbour is written without it");
    assert_eq!((desk.value(counter).await, desk.value(other).await), (0, 7));
}

#[tokio::test]
async fn requests_that_wait_together_go_together_and_each_gets_its_own_answer() {
    let [counter] = ids();
    let desk = Desk::open(&[counter]).await;
    let mut values: Vec<i64> =
        join_all((0..100).map(|_| desk.add(counter, 1))).await.into_iter().map(Result::unwrap).collect();
    values.sort_unstable();
    assert_eq!(values, (1..=100).collect::<Vec<_>>());
    assert_eq!(desk.value(counter).await, 100);
    // On one thread all of them arrive before the first transaction has ended.
    let sizes = desk.sizes();
    assert_eq!((sizes.iter().sum::<usize>(), sizes.len() <= 2), (100, true), "{sizes:?}");
}

#[tokio::test]
async fn a_request_alone_goes_alone_and_at_once() {
    let [counter] = ids();
    let desk = Desk::open(&[counter]).await;
    for value in 1..=3 {
        assert_eq!(desk.add(counter, 1).await.unwrap(), value);
    }
    assert_eq!(desk.sizes(), [1, 1, 1]);
}

#[tokio::test]
async fn a_refused_request_changes_nothing_for_its_neighbours() {
    let [counter] = ids();
    let desk = Desk::open(&[counter]).await;
    let outcomes = join_all([5, -6, 3, -9, -8].map(|amount| desk.add(counter, amount))).await;
    let told: Vec<_> =
        outcomes.into_iter().map(|outcome| outcome.map_err(|error| error.reason().name)).collect();
    assert_eq!(told, [Ok(5), Err("FIELD_RANGE"), Ok(8), Err("FIELD_RANGE"), Ok(0)]);
    assert_eq!(desk.value(counter).await, 0);
}

#[tokio::test]
async fn equal_ids_have_one_effect_and_equal_answers_in_one_batch_as_over_many() {
    let [counter, id, other] = ids();
    let desk = Desk::open(&[counter]).await;
    let same = || desk.send(id, Command::Add(counter, 7));
    let outcomes = join_all([same(), same(), same()]).await;
    assert!(outcomes.into_iter().all(|outcome| outcome.unwrap() == 7));
    desk.add(counter, 1).await.unwrap();
    assert_eq!(same().await.unwrap(), 7);
    assert_eq!(desk.value(counter).await, 8);

    // Another request under the same id, in one batch with the first and after it. Another caller's is no such thing.
    let reused = |outcome: Result<i64, Error>| outcome.unwrap_err().reason() == reason::REQUEST_ID_REUSED;
    let (first, second) =
        tokio::join!(desk.send(other, Command::Add(counter, 1)), desk.send(other, Command::Add(counter, 2)));
    assert_eq!(first.unwrap(), 9);
    assert!(reused(second));
    assert!(reused(desk.send(other, Command::Add(counter, 2)).await));
    let mut somebody = call();
    somebody.caller.subject = "somebody else".into();
    assert_eq!(desk.send_as(&somebody, other, Command::Add(counter, 2)).await.unwrap(), 11);
}

#[tokio::test]
async fn a_refusal_is_not_remembered_also_not_for_its_twin_in_the_batch() {
    let [counter, id] = ids();
    let desk = Desk::open(&[counter]).await;
    let take = || desk.send(id, Command::Add(counter, -5));
    let (first, second) = tokio::join!(take(), take());
    assert!([first, second].into_iter().all(|outcome| outcome.unwrap_err().reason() == reason::FIELD_RANGE));
    desk.add(counter, 5).await.unwrap();
    assert_eq!(take().await.unwrap(), 0);
}

#[tokio::test]
async fn a_batch_that_fails_is_taken_apart_until_who_fails_it_is_alone() {
    let [counter, broken, panicking] = ids();
    let desk = Desk::open(&[counter, broken, panicking]).await;
    let many = (0..40).map(|place| match place {
        11 => desk.send(Uuid::now_v7(), Command::Break(broken)),
        23 => desk.send(Uuid::now_v7(), Command::Panic(panicking)),
        _ => desk.send(Uuid::now_v7(), Command::Add(counter, 1)),
    });
    let outcomes = join_all(many).await;
    let failed: Vec<usize> =
        outcomes.iter().enumerate().filter(|(_, outcome)| outcome.is_err()).map(|(place, _)| place).collect();
    assert_eq!(failed, [11, 23]);
    assert!(outcomes.iter().flat_map(Result::as_ref).all(|value| *value <= 38));
    assert_eq!((desk.value(counter).await, desk.value(broken).await), (38, 0));
}

#[tokio::test]
async fn a_locked_row_holds_up_its_own_requests_only() {
    let [locked, free] = ids();
    let desk = Desk::open(&[locked, free]).await;
    let service = &desk;
    desk.db
        .tx(&call(), "hold", async |tx| -> Result<(), Error> {
            tx.batch_execute(&format!("SELECT FROM counter WHERE id = '{locked}' FOR UPDATE")).await?;
            let (held, passed) = tokio::join!(service.add(locked, 1), service.add(free, 1));
            // Waited for as long as locks are, and told so.
            assert_eq!(held.unwrap_err().reason(), reason::TRANSACTION_CONFLICT);
            assert_eq!(passed.unwrap(), 1);
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!(desk.add(locked, 1).await.unwrap(), 1, "nothing was left behind");

    // Held for a moment only, it is waited for.
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let begun = Mutex::new(Some(begun));
    let hold_call = call();
    let hold = desk.db.tx(&hold_call, "hold", async |tx| -> Result<(), Error> {
        tx.batch_execute(&format!("SELECT FROM counter WHERE id = '{locked}' FOR UPDATE")).await?;
        begun.lock().unwrap().take().unwrap().send(()).unwrap();
        tx.batch_execute("SELECT pg_sleep(0.1)").await?;
        Ok(())
    });
    let add = async {
        has_begun.await.unwrap();
        desk.add(locked, 1).await
    };
    let (held, added) = tokio::join!(hold, add);
    held.unwrap();
    assert_eq!(added.unwrap(), 2);
}

#[tokio::test]
async fn a_connection_lost_while_a_batch_is_written_has_changed_nothing_and_the_repeat_does_it() {
    let [counter, other, id, neighbour] = ids();
    let desk = Desk::open(&[counter, other]).await;
    let cut = || desk.send(id, Command::Cut(counter, 4));
    let beside = || desk.send(neighbour, Command::Add(other, 1));
    let (first, second) = tokio::join!(cut(), beside());
    for outcome in [first, second] {
        let error = outcome.unwrap_err();
        assert_eq!((error.code(), error.reason()), (tonic::Code::Unavailable, reason::STORAGE_UNAVAILABLE));
    }
    assert_eq!((desk.value(counter).await, desk.value(other).await), (0, 0));
    let (first, second) = tokio::join!(cut(), beside());
    assert_eq!((first.unwrap(), second.unwrap()), (4, 1));
    assert_eq!((desk.value(counter).await, desk.value(other).await), (4, 1));
}

#[tokio::test]
async fn a_connection_lost_in_the_commit_leaves_the_outcome_unknown_and_the_repeat_finds_it() {
    let [counter, id] = ids();
    let desk = Desk::open(&[counter]).await;
    // Deferred to the COMMIT, which never answers.
    let cut = "CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS $$
               BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
               CREATE CONSTRAINT TRIGGER cut AFTER UPDATE ON counter DEFERRABLE INITIALLY DEFERRED
               FOR EACH ROW EXECUTE FUNCTION cut()";
    let run = async |sql: &str| {
        desk.db
            .read(&call(), "run", async |conn| Ok::<_, Error>(conn.batch_execute(sql).await?))
            .await
            .unwrap();
    };
    run(cut).await;
    let error = desk.send(id, Command::Add(counter, 4)).await.unwrap_err();
    assert_eq!((error.code(), error.reason()), (tonic::Code::Unavailable, reason::OUTCOME_UNKNOWN));
    run("DROP TRIGGER cut ON counter").await;
    assert_eq!(desk.send(id, Command::Add(counter, 4)).await.unwrap(), 4);
    assert_eq!(desk.value(counter).await, 4);
}

#[tokio::test]
async fn a_caller_who_hangs_up_stops_nothing() {
    let [counter] = ids();
    let desk = Desk::open(&[counter]).await;
    let hung_up = tokio::time::timeout(Duration::ZERO, desk.add(counter, 1)).await;
    assert!(hung_up.is_err(), "the caller did not wait");
    // The next one's transaction is behind it in the same lane.
    assert_eq!(desk.add(counter, 1).await.unwrap(), 2);
}

#[tokio::test]
async fn a_request_whose_time_is_over_is_not_begun() {
    let [counter] = ids();
    let desk = Desk::open(&[counter]).await;
    let late = Call::internal("late", Duration::ZERO);
    let outcome = desk.send_as(&late, Uuid::now_v7(), Command::Add(counter, 1)).await;
    assert_eq!(outcome.unwrap_err().code(), tonic::Code::DeadlineExceeded);
    assert_eq!(desk.value(counter).await, 0);
}

#[tokio::test]
async fn without_a_database_every_caller_is_told_so() {
    let config =
        cqm_db::DatabaseConfig::new("host=127.0.0.1 port=1 user=nobody dbname=nothing".to_owned().into());
    let desk = Desk {
        db: Db::new(config, EventsConfig::default(), Clock::system()).unwrap(),
        batch: Adding::default(),
        coalescer: Coalescer::default(),
    };
    for outcome in join_all((0..5).map(|_| desk.add(Uuid::now_v7(), 1))).await {
        let error = outcome.unwrap_err();
        assert_eq!((error.code(), error.reason()), (tonic::Code::Unavailable, reason::STORAGE_UNAVAILABLE));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_meet_on_the_same_rows_and_ids_lose_and_double_nothing() {
    let counters: [Uuid; 3] = ids();
    let desk = Desk::open(&counters).await;
    let other =
        Desk { db: desk.db.sibling(4).unwrap(), batch: Adding::default(), coalescer: Coalescer::default() };
    // Every request is sent to both replicas, as by a client whose first answer was lost.
    let requests: Vec<(Uuid, Uuid)> = (0..200).map(|place| (Uuid::now_v7(), counters[place % 3])).collect();
    let send = async |desk: &Desk, (id, counter): (Uuid, Uuid)| loop {
        match desk.send(id, Command::Add(counter, 1)).await {
            Err(error) if error.is_transient() => {}
            outcome => return outcome.unwrap(),
        }
    };
    let pairs =
        requests.iter().map(|request| async { tokio::join!(send(&desk, *request), send(&other, *request)) });
    let answers = join_all(pairs).await;
    assert!(answers.iter().all(|(one, two)| one == two), "a repeat gets the first answer");
    for (counter, share) in counters.into_iter().zip([67, 67, 66]) {
        assert_eq!(desk.value(counter).await, share);
    }
}

#[tokio::test]
async fn a_repeat_that_the_first_ones_effect_would_refuse_gets_the_first_answer() {
    let [counter, id] = ids();
    let mut desk = Desk::open(&[counter]).await;
    let config = cqm_db::DatabaseConfig { lock_timeout: Duration::from_secs(10), ..desk.db.config().clone() };
    desk.db = Db::new(config.clone(), EventsConfig::default(), Clock::system()).unwrap();
    let other = Desk {
        db: Db::new(config, EventsConfig::default(), Clock::system()).unwrap(),
        batch: Adding::default(),
        coalescer: Coalescer::default(),
    };
    desk.add(counter, 5).await.unwrap();

    let (reached, has_reached) = oneshot::channel();
    let (go_on, may_go_on) = oneshot::channel();
    *desk.batch.stop.lock().unwrap() = Some(Stop { reached, go_on: may_go_on });
    let take = async |desk: &Desk| desk.send(id, Command::Add(counter, -5)).await;
    let repeats = async {
        let first = has_reached.await.unwrap();
        let waits = async {
            eventually("a repeat waits for the first one's row", async || other.is_waited_for(first).await)
                .await;
            go_on.send(()).unwrap();
        };
        // Another request is refused all the same, and one that can be carried out is.
        tokio::join!(take(&other), take(&other), other.add(counter, -1), other.add(counter, 2), waits)
    };
    let (first, (repeat, twin, refused, added, ())) = tokio::join!(take(&desk), repeats);
    assert_eq!(first.unwrap(), 0);
    assert_eq!((repeat.unwrap(), twin.unwrap()), (0, 0));
    assert_eq!(refused.unwrap_err().reason(), reason::FIELD_RANGE);
    assert_eq!(added.unwrap(), 2);
    assert_eq!(desk.value(counter).await, 2);
}
