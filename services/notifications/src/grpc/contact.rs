//! The handlers of `ContactService`.

use cqm_db::subjects::{self, Closed};
use cqm_db::{Conn, log};
use cqm_proto::notifications::v1 as proto;
use cqm_rpc::{Call, Error};
use uuid::Uuid;

use super::convert::{contact as convert, event};
use crate::App;
use crate::domain::contact::Contact;
use crate::error::CONTACT_NOT_FOUND;
use crate::store::contacts::Lock;
use crate::store::{contacts, inbox, messages, steps};

pub(super) async fn put(
    app: &App,
    call: Call,
    message: proto::PutContactRequest,
) -> Result<proto::Contact, Error> {
    let put = convert::put(&message)?;
    let stored = app
        .db
        .tx(&call, "put_contact", async |tx| {
            if !put.deleted {
                // What comes late about somebody who was erased brings nothing back.
                subjects::check_not_erased(tx, put.customer_id).await?;
            }
            // Lock before reading the clock: times go the way that versions go.
            let before = contacts::lock(tx, put.customer_id, Lock::Change, app.clock.now()).await?;
            let now = app.clock.now();
            if let Some(before) = before
                && !put.replaces(Some(&before))
            {
                return Ok::<_, Error>(before);
            }
            let mut contact = put.clone();
            contact.update_time = now;
            store(tx, &call, &contact).await?;
            Ok(contact)
        })
        .await?;
    app.config.wake.notify_one();
    Ok(convert::answer(&stored))
}

/// Writes a contact whose row is locked, and what follows for the customer's open messages and inbox; returns how many
/// messages were in the inbox of one who is gone.
async fn store(tx: &mut Conn, call: &Call, contact: &Contact) -> Result<usize, Error> {
    let now = contact.update_time;
    contacts::update(tx, contact).await?;
    let mut open = messages::lock_open(tx, contact.customer_id).await?;
    let mut taken = Vec::new();
    open.retain_mut(|message| {
        let moved = if contact.deleted { message.contact_deleted(now) } else { message.contact_found(now) };
        let changed = !moved.is_empty();
        taken.extend(moved.into_iter().map(|step| (message.id, step)));
        changed
    });
    messages::save(tx, &open).await?;
    steps::append(tx, &taken).await?;
    let gone = if contact.deleted { inbox::erase(tx, contact.customer_id).await? } else { 0 };
    let events: Vec<_> = open.iter().filter_map(event::of_message).collect();
    log::append(tx, &call.trace, &events).await?;
    Ok(gone)
}

/// Forgets how a customer is reached, gives up what was on its way to them, and empties their inbox. What became of their
/// messages stays.
pub(crate) async fn forget(
    app: &App,
    tx: &mut Conn,
    call: &Call,
    customer_id: Uuid,
) -> Result<Vec<(&'static str, i64)>, Error> {
    let before = contacts::lock(tx, customer_id, Lock::Change, app.clock.now()).await?;
    let reached = before.as_ref().is_some_and(|before| !before.deleted);
    let gone = Contact::gone(customer_id, before.as_ref(), app.clock.now());
    let items = store(tx, call, &gone).await?;
    Ok(vec![("contacts", i64::from(reached)), ("inbox_items", items as i64)])
}

/// Makes a customer's messages and inbox the survivor's, and forgets how they were reached under the name that goes: what
/// is still to be delivered goes where the survivor is reached.
pub(crate) async fn merge(
    app: &App,
    tx: &mut Conn,
    call: &Call,
    customer_id: Uuid,
    survivor_id: Uuid,
) -> Result<Vec<(&'static str, i64)>, Error> {
    let before = contacts::lock(tx, customer_id, Lock::Change, app.clock.now()).await?;
    // Whoever brings it meanwhile waits here, and finds the messages that came to the survivor.
    let contact = contacts::lock(tx, survivor_id, Lock::Read, app.clock.now()).await?;
    let mut open = messages::lock_open(tx, customer_id).await?;
    let now = app.clock.now();
    let mut taken = Vec::new();
    for message in &mut open {
        let given = message.give(survivor_id, contact.as_ref(), now);
        taken.extend(given.into_iter().map(|step| (message.id, step)));
    }
    messages::save(tx, &open).await?;
    steps::append(tx, &taken).await?;
    // The others are finished. What the delivery has put into the inbox is there: it had the locks of its messages.
    let finished = messages::give_all(tx, customer_id, survivor_id, now).await?;
    let items = inbox::give_all(tx, customer_id, survivor_id, now).await?;
    contacts::update(tx, &Contact::gone(customer_id, before.as_ref(), now)).await?;
    let events: Vec<_> = open.iter().filter_map(event::of_message).collect();
    log::append(tx, &call.trace, &events).await?;
    let reached = before.is_some_and(|before| !before.deleted);
    Ok(vec![
        ("contacts", i64::from(reached)),
        ("messages", (open.len() + finished) as i64),
        ("inbox_items", items as i64),
    ])
}

pub(super) async fn get(
    app: &App,
    call: Call,
    message: proto::GetContactRequest,
) -> Result<proto::Contact, Error> {
    let name = convert::name(&message.name)?;
    app.db
        .read(&call, "get_contact", async |conn| {
            // Absent and erased are one answer; who is merged is known by another name.
            let found = contacts::find(conn, name.id()).await?.filter(|contact| !contact.deleted);
            if found.is_none()
                && let Some(subject) = subjects::find(conn, name.id()).await?
                && let Some(merged @ Closed::Merged { .. }) = subject.closed()
            {
                return Err(merged.refuse(name.id()));
            }
            Ok(convert::answer(&found.ok_or_else(|| Error::not_found(CONTACT_NOT_FOUND, name))?))
        })
        .await
}
