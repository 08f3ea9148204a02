//! How a customer is reached: a copy of what another service knows.

use chrono::{DateTime, Utc};
use cqm_rpc::Personal;
use uuid::Uuid;

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
    /// Whether this copy is to take the place of the stored one.
    pub fn replaces(&self, stored: Option<&Self>) -> bool {
        stored.is_none_or(|stored| stored.customer_version < self.customer_version)
    }
}
