//! Events that cannot be handled: parked, looked at, tried again or left out.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use cqm_db::log::{self, NewEvent};
use cqm_gateway::backend::Backend;
use cqm_proto::customers::v1::{Customer, GetCustomerRequest};
use cqm_proto::events::v1::CustomerUpdated;
use cqm_proto::notifications::v1::{Contact, PutContactRequest};
use cqm_rpc::{Call, Error, Reason, Refusal};
use cqm_testkit::eventually;
use uuid::Uuid;

use crate::PATIENCE;
use crate::coordinator::Scene;
use crate::office::event;

const REFUSED: Reason = Reason::new("cqm.notifications.v1", "CONTACT_STATE");

/// A source of customers' changes, and versions of customers that notifications refuses.
struct Parking {
    scene: Scene,
    poison: Arc<Mutex<BTreeSet<(String, i64)>>>,
}

impl Parking {
    async fn set() -> Self {
        let scene = Scene::at(Backend::CustomerData).await;
        scene.desk.on("GetCustomer", |seen| {
            let message: GetCustomerRequest = seen.read();
            Ok(Customer { name: message.name, etag: message.minimum_etag, ..Default::default() })
        });
        let poison: Arc<Mutex<BTreeSet<(String, i64)>>> = Arc::default();
        let poisoned = Arc::clone(&poison);
        scene.desk.on("PutContact", move |seen| {
            let contact = seen.read::<PutContactRequest>().contact.unwrap();
            let key = (contact.customer.clone(), contact.customer_version);
            if poisoned.lock().unwrap().contains(&key) {
                return Err(Refusal::new(REFUSED).fact("state", "poisoned").into());
            }
            Ok::<Contact, Error>(contact)
        });
        Self { scene, poison }
    }

    fn poison(&self, customer: &str, version: i64) {
        self.poison.lock().unwrap().insert((customer.to_owned(), version));
    }

    fn heal(&self) {
        self.poison.lock().unwrap().clear();
    }

    async fn changes(&self, customers: &[(&str, i64)]) -> Vec<NewEvent> {
        let events: Vec<_> = customers
            .iter()
            .map(|(customer, version)| {
                let payload = CustomerUpdated { customer: (*customer).to_owned(), version: *version };
                event(customer, *version, &payload)
            })
            .collect();
        self.scene.source.all_happened(&events).await
    }

    /// The versions that notifications has been told of, in the order of the calls.
    fn told(&self, customer: &str) -> Vec<i64> {
        let calls = self.scene.desk.seen("PutContact");
        let contacts = calls.iter().map(|seen| seen.read::<PutContactRequest>().contact.unwrap());
        contacts
            .filter(|contact| contact.customer == customer)
            .map(|contact| contact.customer_version)
            .collect()
    }

    async fn retry(&self, aggregate: &str) {
        let call = Call::internal("test", PATIENCE);
        let db = &self.scene.source.db;
        db.tx(&call, "retry", async |tx| log::parked::request_retry(tx, "coordinator", aggregate).await)
            .await
            .unwrap();
    }

    async fn discard(&self, aggregate: &str, event_id: Uuid) {
        let call = Call::internal("test", PATIENCE);
        let db = &self.scene.source.db;
        db.tx(&call, "discard", async |tx| {
            log::parked::discard(tx, "coordinator", aggregate, event_id, "staff-7").await
        })
        .await
        .unwrap();
    }

    async fn nothing_is_parked(&self) {
        eventually("the end of the parking", || async { self.scene.source.parked().await.is_empty() }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_event_parks_its_aggregate_and_the_others_go_on() {
    let parking = Parking::set().await;
    let coordinator = parking.scene.coordinator();
    parking.poison("customers/1", 2);
    parking
        .changes(&[
            ("customers/1", 1),
            ("customers/1", 2),
            ("customers/2", 1),
            ("customers/1", 3),
            ("customers/2", 2),
        ])
        .await;
    parking.scene.through().await;
    let parked = parking.scene.source.parked().await;
    assert_eq!(parked.len(), 1);
    let park = &parked[0].park;
    assert_eq!((park.aggregate.as_str(), park.position, park.attempts), ("customers/1", 2, 5));
    assert_eq!((park.reason.as_str(), park.detail_code.as_str()), ("CONTACT_STATE", "FAILED_PRECONDITION"));
    assert_eq!(parked[0].waiting_events, 2);
    assert_eq!(parking.told("customers/1"), [1, 2, 2, 2, 2, 2]);
    assert_eq!(parking.told("customers/2"), [1, 2]);

    // Later events wait as well, also for a coordinator that was started since.
    coordinator.stop().await;
    let coordinator = parking.scene.coordinator();
    parking.changes(&[("customers/1", 4), ("customers/2", 3)]).await;
    parking.scene.through().await;
    assert_eq!(parking.told("customers/1").len(), 6);
    assert_eq!(parking.told("customers/2"), [1, 2, 3]);

    // Tried again, it goes on where it stopped, in order, and is an aggregate like any other.
    parking.heal();
    parking.retry("customers/1").await;
    parking.nothing_is_parked().await;
    assert_eq!(parking.told("customers/1")[6..], [2, 3, 4]);
    parking.changes(&[("customers/1", 5)]).await;
    parking.scene.through().await;
    assert_eq!(parking.told("customers/1")[6..], [2, 3, 4, 5]);
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_fails_parks_again_and_counts_on() {
    let parking = Parking::set().await;
    let coordinator = parking.scene.coordinator();
    parking.poison("customers/1", 1);
    parking.poison("customers/1", 3);
    parking.changes(&[("customers/1", 1), ("customers/1", 2), ("customers/1", 3)]).await;
    parking.scene.through().await;
    parking.retry("customers/1").await;
    let attempts =
        || async { parking.scene.source.parked().await.first().map(|parked| parked.park.attempts) };
    eventually("the second round", || async { attempts().await == Some(10) }).await;
    assert_eq!(parking.told("customers/1"), [1; 10]);

    // Healed at its first place, it stops at the next.
    parking.poison.lock().unwrap().remove(&("customers/1".to_owned(), 1));
    parking.retry("customers/1").await;
    let position =
        || async { parking.scene.source.parked().await.first().map(|parked| parked.park.position) };
    eventually("the next place", || async { position().await == Some(3) }).await;
    assert_eq!(parking.told("customers/1")[10..], [1, 2, 3, 3, 3, 3, 3]);
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_discarded_event_is_left_out_and_no_other() {
    let parking = Parking::set().await;
    let coordinator = parking.scene.coordinator();
    parking.poison("customers/1", 1);
    let events = parking.changes(&[("customers/1", 1), ("customers/1", 2), ("customers/1", 3)]).await;
    parking.scene.through().await;
    assert_eq!(parking.told("customers/1"), [1; 5]);
    parking.discard("customers/1", events[0].event_id).await;
    parking.nothing_is_parked().await;
    assert_eq!(parking.told("customers/1")[5..], [2, 3]);
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_queue_behind_a_parked_event_is_worked_off_in_order_while_more_comes() {
    let parking = Parking::set().await;
    let reading = cqm_gateway::config::ReadingConfig { batch: 7, ..crate::coordinator::quick() };
    let coordinator = parking.scene.coordinator_with(reading);
    parking.poison("customers/1", 1);
    let first: Vec<_> = (1..=50).map(|version| ("customers/1", version)).collect();
    parking.changes(&first).await;
    parking.scene.through().await;
    parking.heal();
    parking.retry("customers/1").await;
    let more: Vec<_> = (51..=100).map(|version| ("customers/1", version)).collect();
    parking.changes(&more).await;
    parking.nothing_is_parked().await;
    parking.scene.through().await;
    assert_eq!(parking.told("customers/1")[5..], (1..=100).collect::<Vec<_>>());
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_nobody_knows_parks_its_aggregate() {
    let parking = Parking::set().await;
    let known = CustomerUpdated { customer: "customers/1".into(), version: 1 };
    let unknown =
        NewEvent { event_type: "cqm.events.v1.CustomerTeleported".into(), ..event("customers/1", 1, &known) };
    let malformed = NewEvent { payload: b"\xff\xff".to_vec(), ..event("customers/2", 1, &known) };
    parking.scene.source.all_happened(&[unknown, malformed]).await;
    parking.changes(&[("customers/1", 2), ("customers/3", 1)]).await;
    let coordinator = parking.scene.coordinator();
    parking.scene.through().await;
    coordinator.stop().await;
    let reasons: BTreeSet<_> = parking
        .scene
        .source
        .parked()
        .await
        .into_iter()
        .map(|parked| (parked.park.aggregate, parked.park.reason))
        .collect();
    let expected = [("customers/1", "EVENT_TYPE_UNKNOWN"), ("customers/2", "EVENT_MALFORMED")]
        .map(|(a, r)| (a.to_owned(), r.to_owned()));
    assert_eq!(reasons, expected.into());
    assert!(parking.told("customers/1").is_empty());
    assert_eq!(parking.told("customers/3"), [1]);
}

/// The cursor stands before it, for another aggregate of its batch waits for a service that is away.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_decided_before_the_batch_is_acknowledged_stands() {
    let parking = Parking::set().await;
    let desk = &parking.scene.desk;
    desk.stuck("EarnPoints", true);
    let drain = std::time::Duration::from_millis(100);
    let coordinator = parking
        .scene
        .coordinator_with(cqm_gateway::config::ReadingConfig { drain, ..crate::coordinator::quick() });
    parking.poison("customers/1", 1);
    let events = parking.changes(&[("customers/1", 1), ("customers/1", 2)]).await;
    let bought = "customers/2/purchases/1";
    parking.scene.source.happened(bought, 1, &crate::coordinator::purchase("customers/2", bought)).await;
    eventually("the parking", || async { parking.scene.source.parked().await.len() == 1 }).await;
    parking.discard("customers/1", events[0].event_id).await;
    coordinator.stop().await;
    assert_eq!(parking.scene.source.cursor().await.position, 0, "nothing was acknowledged");

    desk.stuck("EarnPoints", false);
    let _ledger = parking.scene.points_ledger();
    let told = parking.told("customers/1").len();
    let coordinator = parking.scene.coordinator();
    parking.scene.through().await;
    parking.nothing_is_parked().await;
    assert_eq!(parking.told("customers/1")[told..], [2]);
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_decided_during_a_retry_stands_when_the_retry_fails() {
    let parking = Parking::set().await;
    let coordinator = parking.scene.coordinator();
    parking.poison("customers/1", 1);
    let events = parking.changes(&[("customers/1", 1), ("customers/1", 2)]).await;
    parking.scene.through().await;
    let told = parking.told("customers/1").len();
    parking.scene.desk.stuck("PutContact", true);
    parking.retry("customers/1").await;
    eventually("the retry", || async { parking.told("customers/1").len() > told }).await;
    parking.discard("customers/1", events[0].event_id).await;
    parking.scene.desk.stuck("PutContact", false);
    parking.nothing_is_parked().await;
    assert_eq!(parking.told("customers/1").last(), Some(&2));
    coordinator.stop().await;
}
