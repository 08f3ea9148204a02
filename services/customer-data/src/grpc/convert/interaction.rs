//! Contacts with customers: the command and the resource.

use chrono::{DateTime, Utc};
use cqm_proto::customers::v1 as proto;
use cqm_rpc::{Error, PageRequest, Personal, Violations, any_name, text, time};
use uuid::Uuid;

use super::customer;
use super::words::Wire;
use crate::domain::interaction::{Interaction, InteractionChannel, InteractionKind};

const MAX_SUMMARY: usize = 2000;

#[derive(Debug)]
pub struct Record {
    pub customer_id: Uuid,
    pub kind: InteractionKind,
    pub channel: InteractionChannel,
    /// Absent = now.
    pub occur_time: Option<DateTime<Utc>>,
    pub summary: Personal<String>,
    pub subject: String,
}

#[derive(Debug)]
pub struct List {
    pub customer_id: Uuid,
    /// By time, the latest first.
    pub page: PageRequest<(DateTime<Utc>, Uuid)>,
}

impl Record {
    pub fn parse(message: &proto::RecordInteractionRequest, now: DateTime<Utc>) -> Result<Self, Error> {
        let mut violations = Violations::default();
        violations.optional_request_id(&message.request_id);
        let customer_id = customer::read_name("customer", &message.customer, &mut violations);
        let Some(interaction) = &message.interaction else {
            violations.required("interaction");
            return Err(Error::Invalid(violations));
        };
        let kind = violations.choice::<proto::interaction::Kind>("interaction.kind", interaction.kind);
        let channel =
            violations.choice::<proto::interaction::Channel>("interaction.channel", interaction.channel);
        let occur_time =
            time::past("interaction.occur_time", interaction.occur_time.as_ref(), now, &mut violations);
        let summary = text::block("interaction.summary", &interaction.summary, MAX_SUMMARY, &mut violations);
        let subject = any_name("interaction.subject", &interaction.subject, &mut violations);
        violations.finish()?;
        let (kind, channel) = kind
            .and_then(InteractionKind::of)
            .zip(channel.and_then(InteractionChannel::of))
            .ok_or_else(|| Error::internal("an enum passed the violations without a counterpart"))?;
        Ok(Self { customer_id, kind, channel, occur_time, summary: summary.into(), subject })
    }

    pub fn interaction(&self, id: Uuid, now: DateTime<Utc>) -> Interaction {
        Interaction {
            customer_id: self.customer_id,
            id,
            kind: self.kind,
            channel: self.channel,
            occur_time: self.occur_time.unwrap_or(now),
            summary: self.summary.clone(),
            subject: self.subject.clone(),
            create_time: now,
        }
    }
}

impl List {
    pub fn parse(message: &proto::ListInteractionsRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let customer_id = customer::read_name("customer", &message.customer, &mut violations);
        let query = ["interactions", message.customer.as_str()];
        let page = PageRequest::parse(message.page_size, &message.page_token, &query, &mut violations);
        violations.finish()?;
        Ok(Self { customer_id, page })
    }
}

pub fn write(interaction: &Interaction) -> proto::Interaction {
    proto::Interaction {
        name: interaction.name(),
        kind: interaction.kind.number(),
        channel: interaction.channel.number(),
        occur_time: Some(time::wire(interaction.occur_time)),
        summary: interaction.summary.expose().clone(),
        subject: interaction.subject.clone(),
        create_time: Some(time::wire(interaction.create_time)),
    }
}
