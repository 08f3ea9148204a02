//! The lists that make a timeline, each read page by page from its service.

use cqm_proto::complaints::v1::ListCustomerTimelineRequest;
use cqm_proto::complaints::v1::complaint_service_client::ComplaintServiceClient;
use cqm_proto::customers::v1::interaction_service_client::InteractionServiceClient;
use cqm_proto::customers::v1::purchase_service_client::PurchaseServiceClient;
use cqm_proto::customers::v1::{ListInteractionsRequest, ListPurchasesRequest};
use cqm_proto::gateway::v1::TimelineItem;
use cqm_proto::loyalty::v1::ListEntriesRequest;
use cqm_proto::loyalty::v1::ledger_service_client::LedgerServiceClient;
use cqm_proto::notifications::v1::ListMessagesRequest;
use cqm_proto::notifications::v1::message_service_client::MessageServiceClient;
use cqm_proto::surveys::v1::invitation_service_client::InvitationServiceClient;
use cqm_proto::surveys::v1::response_service_client::ResponseServiceClient;
use cqm_proto::surveys::v1::{ListInvitationsRequest, ListResponsesRequest};
use cqm_rpc::{Call, Failure};
use cqm_runtime::channel::request;
use tonic::Status;

use super::super::read::{MEMBER_NOT_FOUND, Readers};
use super::super::timeline;
use crate::backend::Backend;

/// One list of one service, the latest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Purchases,
    Interactions,
    Complaints,
    Invitations,
    Responses,
    Messages,
    Points,
}

/// An item with what it is told from others by.
#[derive(Clone, Debug, PartialEq)]
pub struct Dated {
    pub item: TimelineItem,
    /// Unique in its list.
    pub id: String,
    pub time: (i64, i32),
}

/// A page of a list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    pub items: Vec<Dated>,
    pub next_page_token: String,
}

impl Page {
    fn of<T>(
        rows: &[T],
        next_page_token: String,
        id: impl Fn(&T) -> &String,
        item: impl Fn(&T) -> TimelineItem,
    ) -> Self {
        let items = rows.iter().filter_map(|row| {
            let item = item(row);
            // What has no time cannot stand in an order.
            let time = item.time.as_ref().map(|time| (time.seconds, time.nanos))?;
            Some(Dated { item, id: id(row).clone(), time })
        });
        Self { items: items.collect(), next_page_token }
    }
}

impl Source {
    /// In the order of what happens at the same time.
    pub const ALL: [Self; 7] = [
        Self::Purchases,
        Self::Interactions,
        Self::Complaints,
        Self::Invitations,
        Self::Responses,
        Self::Messages,
        Self::Points,
    ];

    /// As the contract spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Purchases => "purchases",
            Self::Interactions => "interactions",
            Self::Complaints => "complaints",
            Self::Invitations => "invitations",
            Self::Responses => "responses",
            Self::Messages => "messages",
            Self::Points => "points",
        }
    }

    pub const fn backend(self) -> Backend {
        match self {
            Self::Purchases | Self::Interactions => Backend::CustomerData,
            Self::Complaints => Backend::Complaints,
            Self::Invitations | Self::Responses => Backend::Surveys,
            Self::Messages => Backend::Notifications,
            Self::Points => Backend::Loyalty,
        }
    }
}

/// Where pages of lists come from.
pub trait Pages: Sync {
    /// Reads the page of a list that a token stands for.
    fn read(&self, source: Source, token: String) -> impl Future<Output = Result<Page, Status>> + Send;
}

/// The lists of one customer, as one call reads them.
pub struct Lists<'a> {
    pub readers: &'a Readers,
    pub call: &'a Call,
    pub customer: &'a str,
    /// The most items of a page.
    pub size: usize,
}

impl Pages for Lists<'_> {
    async fn read(&self, source: Source, page_token: String) -> Result<Page, Status> {
        let Self { readers: read, call, customer, size } = *self;
        let customer = customer.to_owned();
        let page_size = i32::try_from(size).unwrap_or(i32::MAX);
        match source {
            Source::Purchases => {
                let message = ListPurchasesRequest { customer, page_size, page_token };
                let mut client = PurchaseServiceClient::new(read.customer_data.clone());
                let page = client.list_purchases(request(call, message)).await?.into_inner();
                let rows = page.purchases;
                Ok(Page::of(&rows, page.next_page_token, |row| &row.name, timeline::purchase))
            }
            Source::Interactions => {
                let message = ListInteractionsRequest { customer, page_size, page_token };
                let mut client = InteractionServiceClient::new(read.customer_data.clone());
                let page = client.list_interactions(request(call, message)).await?.into_inner();
                let rows = page.interactions;
                Ok(Page::of(&rows, page.next_page_token, |row| &row.name, timeline::interaction))
            }
            Source::Complaints => {
                let message = ListCustomerTimelineRequest { customer, page_size, page_token };
                let mut client = ComplaintServiceClient::new(read.complaints.clone());
                let page = client.list_customer_timeline(request(call, message)).await?.into_inner();
                let rows = page.entries;
                Ok(Page::of(&rows, page.next_page_token, |row| &row.name, timeline::step))
            }
            Source::Invitations => {
                let message =
                    ListInvitationsRequest { customer, page_size, page_token, ..Default::default() };
                let mut client = InvitationServiceClient::new(read.surveys.clone());
                let page = client.list_invitations(request(call, message)).await?.into_inner();
                let rows = page.invitations;
                Ok(Page::of(&rows, page.next_page_token, |row| &row.name, timeline::invitation))
            }
            Source::Responses => {
                let message = ListResponsesRequest { customer, page_size, page_token, ..Default::default() };
                let mut client = ResponseServiceClient::new(read.surveys.clone());
                let page = client.list_responses(request(call, message)).await?.into_inner();
                let rows = page.responses;
                Ok(Page::of(&rows, page.next_page_token, |row| &row.name, timeline::response))
            }
            Source::Messages => {
                let message =
                    ListMessagesRequest { recipient: customer, page_size, page_token, ..Default::default() };
                let mut client = MessageServiceClient::new(read.notifications.clone());
                let page = client.list_messages(request(call, message)).await?.into_inner();
                let rows = page.messages;
                Ok(Page::of(&rows, page.next_page_token, |row| &row.name, timeline::message))
            }
            Source::Points => {
                let message = ListEntriesRequest { customer, page_size, page_token };
                let mut client = LedgerServiceClient::new(read.loyalty.clone());
                match client.list_entries(request(call, message)).await {
                    Ok(page) => {
                        let page = page.into_inner();
                        let rows = page.entries;
                        Ok(Page::of(&rows, page.next_page_token, |row| &row.name, timeline::entry))
                    }
                    // Nobody is a member before the first points.
                    Err(status) if Failure::of(&status).reason == MEMBER_NOT_FOUND => Ok(Page::default()),
                    Err(status) => Err(status),
                }
            }
        }
    }
}
