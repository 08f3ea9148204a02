//! Carrying commands out: the impure half of the reactions.

use std::time::Duration;

use chrono::DateTime;
use cqm_proto::complaints::v1::complaint_service_client::ComplaintServiceClient;
use cqm_proto::customers::v1::customer_service_client::CustomerServiceClient;
use cqm_proto::customers::v1::erasure_service_client::ErasureServiceClient;
use cqm_proto::customers::v1::merge_service_client::MergeServiceClient;
use cqm_proto::customers::v1::{Customer, GetCustomerRequest};
use cqm_proto::events::v1::GetCursorRequest;
use cqm_proto::events::v1::event_feed_client::EventFeedClient;
use cqm_proto::loyalty::v1::ledger_service_client::LedgerServiceClient;
use cqm_proto::notifications::v1::contact_service_client::ContactServiceClient;
use cqm_proto::notifications::v1::message_service_client::MessageServiceClient;
use cqm_proto::notifications::v1::{Contact, PutContactRequest, SendMessageRequest};
use cqm_proto::subjects::v1::subject_service_client::SubjectServiceClient;
use cqm_proto::surveys::v1::GetInvitationLinkRequest;
use cqm_proto::surveys::v1::invitation_service_client::InvitationServiceClient;
use cqm_rpc::{BoxError, Call, Caller, Deadline, Error, Etag, Failure, Role, TraceContext, Violations};
use cqm_runtime::channel::{Channel, ChannelConfig, request};
use cqm_runtime::pass::Mint;
use tonic::Status;
use uuid::Uuid;

use super::CONSUMER;
use super::command::Command;
use super::reactions::erased;
use crate::backend::{Backend, Backends};
use crate::error::CUSTOMER_NOT_FOUND;

/// How many times its budget a command has at most that did not get done in it.
const LONGEST: u32 = 6;
/// How long a service may take to show that it is well.
const PROBE: Duration = Duration::from_secs(2);

/// The services as the coordinator calls them.
#[derive(Clone)]
pub(super) struct Executor {
    complaints: Channel,
    customer_data: Channel,
    loyalty: Channel,
    notifications: Channel,
    surveys: Channel,
    deadline: Duration,
}

impl Executor {
    /// `deadline`: how long one command may take.
    pub fn new(backends: &Backends, mint: &Mint, deadline: Duration) -> Result<Self, BoxError> {
        let connect = |backend| connect(backends, backend, mint);
        Ok(Self {
            complaints: connect(Backend::Complaints)?,
            customer_data: connect(Backend::CustomerData)?,
            loyalty: connect(Backend::Loyalty)?,
            notifications: connect(Backend::Notifications)?,
            surveys: connect(Backend::Surveys)?,
            deadline,
        })
    }

    /// Sends a command and waits for its answer. The request id makes it the same command however often it is sent; the
    /// trace is that of the call that caused the event, so that a complaint and the points it led to are one trace.
    /// `overruns`: how often it took too long. What a person has grows with the years, and so does what moving or erasing
    /// it takes: the next try has more time.
    pub async fn carry_out(
        &self,
        command: &Command,
        request_id: Uuid,
        trace: TraceContext,
        overruns: u32,
    ) -> Result<(), Failure> {
        let times = 1_u32.checked_shl(overruns).unwrap_or(LONGEST).min(LONGEST);
        let call = coordinators_call(self.deadline * times, trace);
        self.send(&call, command.clone(), request_id.to_string()).await.map_err(|status| Failure::of(&status))
    }

    async fn send(&self, call: &Call, command: Command, request_id: String) -> Result<(), Status> {
        match command {
            Command::CreateInvitation(mut message) => {
                message.request_id = request_id;
                let mut surveys = InvitationServiceClient::new(self.surveys.clone());
                surveys.create_invitation(request(call, message)).await.map(drop)
            }
            Command::EarnPoints(mut message) => {
                message.request_id = request_id;
                let mut ledger = LedgerServiceClient::new(self.loyalty.clone());
                ledger.earn_points(request(call, message)).await.map(drop)
            }
            Command::EraseSubject(backend, mut message) => {
                message.request_id = request_id;
                self.subjects(backend).erase_subject(request(call, message)).await.map(drop)
            }
            Command::MergeSubject(backend, mut message) => {
                message.request_id = request_id;
                self.subjects(backend).merge_subject(request(call, message)).await.map(drop)
            }
            Command::ReleaseSubject(backend, mut message) => {
                message.request_id = request_id;
                self.subjects(backend).release_subject(request(call, message)).await.map(drop)
            }
            Command::RestrictSubject(backend, mut message) => {
                message.request_id = request_id;
                self.subjects(backend).restrict_subject(request(call, message)).await.map(drop)
            }
            Command::RecordErasureStep(mut message) => {
                message.request_id = request_id;
                let mut erasures = ErasureServiceClient::new(self.customer_data.clone());
                erasures.record_erasure_step(request(call, message)).await.map(drop)
            }
            Command::RecordMergeStep(mut message) => {
                message.request_id = request_id;
                let mut merges = MergeServiceClient::new(self.customer_data.clone());
                merges.record_merge_step(request(call, message)).await.map(drop)
            }
            Command::PutContact(message) => self.put_contact(call, message).await,
            Command::RefreshContact { customer, version } => {
                let contact = self.contact(call, customer, version).await?;
                self.put_contact(call, PutContactRequest { contact: Some(contact) }).await
            }
            Command::ReopenComplaint(mut message) => {
                message.request_id = request_id;
                let mut complaints = ComplaintServiceClient::new(self.complaints.clone());
                complaints.reopen_complaint(request(call, message)).await.map(drop)
            }
            Command::SendInvitation { invitation, customer } => {
                let mut message = self.invitation_message(call, invitation, customer).await?;
                message.request_id = request_id;
                self.send_message(call, message).await
            }
            Command::SendMessage(mut message) => {
                message.request_id = request_id;
                self.send_message(call, message).await
            }
        }
    }

    /// Whether a service answers, its database included: then it is not for an outage that a command does not get done.
    pub async fn is_well(&self, backend: Backend) -> bool {
        let call = coordinators_call(PROBE, TraceContext::fresh(false));
        let ask = GetCursorRequest { consumer: CONSUMER.to_owned() };
        EventFeedClient::new(self.channel(backend).clone()).get_cursor(request(&call, ask)).await.is_ok()
    }

    fn channel(&self, backend: Backend) -> &Channel {
        match backend {
            Backend::Complaints => &self.complaints,
            Backend::CustomerData => &self.customer_data,
            Backend::Loyalty => &self.loyalty,
            Backend::Notifications => &self.notifications,
            Backend::Surveys => &self.surveys,
        }
    }

    fn subjects(&self, backend: Backend) -> SubjectServiceClient<Channel> {
        SubjectServiceClient::new(self.channel(backend).clone())
    }

    async fn send_message(&self, call: &Call, message: SendMessageRequest) -> Result<(), Status> {
        let mut messages = MessageServiceClient::new(self.notifications.clone());
        messages.send_message(request(call, message)).await.map(drop)
    }

    async fn put_contact(&self, call: &Call, message: PutContactRequest) -> Result<(), Status> {
        let mut contacts = ContactServiceClient::new(self.notifications.clone());
        contacts.put_contact(request(call, message)).await.map(drop)
    }

    /// How the customer is reached now. One who has been deleted since is not reached any more.
    async fn contact(&self, call: &Call, customer: String, version: i64) -> Result<Contact, Status> {
        let message =
            GetCustomerRequest { name: customer.clone(), minimum_etag: Etag::of(version).to_string() };
        let mut customers = CustomerServiceClient::new(self.customer_data.clone());
        match customers.get_customer(request(call, message)).await {
            Ok(answer) => Ok(contact(answer.into_inner())?),
            Err(status) if Failure::of(&status).reason == CUSTOMER_NOT_FOUND.name => {
                Ok(erased(customer, version))
            }
            Err(status) => Err(status),
        }
    }

    async fn invitation_message(
        &self,
        call: &Call,
        invitation: String,
        customer: String,
    ) -> Result<SendMessageRequest, Status> {
        let message = GetInvitationLinkRequest { name: invitation.clone() };
        let mut surveys = InvitationServiceClient::new(self.surveys.clone());
        let link = surveys.get_invitation_link(request(call, message)).await?.into_inner();
        let expires = link
            .expire_time
            .and_then(|time| DateTime::from_timestamp(time.seconds, 0))
            .ok_or_else(|| Error::internal("an invitation's link has no expire_time"))?;
        let variables = [("link", link.url), ("expire_date", expires.format("%Y-%m-%d").to_string())]
            .map(|(n, v)| (n.to_owned(), v));
        Ok(SendMessageRequest {
            recipient: customer,
            template: "templates/survey-invitation".to_owned(),
            variables: variables.into(),
            about: invitation,
            ..Default::default()
        })
    }
}

/// A channel that does not repeat: the coordinator does so itself, and longer.
pub(super) fn connect(backends: &Backends, backend: Backend, mint: &Mint) -> Result<Channel, BoxError> {
    let config = ChannelConfig { tries: 1, ..backends.channels() };
    Ok(backends.connect(backend, &config, mint)?)
}

/// A call in the coordinator's own name.
pub(super) fn coordinators_call(budget: Duration, trace: TraceContext) -> Call {
    Call {
        caller: Caller { subject: "coordinator".into(), roles: vec![Role::Coordinator] },
        deadline: Deadline::after(budget),
        trace,
        path: "coordinator".into(),
        purpose: None,
    }
}

/// What notifications keeps of a customer.
fn contact(customer: Customer) -> Result<Contact, Error> {
    let mut violations = Violations::default();
    let version = Etag::parse("etag", &customer.etag, &mut violations)
        .ok_or_else(|| Error::internal("a customer came without an etag"))?
        .version();
    let emails = customer.emails;
    let phones = customer.phones;
    let email = emails.iter().find(|email| email.primary).or(emails.first());
    let phone = phones.iter().find(|phone| phone.primary).or(phones.first());
    Ok(Contact {
        customer: customer.name,
        customer_version: version,
        display_name: customer.display_name,
        email: email.map(|email| email.address.clone()).unwrap_or_default(),
        phone: phone.map(|phone| phone.number.clone()).unwrap_or_default(),
        locale: customer.locale,
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use cqm_proto::customers::v1::{Email, Phone};

    use super::*;

    #[test]
    fn a_contact_has_the_first_address_unless_another_is_primary() {
        let email = |address: &str, primary| Email { address: address.to_owned(), primary };
        let phone = |number: &str| Phone { number: number.to_owned(), ..Default::default() };
        let customer = Customer {
            name: "customers/1".into(),
            display_name: "王丽".into(),
            emails: vec![email("a@example.com", false), email("b@example.com", true)],
            phones: vec![phone("+8613800138000"), phone("+8613800138001")],
            locale: "zh-CN".into(),
            etag: "v7".into(),
            ..Default::default()
        };
        let expected = Contact {
            customer: "customers/1".into(),
            customer_version: 7,
            display_name: "王丽".into(),
            email: "b@example.com".into(),
            phone: "+8613800138000".into(),
            locale: "zh-CN".into(),
            ..Default::default()
        };
        assert_eq!(contact(customer).unwrap(), expected);
        assert!(contact(Customer { etag: "7".into(), ..Default::default() }).is_err());
    }
}
