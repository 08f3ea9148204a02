//! A message to one customer on one channel, from its acceptance to its end.

use chrono::{DateTime, Utc};
use cqm_rpc::{Personal, TraceContext};
use uuid::Uuid;

use super::contact::Contact;
use super::delivery::{Decision, Outcome, Policy, Step};
use super::template::{Contents, Rendered, TemplateKey, choose_locale, render};
use super::text::{CUSTOMER_NAME, Variables};

cqm_rpc::words! {
    /// A way to reach a customer.
    pub enum Channel {
        Email = "EMAIL",
        InApp = "IN_APP",
    }
}

cqm_rpc::words! {
    /// What became of a message.
    pub enum State {
        Queued = "QUEUED",
        WaitingForContact = "WAITING_FOR_CONTACT",
        Sending = "SENDING",
        Delivered = "DELIVERED",
        Failed = "FAILED",
    }
}

impl State {
    pub fn is_final(self) -> bool {
        matches!(self, Self::Delivered | Self::Failed)
    }
}

cqm_rpc::words! {
    /// Why a message was given up.
    pub enum FailureReason {
        ContactUnknown = "CONTACT_UNKNOWN",
        ContactDeleted = "CONTACT_DELETED",
        AddressMissing = "ADDRESS_MISSING",
        Rejected = "REJECTED",
        AttemptsExhausted = "ATTEMPTS_EXHAUSTED",
        Rendering = "RENDERING",
    }
}

/// What a call asks for, once for each channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub customer_id: Uuid,
    pub template: TemplateKey,
    pub template_version: i64,
    pub variables: Variables,
    pub about: String,
    pub trace: TraceContext,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub id: Uuid,
    pub customer_id: Uuid,
    pub template: TemplateKey,
    /// The template as it was when the message was accepted.
    pub template_version: i64,
    pub channel: Channel,
    /// The language it was written in, once it was; it stays, so that a repeated mail is the same mail.
    pub locale: Option<String>,
    pub about: String,
    pub state: State,
    pub failure: Option<FailureReason>,
    pub attempts: i32,
    /// An attempt was begun, and nobody has told its outcome yet.
    pub in_flight: bool,
    /// Gone once the message is finished: they may be personal or secret.
    pub variables: Option<Variables>,
    /// When it is looked at next; `None` once it is finished.
    pub due_time: Option<DateTime<Utc>>,
    pub finish_time: Option<DateTime<Utc>>,
    pub trace: TraceContext,
    pub version: i64,
    pub create_time: DateTime<Utc>,
    pub update_time: DateTime<Utc>,
}

/// What is to be done for a message that was due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Todo {
    /// Nothing: it waits, or has ended.
    Nothing,
    /// It was delivered by putting this text into the inbox, in the same transaction.
    Shelve(Rendered),
    /// The attempt is written down; send this text after the commit, then say how it went.
    Send { address: Personal<String>, display_name: Personal<String>, text: Rendered },
}

impl Message {
    /// Accepts a message. It waits when the customer's contact is not known yet.
    pub fn accept(
        id: Uuid,
        order: &Order,
        channel: Channel,
        contact_known: bool,
        policy: &Policy,
        now: DateTime<Utc>,
    ) -> (Self, Vec<Step>) {
        let mut steps = vec![Step::decided(now, Decision::Accepted, channel.name())];
        let (state, due) = if contact_known {
            (State::Queued, now)
        } else {
            let give_up = now + policy.patience;
            steps.push(Step::decided(now, Decision::WaitForContact, "").then_at(give_up));
            (State::WaitingForContact, give_up)
        };
        let message = Self {
            id,
            customer_id: order.customer_id,
            template: order.template.clone(),
            template_version: order.template_version,
            channel,
            locale: None,
            about: order.about.clone(),
            state,
            failure: None,
            attempts: 0,
            in_flight: false,
            variables: Some(order.variables.clone()),
            due_time: Some(due),
            finish_time: None,
            trace: order.trace,
            version: 1,
            create_time: now,
            update_time: now,
        };
        (message, steps)
    }

    /// The contact that it waited for is there.
    pub fn contact_found(&mut self, now: DateTime<Utc>) -> Vec<Step> {
        if self.state != State::WaitingForContact {
            return Vec::new();
        }
        self.state = State::Queued;
        self.due_time = Some(now);
        self.touch(now);
        vec![Step::decided(now, Decision::ContactFound, "")]
    }

    /// Its customer was deleted. An attempt in flight is waited for: it may have arrived, and saying otherwise would
    /// be wrong. If it fails, there is no other.
    pub fn contact_deleted(&mut self, now: DateTime<Utc>) -> Vec<Step> {
        if self.state.is_final() || self.in_flight {
            return Vec::new();
        }
        self.touch(now);
        vec![self.give_up(FailureReason::ContactDeleted, now)]
    }

    /// Its customer is known by the survivor's name now, and reached as the survivor is; `contact` is what is known of
    /// that. An attempt in flight goes where it was sent.
    pub fn give(&mut self, survivor: Uuid, contact: Option<&Contact>, now: DateTime<Utc>) -> Vec<Step> {
        self.customer_id = survivor;
        self.touch(now);
        let mut steps = vec![Step::decided(now, Decision::RecipientMerged, "")];
        steps.extend(match contact {
            Some(contact) if contact.deleted => self.contact_deleted(now),
            Some(_) => self.contact_found(now),
            // Looked for when the message is due.
            None => Vec::new(),
        });
        steps
    }

    /// Looks at a message that is due. `contact` is what is known now, `contents` the text it was accepted with.
    pub fn work(
        &mut self,
        contact: Option<&Contact>,
        contents: &Contents,
        policy: &Policy,
        now: DateTime<Utc>,
    ) -> (Vec<Step>, Todo) {
        if self.state.is_final() {
            return (Vec::new(), Todo::Nothing);
        }
        self.touch(now);
        let mut steps = Vec::new();
        if self.in_flight {
            // Whoever began the attempt is gone. Whether the mail went out is not known: the next one carries the same
            // Message-ID, by which a repeat can be recognised.
            self.in_flight = false;
            let lost = "the sender ended before it told the outcome";
            steps.push(Step::attempted(now, self.attempts, Outcome::TransientFailure, lost));
        }
        let Some(contact) = contact else {
            let give_up = self.create_time + policy.patience;
            if now < give_up {
                self.state = State::WaitingForContact;
                self.due_time = Some(give_up);
                steps.push(Step::decided(now, Decision::WaitForContact, "").then_at(give_up));
            } else {
                steps.push(self.give_up(FailureReason::ContactUnknown, now));
            }
            return (steps, Todo::Nothing);
        };
        if contact.deleted {
            steps.push(self.give_up(FailureReason::ContactDeleted, now));
            return (steps, Todo::Nothing);
        }
        if self.attempts >= policy.attempts {
            steps.push(self.give_up(FailureReason::AttemptsExhausted, now));
            return (steps, Todo::Nothing);
        }
        let address = contact.email.clone();
        if self.channel == Channel::Email && address.is_none() {
            steps.push(Step::decided(now, Decision::ChannelSkipped, "no e-mail address"));
            steps.push(self.give_up(FailureReason::AddressMissing, now));
            return (steps, Todo::Nothing);
        }
        let Some(text) = self.write(contact, contents, now, &mut steps) else {
            steps.push(self.give_up(FailureReason::Rendering, now));
            return (steps, Todo::Nothing);
        };
        self.attempts += 1;
        if let (Channel::Email, Some(address)) = (self.channel, address) {
            let lost = now + policy.lease;
            self.state = State::Sending;
            self.in_flight = true;
            self.due_time = Some(lost);
            steps.push(Step::decided(now, Decision::AttemptStarted, format!("attempt {}", self.attempts)));
            return (steps, Todo::Send { address, display_name: contact.display_name.clone(), text });
        }
        steps.push(Step::attempted(now, self.attempts, Outcome::Accepted, "inbox"));
        steps.push(self.deliver(now));
        (steps, Todo::Shelve(text))
    }

    /// Writes down how attempt `attempt` went. `None` when it is not the one in flight: its sender took so long that
    /// it was taken for lost, and another one has the message now.
    pub fn attempted(
        &mut self,
        attempt: i32,
        (outcome, detail): (Outcome, &str),
        policy: &Policy,
        jitter: f64,
        now: DateTime<Utc>,
    ) -> Option<Vec<Step>> {
        if !self.in_flight || self.attempts != attempt {
            return None;
        }
        self.touch(now);
        self.in_flight = false;
        let mut steps = vec![Step::attempted(now, attempt, outcome, detail)];
        steps.push(match outcome {
            Outcome::Accepted => self.deliver(now),
            Outcome::PermanentFailure => self.give_up(FailureReason::Rejected, now),
            Outcome::TransientFailure if attempt >= policy.attempts => {
                self.give_up(FailureReason::AttemptsExhausted, now)
            }
            Outcome::TransientFailure => {
                let next = now + policy.pause(attempt, jitter);
                self.due_time = Some(next);
                Step::decided(now, Decision::Retry, "").then_at(next)
            }
        });
        Some(steps)
    }

    /// The text for the recipient, in their language; `None` when it cannot be filled in.
    fn write(
        &mut self,
        contact: &Contact,
        contents: &Contents,
        now: DateTime<Utc>,
        steps: &mut Vec<Step>,
    ) -> Option<Rendered> {
        let mut variables = self.variables.clone()?;
        variables.insert(CUSTOMER_NAME.to_owned(), contact.display_name.clone());
        let chosen = self.locale.is_some();
        let locale =
            self.locale.clone().unwrap_or_else(|| choose_locale(contents, &contact.locale).to_owned());
        let text = render(contents, &locale, &variables).ok()?;
        if !chosen {
            steps.push(Step::decided(now, Decision::LocaleChosen, locale.clone()));
            self.locale = Some(locale);
        }
        Some(text)
    }

    fn deliver(&mut self, now: DateTime<Utc>) -> Step {
        self.finish(State::Delivered, now);
        Step::decided(now, Decision::Delivered, "")
    }

    fn give_up(&mut self, reason: FailureReason, now: DateTime<Utc>) -> Step {
        self.finish(State::Failed, now);
        self.failure = Some(reason);
        Step::decided(now, Decision::GiveUp, reason.name())
    }

    fn finish(&mut self, state: State, now: DateTime<Utc>) {
        self.state = state;
        self.in_flight = false;
        self.variables = None;
        self.due_time = None;
        self.finish_time = Some(now);
    }

    fn touch(&mut self, now: DateTime<Utc>) {
        self.version += 1;
        self.update_time = now;
    }
}

#[cfg(test)]
mod tests;
