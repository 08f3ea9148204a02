//! The contract's services, one line per RPC.

mod bulk;
pub(crate) mod convert;
mod customer;
mod erasure;
mod import;
mod interaction;
mod merge;
mod purchase;

use std::pin::Pin;

use cqm_proto::customers::v1::customer_service_server::{CustomerService, CustomerServiceServer};
use cqm_proto::customers::v1::erasure_service_server::{ErasureService, ErasureServiceServer};
use cqm_proto::customers::v1::interaction_service_server::{InteractionService, InteractionServiceServer};
use cqm_proto::customers::v1::merge_service_server::{MergeService, MergeServiceServer};
use cqm_proto::customers::v1::purchase_service_server::{PurchaseService, PurchaseServiceServer};
use cqm_proto::customers::v1::{
    CancelErasureRequest, CreateCustomerRequest, Customer, DeleteCustomerRequest, EraseCustomerRequest,
    Erasure, GetCustomerRequest, GetErasureReportRequest, GetErasureReportResponse, GetErasureRequest,
    GetMergeRequest, GetReportKeysRequest, GetReportKeysResponse, ImportCustomersRequest,
    ImportCustomersResponse, Interaction, LegalHold, LiftLegalHoldRequest, ListCustomersRequest,
    ListCustomersResponse, ListInteractionsRequest, ListInteractionsResponse, ListPurchasesRequest,
    ListPurchasesResponse, Merge, MergeCustomersRequest, PlaceLegalHoldRequest, RecordErasureStepRequest,
    RecordInteractionRequest, RecordMergeStepRequest, RecordPurchasesRequest, RecordPurchasesResponse,
    UpdateCustomerRequest,
};
use cqm_rpc::{serve, serve_stream};
use cqm_runtime::server::{BULK_LIMIT, UNARY_LIMIT};
use futures::Stream;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use crate::App;

pub use customer::forget_cached;

/// The answers of a stream.
type Answers<A> = Pin<Box<dyn Stream<Item = Result<A, Status>> + Send>>;

/// Everything that this service answers.
pub fn routes(app: &App) -> Routes {
    // One limit per service: an import's row is a customer, which is small, but there the larger one stands.
    Routes::default()
        .add_service(CustomerServiceServer::new(app.clone()).max_decoding_message_size(UNARY_LIMIT))
        .add_service(PurchaseServiceServer::new(app.clone()).max_decoding_message_size(BULK_LIMIT))
        .add_service(InteractionServiceServer::new(app.clone()).max_decoding_message_size(UNARY_LIMIT))
        .add_service(ErasureServiceServer::new(app.clone()).max_decoding_message_size(UNARY_LIMIT))
        .add_service(MergeServiceServer::new(app.clone()).max_decoding_message_size(UNARY_LIMIT))
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

#[tonic::async_trait]
impl ErasureService for App {
    async fn erase_customer(
        &self,
        request: Request<EraseCustomerRequest>,
    ) -> Result<Response<Erasure>, Status> {
        serve(request, async |call, message| erasure::erase_customer(self, &call, message).await).await
    }

    async fn cancel_erasure(
        &self,
        request: Request<CancelErasureRequest>,
    ) -> Result<Response<Erasure>, Status> {
        serve(request, async |call, message| erasure::cancel(self, &call, message).await).await
    }

    async fn get_erasure(&self, request: Request<GetErasureRequest>) -> Result<Response<Erasure>, Status> {
        serve(request, async |call, message| erasure::get(self, &call, message).await).await
    }

    async fn get_erasure_report(
        &self,
        request: Request<GetErasureReportRequest>,
    ) -> Result<Response<GetErasureReportResponse>, Status> {
        serve(request, async |call, message| erasure::report(self, &call, message).await).await
    }

    async fn get_report_keys(
        &self,
        request: Request<GetReportKeysRequest>,
    ) -> Result<Response<GetReportKeysResponse>, Status> {
        serve(request, async |_, _| Ok(erasure::keys(self))).await
    }

    async fn record_erasure_step(
        &self,
        request: Request<RecordErasureStepRequest>,
    ) -> Result<Response<Erasure>, Status> {
        serve(request, async |call, message| erasure::record_step(self, &call, message).await).await
    }

    async fn place_legal_hold(
        &self,
        request: Request<PlaceLegalHoldRequest>,
    ) -> Result<Response<LegalHold>, Status> {
        serve(request, async |call, message| erasure::place_hold(self, &call, message).await).await
    }

    async fn lift_legal_hold(
        &self,
        request: Request<LiftLegalHoldRequest>,
    ) -> Result<Response<LegalHold>, Status> {
        serve(request, async |call, message| erasure::lift_hold(self, &call, message).await).await
    }
}

#[tonic::async_trait]
impl MergeService for App {
    async fn merge_customers(
        &self,
        request: Request<MergeCustomersRequest>,
    ) -> Result<Response<Merge>, Status> {
        serve(request, async |call, message| merge::merge_customers(self, &call, message).await).await
    }

    async fn get_merge(&self, request: Request<GetMergeRequest>) -> Result<Response<Merge>, Status> {
        serve(request, async |call, message| merge::get(self, &call, message).await).await
    }

    async fn record_merge_step(
        &self,
        request: Request<RecordMergeStepRequest>,
    ) -> Result<Response<Merge>, Status> {
        serve(request, async |call, message| merge::record_step(self, &call, message).await).await
    }
}
