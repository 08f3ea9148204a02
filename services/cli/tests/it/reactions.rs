//! What the coordinator could not do, from the command line.

use chrono::DateTime;
use cqm_db::log::{self, NewEvent, Park};
use cqm_proto::events::v1::CustomerUpdated;
use cqm_rpc::{Call, TraceContext};
use std::time::Duration;

use crate::counter::{Counter, complained, said};

const AGGREGATE: &str = "customers/0190a5d2-0000-7000-8000-000000000001";

/// A customer's change that could not be told, and one behind it.
async fn parked(counter: &Counter) -> String {
    let call = Call::internal("test", Duration::from_secs(30));
    let events: Vec<NewEvent> = [1, 2]
        .map(|version| {
            let payload = CustomerUpdated { customer: AGGREGATE.to_owned(), version };
            NewEvent::new(AGGREGATE, version, DateTime::UNIX_EPOCH, &payload)
        })
        .to_vec();
    let (db, trace) = (&counter.kit.db, TraceContext::fresh(false));
    db.tx(&call, "append", async |tx| log::append(tx, &trace, &events).await).await.unwrap();
    let mut there = 0;
    while there < events.len() as i64 {
        log::Sequencer::turn(db, &call).await.unwrap();
        there = db.read(&call, "head", async |conn| log::feed::head(conn).await).await.unwrap().1;
    }
    let park = Park {
        consumer: "coordinator".to_owned(),
        aggregate: AGGREGATE.to_owned(),
        event_id: events[0].event_id,
        position: 1,
        event_type: events[0].event_type.clone(),
        reason: "CONTACT_STATE".to_owned(),
        detail_code: "FAILED_PRECONDITION".to_owned(),
        attempts: 5,
    };
    db.tx(&call, "park", async |tx| log::parked::park(tx, &park).await).await.unwrap();
    events[0].event_id.to_string()
}

#[tokio::test]
async fn a_parked_aggregate_is_listed_shown_tried_again_and_left_out() {
    let mut counter = Counter::open().await;
    let event = parked(&counter).await;
    counter.kit.events.next().await;

    let sources = counter.run(&["reactions", "sources"]).await;
    assert!(said(&sources).contains("customer-data\t0 of 2, 2 behind, read by nobody"), "{}", said(&sources));
    assert!(said(&sources).contains("loyalty\tdoes not answer: UNREACHABLE"), "{}", said(&sources));

    let listed = counter.run(&["reactions", "list", "--source", "customer-data"]).await;
    let expected =
        format!("customer-data\t{AGGREGATE}\tCustomerUpdated\tCONTACT_STATE after 5 tries\t2 waiting");
    assert!(said(&listed).starts_with(&expected), "{}", said(&listed));

    let shown = counter.run(&["reactions", "show", "customer-data", AGGREGATE]).await;
    let page = said(&shown);
    for part in [
        "reason     CONTACT_STATE FAILED_PRECONDITION",
        "reactions  customer-updated-contact",
        &format!("event {event}"),
        "payload    customer:\"customers/0190a5d2-0000-7000-8000-000000000001\",version:1",
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }

    let retried = counter.run(&["reactions", "retry", "customer-data", AGGREGATE]).await;
    assert_eq!(said(&retried), format!("{AGGREGATE} is RETRY_REQUESTED"));
    let discarded =
        counter.run(&["reactions", "discard", "customer-data", AGGREGATE, "--event", &event]).await;
    assert_eq!(said(&discarded), format!("{AGGREGATE} is DISCARD_REQUESTED"));

    let nobody = counter.run(&["reactions", "show", "customer-data", "customers/1"]).await;
    assert_eq!(nobody.status.code(), Some(1));
    assert!(
        complained(&nobody).contains("is not there") || complained(&nobody).contains("not found"),
        "{}",
        complained(&nobody)
    );
}
