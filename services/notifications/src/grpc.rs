//! The services as tonic sees them: one line per RPC.

mod contact;
pub(crate) mod convert;
mod inbox;
mod message;
mod template;

use cqm_proto::notifications::v1 as proto;
use cqm_proto::notifications::v1::contact_service_server::ContactService;
use cqm_proto::notifications::v1::inbox_service_server::InboxService;
use cqm_proto::notifications::v1::message_service_server::MessageService;
use cqm_proto::notifications::v1::template_service_server::TemplateService;
use cqm_rpc::serve;
use tonic::{Request, Response, Status, async_trait};

pub(crate) use contact::{forget, merge};

use crate::App;

type Answer<T> = Result<Response<T>, Status>;

#[async_trait]
impl TemplateService for App {
    async fn create_template(
        &self,
        request: Request<proto::CreateTemplateRequest>,
    ) -> Answer<proto::Template> {
        serve(request, async |call, message| template::create(self, call, message).await).await
    }

    async fn get_template(&self, request: Request<proto::GetTemplateRequest>) -> Answer<proto::Template> {
        serve(request, async |call, message| template::get(self, call, message).await).await
    }

    async fn list_templates(
        &self,
        request: Request<proto::ListTemplatesRequest>,
    ) -> Answer<proto::ListTemplatesResponse> {
        serve(request, async |call, message| template::list(self, call, message).await).await
    }

    async fn update_template(
        &self,
        request: Request<proto::UpdateTemplateRequest>,
    ) -> Answer<proto::Template> {
        serve(request, async |call, message| template::update(self, call, message).await).await
    }
}

#[async_trait]
impl ContactService for App {
    async fn put_contact(&self, request: Request<proto::PutContactRequest>) -> Answer<proto::Contact> {
        serve(request, async |call, message| contact::put(self, call, message).await).await
    }

    async fn get_contact(&self, request: Request<proto::GetContactRequest>) -> Answer<proto::Contact> {
        serve(request, async |call, message| contact::get(self, call, message).await).await
    }
}

#[async_trait]
impl MessageService for App {
    async fn send_message(
        &self,
        request: Request<proto::SendMessageRequest>,
    ) -> Answer<proto::SendMessageResponse> {
        serve(request, async |call, message| message::send(self, call, message).await).await
    }

    async fn get_message(&self, request: Request<proto::GetMessageRequest>) -> Answer<proto::Message> {
        serve(request, async |call, message| message::get(self, call, message).await).await
    }

    async fn list_messages(
        &self,
        request: Request<proto::ListMessagesRequest>,
    ) -> Answer<proto::ListMessagesResponse> {
        serve(request, async |call, message| message::list(self, call, message).await).await
    }

    async fn explain_delivery(
        &self,
        request: Request<proto::ExplainDeliveryRequest>,
    ) -> Answer<proto::ExplainDeliveryResponse> {
        serve(request, async |call, message| message::explain(self, call, message).await).await
    }
}

#[async_trait]
impl InboxService for App {
    async fn list_inbox_items(
        &self,
        request: Request<proto::ListInboxItemsRequest>,
    ) -> Answer<proto::ListInboxItemsResponse> {
        serve(request, async |call, message| inbox::list(self, call, message).await).await
    }

    async fn mark_inbox_item_read(
        &self,
        request: Request<proto::MarkInboxItemReadRequest>,
    ) -> Answer<proto::InboxItem> {
        serve(request, async |call, message| inbox::mark_read(self, call, message).await).await
    }
}
