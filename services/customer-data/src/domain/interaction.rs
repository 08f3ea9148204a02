//! A contact with a customer.

use chrono::{DateTime, Utc};
use cqm_rpc::{Personal, ResourceName};
use uuid::Uuid;

use super::customer;

pub const COLLECTION: &str = "interactions";

cqm_rpc::words! {
    /// What a contact was.
    pub enum InteractionKind {
        Enquiry = "ENQUIRY",
        Complaint = "COMPLAINT",
        Feedback = "FEEDBACK",
        Contact = "CONTACT",
        Service = "SERVICE",
    }
}

cqm_rpc::words! {
    /// How a contact came about.
    pub enum InteractionChannel {
        Phone = "PHONE",
        Email = "EMAIL",
        OnlineChat = "ONLINE_CHAT",
        Web = "WEB",
        SocialMedia = "SOCIAL_MEDIA",
        OnSite = "ON_SITE",
        SuggestionBox = "SUGGESTION_BOX",
    }
}

/// A contact as it is kept. Never changes, except that the summary is emptied when the customer is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interaction {
    pub customer_id: Uuid,
    pub id: Uuid,
    pub kind: InteractionKind,
    pub channel: InteractionChannel,
    pub occur_time: DateTime<Utc>,
    pub summary: Personal<String>,
    /// The resource that it was about; empty = none.
    pub subject: String,
    pub create_time: DateTime<Utc>,
}

impl Interaction {
    /// `customers/{uuid}/interactions/{uuid}`
    pub fn name(&self) -> String {
        let customer = ResourceName::new(customer::COLLECTION, self.customer_id);
        format!("{customer}/{}", ResourceName::new(COLLECTION, self.id))
    }
}
