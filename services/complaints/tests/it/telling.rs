//! What the others are told.

use cqm_proto::complaints::v1::*;
use cqm_proto::events::v1 as events;

use crate::desk::*;

#[tokio::test]
async fn events_and_facts_carry_no_words_of_the_customer_or_about_them() {
    const PLANTED: &str = "Zhang-Wei-13800138000";
    let mut desk = Desk::open().await;
    let told = Complaint {
        subject: PLANTED.to_owned(),
        description: PLANTED.to_owned(),
        remedy_note: PLANTED.to_owned(),
        ..matter()
    };
    let name =
        desk.client.register_complaint(representative(registration(told))).await.unwrap().into_inner().name;
    desk.client.acknowledge_complaint(representative(acknowledge(&name))).await.unwrap();
    desk.client.start_investigation(representative(start(&name))).await.unwrap();
    let found = RecordRootCauseRequest {
        root_cause: Some(RootCause { category: Category::Other.into(), explanation: PLANTED.to_owned() }),
        ..record_cause(&name)
    };
    desk.client.record_root_cause(representative(found)).await.unwrap();
    let settled = ResolveComplaintRequest { summary: PLANTED.to_owned(), ..resolve(&name, 1) };
    desk.client.resolve_complaint(representative(settled)).await.unwrap();
    let again = ReopenComplaintRequest { note: PLANTED.to_owned(), ..reopen(&name) };
    desk.client.reopen_complaint(representative(again)).await.unwrap();

    let events = desk.kit.events.next().await;
    assert_eq!(events.len(), 6);
    for event in events {
        let bytes = [event.payload.as_slice(), event.aggregate.as_bytes(), event.trace.as_bytes()].concat();
        assert!(
            !bytes.windows(PLANTED.len()).any(|window| window == PLANTED.as_bytes()),
            "{}",
            event.event_type
        );
    }
    let timeline = desk.timeline(&name).await;
    assert!(timeline.iter().all(|entry| entry.facts.values().all(|value| !value.contains(PLANTED))));
    assert_eq!(timeline.iter().filter(|entry| entry.note == PLANTED).count(), 3);
}

#[tokio::test]
async fn an_event_stands_in_the_trace_of_the_call_that_caused_it() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    let mut desk = Desk::open().await;
    let mut call = representative(registration(matter()));
    let parent = format!("00-{TRACE}-b7ad6b7169203331-00");
    call.metadata_mut().insert("traceparent", parent.parse().unwrap());
    desk.client.register_complaint(call).await.unwrap();
    let (event, _) = desk.kit.events.only::<events::ComplaintRegistered>().await;
    assert!(event.trace.contains(TRACE), "{}", event.trace);
}
