//! How a customer is reached: a copy of what another service knows.

use chrono::{DateTime, Utc};
use cqm_rpc::Personal;
use uuid::Uuid;

use super::template::DEFAULT_LOCALE;

/// The copy as of one version of the customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    pub customer_id: Uuid,
    pub customer_version: i64,
    /// Nobody is to be reached any more; nothing below is left.
    pub deleted: bool,
    pub display_name: Personal<String>,
    pub email: Option<Personal<String>>,
    pub phone: Option<Personal<String>>,
    /// BCP 47.
    pub locale: String,
    pub update_time: DateTime<Utc>,
}

impl Contact {
    /// What is left of a contact when nobody is reached by it any more: its version, so that nothing older replaces it.
    pub fn gone(customer_id: Uuid, before: Option<&Self>, now: DateTime<Utc>) -> Self {
        Self {
            customer_id,
            customer_version: before.map_or(1, |before| before.customer_version),
            deleted: true,
            display_name: Personal::default(),
            email: None,
            phone: None,
            locale: DEFAULT_LOCALE.to_owned(),
            update_time: now,
        }
    }

    /// Whether this copy is to take the place of the stored one.
    pub fn replaces(&self, stored: Option<&Self>) -> bool {
        stored.is_none_or(|stored| stored.customer_version < self.customer_version)
    }
}
