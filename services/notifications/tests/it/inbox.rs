//! The inbox.

use cqm_proto::notifications::v1::message::State;
use cqm_proto::notifications::v1::*;
use tonic::Code;

use crate::desk::*;

/// A desk with Jane's inbox, the newest item first.
async fn with_items(count: usize) -> (Desk, Vec<InboxItem>) {
    let mut desk = Desk::open().await;
    desk.put(jane()).await;
    for _ in 0..count {
        let message = desk.send_on(Channel::InApp, JANE).await;
        desk.reaches(&message.name, State::Delivered).await;
        desk.delivered(&message).await;
    }
    let items = desk.items(JANE).await;
    assert_eq!(items.len(), count);
    (desk, items)
}

fn read(item: &InboxItem) -> MarkInboxItemReadRequest {
    MarkInboxItemReadRequest { name: item.name.clone(), ..Default::default() }
}

#[tokio::test]
async fn a_message_in_the_inbox_reads_as_the_template_says() {
    let (desk, items) = with_items(1).await;
    let item = &items[0];
    assert_eq!(item.name.replace("inboxItems/", "messages/"), item.message);
    assert_eq!((item.customer.as_str(), item.about.as_str(), item.locale.as_str()), (JANE, COMPLAINT, "en"));
    assert_eq!(item.subject, "We have received your complaint (C-20260115-0001)");
    assert!(item.body.starts_with("Dear Jane Doe,"), "{}", item.body);
    assert_eq!((item.read_time.as_ref(), item.etag.as_str()), (None, "v1"));
    assert!(desk.sink.mails().is_empty());
    assert!(desk.items(LI).await.is_empty());
}

#[tokio::test]
async fn an_item_is_read_once_and_keeps_the_first_time() {
    let (mut desk, items) = with_items(1).await;
    let first = desk.inbox.mark_inbox_item_read(representative(read(&items[0]))).await.unwrap().into_inner();
    assert!(first.read_time.is_some());
    assert_eq!(first.etag, "v2");
    desk.kit.clock.advance(std::time::Duration::from_secs(5));
    let second = desk.inbox.mark_inbox_item_read(representative(read(&items[0]))).await.unwrap().into_inner();
    assert_eq!(second, first);
    assert_eq!(desk.kit.row("inbox_items", &items[0].name).await["version"], 2);
}

#[tokio::test]
async fn marking_is_repeatable_and_bound_to_what_was_read() {
    let (mut desk, items) = with_items(1).await;
    let call =
        MarkInboxItemReadRequest { request_id: request_id(), etag: "v1".to_owned(), ..read(&items[0]) };
    let first = desk.inbox.mark_inbox_item_read(representative(call.clone())).await.unwrap().into_inner();
    let second = desk.inbox.mark_inbox_item_read(representative(call.clone())).await.unwrap().into_inner();
    assert_eq!(bytes(&first), bytes(&second));
    let stale = MarkInboxItemReadRequest { request_id: String::new(), ..call.clone() };
    refused(desk.inbox.mark_inbox_item_read(representative(stale)).await, Code::Aborted, "ETAG_MISMATCH");
    let reused = MarkInboxItemReadRequest { etag: String::new(), ..call };
    refused(
        desk.inbox.mark_inbox_item_read(representative(reused)).await,
        Code::FailedPrecondition,
        "REQUEST_ID_REUSED",
    );
}

#[tokio::test]
async fn the_inbox_is_paged_and_shows_what_is_unread() {
    let (mut desk, items) = with_items(3).await;
    assert!(items.is_sorted_by(|a, b| a.name > b.name));
    desk.inbox.mark_inbox_item_read(representative(read(&items[1]))).await.unwrap();
    for (unread_only, expected) in [(false, vec![0, 1, 2]), (true, vec![0, 2])] {
        let mut found = Vec::new();
        let mut token = String::new();
        loop {
            let page = ListInboxItemsRequest {
                customer: JANE.to_owned(),
                page_size: 2,
                page_token: token,
                unread_only,
            };
            let page = desk.inbox.list_inbox_items(representative(page)).await.unwrap().into_inner();
            found.extend(page.inbox_items.into_iter().map(|item| item.name));
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        let expected: Vec<_> = expected.into_iter().map(|index: usize| items[index].name.clone()).collect();
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn wrong_calls_are_refused() {
    let (mut desk, _) = with_items(2).await;
    let first = ListInboxItemsRequest { customer: JANE.to_owned(), page_size: 1, ..Default::default() };
    let token =
        desk.inbox.list_inbox_items(representative(first)).await.unwrap().into_inner().next_page_token;
    let list = |customer: &str, page_size, page_token: &str| ListInboxItemsRequest {
        customer: customer.to_owned(),
        page_size,
        page_token: page_token.to_owned(),
        unread_only: false,
    };
    for (list, field, reason) in [
        (list("", 0, ""), "customer", "FIELD_REQUIRED"),
        (list("x", 0, ""), "customer", "FIELD_FORMAT"),
        (list(JANE, -1, ""), "page_size", "FIELD_RANGE"),
        (list(JANE, 0, "forged"), "page_token", "PAGE_TOKEN_INVALID"),
        (list(LI, 0, &token), "page_token", "PAGE_TOKEN_INVALID"),
    ] {
        let found = violations(desk.inbox.list_inbox_items(representative(list)).await);
        assert_eq!(found, [format!("{field} {reason}")]);
    }
    let unknown = MarkInboxItemReadRequest { name: format!("inboxItems/{NOBODY}"), ..Default::default() };
    refused(
        desk.inbox.mark_inbox_item_read(representative(unknown)).await,
        Code::NotFound,
        "INBOX_ITEM_NOT_FOUND",
    );
    let wrong =
        MarkInboxItemReadRequest { name: "x".to_owned(), etag: "x".to_owned(), request_id: String::new() };
    let found = violations(desk.inbox.mark_inbox_item_read(representative(wrong)).await);
    assert_eq!(found, ["name FIELD_FORMAT", "etag FIELD_FORMAT"]);
    let malformed = MarkInboxItemReadRequest {
        name: format!("inboxItems/{NOBODY}"),
        request_id: "x".into(),
        ..Default::default()
    };
    let found = violations(desk.inbox.mark_inbox_item_read(representative(malformed)).await);
    assert_eq!(found, ["request_id REQUEST_ID_FORMAT"]);
}
