//! One customer's closed loop, from the complaint to the points.

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use cqm_proto::complaints::v1::complaint::{Channel, Remedy, State};
use cqm_proto::complaints::v1::complaint_service_client::ComplaintServiceClient;
use cqm_proto::complaints::v1::{
    AcknowledgeComplaintRequest, AssignComplaintRequest, Category, CloseComplaintRequest, Complaint,
    GetComplaintRequest, RecordRootCauseRequest, RegisterComplaintRequest, ResolveComplaintRequest,
    RootCause, Severity, StartInvestigationRequest,
};
use cqm_proto::customers::v1::customer_service_client::CustomerServiceClient;
use cqm_proto::customers::v1::{CreateCustomerRequest, Customer, Email, Phone, SourceChannel};
use cqm_proto::loyalty::v1::entry::Reason;
use cqm_proto::loyalty::v1::ledger_service_client::LedgerServiceClient;
use cqm_proto::loyalty::v1::{Entry, ListEntriesRequest};
use cqm_proto::notifications::v1::inbox_service_client::InboxServiceClient;
use cqm_proto::notifications::v1::{InboxItem, ListInboxItemsRequest};
use cqm_proto::surveys::v1::answer::Value;
use cqm_proto::surveys::v1::invitation_service_client::InvitationServiceClient;
use cqm_proto::surveys::v1::question::Kind;
use cqm_proto::surveys::v1::response_service_client::ResponseServiceClient;
use cqm_proto::surveys::v1::{Answer, OpenInvitationRequest, Question, SubmitResponseRequest};
use uuid::Uuid;

use super::{LOOK_EVERY, PATIENCE, again};
use crate::connect::{Client, Target};

/// A customer whose story has been told.
pub struct Told {
    pub customer: String,
    pub address: String,
}

/// A complaint is resolved badly, the customer says so, it opens again and is put right.
pub async fn dissatisfied(target: &Target) -> Result<Told> {
    let story = Story::begin(target, "王芳", "wang.fang", "zh-CN", "13800138000").await?;
    let complaint = story
        .register(
            "CD 光盘播放时跳音",
            "第三首歌无法正常播放，已经换过播放机。",
            Category::ProductQuality,
            Severity::High,
        )
        .await?;
    story.mail(&complaint, 1, "the acknowledgement").await?;
    let complaint = story.handle(&complaint, "压片批次有气泡", "production").await?;
    let complaint = story.resolve(&complaint, "寄出一张新光盘。", 0).await?;
    story.mail(&complaint, 2, "the outcome").await?;
    let token = story.invitation(1).await?;
    story.answer(&token, Mood::Dissatisfied).await?;
    story.points(Reason::SurveyAnswered, 1).await?;
    let complaint = story.state(&complaint, State::Investigating).await?;
    story.say(&format!(
        "the bad answer has opened the complaint again (reopened {} time)",
        complaint.reopen_count
    ));
    ensure!(complaint.reopen_count == 1, "it is reopened once, whatever was delivered twice");

    let complaint = story.resolve(&complaint, "换货并退还运费，补偿 500 积分。", 500).await?;
    story.points(Reason::Compensation, 1).await?;
    story.say("500 points of compensation are in the account");
    let token = story.invitation(2).await?;
    story.answer(&token, Mood::Satisfied).await?;
    story.points(Reason::SurveyAnswered, 2).await?;
    story.close(&complaint).await?;
    Ok(story.told())
}

/// A complaint is resolved to the customer's satisfaction at once.
pub async fn satisfied(target: &Target) -> Result<Told> {
    let story = Story::begin(target, "Emma Clark", "emma.clark", "en", "+44 20 7946 0958").await?;
    let complaint = story
        .register(
            "Parcel arrived a week late",
            "It was promised for Monday.",
            Category::Logistics,
            Severity::Low,
        )
        .await?;
    story.mail(&complaint, 1, "the acknowledgement").await?;
    let complaint = story.handle(&complaint, "The carrier's depot was closed.", "logistics").await?;
    let complaint = story.resolve(&complaint, "Shipping refunded.", 100).await?;
    story.mail(&complaint, 2, "the outcome").await?;
    let token = story.invitation(1).await?;
    story.answer(&token, Mood::Satisfied).await?;
    story.points(Reason::SurveyAnswered, 1).await?;
    story.points(Reason::Compensation, 1).await?;
    story.close(&complaint).await?;
    Ok(story.told())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Satisfied,
    Dissatisfied,
}

struct Story {
    client: Client,
    /// What the customer has: a link, and no account.
    stranger: tonic::transport::Channel,
    customer: Customer,
    address: String,
}

impl Story {
    async fn begin(target: &Target, name: &str, mailbox: &str, locale: &str, phone: &str) -> Result<Self> {
        let client = target.client()?;
        let request_id = Uuid::now_v7();
        // Every run of the demo tells of somebody new, whose address is nobody's.
        let address = format!("{mailbox}.{}@example.com", &request_id.simple().to_string()[20..]);
        let request = CreateCustomerRequest {
            customer: Some(Customer {
                display_name: name.to_owned(),
                emails: vec![Email { address: address.clone(), primary: true }],
                phones: vec![Phone { number: phone.to_owned(), primary: true, ..Phone::default() }],
                locale: locale.to_owned(),
                source_channel: SourceChannel::OnlineRegistration.into(),
                ..Customer::default()
            }),
            default_region: String::new(),
            request_id: request_id.to_string(),
        };
        let service = CustomerServiceClient::new(client.clone());
        let customer = again(|| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.create_customer(request).await }
        })
        .await?;
        let story = Self { client, stranger: target.anonymous(), customer, address };
        story.say(&format!("a new customer, {}", story.customer.name));
        Ok(story)
    }

    fn told(self) -> Told {
        Told { customer: self.customer.name, address: self.address }
    }

    fn say(&self, text: &str) {
        println!("   {text}");
    }

    fn complaints(&self) -> ComplaintServiceClient<Client> {
        ComplaintServiceClient::new(self.client.clone())
    }

    async fn register(
        &self,
        subject: &str,
        description: &str,
        category: Category,
        severity: Severity,
    ) -> Result<Complaint> {
        let request = RegisterComplaintRequest {
            complaint: Some(Complaint {
                customer: self.customer.name.clone(),
                channel: Channel::Phone.into(),
                category: category.into(),
                severity: severity.into(),
                subject: subject.to_owned(),
                description: description.to_owned(),
                remedy_sought: Remedy::Replacement.into(),
                ..Complaint::default()
            }),
            request_id: Uuid::now_v7().to_string(),
        };
        let complaint = again(|| {
            let (mut service, request) = (self.complaints(), request.clone());
            async move { service.register_complaint(request).await }
        })
        .await?;
        self.say(&format!("complaint {} is registered: {subject}", complaint.reference));
        Ok(complaint)
    }

    /// Acknowledges, assigns, investigates and finds the cause.
    async fn handle(&self, complaint: &Complaint, cause: &str, department: &str) -> Result<Complaint> {
        let name = complaint.name.clone();
        let acknowledge =
            AcknowledgeComplaintRequest { name: name.clone(), request_id: fresh(), etag: String::new() };
        again(|| {
            let (mut service, request) = (self.complaints(), acknowledge.clone());
            async move { service.acknowledge_complaint(request).await }
        })
        .await?;
        let assign = AssignComplaintRequest {
            name: name.clone(),
            assignee: "staff/zhang-wei".to_owned(),
            request_id: fresh(),
            etag: String::new(),
        };
        again(|| {
            let (mut service, request) = (self.complaints(), assign.clone());
            async move { service.assign_complaint(request).await }
        })
        .await?;
        let start =
            StartInvestigationRequest { name: name.clone(), request_id: fresh(), etag: String::new() };
        again(|| {
            let (mut service, request) = (self.complaints(), start.clone());
            async move { service.start_investigation(request).await }
        })
        .await?;
        let record = RecordRootCauseRequest {
            name,
            root_cause: Some(RootCause { category: complaint.category, explanation: cause.to_owned() }),
            responsible_department: department.to_owned(),
            request_id: fresh(),
            etag: String::new(),
        };
        let complaint = again(|| {
            let (mut service, request) = (self.complaints(), record.clone());
            async move { service.record_root_cause(request).await }
        })
        .await?;
        self.say(&format!("acknowledged, assigned, investigated; the cause lies with {department}"));
        Ok(complaint)
    }

    async fn resolve(
        &self,
        complaint: &Complaint,
        summary: &str,
        compensation_points: i64,
    ) -> Result<Complaint> {
        let request = ResolveComplaintRequest {
            name: complaint.name.clone(),
            summary: summary.to_owned(),
            compensation_points,
            request_id: fresh(),
            etag: String::new(),
        };
        let complaint = again(|| {
            let (mut service, request) = (self.complaints(), request.clone());
            async move { service.resolve_complaint(request).await }
        })
        .await?;
        self.say(&format!("resolved: {summary}"));
        Ok(complaint)
    }

    async fn close(&self, complaint: &Complaint) -> Result<()> {
        let request =
            CloseComplaintRequest { name: complaint.name.clone(), request_id: fresh(), etag: String::new() };
        again(|| {
            let (mut service, request) = (self.complaints(), request.clone());
            async move { service.close_complaint(request).await }
        })
        .await?;
        self.say("the customer is satisfied; the complaint is closed");
        Ok(())
    }

    /// Waits until the complaint has got into a state by the suite's own doing.
    async fn state(&self, complaint: &Complaint, state: State) -> Result<Complaint> {
        self.wait_for("the complaint's new state", async || {
            let request = GetComplaintRequest { name: complaint.name.clone() };
            let complaint = again(|| {
                let (mut service, request) = (self.complaints(), request.clone());
                async move { service.get_complaint(request).await }
            })
            .await?;
            Ok((complaint.state() == state).then_some(complaint))
        })
        .await
    }

    /// Waits until the customer's inbox has this many messages about the complaint.
    async fn mail(&self, complaint: &Complaint, count: usize, what: &str) -> Result<()> {
        let items = self
            .wait_for(what, async || {
                let items = self.inbox().await?;
                let about: Vec<_> = items.into_iter().filter(|item| item.about == complaint.name).collect();
                Ok((about.len() >= count).then_some(about))
            })
            .await?;
        let newest = items.iter().max_by_key(|item| item.create_time.map(|t| (t.seconds, t.nanos)));
        let subject = newest.map_or("", |item| item.subject.as_str());
        self.say(&format!("{what} has reached the customer: {subject}"));
        Ok(())
    }

    /// Waits for the customer's `count`-th invitation and takes the token out of its link, as the
    /// customer's browser would.
    async fn invitation(&self, count: usize) -> Result<String> {
        let item = self
            .wait_for("the invitation", async || {
                let mut items: Vec<_> = self
                    .inbox()
                    .await?
                    .into_iter()
                    .filter(|item| item.about.starts_with("invitations/"))
                    .collect();
                items.sort_by_key(|item| item.create_time.map(|t| (t.seconds, t.nanos)));
                Ok((items.len() >= count).then(|| items.swap_remove(count - 1)))
            })
            .await?;
        self.say(&format!("the invitation has reached the customer: {}", item.subject));
        let link = item
            .body
            .split_whitespace()
            .find(|word| word.starts_with("http://") || word.starts_with("https://"))
            .context("the invitation has a link")?;
        let token = link.rsplit(['/', '=']).next().unwrap_or_default();
        Ok(token.trim_end_matches(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_').to_owned())
    }

    async fn inbox(&self) -> Result<Vec<InboxItem>> {
        let request = ListInboxItemsRequest { customer: self.customer.name.clone(), ..Default::default() };
        let service = InboxServiceClient::new(self.client.clone());
        let page = again(|| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.list_inbox_items(request).await }
        })
        .await?;
        Ok(page.inbox_items)
    }

    /// Opens the link and answers, with nothing but the token in hand.
    async fn answer(&self, token: &str, mood: Mood) -> Result<()> {
        let service = InvitationServiceClient::new(self.stranger.clone());
        let opened = again(|| {
            let (mut service, token) = (service.clone(), token.to_owned());
            async move { service.open_invitation(OpenInvitationRequest { token }).await }
        })
        .await?;
        let questions = opened.questionnaire_version.context("an invitation asks something")?.questions;
        let answers = questions.iter().filter_map(|question| reply(question, mood)).collect();
        let request = SubmitResponseRequest { token: token.to_owned(), answers, request_id: fresh() };
        let service = ResponseServiceClient::new(self.stranger.clone());
        again(|| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.submit_response(request).await }
        })
        .await?;
        self.say(if mood == Mood::Satisfied {
            "the customer answers: satisfied"
        } else {
            "the customer answers: not satisfied at all"
        });
        Ok(())
    }

    /// Waits until the account has this many entries for a reason.
    async fn points(&self, reason: Reason, count: usize) -> Result<()> {
        let entries: Vec<Entry> = self
            .wait_for("the points", async || {
                let request =
                    ListEntriesRequest { customer: self.customer.name.clone(), ..Default::default() };
                let service = LedgerServiceClient::new(self.client.clone());
                let page = again(|| {
                    let (mut service, request) = (service.clone(), request.clone());
                    async move { service.list_entries(request).await }
                })
                .await;
                let entries = match page {
                    Ok(page) => page.entries,
                    // The first points make the member.
                    Err(error) if is_not_found(&error) => Vec::new(),
                    Err(error) => return Err(error),
                };
                let fitting: Vec<_> = entries.into_iter().filter(|entry| entry.reason() == reason).collect();
                Ok((fitting.len() >= count).then_some(fitting))
            })
            .await?;
        ensure!(entries.len() == count, "each signal is worth points once: {} entries", entries.len());
        if reason == Reason::SurveyAnswered {
            self.say(&format!("{} points for answering", entries[0].points));
        }
        Ok(())
    }

    async fn wait_for<T>(&self, what: &str, look: impl AsyncFn() -> Result<Option<T>>) -> Result<T> {
        let started = Instant::now();
        loop {
            if let Some(found) = look().await? {
                return Ok(found);
            }
            if started.elapsed() > PATIENCE {
                bail!("{what} has not come within {PATIENCE:?}: is the coordinator running?");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

fn fresh() -> String {
    Uuid::now_v7().to_string()
}

fn is_not_found(error: &anyhow::Error) -> bool {
    error.downcast_ref::<cqm_rpc::Failure>().is_some_and(|failure| failure.code == tonic::Code::NotFound)
}

/// What somebody in this mood answers; free text is left out.
fn reply(question: &Question, mood: Mood) -> Option<Answer> {
    let happy = mood == Mood::Satisfied;
    let value = match question.kind.as_ref()? {
        Kind::Rating(rating) => Value::Rating(if happy { rating.scale_max } else { 1 }),
        Kind::Nps(_) => Value::Nps(if happy { 9 } else { 2 }),
        Kind::SingleChoice(choice) => Value::Choice(choice.choices.first()?.id.clone()),
        Kind::MultipleChoice(_) | Kind::FreeText(_) => return None,
    };
    Some(Answer { question_id: question.id.clone(), value: Some(value) })
}
