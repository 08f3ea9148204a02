//! How each section is read.

use cqm_proto::complaints::v1::ListComplaintsRequest;
use cqm_proto::complaints::v1::complaint_service_client::ComplaintServiceClient;
use cqm_proto::customers::v1::customer_service_client::CustomerServiceClient;
use cqm_proto::customers::v1::interaction_service_client::InteractionServiceClient;
use cqm_proto::customers::v1::purchase_service_client::PurchaseServiceClient;
use cqm_proto::customers::v1::{GetCustomerRequest, ListInteractionsRequest, ListPurchasesRequest};
use cqm_proto::gateway::v1::{
    ComplaintsSection, InteractionsSection, MessagesSection, PointsSection, ProfileSection, PurchasesSection,
    SurveysSection, TierSection,
};
use cqm_proto::loyalty::v1::ledger_service_client::LedgerServiceClient;
use cqm_proto::loyalty::v1::member_service_client::MemberServiceClient;
use cqm_proto::loyalty::v1::tier_service_client::TierServiceClient;
use cqm_proto::loyalty::v1::{GetAccountRequest, GetMemberRequest, GetTierRequest, ListEntriesRequest};
use cqm_proto::notifications::v1::ListMessagesRequest;
use cqm_proto::notifications::v1::message_service_client::MessageServiceClient;
use cqm_proto::surveys::v1::invitation_service_client::InvitationServiceClient;
use cqm_proto::surveys::v1::response_service_client::ResponseServiceClient;
use cqm_proto::surveys::v1::{ListInvitationsRequest, ListResponsesRequest};
use cqm_rpc::{Call, Failure, ResourceName};
use cqm_runtime::channel::{Channel, request};
use tonic::Status;

use super::scores;
use crate::backend::{Backend, Channels};

/// What a section shows of a long list, as the contract says.
const LATEST: i32 = 20;
/// loyalty's word for a customer who has never had points.
pub(super) const MEMBER_NOT_FOUND: &str = "MEMBER_NOT_FOUND";

/// The services as one shard reads them.
pub(super) struct Readers {
    pub(super) complaints: Channel,
    pub(super) customer_data: Channel,
    pub(super) loyalty: Channel,
    pub(super) notifications: Channel,
    pub(super) surveys: Channel,
}

impl Readers {
    pub fn new(channels: &Channels) -> Self {
        Self {
            complaints: channels.to(Backend::Complaints),
            customer_data: channels.to(Backend::CustomerData),
            loyalty: channels.to(Backend::Loyalty),
            notifications: channels.to(Backend::Notifications),
            surveys: channels.to(Backend::Surveys),
        }
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
        let latest =
            ListComplaintsRequest { customer: customer.to_owned(), page_size: LATEST, ..Default::default() };
        let open = ListComplaintsRequest { open_only: true, ..latest.clone() };
        let mut latest_client = ComplaintServiceClient::new(self.complaints.clone());
        let mut open_client = latest_client.clone();
        let (latest, open) = tokio::try_join!(
            latest_client.list_complaints(request(call, latest)),
            open_client.list_complaints(request(call, open)),
        )?;
        Ok(ComplaintsSection {
            complaints: latest.into_inner().complaints,
            open_complaints: open.into_inner().complaints,
            ..Default::default()
        })
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
        let responses = answered.into_inner().responses;
        Ok(SurveysSection {
            invitations: asked.into_inner().invitations,
            scores: scores::of(&responses),
            responses,
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

    pub async fn tier(&self, call: &Call, customer: ResourceName) -> Result<TierSection, Status> {
        // A member is the customer under another name.
        let name = ResourceName::new("members", customer.id()).to_string();
        let mut members = MemberServiceClient::new(self.loyalty.clone());
        let member = match members.get_member(request(call, GetMemberRequest { name })).await {
            Ok(member) => member.into_inner(),
            Err(status) if Failure::of(&status).reason == MEMBER_NOT_FOUND => {
                return Ok(TierSection::default());
            }
            Err(status) => return Err(status),
        };
        let mut section = TierSection::default();
        if !member.tier.is_empty() {
            let mut tiers = TierServiceClient::new(self.loyalty.clone());
            let message = GetTierRequest { name: member.tier.clone() };
            section.tier = Some(tiers.get_tier(request(call, message)).await?.into_inner());
        }
        section.member = Some(member);
        Ok(section)
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
