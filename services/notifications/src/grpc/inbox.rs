//! The handlers of `InboxService`.

use cqm_proto::notifications::v1 as proto;
use cqm_rpc::{Call, Error, Etag};

use super::convert::inbox as convert;
use crate::App;
use crate::error::INBOX_ITEM_NOT_FOUND;
use crate::store::inbox;

pub(super) async fn list(
    app: &App,
    call: Call,
    message: proto::ListInboxItemsRequest,
) -> Result<proto::ListInboxItemsResponse, Error> {
    let (mut page, customer) = convert::list(&message)?;
    let found = app
        .db
        .read(&call, "list_inbox_items", async |conn| {
            inbox::list(conn, customer.id(), message.unread_only, page.after, page.limit()).await
        })
        .await?;
    let answers: Vec<_> = found.iter().map(convert::answer).collect();
    page.shorten(&answers);
    let page = page.page(found, |item| item.id);
    let inbox_items = answers.into_iter().take(page.items.len()).collect();
    Ok(proto::ListInboxItemsResponse { inbox_items, next_page_token: page.next_page_token })
}

pub(super) async fn mark_read(
    app: &App,
    call: Call,
    message: proto::MarkInboxItemReadRequest,
) -> Result<proto::InboxItem, Error> {
    let (name, etag) = convert::mark_read(&message)?;
    app.db
        .mutate(&call, "mark_inbox_item_read", &message, async |tx| {
            let found = inbox::lock(tx, name.id()).await?;
            let mut item = found.ok_or_else(|| Error::not_found(INBOX_ITEM_NOT_FOUND, name))?;
            Etag::check(etag, item.version, &name.to_string())?;
            if item.read(app.clock.now()) {
                inbox::update(tx, &item).await?;
            }
            Ok(convert::answer(&item))
        })
        .await
}
