//! One customer's life as callers see it: what was acknowledged, and what must have come of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cqm_proto::complaints::v1::complaint::{Channel, State};
use cqm_proto::complaints::v1::complaint_service_client::ComplaintServiceClient;
use cqm_proto::complaints::v1::{
    AcknowledgeComplaintRequest, Category, Complaint, GetComplaintRequest, RegisterComplaintRequest,
    ResolveComplaintRequest, Severity,
};
use cqm_proto::customers::v1::customer_service_client::CustomerServiceClient;
use cqm_proto::customers::v1::purchase_service_client::PurchaseServiceClient;
use cqm_proto::customers::v1::record_purchases_request::Owner;
use cqm_proto::customers::v1::record_purchases_response::Outcome;
use cqm_proto::customers::v1::{
    CreateCustomerRequest, Customer, Email, ListPurchasesRequest, Phone, RecordPurchasesRequest,
};
use cqm_proto::google::r#type::Money;
use cqm_proto::loyalty::v1::entry::Reason;
use cqm_proto::loyalty::v1::ledger_service_client::LedgerServiceClient;
use cqm_proto::loyalty::v1::{GetAccountRequest, ListEntriesRequest};
use cqm_proto::notifications::v1::message_service_client::MessageServiceClient;
use cqm_proto::notifications::v1::{Channel as Way, ListMessagesRequest, Message, message};
use cqm_proto::surveys::v1::answer::Value;
use cqm_proto::surveys::v1::invitation_service_client::InvitationServiceClient;
use cqm_proto::surveys::v1::question::Kind;
use cqm_proto::surveys::v1::response_service_client::ResponseServiceClient;
use cqm_proto::surveys::v1::{
    Answer, GetInvitationLinkRequest, Invitation, ListInvitationsRequest, OpenInvitationRequest,
    SubmitResponseRequest,
};
use prost_types::Timestamp;
use tonic::transport::Channel as Line;
use uuid::Uuid;

use crate::{Caller, again};

/// How long a reaction may take while processes die.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What the surveys service's own questionnaire is worth.
const SURVEY_POINTS: i64 = 50;

/// Who calls: staff, another service (which may see links), and the customer with nothing but a link.
#[derive(Clone)]
pub struct Callers {
    pub staff: Caller,
    pub internal: Caller,
    pub stranger: Line,
}

/// What was acknowledged about one customer.
#[derive(Debug)]
pub struct Life {
    pub customer: String,
    pub complaint: String,
    purchases: BTreeMap<String, i64>,
    compensation: i64,
    reopened: bool,
}

/// What a customer is called and how to reach them.
#[derive(Clone, Debug)]
pub struct Person {
    pub name: String,
    pub email: String,
    pub phone: String,
}

impl Person {
    pub fn anybody() -> Self {
        let email = format!("{}@example.com", Uuid::now_v7().simple());
        Self { name: "Han Meimei".to_owned(), email, phone: "+8613800138000".to_owned() }
    }
}

/// Lives one loop: purchases, a complaint, its resolution, the survey; every call until it is acknowledged.
pub async fn live(callers: &Callers, person: &Person, dissatisfied: bool) -> Life {
    let customer = created(callers, person).await;
    live_on(callers, customer, dissatisfied).await
}

/// As [`live`], of a customer who is there already.
pub async fn live_on(callers: &Callers, customer: String, dissatisfied: bool) -> Life {
    let purchases = buy(callers, &customer).await;
    let compensation = 25;
    let complaint = complain(callers, &customer, compensation).await;
    let invitation = invitation(callers, &customer).await;
    answer(callers, &invitation, dissatisfied).await;
    Life { customer, complaint, purchases, compensation, reopened: dissatisfied }
}

/// Makes a customer, and returns the name.
pub async fn created(callers: &Callers, person: &Person) -> String {
    let request = CreateCustomerRequest {
        customer: Some(Customer {
            display_name: person.name.clone(),
            emails: vec![Email { address: person.email.clone(), primary: true }],
            phones: vec![Phone { number: person.phone.clone(), primary: true, ..Phone::default() }],
            locale: "zh-CN".to_owned(),
            ..Customer::default()
        }),
        default_region: String::new(),
        request_id: fresh(),
    };
    let service = CustomerServiceClient::new(callers.staff.clone());
    let customer = again(|| {
        let (mut service, request) = (service.clone(), request.clone());
        async move { service.create_customer(request).await }
    });
    customer.await.expect("a customer is created").name
}

/// Three purchases in a stream that is sent again until each row is answered.
async fn buy(callers: &Callers, customer: &str) -> BTreeMap<String, i64> {
    // Each costs 99 cents more than the units that it is worth in points.
    let purchases: BTreeMap<String, i64> =
        [10, 7, 123].into_iter().map(|units| (format!("order-{}", Uuid::now_v7()), units)).collect();
    let rows: Vec<RecordPurchasesRequest> = purchases
        .iter()
        .enumerate()
        .map(|(index, (reference, units))| RecordPurchasesRequest {
            row: index as i64 + 1,
            owner: Some(Owner::Customer(customer.to_owned())),
            purchase_reference: reference.clone(),
            purchase_time: Some(Timestamp { seconds: 1_760_000_000, nanos: 0 }),
            amount: Some(Money { currency_code: "CNY".to_owned(), units: *units, nanos: 990_000_000 }),
            quantity: 1,
            product: String::new(),
        })
        .collect();
    let service = PurchaseServiceClient::new(callers.staff.clone());
    let started = Instant::now();
    loop {
        let mut answered = 0;
        let (mut service, rows) = (service.clone(), rows.clone());
        if let Ok(answers) = service.record_purchases(tokio_stream::iter(rows)).await {
            let mut answers = answers.into_inner();
            while let Ok(Some(answer)) = answers.message().await {
                match answer.outcome() {
                    Outcome::Recorded | Outcome::AlreadyRecorded => answered += 1,
                    other => panic!("a good row is {other:?}: {:?}", answer.error),
                }
            }
        }
        if answered == purchases.len() {
            return purchases;
        }
        assert!(started.elapsed() < PATIENCE, "purchases are not recorded");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn complain(callers: &Callers, customer: &str, compensation_points: i64) -> String {
    let service = ComplaintServiceClient::new(callers.staff.clone());
    let register = RegisterComplaintRequest {
        complaint: Some(Complaint {
            customer: customer.to_owned(),
            channel: Channel::Phone.into(),
            category: Category::ProductQuality.into(),
            severity: Severity::High.into(),
            subject: "It does not work".to_owned(),
            ..Complaint::default()
        }),
        request_id: fresh(),
    };
    let complaint = again(|| {
        let (mut service, request) = (service.clone(), register.clone());
        async move { service.register_complaint(request).await }
    });
    let name = complaint.await.expect("a complaint is registered").name;
    let acknowledge =
        AcknowledgeComplaintRequest { name: name.clone(), request_id: fresh(), etag: String::new() };
    let acknowledged = again(|| {
        let (mut service, request) = (service.clone(), acknowledge.clone());
        async move { service.acknowledge_complaint(request).await }
    });
    acknowledged.await.expect("it is acknowledged");
    let resolve = ResolveComplaintRequest {
        name: name.clone(),
        summary: "Replaced".to_owned(),
        compensation_points,
        request_id: fresh(),
        etag: String::new(),
    };
    let resolved = again(|| {
        let (mut service, request) = (service.clone(), resolve.clone());
        async move { service.resolve_complaint(request).await }
    });
    resolved.await.expect("it is resolved");
    name
}

async fn invitations(callers: &Callers, customer: &str) -> Vec<Invitation> {
    let request = ListInvitationsRequest { customer: customer.to_owned(), ..Default::default() };
    let service = InvitationServiceClient::new(callers.staff.clone());
    let listed = again(|| {
        let (mut service, request) = (service.clone(), request.clone());
        async move { service.list_invitations(request).await }
    });
    listed.await.expect("invitations are listed").invitations
}

async fn invitation(callers: &Callers, customer: &str) -> String {
    let started = Instant::now();
    loop {
        if let Some(invitation) = invitations(callers, customer).await.pop() {
            return invitation.name;
        }
        assert!(started.elapsed() < PATIENCE, "no invitation comes");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Answers an invitation by its link.
pub async fn answer(callers: &Callers, invitation: &str, dissatisfied: bool) {
    let request = GetInvitationLinkRequest { name: invitation.to_owned() };
    let service = InvitationServiceClient::new(callers.internal.clone());
    let link = again(|| {
        let (mut service, request) = (service.clone(), request.clone());
        async move { service.get_invitation_link(request).await }
    });
    let token = link.await.expect("the link is there").token;
    let service = InvitationServiceClient::new(callers.stranger.clone());
    let opened = again(|| {
        let (mut service, token) = (service.clone(), token.clone());
        async move { service.open_invitation(OpenInvitationRequest { token }).await }
    });
    let opened = opened.await.expect("the invitation opens");
    let answers = opened
        .questionnaire_version
        .expect("it asks something")
        .questions
        .iter()
        .filter_map(|question| {
            let value = match question.kind.as_ref()? {
                Kind::Rating(rating) => Value::Rating(if dissatisfied { 1 } else { rating.scale_max }),
                Kind::Nps(_) => Value::Nps(if dissatisfied { 0 } else { 10 }),
                Kind::FreeText(_) => Value::Text("It went as I said".to_owned()),
                _ => return None,
            };
            Some(Answer { question_id: question.id.clone(), value: Some(value) })
        })
        .collect();
    let request = SubmitResponseRequest { token, answers, request_id: fresh() };
    let service = ResponseServiceClient::new(callers.stranger.clone());
    let submitted = again(|| {
        let (mut service, request) = (service.clone(), request.clone());
        async move { service.submit_response(request).await }
    });
    submitted.await.expect("the answer is accepted");
}

impl Life {
    /// Checks that everything acknowledged is there once and every reaction has happened once. Call it when the
    /// coordinator has caught up.
    pub async fn check(&self, callers: &Callers) {
        self.check_purchases(callers).await;
        self.check_points(callers).await;
        self.check_messages(callers).await;
        let invitations = invitations(callers, &self.customer).await;
        assert_eq!(invitations.len(), 1, "{}: one invitation for one resolution", self.customer);

        let service = ComplaintServiceClient::new(callers.staff.clone());
        let request = GetComplaintRequest { name: self.complaint.clone() };
        let complaint = again(|| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.get_complaint(request).await }
        });
        let complaint = complaint.await.expect("an acknowledged complaint is there");
        let expected = if self.reopened { (State::Investigating, 1) } else { (State::Resolved, 0) };
        assert_eq!((complaint.state(), complaint.reopen_count), expected, "{}", self.complaint);
    }

    async fn check_purchases(&self, callers: &Callers) {
        let service = PurchaseServiceClient::new(callers.staff.clone());
        let request = ListPurchasesRequest { customer: self.customer.clone(), ..Default::default() };
        let listed = again(|| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.list_purchases(request).await }
        });
        let listed = listed.await.expect("purchases are listed").purchases;
        let mut found: Vec<String> = listed.into_iter().map(|purchase| purchase.purchase_reference).collect();
        found.sort();
        assert_eq!(found, self.purchases.keys().cloned().collect::<Vec<_>>(), "{}", self.customer);
    }

    async fn check_points(&self, callers: &Callers) {
        let service = LedgerServiceClient::new(callers.staff.clone());
        let account = again(|| {
            let (mut service, customer) = (service.clone(), self.customer.clone());
            async move { service.get_account(GetAccountRequest { customer }).await }
        });
        let account = account.await.expect("there is an account");
        let request = ListEntriesRequest { customer: self.customer.clone(), ..Default::default() };
        let entries = again(|| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.list_entries(request).await }
        });
        let mut count: BTreeMap<i32, usize> = BTreeMap::new();
        for entry in entries.await.expect("entries are listed").entries {
            *count.entry(entry.reason).or_default() += 1;
        }
        let expected = BTreeMap::from([
            (Reason::Purchase as i32, self.purchases.len()),
            (Reason::SurveyAnswered as i32, 1),
            (Reason::Compensation as i32, 1),
        ]);
        assert_eq!(count, expected, "{}: entries by reason", self.customer);
        let earned = self.purchases.values().sum::<i64>() + self.compensation + SURVEY_POINTS;
        assert_eq!((account.lifetime_earned, account.available), (earned, earned), "{}", self.customer);
    }

    async fn check_messages(&self, callers: &Callers) {
        let mut count: BTreeMap<(String, i32), usize> = BTreeMap::new();
        for message in self.messages(callers).await {
            assert_eq!(message.state(), message::State::Delivered, "{}", message.name);
            *count.entry((message.template, message.channel)).or_default() += 1;
        }
        let expected: BTreeMap<(String, i32), usize> =
            ["complaint-acknowledged", "complaint-resolved", "survey-invitation"]
                .iter()
                .flat_map(|key| {
                    [Way::Email, Way::InApp].map(|way| ((format!("templates/{key}"), way as i32), 1))
                })
                .collect();
        assert_eq!(count, expected, "{}: messages by template and channel", self.customer);
    }

    /// Whether all of the customer's messages have reached a final state.
    pub async fn is_told(&self, callers: &Callers) -> bool {
        let messages = self.messages(callers).await;
        messages.len() >= 6
            && messages
                .iter()
                .all(|message| matches!(message.state(), message::State::Delivered | message::State::Failed))
    }

    async fn messages(&self, callers: &Callers) -> Vec<Message> {
        let service = MessageServiceClient::new(callers.staff.clone());
        let request =
            ListMessagesRequest { recipient: self.customer.clone(), page_size: 200, ..Default::default() };
        let listed = again(|| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.list_messages(request).await }
        });
        listed.await.expect("messages are listed").messages
    }
}

fn fresh() -> String {
    Uuid::now_v7().to_string()
}
