//! The services as tonic sees them: one line per RPC.

mod convert;
pub(crate) mod events;
mod invitation;
mod questionnaire;
mod response;

use cqm_proto::surveys::v1 as proto;
use cqm_proto::surveys::v1::invitation_service_server::InvitationService;
use cqm_proto::surveys::v1::questionnaire_service_server::QuestionnaireService;
use cqm_proto::surveys::v1::response_service_server::ResponseService;
use cqm_rpc::serve;
use tonic::{Request, Response, Status, async_trait};

pub(crate) use invitation::merge;

use crate::App;

type Answer<T> = Result<Response<T>, Status>;

#[async_trait]
impl QuestionnaireService for App {
    async fn create_questionnaire(
        &self,
        request: Request<proto::CreateQuestionnaireRequest>,
    ) -> Answer<proto::Questionnaire> {
        serve(request, async |call, message| questionnaire::create(self, call, message).await).await
    }

    async fn get_questionnaire(
        &self,
        request: Request<proto::GetQuestionnaireRequest>,
    ) -> Answer<proto::Questionnaire> {
        serve(request, async |call, message| questionnaire::get(self, call, message).await).await
    }

    async fn list_questionnaires(
        &self,
        request: Request<proto::ListQuestionnairesRequest>,
    ) -> Answer<proto::ListQuestionnairesResponse> {
        serve(request, async |call, message| questionnaire::list(self, call, message).await).await
    }

    async fn update_questionnaire(
        &self,
        request: Request<proto::UpdateQuestionnaireRequest>,
    ) -> Answer<proto::Questionnaire> {
        serve(request, async |call, message| questionnaire::update(self, call, message).await).await
    }

    async fn publish_questionnaire(
        &self,
        request: Request<proto::PublishQuestionnaireRequest>,
    ) -> Answer<proto::Questionnaire> {
        serve(request, async |call, message| questionnaire::publish(self, call, message).await).await
    }

    async fn retire_questionnaire(
        &self,
        request: Request<proto::RetireQuestionnaireRequest>,
    ) -> Answer<proto::Questionnaire> {
        serve(request, async |call, message| questionnaire::retire(self, call, message).await).await
    }

    async fn get_questionnaire_version(
        &self,
        request: Request<proto::GetQuestionnaireVersionRequest>,
    ) -> Answer<proto::QuestionnaireVersion> {
        serve(request, async |call, message| questionnaire::get_version(self, call, message).await).await
    }
}

#[async_trait]
impl InvitationService for App {
    async fn create_invitation(
        &self,
        request: Request<proto::CreateInvitationRequest>,
    ) -> Answer<proto::Invitation> {
        serve(request, async |call, message| invitation::create(self, call, message).await).await
    }

    async fn get_invitation(
        &self,
        request: Request<proto::GetInvitationRequest>,
    ) -> Answer<proto::Invitation> {
        serve(request, async |call, message| invitation::get(self, call, message).await).await
    }

    async fn list_invitations(
        &self,
        request: Request<proto::ListInvitationsRequest>,
    ) -> Answer<proto::ListInvitationsResponse> {
        serve(request, async |call, message| invitation::list(self, call, message).await).await
    }

    async fn get_invitation_link(
        &self,
        request: Request<proto::GetInvitationLinkRequest>,
    ) -> Answer<proto::GetInvitationLinkResponse> {
        serve(request, async |call, message| invitation::get_link(self, call, message).await).await
    }

    async fn open_invitation(
        &self,
        request: Request<proto::OpenInvitationRequest>,
    ) -> Answer<proto::OpenInvitationResponse> {
        serve(request, async |call, message| invitation::open(self, call, message).await).await
    }
}

#[async_trait]
impl ResponseService for App {
    async fn submit_response(
        &self,
        request: Request<proto::SubmitResponseRequest>,
    ) -> Answer<proto::SubmitResponseResponse> {
        serve(request, async |call, message| response::submit(self, call, message).await).await
    }

    async fn record_response(
        &self,
        request: Request<proto::RecordResponseRequest>,
    ) -> Answer<proto::Response> {
        serve(request, async |call, message| response::record(self, call, message).await).await
    }

    async fn get_response(&self, request: Request<proto::GetResponseRequest>) -> Answer<proto::Response> {
        serve(request, async |call, message| response::get(self, call, message).await).await
    }

    async fn list_responses(
        &self,
        request: Request<proto::ListResponsesRequest>,
    ) -> Answer<proto::ListResponsesResponse> {
        serve(request, async |call, message| response::list(self, call, message).await).await
    }

    async fn summarize_responses(
        &self,
        request: Request<proto::SummarizeResponsesRequest>,
    ) -> Answer<proto::SummarizeResponsesResponse> {
        serve(request, async |call, message| response::summarize(self, call, message).await).await
    }
}
