//! Sixty-four writers on three accounts, everything at once, while somebody else looks.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::join_all;
use rand::Rng;
use rand::rngs::StdRng;
use rand::{SeedableRng, seq::IndexedRandom};

use super::*;
use crate::audit::audit;
use crate::holds::{committing, holding};
use crate::reversals::reversing;

const WRITERS: u64 = 64;
const STEPS: usize = 12;

/// What one writer knows of what it did: names to go on with.
#[derive(Default)]
struct Writer {
    holds: Vec<String>,
    transactions: Vec<String>,
}

impl Writer {
    /// One call, whatever it is; a refusal by a rule is as good as an answer. Returns whether it was acknowledged.
    async fn step(&mut self, loyalty: &Loyalty, customer: Uuid, random: &mut StdRng) -> bool {
        let points = random.random_range(1..40);
        match random.random_range(0..10) {
            0..4 => {
                let message = earning(customer, compensation(points));
                let done = keep_on(|| loyalty.earn(message.clone())).await;
                self.transactions
                    .extend(done.iter().flat_map(|done| &done.entry).map(|e| e.transaction.clone()));
                done.is_some()
            }
            4..6 => {
                let message = spending(customer, points);
                let done = keep_on(|| loyalty.redeem(message.clone())).await;
                let first = done.iter().filter_map(|done| done.entries.first());
                self.transactions.extend(first.map(|entry| entry.transaction.clone()));
                done.is_some()
            }
            6 => {
                let message = holding(customer, points);
                let done = keep_on(|| loyalty.hold(message.clone())).await;
                self.holds.extend(done.iter().flat_map(|done| &done.hold).map(|hold| hold.name.clone()));
                done.is_some()
            }
            7 | 8 => {
                let Some(hold) = self.holds.choose(random).cloned() else { return false };
                let message = committing(&hold, random.random_range(0..10), random.random_bool(0.3));
                keep_on(|| loyalty.commit(message.clone())).await.is_some()
            }
            _ => {
                let Some(transaction) = self.transactions.choose(random).cloned() else { return false };
                let message = reversing(&transaction, None);
                keep_on(|| loyalty.reverse(message.clone())).await.is_some()
            }
        }
    }
}

/// Repeats the same request until it is answered or refused by a rule.
async fn keep_on<A>(call: impl AsyncFn() -> Result<A, Status>) -> Option<A> {
    let give_up = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        match call().await {
            Ok(answer) => return Some(answer),
            Err(status) => {
                let failure = Failure::of(&status);
                if !failure.is_transient() {
                    assert_eq!(failure.domain, "cqm.loyalty.v1", "{failure}");
                    return None;
                }
                assert!(std::time::Instant::now() < give_up, "{failure}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_sixty_four_writers_do_to_three_accounts_the_ledger_is_in_order_at_every_moment() {
    let mut loyalty = Loyalty::start().await;
    let customers: [Uuid; 3] = std::array::from_fn(|_| Uuid::now_v7());
    for customer in customers {
        loyalty.given(customer, 500).await;
    }
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let (done, loyal) = (AtomicBool::new(false), &loyalty);
    let write = async {
        let writers = (0..WRITERS).map(|writer| async move {
            let mut random = StdRng::seed_from_u64(seed ^ writer);
            let (mut mine, mut acknowledged) = (Writer::default(), 0);
            for _ in 0..STEPS {
                let customer = customers[random.random_range(0..customers.len())];
                acknowledged += usize::from(mine.step(loyal, customer, &mut random).await);
            }
            acknowledged
        });
        let acknowledged: usize = join_all(writers).await.into_iter().sum();
        done.store(true, Ordering::Release);
        acknowledged
    };
    // Past the service, over connections of its own.
    let db = loyalty.kit.db.clone();
    let watch = async {
        let mut looks = 0;
        while !done.load(Ordering::Acquire) {
            audit(&db).await.unwrap_or_else(|wrong| panic!("{wrong}, in the middle of it"));
            looks += 1;
        }
        looks
    };
    let (acknowledged, looks) = tokio::join!(write, watch);
    assert!(looks > 0 && acknowledged > 100, "{looks} looks at {acknowledged} changes");
    let ledger = audit(&loyalty.kit.db).await.unwrap();
    // Each change that was acknowledged is remembered once, and tells the others about itself.
    assert_eq!(loyalty.kit.count("idempotency WHERE answer IS NOT NULL").await as usize, acknowledged + 3);
    let events = loyalty.kit.events.next().await;
    for customer in customers {
        let versions: Vec<i64> = events
            .iter()
            .filter(|event| event.aggregate == member_name(customer))
            .map(|event| event.aggregate_version)
            .collect();
        // The first two are of the points that the test began with.
        assert_eq!(versions, (3..=ledger[&customer].version).collect::<Vec<_>>());
    }
}
