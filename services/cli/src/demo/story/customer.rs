//! What the customer gets and does.

use anyhow::{Context, Result, ensure};
use cqm_proto::complaints::v1::Complaint;
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

use super::{Story, fresh};
use crate::demo::again;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Satisfied,
    Dissatisfied,
}

impl Story {
    /// Waits until the customer's inbox has this many messages about the complaint.
    pub(super) async fn mail(&self, complaint: &Complaint, count: usize, what: &str) -> Result<()> {
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
    pub(super) async fn invitation(&self, count: usize) -> Result<String> {
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
    pub(super) async fn answer(&self, token: &str, mood: Mood) -> Result<()> {
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
    pub(super) async fn points(&self, reason: Reason, count: usize) -> Result<()> {
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
