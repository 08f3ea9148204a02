//! The inbox.

use cqm_proto::notifications::v1 as proto;
use cqm_rpc::time::wire;
use cqm_rpc::{Error, Etag, PageRequest, ResourceName, Violations};
use uuid::Uuid;

use crate::domain::inbox::InboxItem;
use crate::{CUSTOMERS, INBOX_ITEMS, MESSAGES};

pub(crate) fn list(
    message: &proto::ListInboxItemsRequest,
) -> Result<(PageRequest<Uuid>, ResourceName), Error> {
    let mut violations = Violations::default();
    let customer = ResourceName::parse(CUSTOMERS, "customer", &message.customer, &mut violations);
    let unread = if message.unread_only { "unread" } else { "" };
    let query = ["inbox_items", &message.customer, unread];
    let page = PageRequest::parse(message.page_size, &message.page_token, &query, &mut violations);
    violations.finish()?;
    Ok((page, customer.expect("no violation means that there is a customer")))
}

pub(crate) fn mark_read(
    message: &proto::MarkInboxItemReadRequest,
) -> Result<(ResourceName, Option<Etag>), Error> {
    let mut violations = Violations::default();
    let name = ResourceName::parse(INBOX_ITEMS, "name", &message.name, &mut violations);
    let etag = Etag::parse("etag", &message.etag, &mut violations);
    violations.optional_request_id(&message.request_id);
    violations.finish()?;
    Ok((name.expect("no violation means that there is a name"), etag))
}

pub(crate) fn answer(it: &InboxItem) -> proto::InboxItem {
    proto::InboxItem {
        name: ResourceName::new(INBOX_ITEMS, it.id).to_string(),
        customer: ResourceName::new(CUSTOMERS, it.customer_id).to_string(),
        message: ResourceName::new(MESSAGES, it.id).to_string(),
        subject: it.subject.expose().clone(),
        body: it.body.expose().clone(),
        locale: it.locale.clone(),
        about: it.about.clone(),
        read_time: it.read_time.map(wire),
        create_time: Some(wire(it.create_time)),
        update_time: Some(wire(it.update_time)),
        etag: Etag::of(it.version).to_string(),
    }
}
