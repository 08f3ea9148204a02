//! The handlers of `MessageService`.

use cqm_db::subjects;
use cqm_proto::notifications::v1 as proto;
use cqm_rpc::{Call, Error, ResourceName};
use uuid::Uuid;

use super::convert::message as convert;
use crate::App;
use crate::domain::message::{Message, Order};
use crate::error::MESSAGE_NOT_FOUND;
use crate::store::contacts::Lock;
use crate::store::{contacts, messages, steps, templates};

/// What a message is about that an erasure waits for.
const COMPLAINTS: &str = "complaints/";

/// Only accepts: the text is written and sent by the delivery, which is woken.
pub(super) async fn send(
    app: &App,
    call: Call,
    message: proto::SendMessageRequest,
) -> Result<proto::SendMessageResponse, Error> {
    let command = convert::send(&message)?;
    let policy = app.config.policy();
    let answer = app
        .db
        .mutate(&call, "send_message", &message, async |tx| {
            // Who is to be forgotten is told how their complaint ends, and nothing else.
            if command.about.starts_with(COMPLAINTS) {
                subjects::check_not_erased(tx, command.customer_id).await?;
            } else {
                subjects::check_open(tx, command.customer_id).await?;
            }
            let template = templates::get(tx, &command.template).await?;
            convert::check_variables(&template, &command.variables)?;
            let contact = contacts::lock(tx, command.customer_id, Lock::Read, app.clock.now()).await?;
            let now = app.clock.now();
            let order = Order {
                customer_id: command.customer_id,
                template: template.key.clone(),
                template_version: template.version,
                variables: command.variables.clone(),
                about: command.about.clone(),
                trace: call.trace,
            };
            let channels = if command.channels.is_empty() { &template.channels } else { &command.channels };
            let mut accepted = Vec::new();
            let mut taken = Vec::new();
            for channel in channels {
                let (message, first) =
                    Message::accept(Uuid::now_v7(), &order, *channel, contact.is_some(), &policy, now);
                taken.extend(first.into_iter().map(|step| (message.id, step)));
                accepted.push(message);
            }
            messages::save(tx, &accepted).await?;
            steps::append(tx, &taken).await?;
            Ok(proto::SendMessageResponse { messages: accepted.iter().map(convert::answer).collect() })
        })
        .await?;
    app.config.wake.notify_one();
    Ok(answer)
}

pub(super) async fn get(
    app: &App,
    call: Call,
    message: proto::GetMessageRequest,
) -> Result<proto::Message, Error> {
    let name = convert::name(&message.name)?;
    let found = app.db.read(&call, "get_message", async |conn| messages::find(conn, name.id()).await).await?;
    Ok(convert::answer(&existing(found, name)?))
}

pub(super) async fn list(
    app: &App,
    call: Call,
    message: proto::ListMessagesRequest,
) -> Result<proto::ListMessagesResponse, Error> {
    let (page, filter) = convert::list(&message)?;
    let found = app
        .db
        .read(&call, "list_messages", async |conn| {
            messages::list(conn, &filter, page.after, page.limit()).await
        })
        .await?;
    let page = page.page(found, |message| message.id);
    Ok(proto::ListMessagesResponse {
        messages: page.items.iter().map(convert::answer).collect(),
        next_page_token: page.next_page_token,
    })
}

pub(super) async fn explain(
    app: &App,
    call: Call,
    message: proto::ExplainDeliveryRequest,
) -> Result<proto::ExplainDeliveryResponse, Error> {
    let name = convert::name(&message.name)?;
    let (found, way) = app
        .db
        .read(&call, "explain_delivery", async |conn| {
            let found = messages::find(conn, name.id()).await?;
            Ok::<_, Error>((found, steps::list(conn, name.id()).await?))
        })
        .await?;
    Ok(proto::ExplainDeliveryResponse {
        message: Some(convert::answer(&existing(found, name)?)),
        steps: way.iter().map(convert::step).collect(),
    })
}

fn existing(found: Option<Message>, name: ResourceName) -> Result<Message, Error> {
    found.ok_or_else(|| Error::not_found(MESSAGE_NOT_FOUND, name))
}
