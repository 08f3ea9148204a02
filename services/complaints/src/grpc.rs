//! The service as tonic sees it: one line per RPC.

mod complaint;
pub(crate) mod convert;
mod policy;

use cqm_proto::complaints::v1::complaint_service_server::ComplaintService;
use cqm_proto::complaints::v1::sla_policy_service_server::SlaPolicyService;
use cqm_proto::complaints::v1::{
    AcknowledgeComplaintRequest, AssignComplaintRequest, CloseComplaintRequest, Complaint,
    GetComplaintRequest, GetSlaPolicyRequest, ListComplaintsRequest, ListComplaintsResponse,
    ListCustomerTimelineRequest, ListCustomerTimelineResponse, ListSlaPoliciesRequest,
    ListSlaPoliciesResponse, ListTimelineRequest, ListTimelineResponse, PublishSlaPolicyRequest,
    RecordRootCauseRequest, RegisterComplaintRequest, ReopenComplaintRequest, ResolveComplaintRequest,
    SlaPolicy, StartInvestigationRequest,
};
use cqm_rpc::serve;
use tonic::{Request, Response, Status, async_trait};

use crate::App;

type Answer<T> = Result<Response<T>, Status>;

#[async_trait]
impl ComplaintService for App {
    async fn register_complaint(&self, request: Request<RegisterComplaintRequest>) -> Answer<Complaint> {
        serve(request, async |call, message| complaint::register(self, call, message).await).await
    }

    async fn get_complaint(&self, request: Request<GetComplaintRequest>) -> Answer<Complaint> {
        serve(request, async |call, message| complaint::get(self, call, message).await).await
    }

    async fn list_complaints(
        &self,
        request: Request<ListComplaintsRequest>,
    ) -> Answer<ListComplaintsResponse> {
        serve(request, async |call, message| complaint::list(self, call, message).await).await
    }

    async fn acknowledge_complaint(
        &self,
        request: Request<AcknowledgeComplaintRequest>,
    ) -> Answer<Complaint> {
        serve(request, async |call, message| complaint::acknowledge(self, call, message).await).await
    }

    async fn assign_complaint(&self, request: Request<AssignComplaintRequest>) -> Answer<Complaint> {
        serve(request, async |call, message| complaint::assign(self, call, message).await).await
    }

    async fn start_investigation(&self, request: Request<StartInvestigationRequest>) -> Answer<Complaint> {
        serve(request, async |call, message| complaint::start_investigation(self, call, message).await).await
    }

    async fn record_root_cause(&self, request: Request<RecordRootCauseRequest>) -> Answer<Complaint> {
        serve(request, async |call, message| complaint::record_root_cause(self, call, message).await).await
    }

    async fn resolve_complaint(&self, request: Request<ResolveComplaintRequest>) -> Answer<Complaint> {
        serve(request, async |call, message| complaint::resolve(self, call, message).await).await
    }

    async fn close_complaint(&self, request: Request<CloseComplaintRequest>) -> Answer<Complaint> {
        serve(request, async |call, message| complaint::close(self, call, message).await).await
    }

    async fn reopen_complaint(&self, request: Request<ReopenComplaintRequest>) -> Answer<Complaint> {
        serve(request, async |call, message| complaint::reopen(self, call, message).await).await
    }

    async fn list_timeline(&self, request: Request<ListTimelineRequest>) -> Answer<ListTimelineResponse> {
        serve(request, async |call, message| complaint::list_timeline(self, call, message).await).await
    }

    async fn list_customer_timeline(
        &self,
        request: Request<ListCustomerTimelineRequest>,
    ) -> Answer<ListCustomerTimelineResponse> {
        serve(request, async |call, message| complaint::list_customer_timeline(self, call, message).await)
            .await
    }
}

#[async_trait]
impl SlaPolicyService for App {
    async fn publish_sla_policy(&self, request: Request<PublishSlaPolicyRequest>) -> Answer<SlaPolicy> {
        serve(request, async |call, message| policy::publish(self, call, message).await).await
    }

    async fn get_sla_policy(&self, request: Request<GetSlaPolicyRequest>) -> Answer<SlaPolicy> {
        serve(request, async |call, message| policy::get(self, call, message).await).await
    }

    async fn list_sla_policies(
        &self,
        request: Request<ListSlaPoliciesRequest>,
    ) -> Answer<ListSlaPoliciesResponse> {
        serve(request, async |call, message| policy::list(self, call, message).await).await
    }
}
