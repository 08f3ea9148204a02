//! The inbox: messages as the customer reads them in the company's own application.

use chrono::{DateTime, Utc};
use cqm_rpc::Personal;
use uuid::Uuid;

use super::message::Message;
use super::template::Rendered;

/// A message in the inbox; it has the message's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxItem {
    pub id: Uuid,
    pub customer_id: Uuid,
    pub subject: Personal<String>,
    pub body: Personal<String>,
    pub locale: String,
    pub about: String,
    pub read_time: Option<DateTime<Utc>>,
    pub version: i64,
    pub create_time: DateTime<Utc>,
    pub update_time: DateTime<Utc>,
}

impl InboxItem {
    pub fn new(message: &Message, text: Rendered, now: DateTime<Utc>) -> Self {
        Self {
            id: message.id,
            customer_id: message.customer_id,
            subject: text.subject,
            body: text.body,
            locale: text.locale,
            about: message.about.clone(),
            read_time: None,
            version: 1,
            create_time: now,
            update_time: now,
        }
    }

    /// Marks it as read and tells whether that changed anything: the first time is kept.
    pub fn read(&mut self, now: DateTime<Utc>) -> bool {
        if self.read_time.is_some() {
            return false;
        }
        self.read_time = Some(now);
        self.version += 1;
        self.update_time = now;
        true
    }
}
