//! The handlers of `ContactService`.

use cqm_db::{Conn, log, subjects};
use cqm_proto::notifications::v1 as proto;
use cqm_rpc::{Call, Error, Personal};
use uuid::Uuid;

use super::convert::{contact as convert, event};
use crate::App;
use crate::domain::contact::Contact;
use crate::domain::template::DEFAULT_LOCALE;
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
    let gone = Contact {
        customer_id,
        customer_version: before.map_or(1, |before| before.customer_version),
        deleted: true,
        display_name: Personal::default(),
        email: None,
        phone: None,
        locale: DEFAULT_LOCALE.to_owned(),
        update_time: app.clock.now(),
    };
    let items = store(tx, call, &gone).await?;
    Ok(vec![("contacts", i64::from(reached)), ("inbox_items", items as i64)])
}

pub(super) async fn get(
    app: &App,
    call: Call,
    message: proto::GetContactRequest,
) -> Result<proto::Contact, Error> {
    let name = convert::name(&message.name)?;
    let found = app.db.read(&call, "get_contact", async |conn| contacts::find(conn, name.id()).await).await?;
    // Absent and erased are one answer.
    let alive = found.filter(|contact| !contact.deleted);
    Ok(convert::answer(&alive.ok_or_else(|| Error::not_found(CONTACT_NOT_FOUND, name))?))
}
