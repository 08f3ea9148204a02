//! The events that a test caused: each one is looked at, or the test fails.

use std::time::{Duration, Instant};

use cqm_db::Db;
use cqm_db::log::{self, LoggedEvent, Sequencer};
use cqm_rpc::Call;
use prost::{Message, Name};

/// Reads a service's log in order. Dropping it while the log holds events that were not read fails the test.
#[derive(Debug)]
pub struct Events {
    db: Db,
    position: i64,
    hash: Vec<u8>,
}

impl Events {
    pub fn of(db: &Db) -> Self {
        let db = db.sibling(1).expect("a pool for the test's own look at the log");
        Self { db, position: 0, hash: Vec::new() }
    }

    /// Everything that has happened since the last look, sequenced and in order.
    pub async fn next(&mut self) -> Vec<LoggedEvent> {
        let call = Call::internal("testkit", Duration::from_secs(30));
        let give_up = Instant::now() + Duration::from_secs(10);
        while self.pending(&call).await > 0 {
            assert!(Instant::now() < give_up, "events stay pending");
            Sequencer::turn(&self.db, &call).await.expect("the sequencer turns");
        }
        let (after, hash) = (self.position, self.hash.clone());
        let batch = self
            .db
            .read(&call, "testkit_events", async |conn| log::feed::read(conn, after, &hash, 100_000).await)
            .await
            .expect("the log reads");
        if let Some(last) = batch.events.last() {
            self.position = last.position;
            self.hash.clone_from(&last.hash);
        }
        batch.events
    }

    /// The types of everything since the last look, without their package: `ComplaintRegistered`.
    pub async fn next_types(&mut self) -> Vec<String> {
        let events = self.next().await;
        events
            .iter()
            .map(|event| event.event_type.rsplit('.').next().unwrap_or_default().to_owned())
            .collect()
    }

    /// The one event since the last look, as its payload; fails when there is another number of them or type.
    pub async fn only<P: Message + Name + Default>(&mut self) -> (LoggedEvent, P) {
        let mut events = self.next().await;
        assert_eq!(
            events.len(),
            1,
            "one event: {:?}",
            events.iter().map(|e| &e.event_type).collect::<Vec<_>>()
        );
        let event = events.remove(0);
        assert_eq!(event.event_type, P::full_name());
        let payload = P::decode(event.payload.as_slice()).expect("the payload decodes as its type");
        (event, payload)
    }

    async fn pending(&self, call: &Call) -> usize {
        self.db
            .read(call, "testkit_pending", async |conn| log::feed::pending(conn).await)
            .await
            .expect("the pending events count") as usize
    }

    async fn unread(&self) -> Result<i64, cqm_rpc::Error> {
        let call = Call::internal("testkit", Duration::from_secs(30));
        let pending = self.pending(&call).await as i64;
        let (_, head) = self.db.read(&call, "testkit_head", async |conn| log::feed::head(conn).await).await?;
        Ok(head - self.position + pending)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // A destructor cannot wait: the check runs on a thread and a runtime of its own, with its own pool.
        let unread = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                    let runtime = runtime.expect("a runtime for the last look");
                    runtime.block_on(async {
                        let fresh = Self {
                            db: self.db.sibling(1).expect("a pool for the last look"),
                            position: self.position,
                            hash: Vec::new(),
                        };
                        let unread = fresh.unread().await;
                        // Its own destructor must not look again.
                        std::mem::forget(fresh);
                        unread
                    })
                })
                .join()
        });
        match unread {
            Ok(Ok(0)) => {}
            Ok(Ok(count)) => panic!("the test ends with {count} events that it did not look at"),
            Ok(Err(error)) => panic!("the last look at the events failed: {error}"),
            Err(_) => panic!("the last look at the events panicked"),
        }
    }
}
