//! How each section is read.

use cqm_proto::complaints::v1::ListComplaintsRequest;
use cqm_proto::complaints::v1::complaint_service_client::ComplaintServiceClient;
use cqm_proto::customers::v1::customer_service_client::CustomerServiceClient;
use cqm_proto::customers::v1::interaction_service_client::InteractionServiceClient;
use cqm_proto::customers::v1::purchase_service_client::PurchaseServiceClient;
use cqm_proto::customers::v1::{GetCustomerRequest, ListInteractionsRequest, ListPurchasesRequest};
use cqm_proto::gateway::v1::{
    ComplaintsSection, InteractionsSection, MessagesSection, PointsSection, ProfileSection, PurchasesSection,
    SurveysSection,
};
use cqm_proto::loyalty::v1::ledger_service_client::LedgerServiceClient;
use cqm_proto::loyalty::v1::{GetAccountRequest, ListEntriesRequest};
use cqm_proto::notifications::v1::ListMessagesRequest;
use cqm_proto::notifications::v1::message_service_client::MessageServiceClient;
use cqm_proto::surveys::v1::invitation_service_client::InvitationServiceClient;
use cqm_proto::surveys::v1::response_service_client::ResponseServiceClient;
use cqm_proto::surveys::v1::{ListInvitationsRequest, ListResponsesRequest};
use cqm_rpc::{BoxError, Call, Failure};
use cqm_runtime::channel::{self, Channel, request};
use tonic::Status;

use crate::backend::{Backend, Backends};

/// What a section shows of a long list, as the contract says.
const LATEST: i32 = 20;
/// loyalty's word for a customer who has never had points.
const MEMBER_NOT_FOUND: &str = "MEMBER_NOT_FOUND";

/// The services as one shard reads them.
pub(super) struct Readers {
    complaints: Channel,
    customer_data: Channel,
    loyalty: Channel,
    notifications: Channel,
    surveys: Channel,
}

impl Readers {
    pub fn new(backends: &Backends) -> Result<Self, BoxError> {
        let connect = |backend| channel::connect(backends.address(backend), &backends.channels());
        Ok(Self {
            complaints: connect(Backend::Complaints)?,
            customer_data: connect(Backend::CustomerData)?,
            loyalty: connect(Backend::Loyalty)?,
            notifications: connect(Backend::Notifications)?,
            surveys: connect(Backend::Surveys)?,
        })
    }

    pub async fn profile(&self, call: &Call, customer: &str) -> Result<ProfileSection, Status> {
        let message = GetCustomerRequest { name: customer.to_owned(), ..Default::default() };
        let mut client = CustomerServiceClient::new(self.customer_data.clone());
        let customer = client.get_customer(request(call, message)).await?.into_inner();
        Ok(ProfileSection { customer: Some(customer), ..Default::default() })
    }

    pub async fn purchases(&self, call: &Call, customer: &str) -> Result<PurchasesSection, Status> {
        let message =
            ListPurchasesRequest { customer: customer.to_owned(), page_size: LATEST, ..Default::default() };
        let mut client = PurchaseServiceClient::new(self.customer_data.clone());
        let page = client.list_purchases(request(call, message)).await?.into_inner();
        Ok(PurchasesSection { purchases: page.purchases, ..Default::default() })
    }

    pub async fn interactions(&self, call: &Call, customer: &str) -> Result<InteractionsSection, Status> {
        let message = ListInteractionsRequest {
            customer: customer.to_owned(),
            page_size: LATEST,
            ..Default::default()
        };
        let mut client = InteractionServiceClient::new(self.customer_data.clone());
        let page = client.list_interactions(request(call, message)).await?.into_inner();
        Ok(InteractionsSection { interactions: page.interactions, ..Default::default() })
    }

    pub async fn complaints(&self, call: &Call, customer: &str) -> Result<ComplaintsSection, Status> {
        let message =
            ListComplaintsRequest { customer: customer.to_owned(), page_size: LATEST, ..Default::default() };
        let mut client = ComplaintServiceClient::new(self.complaints.clone());
        let page = client.list_complaints(request(call, message)).await?.into_inner();
        Ok(ComplaintsSection { complaints: page.complaints, ..Default::default() })
    }

    pub async fn surveys(&self, call: &Call, customer: &str) -> Result<SurveysSection, Status> {
        let asked =
            ListInvitationsRequest { customer: customer.to_owned(), page_size: LATEST, ..Default::default() };
        let answered =
            ListResponsesRequest { customer: customer.to_owned(), page_size: LATEST, ..Default::default() };
        let mut invitations = InvitationServiceClient::new(self.surveys.clone());
        let mut responses = ResponseServiceClient::new(self.surveys.clone());
        let (asked, answered) = tokio::try_join!(
            invitations.list_invitations(request(call, asked)),
            responses.list_responses(request(call, answered)),
        )?;
        Ok(SurveysSection {
            invitations: asked.into_inner().invitations,
            responses: answered.into_inner().responses,
            ..Default::default()
        })
    }

    pub async fn messages(&self, call: &Call, customer: &str) -> Result<MessagesSection, Status> {
        let message =
            ListMessagesRequest { recipient: customer.to_owned(), page_size: LATEST, ..Default::default() };
        let mut client = MessageServiceClient::new(self.notifications.clone());
        let page = client.list_messages(request(call, message)).await?.into_inner();
        Ok(MessagesSection { messages: page.messages, ..Default::default() })
    }

    pub async fn points(&self, call: &Call, customer: &str) -> Result<PointsSection, Status> {
        let account = GetAccountRequest { customer: customer.to_owned() };
        let entries =
            ListEntriesRequest { customer: customer.to_owned(), page_size: LATEST, ..Default::default() };
        let mut accounts = LedgerServiceClient::new(self.loyalty.clone());
        let mut ledger = accounts.clone();
        let read = tokio::try_join!(
            accounts.get_account(request(call, account)),
            ledger.list_entries(request(call, entries)),
        );
        match read {
            Ok((account, page)) => Ok(PointsSection {
                account: Some(account.into_inner()),
                entries: page.into_inner().entries,
                ..Default::default()
            }),
            // Nobody is a member before the first points: that is an answer, not a failure.
            Err(status) if Failure::of(&status).reason == MEMBER_NOT_FOUND => Ok(PointsSection::default()),
            Err(status) => Err(status),
        }
    }
}
