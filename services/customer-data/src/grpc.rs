//! The contract's services, one line per RPC.

mod bulk;
mod convert;
mod customer;
mod import;
mod interaction;
mod purchase;

use std::pin::Pin;

use cqm_proto::customers::v1::customer_service_server::{CustomerService, CustomerServiceServer};
use cqm_proto::customers::v1::interaction_service_server::{InteractionService, InteractionServiceServer};
use cqm_proto::customers::v1::purchase_service_server::{PurchaseService, PurchaseServiceServer};
use cqm_proto::customers::v1::{
    CreateCustomerRequest, Customer, DeleteCustomerRequest, GetCustomerRequest, ImportCustomersRequest,
    ImportCustomersResponse, Interaction, ListCustomersRequest, ListCustomersResponse,
    ListInteractionsRequest, ListInteractionsResponse, ListPurchasesRequest, ListPurchasesResponse,
    RecordInteractionRequest, RecordPurchasesRequest, RecordPurchasesResponse, UpdateCustomerRequest,
};
use cqm_rpc::{serve, serve_stream};
use cqm_runtime::server::{BULK_LIMIT, UNARY_LIMIT};
use futures::Stream;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use crate::App;

/// The answers of a stream.
type Answers<A> = Pin<Box<dyn Stream<Item = Result<A, Status>> + Send>>;

/// Everything that this service answers.
pub fn routes(app: &App) -> Routes {
    // One limit per service: an import's row is a customer, which is small, but there the larger one stands.
    Routes::default()
        .add_service(CustomerServiceServer::new(app.clone()).max_decoding_message_size(UNARY_LIMIT))
        .add_service(PurchaseServiceServer::new(app.clone()).max_decoding_message_size(BULK_LIMIT))
        .add_service(InteractionServiceServer::new(app.clone()).max_decoding_message_size(UNARY_LIMIT))
}

#[tonic::async_trait]
impl CustomerService for App {
    type ImportCustomersStream = Answers<ImportCustomersResponse>;

    async fn create_customer(
        &self,
        request: Request<CreateCustomerRequest>,
    ) -> Result<Response<Customer>, Status> {
        serve(request, async |call, message| customer::create(self, &call, message).await).await
    }

    async fn get_customer(&self, request: Request<GetCustomerRequest>) -> Result<Response<Customer>, Status> {
        serve(request, async |call, message| customer::get(self, &call, message).await).await
    }

    async fn update_customer(
        &self,
        request: Request<UpdateCustomerRequest>,
    ) -> Result<Response<Customer>, Status> {
        serve(request, async |call, message| customer::update(self, &call, message).await).await
    }

    async fn list_customers(
        &self,
        request: Request<ListCustomersRequest>,
    ) -> Result<Response<ListCustomersResponse>, Status> {
        serve(request, async |call, message| customer::list(self, &call, message).await).await
    }

    async fn delete_customer(
        &self,
        request: Request<DeleteCustomerRequest>,
    ) -> Result<Response<Customer>, Status> {
        serve(request, async |call, message| customer::delete(self, &call, message).await).await
    }

    async fn import_customers(
        &self,
        request: Request<Streaming<ImportCustomersRequest>>,
    ) -> Result<Response<Self::ImportCustomersStream>, Status> {
        serve_stream(request, async |call, rows| Ok(bulk::answer(self, call, rows, import::import_customers)))
            .await
    }
}

#[tonic::async_trait]
impl PurchaseService for App {
    type RecordPurchasesStream = Answers<RecordPurchasesResponse>;

    async fn record_purchases(
        &self,
        request: Request<Streaming<RecordPurchasesRequest>>,
    ) -> Result<Response<Self::RecordPurchasesStream>, Status> {
        serve_stream(request, async |call, rows| Ok(bulk::answer(self, call, rows, purchase::record))).await
    }

    async fn list_purchases(
        &self,
        request: Request<ListPurchasesRequest>,
    ) -> Result<Response<ListPurchasesResponse>, Status> {
        serve(request, async |call, message| purchase::list(self, &call, message).await).await
    }
}

#[tonic::async_trait]
impl InteractionService for App {
    async fn record_interaction(
        &self,
        request: Request<RecordInteractionRequest>,
    ) -> Result<Response<Interaction>, Status> {
        serve(request, async |call, message| interaction::record(self, &call, message).await).await
    }

    async fn list_interactions(
        &self,
        request: Request<ListInteractionsRequest>,
    ) -> Result<Response<ListInteractionsResponse>, Status> {
        serve(request, async |call, message| interaction::list(self, &call, message).await).await
    }
}
