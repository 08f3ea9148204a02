//! The handlers of `ContactService`.

use cqm_db::log;
use cqm_proto::notifications::v1 as proto;
use cqm_rpc::{Call, Error};

use super::convert::{contact as convert, event};
use crate::App;
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
            contacts::update(tx, &contact).await?;
            let mut open = messages::lock_open(tx, contact.customer_id).await?;
            let mut taken = Vec::new();
            open.retain_mut(|message| {
                let moved =
                    if contact.deleted { message.contact_deleted(now) } else { message.contact_found(now) };
                let changed = !moved.is_empty();
                taken.extend(moved.into_iter().map(|step| (message.id, step)));
                changed
            });
            messages::save(tx, &open).await?;
            steps::append(tx, &taken).await?;
            if contact.deleted {
                inbox::erase(tx, contact.customer_id).await?;
            }
            let events: Vec<_> = open.iter().filter_map(event::of_message).collect();
            log::append(tx, &call.trace, &events).await?;
            Ok(contact)
        })
        .await?;
    app.config.wake.notify_one();
    Ok(convert::answer(&stored))
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
